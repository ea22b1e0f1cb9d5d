"""Warns of images that are not aligned like the model's training images."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.images import detect
from styleprompter_jax.images.files import read_size, resize, to_uint8
from styleprompter_jax.images.find import shown
from styleprompter_jax.inversion.pipeline import StylePrompter

CHECKED = 4  # images that are checked, as a sample of all
SIZE = 256  # side of an image for face detection

log = logging.getLogger(__name__)


def warn(model: StylePrompter, paths: Sequence[Path], images: np.ndarray) -> None:
    """Warns of images that look unaligned.

    An image looks unaligned if it is not square, or if its face has another position
    than the model's mean face. The second check needs the detector, and skips images
    in which the detector finds no face. A model that reads oblong images, sketches or
    label maps gives no warning.

    Args:
        model: the model; its mean face gives the expected position.
        paths: paths of m images; only the first few are checked.
        images: (m or more, h, w, c), the inputs that were read from the images.
    """
    height, width, channels = model.config.input_shape
    if height != width or channels != 3:
        return
    paths = paths[:CHECKED]
    found = [path for path in paths if not _is_square(path)]
    if detect.is_there():
        quads = [
            (path, quad)
            for path, image in zip(paths, images, strict=False)
            if path not in found and (quad := _find_quad(image)) is not None
        ]
        expected = None
        if quads:
            expected = expected_quad(model)
        if expected is not None:
            found += [p for p, quad in quads if detect.is_elsewhere(quad, expected)]
    if found:
        log.warning(
            "Warning: %d of %d images that were checked may not be aligned (for "
            "example %s). The command uses the central square of an image. Align "
            "photographs first for a model of faces: use `styleprompter align`.",
            len(found),
            len(paths),
            shown(found[0]),
        )


def expected_quad(model: StylePrompter) -> np.ndarray | None:
    """Finds the crop of a model's mean face, in units of the image's side.

    Returns None if the detector is not installed, or finds no face. The caller then
    assumes that the model does not make faces.
    """
    if not detect.is_there():
        return None
    mean = model.synthesize(model.const["latent_avg"][None])[0]
    return _find_quad(np.asarray(mean))


def _find_quad(image: np.ndarray) -> np.ndarray | None:
    """Finds the crop of the face in a square image in [-1, 1], in units of its side."""
    quad = detect.find_quad(resize(to_uint8(image), SIZE))
    return None if quad is None else (quad + 0.5) / SIZE


def _is_square(path: Path) -> bool:
    try:
        width, height = read_size(path)
    except StylePrompterError:  # someone removed the file after its use: no warning
        return True
    return abs(width - height) <= 0.02 * max(width, height)
