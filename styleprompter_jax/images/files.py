"""Reads and writes image files.

In all other modules, an image is a float32 array in [-1, 1], or uint8 if a docstring
says so. `decode.py` handles the variety of files.
"""

import collections
import contextlib
import io
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, ImageOps

from styleprompter_jax.core import values
from styleprompter_jax.core.atomic import atomic_path
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.fetch import local_copy
from styleprompter_jax.core.paths import as_paths, broken_link, local_path
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
LONGEST_SIDES = {".jpg": 65_500, ".webp": 16_383}  # pixels that the encoders take

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
                raise OSError(broken_link(path) or "it is not a regular file")
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
            "damaged weights, or its codes or the change of its generator are too "
            "large: use another model or checkpoint, or other latents."
        )
    return np.rint((images.clip(-1, 1) + 1) * 127.5).astype(np.uint8)


def write_image(image: Any, path: str | os.PathLike) -> None:
    """Writes (h, w, 3), in [-1, 1] or uint8; creates the folder if needed.

    The file gets its name only when it is complete. PNG and WebP keep every pixel; JPEG
    loses detail.

    Raises:
        StylePrompterError: if the image has another shape or contains NaN, the name
            does not end in .png, .webp or .jpg, its format has no such sides, or the
            file cannot be written.
    """
    path, options = _written(path)
    picture = Image.fromarray(coloured(to_uint8(image), "(h, w, 3)"))
    check_sides(path, *picture.size)
    with atomic_path(path) as partial:
        picture.save(partial, **options)


def write_images(images: Any, paths: Sequence[str | os.PathLike]) -> None:
    """Writes (b, h, w, 3) to b files; see `write_image`.

    Raises:
        StylePrompterError: if a path occurs twice, the number of paths is not b, or
            an image or a name is invalid. In this case, nothing is written.
    """
    paths = [_written(path)[0] for path in as_paths(paths)]
    images = coloured(to_uint8(images), "(b, h, w, 3)")
    if len(images) != len(paths):
        raise StylePrompterError(
            f"{values.plural(len(images), 'image')} cannot have "
            f"{values.plural(len(paths), 'path')}: give one path for each image."
        )
    if len(set(paths)) < len(paths):
        raise StylePrompterError(
            "Two images would be written to the same path: give different paths."
        )
    for image, path in zip(images, paths, strict=True):
        write_image(image, path)


def image_content(pixels: np.ndarray, format: str, **options: Any) -> bytes:
    """Returns uint8 pixels (h, w, 3) as the content of a file without metadata.

    Args:
        pixels: the image.
        format: extension of `WRITTEN`, without its dot.
        options: Pillow's, in addition to those of `WRITTEN`.
    """
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, **(WRITTEN[f".{format}"] | options))
    return file.getvalue()


def _written(path: str | os.PathLike) -> tuple[Path, dict]:
    """Returns the path of an image to write, and Pillow's options for it."""
    path = local_path(path)
    if (options := WRITTEN.get(path.suffix.lower())) is None:
        raise StylePrompterError(
            f"{path} has an extension that cannot be written: use "
            f"{' or '.join(WRITTEN)}."
        )
    return path, options


def check_sides(path: Path, width: int, height: int) -> None:
    """Refuses an image with a longer side than the format of its file can have."""
    most = LONGEST_SIDES.get(path.suffix.lower(), math.inf)
    if max(width, height) > most:
        raise StylePrompterError(
            f"{path} would have {width} x {height} pixels, and a side of this format "
            f"has at most {most:,}: write PNG (--format png)."
        )


def coloured(pixels: np.ndarray, wanted: str) -> np.ndarray:
    """Returns the pixels if they have the wanted shape and are not empty."""
    if pixels.ndim != wanted.count(",") + 1 or pixels.shape[-1] != 3 or not pixels.size:
        raise StylePrompterError(
            f"The images have the shape {pixels.shape} instead of {wanted}: change the "
            "shape; for grey images, repeat the channel three times."
        )
    return pixels


def output_paths(
    paths: Sequence[Path],
    folder: str | os.PathLike,
    suffix: str = ".png",
    tops: Iterable[Path] = (),
) -> list[Path]:
    """Returns the path of the result for each image: a file in `folder`.

    The paths keep the folders below the common folder of the images and of `tops`. They
    keep the extension of an image if two images differ only in it (a.jpg and a.png).

    Args:
        paths: the images.
        folder: of the results.
        suffix: of the results.
        tops: folders in which the images were searched. With them, the path of a result
            does not depend on the other images there.
    """
    paths = [Path(os.path.abspath(path)) for path in paths]
    root = os.path.commonpath(
        [*map(os.path.abspath, tops), *(path.parent for path in paths)]
    )
    names = [path.relative_to(root) for path in paths]
    stems = [name.with_suffix("") for name in names]
    count = collections.Counter(name.with_suffix("") for name in set(names))
    return [
        Path(folder) / f"{stem if count[stem] == 1 else name}{suffix}"
        for stem, name in zip(stems, names, strict=True)
    ]
