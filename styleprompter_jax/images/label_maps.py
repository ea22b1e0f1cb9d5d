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
    refusing,
)
from styleprompter_jax.images.files import picture_file

_LOSSY = ("JPEG", "MPO")


def read_labels(path: str | os.PathLike) -> np.ndarray:
    """Reads the labels of a map, upright: uint8 (h, w).

    Labels are the indices of a palette, or the grey values in the file, without any
    conversion of colours. Grey may be stored as red, green and blue.

    Raises:
        StylePrompterError: if the file is missing, damaged, too large, an image in
            colours, or in a lossy format (JPEG).
    """
    with picture_file(path) as (file, name), refusing(name):
        return attempt(_read, file)


def _read(file: BinaryIO) -> np.ndarray:
    with open_picture(file) as image, ROOM.take(image.width * image.height):
        if image.format in _LOSSY:
            raise ValueError("JPEG changes the labels of a map: save it as PNG")
        values = _values(image)
        orientation = orientation_of(image)
        height, width = values.shape
        upright = np.empty(
            (width, height) if orientation >= 5 else (height, width), np.uint8
        )
        STORED.get(orientation, lambda a: a)(upright)[...] = values
        return upright


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
