"""Crops square images to the proportions of an oblong image."""

from typing import Any


def framed(images: Any, height: int, width: int) -> Any:
    """Crops images to the middle part with the proportions of height and width.

    The generator of cars makes squares with black rows at the top and the bottom: of
    512 px, rows 64 to 447 show the car.

    Args:
        images: (b, h, w, c), of NumPy or JAX.
        height: height of the wanted proportions, in any unit.
        width: their width, in the same unit.

    Returns:
        The largest such part (b, h', w', c).
    """
    _, h, w, _ = images.shape
    rows, columns = min(h, w * height // width), min(w, h * width // height)
    top, left = (h - rows) // 2, (w - columns) // 2
    return images[:, top : top + rows, left : left + columns]
