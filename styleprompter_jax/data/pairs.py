"""Reads or draws pairs of images before and after an edit, to fit directions to."""

import io
import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.names import check_names
from styleprompter_jax.core.spelling import another_spelling
from styleprompter_jax.data.tables import find_pictures, read_table
from styleprompter_jax.images.decode import decode_image
from styleprompter_jax.images.files import (
    Size,
    read_images,
    read_size,
    resize,
    to_float,
)

HEADER = ["direction", "before", "after"]
# Drawn if the caller names no attributes.
ATTRIBUTES = ("smile", "glasses", "beard", "hair_color")


def read_pairs(
    file: str, names: Sequence[str], count: int | None, size: Size
) -> Iterator[tuple[str, np.ndarray, np.ndarray, bool]]:
    """Yields pairs from a CSV with the columns direction, before and after.

    The file has a row for each pair of a direction. Paths of images are relative to the
    folder of the file.

    Args:
        file: the CSV.
        names: names of directions to read; () reads all.
        count: largest number of pairs of one direction.
        size: side of the images.

    Yields:
        A name, images before and after (m, size, size, 3) in [-1, 1], and True, which
        means that the reverse is an edit too.

    Raises:
        StylePrompterError: if the file has another layout, or an image is missing.
    """
    header, rows = read_table(file)
    if header != HEADER:
        raise StylePrompterError(
            f"{file} contains no pairs: write {','.join(HEADER)} in the first row, and "
            "then a row for each pair."
        )
    pairs: dict[str, list[list[str]]] = {}
    for name, *pair in rows:
        pairs.setdefault(name, []).append(pair)
    if unknown := [name for name in names if name not in pairs]:
        raise StylePrompterError(
            f"{file} has no direction {unknown[0]!r}: choose one of {', '.join(pairs)}."
            f"{another_spelling(unknown[0], pairs)}"
        )
    check_names(names or pairs, file)
    # Check all directions first, because the fit of each takes minutes.
    found = {
        name: [
            find_pictures(file, pictures)
            for pictures in zip(*pairs[name][:count], strict=True)
        ]
        for name in names or pairs
    }
    for pictures in found.values():
        for path in itertools.chain(*pictures):
            read_size(path)
    for name, (before, after) in found.items():
        yield name, read_images(before, size), read_images(after, size), True


def draw_pairs(
    names: Sequence[str], count: int, size: Size
) -> Iterator[tuple[str, np.ndarray, np.ndarray, bool]]:
    """Yields pairs of avatars that differ only in one attribute, like `read_pairs`.

    An attribute with several values gives a direction for each value, from the other
    values to this one.
    """
    # These imports need the extra "avatars".
    from styleprompter_jax.data.drawing import draw
    from styleprompter_jax.data.faces import pairs

    for attribute in names or ATTRIBUTES:
        for name, faces, both_ways in pairs(attribute, count):
            before_and_after = [face for pair in faces for face in pair]
            images = to_float(
                np.stack(
                    [
                        resize(decode_image(io.BytesIO(png), name), size)
                        for png in draw(before_and_after, int(np.max(size)))
                    ]
                )
            )
            yield name, images[::2], images[1::2], both_ways
