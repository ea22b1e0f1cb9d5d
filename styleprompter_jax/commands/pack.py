"""`styleprompter pack`: a folder of pictures as one file that is quick to read."""

import io
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from array_record.python.array_record_module import ArrayRecordWriter
from PIL import Image
from tqdm import tqdm

from styleprompter_jax.commands.pictures import list_pictures, plural
from styleprompter_jax.data.sources import ARRAY_RECORD
from styleprompter_jax.errors import StylePrompterError
from styleprompter_jax.images.files import (
    read_image,
    resize,
    resize_to_cover,
)

AHEAD = 64  # pictures that are read before their turn to be written


def run(args):
    dest = Path(args.dest)
    if dest.suffix != ARRAY_RECORD:
        raise StylePrompterError(f"{dest} must end in {ARRAY_RECORD}.")
    if dest.exists():
        raise StylePrompterError(f"{dest} exists: remove it or choose another name.")
    paths = list_pictures(args.folder)
    partial = dest.with_name(f".{dest.name}.{os.getpid()}.partial")

    def encode(path):
        try:
            return _png(path, args.size, args.crop)
        except StylePrompterError as error:
            if not args.skip_bad:
                raise
            return error

    skipped = 0
    try:
        dest.parent.mkdir(parents=True, exist_ok=True)
        writer = ArrayRecordWriter(str(partial), "group_size:1,uncompressed")
        with (
            ThreadPoolExecutor(os.cpu_count()) as pool,
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
        writer.close()
        partial.replace(dest)
    except (OSError, RuntimeError) as error:
        raise StylePrompterError(f"{dest} cannot be written: {error}.") from error
    finally:
        partial.unlink(missing_ok=True)
    left_out = f", {skipped} skipped" if skipped else ""
    print(
        f"{plural(len(paths) - skipped, 'picture')} packed into {dest}{left_out}. "
        "Train on it with --config.data.name=array_record "
        f"--config.data.path={dest.parent} --config.data.train_split={dest.stem}"
    )


def _png(path: Path, size: int, crop: str) -> bytes:
    change = resize if crop == "center" else resize_to_cover
    file = io.BytesIO()
    Image.fromarray(change(read_image(path), size)).save(file, "PNG")
    return file.getvalue()
