"""Inputs of an encoder that are not the image itself, for training.

The image stays the target.  The input is computed from the image, with new random
choices in every epoch, or it is a file with the same name in another folder.

Axes: h w space, c channels.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.fetch import local_copy
from styleprompter_jax.images.files import FILTER
from styleprompter_jax.images.find import find_images
from styleprompter_jax.images.inputs import InputReader, default_kind, to_grey

FACTORS = (1, 2, 4, 8, 16, 32)
HOLES = (0.25, 0.5)  # sides of a hole, as parts of the image's sides
HOLE = 128  # grey value of a hole


def downsample(
    pixels: np.ndarray, rng: np.random.Generator, factors: tuple = FACTORS
) -> np.ndarray:
    """Shrinks an image by one of the factors, and enlarges it to its old size."""
    height, width, _ = pixels.shape
    factor = int(rng.choice(factors))
    small = max(1, width // factor), max(1, height // factor)
    image = Image.fromarray(pixels).resize(small, Image.Resampling.BICUBIC)
    return np.asarray(image.resize((width, height), FILTER))


def mask(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Paints a random rectangle grey, a quarter to half of the image on each side."""
    height, width, _ = pixels.shape
    h, w = (round(side * rng.uniform(*HOLES)) for side in (height, width))
    top, left = rng.integers(height - h + 1), rng.integers(width - w + 1)
    masked = pixels.copy()
    masked[top : top + h, left : left + w] = HOLE
    return masked


def sketch(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draws the edges of an image, dark on white, (h, w, 1).

    The grey value of a pixel is its quotient by the mean of its surroundings.
    """
    grey = to_grey(pixels)[..., 0]
    blur = ImageFilter.GaussianBlur(max(1, max(grey.shape) / 100))
    around = np.asarray(Image.fromarray(grey).filter(blur), np.float32)
    light = np.minimum(255 * grey.astype(np.float32) / np.maximum(around, 1), 255)
    return np.rint(light).astype(np.uint8)[..., None]


# By the name in config.data.input: the function, and the kind of input.
DRAWN: dict[str, tuple[Callable, str]] = {
    "downsample": (downsample, "picture"),
    "grey": (lambda pixels, rng: to_grey(pixels), "grey"),
    "mask": (mask, "picture"),
    "sketch": (sketch, "sketch"),
}
# Inputs that are files in another folder; "folder" is for images and sketches.
PAIRED = ("labels", "folder")
NAMES = (*DRAWN, *PAIRED)


class Inputs:
    """Makes the inputs that ``config.data.input`` names.

    Args:
        data_config: `config.data`, with the key input, and perhaps factors (for
            "downsample") and input_path (the folder of "labels" or "folder").
        shape: shape of the encoder's input, (h, w, c).

    Raises:
        StylePrompterError: if an encoder of this shape cannot read this input.
    """

    def __init__(self, data_config: Any, shape: tuple[int, int, int]):
        name, channels = data_config.input, shape[-1]
        draw, kind = DRAWN.get(name, (None, "labels"))
        if name == "folder":
            kind = default_kind(channels)
        if name == "downsample":
            draw = partial(downsample, factors=data_config.get("factors") or FACTORS)
        fits = {"picture": (3,), "grey": (1, 3), "sketch": (1,)}.get(kind)
        if fits and channels not in fits:
            raise StylePrompterError(
                f'config.data.input is "{name}", of {fits[0]} '
                f"channel{'s' * (fits[0] > 1)}, and the encoder reads {channels}: set "
                "config.model.encoder.input_channels, to 3 more for one in passes."
            )
        self.shape, self.kind = shape, kind
        self.folder: Path | None = None
        if name in PAIRED:
            if not data_config.get("input_path"):
                raise StylePrompterError(
                    f'config.data.input is "{name}", and config.data.input_path is '
                    "empty: name the folder of these files there."
                )
            self.folder = local_copy(data_config.input_path)
        self._draw = draw

    def draw(self, element: dict, rng: np.random.Generator) -> dict:
        """Adds the "input" to an element of a source, uint8 (h, w, 3 or 1)."""
        if self._draw is None:
            return element
        return element | {"input": self._draw(element["image"], rng)}

    def read(self, path: Path) -> np.ndarray:
        """Reads an input from a file, uint8 (h, w, 3 or 1)."""
        return InputReader(self.shape, self.kind).read(path)

    def to_array(self, batch: np.ndarray) -> np.ndarray:
        """Converts a batch of inputs for the encoder, to float32 (b, h, w, c)."""
        return InputReader(self.shape, self.kind).to_array(batch)


def beside(images: list[Path], folder: Path, others: Path) -> list[Path]:
    """Finds the file with the name of each image in another folder.

    The extensions may differ.

    Args:
        images: the images, below ``folder``.
        folder: the folder of the images.
        others: the other folder, with the same folders below it.

    Raises:
        StylePrompterError: if an image has no such file, or several.
    """
    found: dict[Path, list[Path]] = {}
    for path in find_images(others).images:
        name = path.relative_to(others).with_suffix("")
        found.setdefault(name, []).append(path)
    names = [path.relative_to(folder).with_suffix("") for path in images]
    for name in names:
        if (count := len(found.get(name, []))) != 1:
            raise StylePrompterError(
                f"{others} has {count or 'no'} file{'s' * (count > 1)} with the name "
                f"{name} of an image in {folder}: give one file for each image."
            )
    return [found[name][0] for name in names]
