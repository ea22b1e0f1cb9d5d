"""`styleprompter pack`: a folder of pictures as one file that is quick to read."""

import contextlib
import io
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from array_record.python.array_record_module import ArrayRecordWriter
from PIL import Image
from tqdm import tqdm

from styleprompter_jax.app.pictures import THREADS, list_pictures, plural
from styleprompter_jax.core.atomic import atomic_path
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.results import check_files
from styleprompter_jax.data.sources import ARRAY_RECORD
from styleprompter_jax.images.files import open_image, resize, resize_to_cover
from styleprompter_jax.images.find import shown

AHEAD = 4 * THREADS  # pictures that are read before their turn to be written


def run(args):
    dest = Path(args.dest)
    if dest.suffix != ARRAY_RECORD:
        raise StylePrompterError(f"{dest} must end in {ARRAY_RECORD}.")
    check_files([dest], [], overwrite=args.overwrite)
    paths = list_pictures(args.folder)
    check_files([dest], paths, overwrite=True)

    def encode(path):
        try:
            return _png(path, args.size, args.crop)
        except StylePrompterError as error:
            if not args.skip_bad:
                raise
            return error

    skipped = 0
    with atomic_path(dest) as partial, _writer(partial) as writer:
        with (
            ThreadPoolExecutor(THREADS) as pool,
            tqdm(total=len(paths), unit="image", disable=None) as bar,
        ):
            for start in range(0, len(paths), AHEAD):
                for record in pool.map(encode, paths[start : start + AHEAD]):
                    if isinstance(record, StylePrompterError):
                        print(f"Skipped: {record}", file=sys.stderr)
                        skipped += 1
                    else:
                        writer.write(record)
                    bar.update()
        if skipped == len(paths):
            raise StylePrompterError(f"{args.folder}: no picture that can be read.")
    left_out = f", {skipped} skipped" if skipped else ""
    print(
        f"{plural(len(paths) - skipped, 'picture')} packed into {dest}{left_out}. "
        "Train on it with --config.data.name=array_record "
        f"--config.data.path={dest.parent} --config.data.train_split={dest.stem}"
    )


@contextlib.contextmanager
def _writer(path: Path) -> Iterator[ArrayRecordWriter]:
    """A writer, whose errors are those of the system."""
    try:
        writer = ArrayRecordWriter(str(path), "group_size:1,uncompressed")
        try:
            yield writer
        finally:
            writer.close()
    except RuntimeError as error:
        raise OSError(str(error)) from error


def _png(path: Path, size: int, crop: str) -> bytes:
    change = resize if crop == "center" else resize_to_cover
    file = io.BytesIO()
    with open_image(path) as image:
        try:
            image = change(image, size)
        except StylePrompterError as error:
            raise StylePrompterError(f"{shown(path)}: {error}") from error
        Image.fromarray(image).save(file, "PNG")
    return file.getvalue()
