"""Reads the input of an encoder from a file: an image, a drawing, or a label map.

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
# A pixel is coloured above this difference of its channels. An image is not a drawing
# above this share of coloured pixels: paper and JPEG cause a few.
_COLOUR, _COLOURED = 24, 0.01
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def default_kind(channels: int) -> str:
    """Returns the default kind of input of an encoder with this number of channels."""
    return {3: "picture", 1: "sketch"}.get(channels, "labels")


class InputReader(ReadOnce):
    """Reads files as uint8, and converts them to the input of an encoder.

    `to_array` depends on the kind:

    - "picture": the colours of the image, in [-1, 1].
    - "grey": the image without colours, with one channel or three equal channels.
    - "sketch": a grey drawing, with one channel. NOTE(reference): inputs with one
      channel are in [0, 1]; all others are in [-1, 1].
    - "labels": a label map, one-hot, with a channel for each label.

    Attributes:
        shape: (h, w, c) of the encoder's input.
        kind: one of `KINDS`.
    """

    def __init__(self, shape: tuple[int, int, int], kind: str | None = None):
        """Checks the kind; reads no file.

        Args:
            shape: (h, w, c) of the encoder's input.
            kind: one of `KINDS`; None for `default_kind` of the number of channels.

        Raises:
            StylePrompterError: if the kind does not fit the number of channels.
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
        """Reads a file as uint8 (h, w, 3), or (h, w, 1) for kinds without colours.

        Raises:
            StylePrompterError: if the file cannot be read, or has another kind.
        """
        if self.kind == "labels":
            return self.fit(read_labels(path), shown(path))
        with open_image(path) as pixels:
            return self.fit(pixels, shown(path))

    def fit(self, pixels: np.ndarray, name: str = "The image") -> np.ndarray:
        """Converts pixels in memory like `read`.

        Args:
            pixels: uint8, an image (h', w', 3), or labels (h', w').
            name: the name of the image in error messages.

        Raises:
            StylePrompterError: if the pixels have another kind.
        """
        height, width, channels = self.shape
        self._check_oblong(pixels, name)
        if self.kind == "labels":
            if (most := int(pixels.max())) >= channels:
                raise StylePrompterError(
                    f"{name} has the label {most}, but this model reads {channels} "
                    f"classes, 0 to {channels - 1}: change the labels."
                )
            return resize(pixels, (height, width), Image.Resampling.NEAREST)[..., None]
        if self.kind == "sketch" and has_colours(pixels):
            raise StylePrompterError(
                f"{name} is an image in colours, but this model reads grey drawings: "
                'give a drawing, or use `invert` with input_kind="grey" '
                "(--input-kind grey)."
            )
        fitted = resize(pixels, (height, width))
        return fitted if self.kind == "picture" else to_grey(fitted)

    def _check_oblong(self, pixels: np.ndarray, name: str) -> None:
        """Refuses proportions that are nearer to a square than to the input's shape."""
        height, width, _ = self.shape
        there_height, there_width = pixels.shape[:2]
        wanted, there = math.log(width / height), math.log(there_width / there_height)
        if abs(there) < abs(there - wanted):
            raise StylePrompterError(
                f"{name} has {there_width} x {there_height} pixels, but this model "
                f"reads images of {width} x {height}: crop it to these proportions, "
                "or at least nearer to them than to a square."
            )

    def to_array(self, batch: Any) -> np.ndarray:
        """Converts a batch of results of `read` to the input, float32 (b, h, w, c)."""
        if self.kind == "labels":
            return one_hot(batch[..., 0], self.shape[-1])
        if self.shape[-1] == 1:
            return batch.astype(np.float32) / np.float32(255)
        return to_float(np.broadcast_to(batch, (*batch.shape[:3], 3)))


def has_colours(pixels: np.ndarray) -> bool:
    """Returns whether an image (h, w, 3), uint8, has more colours than a drawing."""
    spread = pixels.max(-1) - pixels.min(-1)
    return bool(np.mean(spread > _COLOUR) > _COLOURED)


def to_grey(pixels: np.ndarray) -> np.ndarray:
    """Computes the luminance of uint8 (..., 3): uint8 (..., 1)."""
    return np.rint(pixels @ _LUMA)[..., None].astype(np.uint8)


def one_hot(labels: np.ndarray, classes: int) -> np.ndarray:
    """Converts integer labels (...) to float32 (..., classes): 1 at the label."""
    return (labels[..., None] == np.arange(classes)).astype(np.float32)


def as_pictures(images: np.ndarray) -> np.ndarray:
    """Converts inputs (b, h, w, c) to images for people, (b, h, w, 3) in [-1, 1].

    Labels become colours; label 0 is black.
    """
    channels = images.shape[-1]
    if channels == 3:
        return images
    if channels == 1:
        return 2 * np.repeat(images, 3, -1) - 1
    # Each hue is a golden section of the circle after the last, so neighbours differ.
    colours = [colorsys.hsv_to_rgb(k * 0.618034 % 1, 0.6, 1) for k in range(channels)]
    palette = np.array([(0, 0, 0), *colours[1:]], np.float32)
    return 2 * palette[images.argmax(-1)] - 1
