"""Puts images side by side: grids, and tables with titles."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from styleprompter_jax.core import values
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.images.files import FILTER, LARGEST_SIDE, coloured, to_uint8

LARGEST_AREA = 2**26  # pixels of a table, fewer than PIL's limit for reading


def image_grid(images: Any, columns: int | None = None, padding: int = 2) -> np.ndarray:
    """Puts images side by side on white.

    Args:
        images: (b, h, w, 3), in [-1, 1] or uint8.
        columns: number of images in a row; by default, about as many as rows.
        padding: white pixels between two images.

    Returns:
        uint8 (rows * (h + padding) - padding, columns * (w + padding) - padding, 3).
    """
    images = to_uint8(images)
    count, height, width, _ = images.shape
    columns = columns or math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    cells = np.full(
        (rows * columns, height + padding, width + padding, 3), 255, np.uint8
    )
    cells[:count, :height, :width] = images
    grid = cells.reshape(rows, columns, height + padding, width + padding, 3)
    grid = grid.transpose(0, 2, 1, 3, 4).reshape(
        rows * (height + padding), columns * (width + padding), 3
    )
    return grid[: grid.shape[0] - padding, : grid.shape[1] - padding]


def sheet(
    rows: Sequence,
    column_titles: Sequence[str],
    row_titles: Sequence[str] | None = None,
    cell: int | None = None,
) -> np.ndarray:
    """Draws a labelled table of images, for a README or a report.

    Args:
        rows: the images of each row, each (h, w, 3) in [-1, 1] or uint8, all in the
            proportions of the first; a row may be shorter than `column_titles`.
        column_titles: the title above each column.
        row_titles: the title to the left of each row, if given.
        cell: height of each image in the table. By default, this is the smallest
            multiple of h that is at least 128 pixels. It is less if the
            table would have more than `LARGEST_AREA` pixels.

    Returns:
        uint8 (height, width, 3), dark text on white.

    Raises:
        StylePrompterError: if there are no images, a title is missing, or an image has
            another shape or contains NaN.
    """
    rows, column_titles, row_titles = _table(rows, column_titles, row_titles)
    side, width, _ = rows[0][0].shape
    cell = side * math.ceil(128 / side) if cell is None else cell
    cell = values.whole(cell, "cell", 1, LARGEST_SIDE)
    across = max(1, round(cell * width / side))
    gap = 6
    font = ImageFont.load_default(size=max(12, cell // 9))
    # Pillow without FreeType refuses a size, so the font has metrics.
    line = sum(font.getmetrics()) + gap  # type: ignore[union-attr]
    left = gap
    if row_titles:
        left += gap + math.ceil(max(font.getlength(title) for title in row_titles))
    titles_fit = math.ceil(max(map(font.getlength, column_titles), default=0))
    step = max(across, titles_fit) + gap
    size = left + step * len(column_titles), line + gap + (cell + gap) * len(rows)
    if math.prod(size) > LARGEST_AREA and cell > 1:
        return sheet(rows, column_titles, row_titles, cell * 3 // 4)
    canvas = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(canvas)
    for column, title in enumerate(column_titles):
        middle = left + column * step + (step - gap) / 2
        draw.text((middle, gap), title, fill="#222222", font=font, anchor="ma")
    for row, images in enumerate(rows):
        top = line + gap + row * (cell + gap)
        if row_titles:
            at = (left - gap, top + cell / 2)
            draw.text(at, row_titles[row], fill="#222222", font=font, anchor="rm")
        for column, image in enumerate(images):
            # The pixels of a small image stay visible if the factor is a whole number.
            fits = cell % len(image) == 0
            filter = Image.Resampling.NEAREST if fits else FILTER
            picture = Image.fromarray(image).resize((across, cell), filter)
            beside = (step - gap - across) // 2
            canvas.paste(picture, (left + column * step + beside, top))
    return np.asarray(canvas)


def _table(
    rows: Any, column_titles: Any, row_titles: Any
) -> tuple[list[list[np.ndarray]], list[str], list[str]]:
    """Checks the arguments of `sheet`; returns rows of uint8 images, and titles."""
    try:
        rows = [[*row] for row in rows]
        column_titles = [str(title) for title in column_titles]
        row_titles = [str(title) for title in row_titles or ()]
    except TypeError as error:
        raise StylePrompterError(
            "The arguments of sheet have wrong types: give rows of images, and lists "
            "of titles."
        ) from error
    longest = max(map(len, rows), default=0)
    if not rows or not rows[0] or longest > len(column_titles):
        raise StylePrompterError(
            f"A sheet of {len(rows)} rows of up to {longest} images has "
            f"{len(column_titles)} column titles: give a title for each column."
        )
    if row_titles and len(row_titles) != len(rows):
        raise StylePrompterError(
            f"There are {len(rows)} rows but {len(row_titles)} row titles: give a "
            "title for each row."
        )
    rows = [[coloured(to_uint8(x), "(h, w, 3)") for x in row] for row in rows]
    return rows, column_titles, row_titles
