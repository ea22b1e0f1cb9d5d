"""The things that the server keeps for clients: photographs, crops, latents, files."""

import dataclasses
from typing import Any

import jax
import numpy as np

from styleprompter_jax.editing.latents import Latents
from styleprompter_jax.images.files import image_content
from styleprompter_jax.web.scripts import Script

MEDIA = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "webp": "image/webp",
    "gif": "image/gif",
    "mp4": "video/mp4",
}
SMALL = 2**14  # numbers of an image; packing it would cost more than sending it


class Picture:
    """A photograph or a crop."""


@dataclasses.dataclass(frozen=True, eq=False)
class Photo(Picture):
    """An uploaded file, not decoded.

    Attributes:
        data: the bytes of the file.
        name: a name for scripts.
        width, height: pixels of the upright image.
    """

    data: bytes
    name: str
    width: int
    height: int


@dataclasses.dataclass(frozen=True, eq=False)
class Crop(Picture):
    """A part of a photograph.

    Attributes:
        photo: the photograph.
        quad: the corners of the part in the photograph; see `images/align.py`.
        pixels: uint8 (h, w, 3), of the size of results.
        seen: uint8 (h', w', 3), the input of the encoder.
        points: (5, 2), the points of an aligned face; None for the middle.
    """

    photo: Photo
    quad: np.ndarray
    pixels: np.ndarray
    seen: np.ndarray
    points: np.ndarray | None


@dataclasses.dataclass(frozen=True, eq=False)
class Codes:
    """Latents of one image.

    Attributes:
        latents: NumPy arrays (1, ...).
        crop: the encoded image; None for sampled latents.
        script: code that makes the same latents.
    """

    latents: Latents
    crop: Crop | None
    script: Script


@dataclasses.dataclass(frozen=True, eq=False)
class File:
    """A result for download.

    Attributes:
        data: the bytes of the file.
        media: its media type.
    """

    data: bytes
    media: str


def as_file(pixels: np.ndarray, format: str) -> bytes:
    """Returns pixels as the content of a file without metadata.

    A client waits for each file: a PNG is packed fast, or not at all if it is small.
    """
    if format == "png":
        return image_content(pixels, format, compress_level=int(pixels.size > SMALL))
    return image_content(pixels, format)


def size_of(thing: Any) -> int:
    """Returns the bytes that a thing keeps, including the things that it refers to."""
    if isinstance(thing, Photo | File):
        return len(thing.data)
    if isinstance(thing, Crop):
        return thing.pixels.nbytes + thing.seen.nbytes + size_of(thing.photo)
    codes = thing.latents
    changes = [] if codes.changes is None else filter(None, codes.changes)
    leaves = [codes.w_plus, codes.features, [one.deltas for one in changes]]
    arrays = sum(np.asarray(array).nbytes for array in jax.tree.leaves(leaves))
    text = sum(map(len, thing.script.python))
    return arrays + text + (0 if thing.crop is None else size_of(thing.crop))
