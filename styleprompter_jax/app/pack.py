"""Packs a folder of images into one file that is fast to read."""

import contextlib
import dataclasses
import io
import logging
from collections.abc import Iterator
from pathlib import Path

from array_record.python.array_record_module import ArrayRecordWriter
from PIL import Image

from styleprompter_jax.app.pictures import Made, leave_out, list_pictures
from styleprompter_jax.core.atomic import atomic_path
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.outbox import to_bucket
from styleprompter_jax.core.paths import AnyPath, local_path
from styleprompter_jax.core.progress import Progress
from styleprompter_jax.core.results import check_files
from styleprompter_jax.core.values import check_choice, whole
from styleprompter_jax.data.sources import ARRAY_RECORD
from styleprompter_jax.images.batches import THREADS, threads
from styleprompter_jax.images.files import open_image, resize, resize_to_cover
from styleprompter_jax.images.find import shown

AHEAD = 4 * THREADS  # number of images that are read ahead of the writer

CROPS = {"center": resize, "none": resize_to_cover}

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Packed(Made):
    """The packed file, the only entry of `files`.

    Attributes:
        count: number of images in the file.
    """

    count: int


@to_bucket("dest", file=True)
def pack(
    folder: AnyPath,
    dest: AnyPath,
    *,
    size: int,
    crop: str = "center",
    skip_bad: bool = False,
    overwrite: bool = False,
) -> Packed:
    """Packs images into an ArrayRecord, as PNGs.

    Args:
        folder: folder of images, searched recursively.
        dest: file to write, NAME.array_record.
        size: length of the shorter side in pixels. A smaller image keeps its size, with
            a warning.
        crop: "center" keeps the central square, "none" keeps the whole image.
        skip_bad: skip images that cannot be read, with a warning for each.
        overwrite: replace an existing file.

    Raises:
        StylePrompterError: if an image cannot be read, or the file cannot be written.
    """
    check_choice(crop, "crop", CROPS)
    dest, size = local_path(dest), whole(size, "size", 1)
    if dest.suffix != ARRAY_RECORD:
        raise StylePrompterError(f"{dest} must end in {ARRAY_RECORD}.")
    check_files([dest], [], overwrite=overwrite)
    paths = list_pictures(folder)
    check_files([dest], paths, overwrite=True)

    def encode(path: Path) -> bytes | StylePrompterError:
        try:
            return _png(path, size, crop)
        except StylePrompterError as error:
            return error

    bad: list[str] = []
    with atomic_path(dest) as partial, _writer(partial) as writer:
        with (
            threads() as pool,
            Progress(total=len(paths), unit="image") as bar,
        ):
            for start in range(0, len(paths), AHEAD):
                for record in pool.map(encode, paths[start : start + AHEAD]):
                    if isinstance(record, StylePrompterError):
                        bad.append(str(record))
                    elif skip_bad or not bad:  # else it only looks for others
                        writer.write(record)
                    bar.update()
        leave_out(bad, skip_bad)
        if len(bad) == len(paths):
            raise StylePrompterError(
                f"{folder} has no readable image: name another folder."
            )
    return Packed([dest], bad, len(paths) - len(bad))


@contextlib.contextmanager
def _writer(path: Path) -> Iterator[ArrayRecordWriter]:
    """Opens a writer, and turns its RuntimeError into OSError."""
    try:
        writer = ArrayRecordWriter(str(path), "group_size:1,uncompressed")
        try:
            yield writer
        finally:
            writer.close()
    except RuntimeError as error:
        raise OSError(str(error)) from error


def _png(path: Path, size: int, crop: str) -> bytes:
    file = io.BytesIO()
    with open_image(path) as image:
        height, width = image.shape[:2]
        if min(height, width) < size:
            log.warning(
                "%s has %d x %d pixels: it keeps them.", shown(path), width, height
            )
        try:
            image = CROPS[crop](image, min(size, height, width))
        except StylePrompterError as error:
            raise StylePrompterError(f"{shown(path)}: {error}") from error
        Image.fromarray(image).save(file, "PNG")
    return file.getvalue()
