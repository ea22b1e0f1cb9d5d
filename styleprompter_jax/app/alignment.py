"""A warning of pictures that do not lie as those that a model was trained on."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.images import detect
from styleprompter_jax.images.files import read_size, resize, to_uint8
from styleprompter_jax.inversion.pipeline import StylePrompter

CHECKED = 4  # pictures, which stand for the others
SIZE = 256  # at which faces are looked for

log = logging.getLogger(__name__)


def warn(model: StylePrompter, paths: Sequence[Path], images: np.ndarray) -> None:
    """Warns of pictures that look unaligned.

    Those that are not square do, and those whose face is not where the model's mean
    face has it; that needs the detector, and is left out for what is no face to it.

    Args:
        model: whose mean face says where a face is to be.
        paths: m pictures, of which the first few are looked at.
        images: (m or more, s, s, 3) in [-1, 1], what was read of them.
    """
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
            mean = model.synthesize(model.const["latent_avg"][None])[0]
            expected = _find_quad(np.asarray(mean))
        if expected is not None:
            found += [p for p, quad in quads if detect.is_elsewhere(quad, expected)]
    if found:
        log.warning(
            "Warning: %d of %d pictures looked at may not be aligned, %s for one: the "
            "central square is used, and a model of faces expects them as "
            "`styleprompter align` cuts them out.",
            len(found),
            len(paths),
            found[0],
        )


def _find_quad(image: np.ndarray) -> np.ndarray | None:
    """The crop of the face in a square image in [-1, 1], as if its side were 1."""
    quad = detect.find_quad(resize(to_uint8(image), SIZE))
    return None if quad is None else (quad + 0.5) / SIZE


def _is_square(path: Path) -> bool:
    try:
        width, height = read_size(path)
    except StylePrompterError:  # gone since it was read, which is no concern here
        return True
    return abs(width - height) <= 0.02 * max(width, height)
