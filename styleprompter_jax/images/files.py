"""Reads and writes image files, and makes sheets of images.

In all other modules, an image is a float32 array in [-1, 1], or uint8 if a docstring
says so. `decode.py` handles the variety of files.
"""

import collections
import contextlib
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from styleprompter_jax.core import values
from styleprompter_jax.core.atomic import atomic_path
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.fetch import local_copy
from styleprompter_jax.core.paths import as_paths, local_path
from styleprompter_jax.core.spelling import another_path
from styleprompter_jax.images.decode import decoded, image_size
from styleprompter_jax.images.find import shown

LARGEST_SIDE = 16_384  # pixels of a resized image
# Pillow's options for writing, by file extension.
WRITTEN: dict[str, dict[str, Any]] = {
    ".png": {"format": "PNG"},
    ".jpg": {"format": "JPEG", "quality": 95, "subsampling": 0},
    ".webp": {"format": "WEBP", "lossless": True},
}

Size = int | tuple[int, int]  # side of a square, or (height, width)

# The filter for every change of size. PIL widens it for smaller results, so that they
# have no aliasing.
FILTER = Image.Resampling.BILINEAR


def read_image(path: str | os.PathLike, size: Size | None = None) -> np.ndarray:
    """Reads one image: upright, in sRGB, with transparent parts over white.

    From an animation, it reads the first frame.

    Args:
        path: the file.
        size: side of the square to resize to, or (height, width), see `resize`; None
            keeps the size of the image.

    Returns:
        uint8 (h, w, 3).

    Raises:
        StylePrompterError: if the file is missing, is damaged, is not an image, or is
            larger than PIL's limit against decompression bombs.
    """
    with open_image(path) as pixels:
        return pixels if size is None else resize(pixels, size)


@contextlib.contextmanager
def open_image(path: str | os.PathLike) -> Iterator[np.ndarray]:
    """Reads an image like `read_image`, for a block that uses the whole image.

    Threads in such blocks wait for each other, so that together they never hold more
    pixels than the largest image has.
    """
    with picture_file(path) as (file, name), decoded(file, name) as pixels:
        yield pixels


def read_size(path: str | os.PathLike) -> tuple[int, int]:
    """Returns width and height of an image as it is stored, before any rotation.

    Raises:
        StylePrompterError: like `read_image`, if the start of the file shows the fault.
    """
    with picture_file(path) as (file, name):
        return image_size(file, name)


@contextlib.contextmanager
def picture_file(path: str | os.PathLike) -> Iterator[tuple[BinaryIO, str]]:
    """Opens an image file; yields the file and its name for messages."""
    path, name = local_copy(path), shown(path)
    if not os.path.lexists(path):
        raise StylePrompterError(f"There is no file {name}.{another_path(path)}")
    with contextlib.ExitStack() as stack:
        try:
            if not os.path.isfile(path):  # a pipe would block
                raise OSError("it is not a regular file")
            file = stack.enter_context(open(path, "rb"))
        except OSError as error:
            raise StylePrompterError(
                f"{name} cannot be read as an image ({error}): replace or remove it."
            ) from error
        yield file, name


def resize(
    image: np.ndarray, size: Size, filter: Image.Resampling = FILTER
) -> np.ndarray:
    """Resizes an image to cover a square or rectangle and crops the centre.

    Args:
        image: uint8 (h, w, 3) or (h, w).
        size: side of the square, or (height, width).
        filter: the resampling filter; the default filter has no aliasing.

    Returns:
        uint8 of this size; `image` itself if it has this size.

    Raises:
        StylePrompterError: if the result is larger than PIL's limit for an image.
    """
    height, width = (size, size) if isinstance(size, int) else size
    if image.shape[:2] == (height, width):
        return image
    _check_area(image, width, height)
    return np.asarray(ImageOps.fit(Image.fromarray(image), (width, height), filter))


def resize_to_cover(image: np.ndarray, size: int) -> np.ndarray:
    """Resizes an image to a shorter side of `size`, without aliasing or cropping.

    Args:
        image: uint8 (h, w, 3).
        size: length of the shorter side of the result.

    Returns:
        uint8 (h', w', 3) with min(h', w') == size; `image` itself if it fits already.

    Raises:
        StylePrompterError: if the result is larger than PIL's limit for an image.
    """
    height, width, _ = image.shape
    if min(height, width) == size:
        return image
    scale = size / min(height, width)
    shape = (max(size, round(width * scale)), max(size, round(height * scale)))
    _check_area(image, *shape)
    return np.asarray(Image.fromarray(image).resize(shape, FILTER))


def _check_area(image: np.ndarray, width: int, height: int) -> None:
    if width * height > (most := Image.MAX_IMAGE_PIXELS or math.inf):
        raise StylePrompterError(
            f"An image of {image.shape[1]} x {image.shape[0]} pixels would become one "
            f"of {width} x {height}, and the limit is {most:,} pixels: choose a "
            "smaller size, or crop the image."
        )


def read_images(paths: Iterable[str | os.PathLike], size: Size) -> np.ndarray:
    """Reads several images: float32 (b, h, w, 3) in [-1, 1].

    Args:
        paths: the files; see `read_image`.
        size: side of the resized images, or (height, width).

    Raises:
        StylePrompterError: if there are no paths, or an image cannot be read.
    """
    paths = as_paths(paths, local_copy)
    sides: Any = size if isinstance(size, tuple) and len(size) == 2 else (size, size)
    height, width = (values.whole(side, "size", 1, LARGEST_SIDE) for side in sides)
    if not paths:
        raise StylePrompterError("There are no images to read: give their paths.")
    return to_float(np.stack([read_image(path, (height, width)) for path in paths]))


def to_float(images: np.ndarray) -> np.ndarray:
    """Converts uint8 to float32 in [-1, 1]."""
    return images.astype(np.float32) / np.float32(127.5) - np.float32(1)


def to_uint8(images: Any) -> np.ndarray:
    """Converts images in [-1, 1] to uint8: clips and rounds; uint8 does not change.

    Raises:
        StylePrompterError: for NaN, infinity, and dtypes other than floats and uint8.
    """
    try:
        images = np.asarray(images)
    except Exception as error:  # lists of different lengths, tensors on devices
        raise StylePrompterError(
            f"The images are {values.shown(images)}, which is not an array: give "
            "images of the same size, as a NumPy or JAX array."
        ) from error
    if images.dtype == np.uint8:
        return images
    try:
        if images.dtype.kind not in "fV":  # JAX's bfloat16 is V to NumPy
            raise TypeError
        images = images.astype(np.float32)
    except (TypeError, ValueError) as error:
        raise StylePrompterError(
            f"The images are {images.dtype}: give floats in [-1, 1], or uint8."
        ) from error
    if not np.isfinite(images).all():
        raise StylePrompterError(
            "An image contains NaN or infinity, because its model has diverged or has "
            "damaged weights: use another model or checkpoint."
        )
    return np.rint((images.clip(-1, 1) + 1) * 127.5).astype(np.uint8)


def write_image(image: Any, path: str | os.PathLike) -> None:
    """Writes (h, w, 3), in [-1, 1] or uint8; creates the folder if needed.

    The file gets its name only when it is complete. PNG and WebP keep every pixel; JPEG
    loses detail.

    Raises:
        StylePrompterError: if the image has another shape or contains NaN, the name
            does not end in .png, .webp or .jpg, or the file cannot be written.
    """
    path, options = _written(path)
    picture = Image.fromarray(_coloured(to_uint8(image), "(h, w, 3)"))
    with atomic_path(path) as partial:
        picture.save(partial, **options)


def write_images(images: Any, paths: Sequence[str | os.PathLike]) -> None:
    """Writes (b, h, w, 3) to b files; see `write_image`.

    Raises:
        StylePrompterError: if a path occurs twice, the number of paths is not b, or
            an image or a name is invalid. In this case, nothing is written.
    """
    paths = [_written(path)[0] for path in as_paths(paths)]
    images = _coloured(to_uint8(images), "(b, h, w, 3)")
    if len(images) != len(paths):
        raise StylePrompterError(
            f"There are {len(images)} images but {len(paths)} paths: give one path "
            "for each image."
        )
    if len(set(paths)) < len(paths):
        raise StylePrompterError(
            "Two images would be written to the same path: give different paths."
        )
    for image, path in zip(images, paths, strict=True):
        write_image(image, path)


def _written(path: str | os.PathLike) -> tuple[Path, dict]:
    """Returns the path of an image to write, and Pillow's options for it."""
    path = local_path(path)
    if (options := WRITTEN.get(path.suffix.lower())) is None:
        raise StylePrompterError(
            f"{path} has an extension that cannot be written: use "
            f"{' or '.join(WRITTEN)}."
        )
    return path, options


def _coloured(pixels: np.ndarray, wanted: str) -> np.ndarray:
    """Returns the pixels if they have the wanted shape and are not empty."""
    if pixels.ndim != wanted.count(",") + 1 or pixels.shape[-1] != 3 or not pixels.size:
        raise StylePrompterError(
            f"The images have the shape {pixels.shape} instead of {wanted}: change the "
            "shape; for grey images, repeat the channel three times."
        )
    return pixels


def output_paths(
    paths: Sequence[Path], folder: str | os.PathLike, suffix: str = ".png"
) -> list[Path]:
    """Returns the path of the result for each image: a file in `folder`.

    The paths keep the folders below the common folder of the images. They keep the
    extension of an image if two images differ only in it (a.jpg and a.png).
    """
    paths = [Path(os.path.abspath(path)) for path in paths]
    root = os.path.commonpath([path.parent for path in paths])
    names = [path.relative_to(root) for path in paths]
    stems = [name.with_suffix("") for name in names]
    count = collections.Counter(name.with_suffix("") for name in set(names))
    return [
        Path(folder) / f"{stem if count[stem] == 1 else name}{suffix}"
        for stem, name in zip(stems, names, strict=True)
    ]


def image_grid(images: Any, columns: int | None = None, padding: int = 2) -> np.ndarray:
    """Puts images side by side on white.

    Args:
        images: (b, h, w, 3), in [-1, 1] or uint8.
        columns: number of images in a row; by default, about as many as rows.
        padding: white pixels between two images.

    Returns:
        uint8 (rows * (h + padding) - padding, columns * (w + padding) - padding, 3).
    """
    images = to_uint8(images)
    count, height, width, _ = images.shape
    columns = columns or math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    cells = np.full(
        (rows * columns, height + padding, width + padding, 3), 255, np.uint8
    )
    cells[:count, :height, :width] = images
    grid = cells.reshape(rows, columns, height + padding, width + padding, 3)
    grid = grid.transpose(0, 2, 1, 3, 4).reshape(
        rows * (height + padding), columns * (width + padding), 3
    )
    return grid[: grid.shape[0] - padding, : grid.shape[1] - padding]


def sheet(
    rows: Sequence,
    column_titles: Sequence[str],
    row_titles: Sequence[str] | None = None,
    cell: int | None = None,
) -> np.ndarray:
    """Draws a labelled table of images, for a README or a report.

    Args:
        rows: the images of each row, each (h, w, 3) in [-1, 1] or uint8, all in the
            proportions of the first; a row may be shorter than `column_titles`.
        column_titles: the title above each column.
        row_titles: the title to the left of each row, if given.
        cell: height of each image in the table. By default, this is the smallest
            multiple of h that is at least 128 pixels.

    Returns:
        uint8 (height, width, 3), dark text on white.

    Raises:
        StylePrompterError: if there are no images, a title is missing, or an image has
            another shape or contains NaN.
    """
    rows, column_titles, row_titles = _table(rows, column_titles, row_titles)
    side, width, _ = rows[0][0].shape
    cell = side * math.ceil(128 / side) if cell is None else cell
    cell = values.whole(cell, "cell", 1, LARGEST_SIDE)
    across = max(1, round(cell * width / side))
    gap = 6
    font = ImageFont.load_default(size=max(12, cell // 9))
    # Pillow without FreeType refuses a size, so the font has metrics.
    line = sum(font.getmetrics()) + gap  # type: ignore[union-attr]
    left = gap
    if row_titles:
        left += gap + math.ceil(max(font.getlength(title) for title in row_titles))
    titles_fit = math.ceil(max(map(font.getlength, column_titles), default=0))
    step = max(across, titles_fit) + gap
    canvas = Image.new(
        "RGB",
        (left + step * len(column_titles), line + gap + (cell + gap) * len(rows)),
        "white",
    )
    draw = ImageDraw.Draw(canvas)
    for column, title in enumerate(column_titles):
        middle = left + column * step + (step - gap) / 2
        draw.text((middle, gap), title, fill="#222222", font=font, anchor="ma")
    for row, images in enumerate(rows):
        top = line + gap + row * (cell + gap)
        if row_titles:
            at = (left - gap, top + cell / 2)
            draw.text(at, row_titles[row], fill="#222222", font=font, anchor="rm")
        for column, image in enumerate(images):
            # The pixels of a small image stay visible if the factor is a whole number.
            fits = cell % len(image) == 0
            filter = Image.Resampling.NEAREST if fits else FILTER
            picture = Image.fromarray(image).resize((across, cell), filter)
            beside = (step - gap - across) // 2
            canvas.paste(picture, (left + column * step + beside, top))
    return np.asarray(canvas)


def _table(
    rows: Any, column_titles: Any, row_titles: Any
) -> tuple[list[list[np.ndarray]], list[str], list[str]]:
    """Checks the arguments of `sheet`; returns rows of uint8 images, and titles."""
    try:
        rows = [[*row] for row in rows]
        column_titles = [str(title) for title in column_titles]
        row_titles = [str(title) for title in row_titles or ()]
    except TypeError as error:
        raise StylePrompterError(
            "The arguments of sheet have wrong types: give rows of images, and lists "
            "of titles."
        ) from error
    longest = max(map(len, rows), default=0)
    if not rows or not rows[0] or longest > len(column_titles):
        raise StylePrompterError(
            f"A sheet of {len(rows)} rows of up to {longest} images has "
            f"{len(column_titles)} column titles: give a title for each column."
        )
    if row_titles and len(row_titles) != len(rows):
        raise StylePrompterError(
            f"There are {len(rows)} rows but {len(row_titles)} row titles: give a "
            "title for each row."
        )
    rows = [[_coloured(to_uint8(x), "(h, w, 3)") for x in row] for row in rows]
    return rows, column_titles, row_titles
