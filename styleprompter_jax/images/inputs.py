"""What an encoder reads of a file: a picture, a drawing, or a map of labels.

    inputs = InputReader((256, 256, 19))
    array = inputs.to_array(np.stack([inputs(path)]))  # one-hot, (1, 256, 256, 19)

Axes: b batch, h w space, c channels.
"""

import colorsys
import math
import os
from typing import Any

import numpy as np
from PIL import Image

from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.values import check_choice, plural
from styleprompter_jax.images.files import open_image, resize, to_float
from styleprompter_jax.images.find import shown
from styleprompter_jax.images.label_maps import read_labels
from styleprompter_jax.images.read_once import ReadOnce

KINDS = ("picture", "grey", "sketch", "labels")
# How far the channels of a pixel lie apart for it to have a colour, and the share of
# such pixels from which a picture is no drawing: paper and JPEG have some.
_COLOUR, _COLOURED = 24, 0.01
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def default_kind(channels: int) -> str:
    """What an encoder of so many channels reads, unless it is told otherwise."""
    return {3: "picture", 1: "sketch"}.get(channels, "labels")


class InputReader(ReadOnce):
    """Reads files as uint8, a byte a value, and makes of them what an encoder reads.

    What a file becomes in `to_array`, by the kind:

    - "picture": its colours, in [-1, 1].
    - "grey": the same without the colours, of one channel or of three alike.
    - "sketch": a drawing in grey, of one channel. NOTE(reference): what has one channel
      is in [0, 1], where all else is in [-1, 1].
    - "labels": a map of labels, one-hot: a channel for each label.

    Attributes:
        shape: (h, w, c) of what the encoder reads.
        kind: one of `KINDS`.
    """

    def __init__(self, shape: tuple[int, int, int], kind: str | None = None):
        """Reads nothing yet.

        Args:
            shape: (h, w, c) of what the encoder reads.
            kind: None for that of so many channels, see `default_kind`.

        Raises:
            StylePrompterError: if an encoder of that shape reads other things.
        """
        super().__init__(self.read)
        *_, channels = self.shape = shape
        self.kind = kind or default_kind(channels)
        check_choice(self.kind, "input_kind", KINDS)
        fits = {"picture": (3,), "grey": (1, 3), "sketch": (1,), "labels": (channels,)}
        if channels not in fits[self.kind]:
            raise StylePrompterError(
                f"input_kind is {self.kind!r}, but this model reads "
                f"{plural(channels, 'channel')}: give files of the kind "
                f"{default_kind(channels)!r}, or choose another model."
            )

    def read(self, path: str | os.PathLike) -> np.ndarray:
        """A file as uint8 (h, w, 3), or (h, w, 1) of what has no colours.

        Raises:
            StylePrompterError: if it cannot be read, or is not of the kind.
        """
        if self.kind == "labels":
            return self.fit(read_labels(path), shown(path))
        with open_image(path) as pixels:
            return self.fit(pixels, shown(path))

    def fit(self, pixels: np.ndarray, name: str = "The picture") -> np.ndarray:
        """What `read` gives, of what lies in memory.

        Args:
            pixels: uint8, a picture (h', w', 3), or labels (h', w').
            name: what errors call it.
        """
        height, width, channels = self.shape
        self._check_oblong(pixels, name)
        if self.kind == "labels":
            if (most := int(pixels.max())) >= channels:
                raise StylePrompterError(
                    f"{name} has the label {most}, and this model reads {channels} "
                    f"classes, 0 to {channels - 1}: change its labels."
                )
            return resize(pixels, (height, width), Image.Resampling.NEAREST)[..., None]
        if self.kind == "sketch" and has_colours(pixels):
            raise StylePrompterError(
                f"{name} is a picture in colours, and this model reads drawings in "
                'grey: give such, or read it as input_kind "grey".'
            )
        fitted = resize(pixels, (height, width))
        return fitted if self.kind == "picture" else to_grey(fitted)

    def _check_oblong(self, pixels: np.ndarray, name: str) -> None:
        """Refuses what is nearer to a square than to the oblong that is read."""
        height, width, _ = self.shape
        there_height, there_width = pixels.shape[:2]
        wanted, there = math.log(width / height), math.log(there_width / there_height)
        if abs(there) < abs(there - wanted):
            raise StylePrompterError(
                f"{name} has {there_width} x {there_height} pixels, and this model "
                f"reads pictures of {width} x {height}: cut it to these proportions."
            )

    def to_array(self, batch: Any) -> np.ndarray:
        """float32 (b, h, w, c), what an encoder is given, of a batch of `read`'s."""
        if self.kind == "labels":
            return one_hot(batch[..., 0], self.shape[-1])
        if self.shape[-1] == 1:
            return batch.astype(np.float32) / np.float32(255)
        return to_float(np.broadcast_to(batch, (*batch.shape[:3], 3)))


def has_colours(pixels: np.ndarray) -> bool:
    """Whether a picture (h, w, 3), uint8, is more than a drawing in grey."""
    spread = pixels.max(-1) - pixels.min(-1)
    return bool(np.mean(spread > _COLOUR) > _COLOURED)


def to_grey(pixels: np.ndarray) -> np.ndarray:
    """The luminance of uint8 (..., 3): uint8 (..., 1)."""
    return np.rint(pixels @ _LUMA)[..., None].astype(np.uint8)


def one_hot(labels: np.ndarray, classes: int) -> np.ndarray:
    """Labels (...), whole numbers, to float32 (..., classes): 1 at the label."""
    return (labels[..., None] == np.arange(classes)).astype(np.float32)


def as_pictures(images: np.ndarray) -> np.ndarray:
    """What an encoder read, (b, h, w, c), for people: (b, h, w, 3) in [-1, 1].

    Labels are shown in colours, 0 in black.
    """
    channels = images.shape[-1]
    if channels == 3:
        return images
    if channels == 1:
        return 2 * np.repeat(images, 3, -1) - 1
    # Neighbours differ: each is a golden section of the circle further on.
    colours = [colorsys.hsv_to_rgb(k * 0.618034 % 1, 0.6, 1) for k in range(channels)]
    palette = np.array([(0, 0, 0), *colours[1:]], np.float32)
    return 2 * palette[images.argmax(-1)] - 1
