"""The part of a square image that an oblong one shows."""

from typing import TypeVar

import jax
import numpy as np

Images = TypeVar("Images", np.ndarray, jax.Array)


def framed(images: Images, height: int, width: int) -> Images:
    """The middle of images that has the proportions of height and width.

    Generators of cars make squares whose upper and lower ends are black: of 512 px,
    rows 64 to 447 are the car's.

    Args:
        images: (b, h, w, c).
        height: of what it is compared with.
        width: likewise; any multiple of both will do.

    Returns:
        (b, h', w', c), a view of as many rows and columns as fit.
    """
    _, h, w, _ = images.shape
    rows, columns = min(h, w * height // width), min(w, h * width // height)
    top, left = (h - rows) // 2, (w - columns) // 2
    return images[:, top : top + rows, left : left + columns]
