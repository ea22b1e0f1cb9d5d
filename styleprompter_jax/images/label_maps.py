"""Reads label maps: images whose pixels are numbers of classes, not colours."""

import os
from typing import BinaryIO

import numpy as np
from PIL import Image

from styleprompter_jax.images.decode import (
    ROOM,
    STORED,
    attempt,
    open_picture,
    orientation_of,
    rawmode_of,
    refusing,
)
from styleprompter_jax.images.files import picture_file

_LOSSY = ("JPEG", "MPO")
_LOSSY_TIFF = ("jpeg", "tiff_jpeg", "webp")
# PIL spreads grey of 2 and 4 bits over 0 to 255, by these factors.
_SPREAD = {"L;2": 85, "L;4": 17}


def read_labels(path: str | os.PathLike) -> np.ndarray:
    """Reads the labels of a map, upright: uint8 (h, w).

    Labels are the indices of a palette, or the grey values in the file, without any
    conversion of colours. Grey may be stored as red, green and blue.

    Raises:
        StylePrompterError: if the file is missing, damaged, too large, an image in
            colours, or in a lossy format (JPEG, or such compression in WebP or TIFF).
    """
    with picture_file(path) as (file, name), refusing(name):
        return attempt(_read, file)


def _read(file: BinaryIO) -> np.ndarray:
    with open_picture(file) as image, ROOM.take(image.width * image.height):
        if _is_lossy(image, file):
            raise ValueError(
                "its lossy compression changes the labels of a map: save it as PNG"
            )
        spread = _SPREAD.get(rawmode_of(image)[:3], 1)
        values = _values(image) // spread
        orientation = orientation_of(image)
        height, width = values.shape
        upright = np.empty(
            (width, height) if orientation >= 5 else (height, width), np.uint8
        )
        STORED.get(orientation, lambda a: a)(upright)[...] = values
        return upright


def _is_lossy(image: Image.Image, file: BinaryIO) -> bool:
    if image.format == "TIFF":
        return image.info.get("compression") in _LOSSY_TIFF
    return image.format in _LOSSY or (image.format == "WEBP" and _is_lossy_webp(file))


def _is_lossy_webp(file: BinaryIO) -> bool:
    """Returns whether the first image of a WebP file has the lossy bitstream."""
    file.seek(12)
    while len(head := file.read(8)) == 8:
        kind, size = head[:4], int.from_bytes(head[4:], "little")
        if kind in (b"VP8 ", b"VP8L"):
            return kind == b"VP8 "
        # A frame of an animation has its own chunks after 16 bytes.
        file.seek(16 if kind == b"ANMF" else size + size % 2, 1)
    return False


def _values(image: Image.Image) -> np.ndarray:
    """Returns the integers (h, w) of an open image, as they are stored."""
    if image.mode in ("LA", "PA"):
        image = image.getchannel(0)
    values = np.asarray(image)
    if values.ndim == 3:
        values = values[..., :3]
        if (values != values[..., :1]).any():
            raise ValueError("it is an image in colours, not a label map")
        values = values[..., 0]
    if values.dtype.kind not in "bui" or values.min() < 0 or values.max() > 255:
        raise ValueError("it has labels outside 0 to 255")
    return values
