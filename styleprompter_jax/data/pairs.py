"""Pairs of pictures before and after an edit, which directions are fitted to."""

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
# Drawn where nothing else is asked for.
ATTRIBUTES = ("smile", "glasses", "beard", "hair_color")


def read_pairs(
    file: str, names: Sequence[str], count: int | None, size: Size
) -> Iterator[tuple[str, np.ndarray, np.ndarray, bool]]:
    """Pairs from a CSV with the columns direction, before and after.

    A direction has a row for each of its pairs; pictures are relative to the file.

    Args:
        file: the CSV.
        names: of directions to read; () reads all.
        count: the most pairs of one direction.
        size: side of the images.

    Yields:
        A name, images before and after (m, size, size, 3) in [-1, 1], and True: an edit
        is to go back, too.

    Raises:
        StylePrompterError: if it cannot be read so, or a picture is missing.
    """
    header, rows = read_table(file)
    if header != HEADER:
        raise StylePrompterError(
            f"{file} holds no pairs: its first row is to be {','.join(HEADER)}, and a "
            "row for each pair follows."
        )
    pairs: dict[str, list[list[str]]] = {}
    for name, *pair in rows:
        pairs.setdefault(name, []).append(pair)
    if unknown := [name for name in names if name not in pairs]:
        raise StylePrompterError(
            f"{file} has no direction {unknown[0]!r}: it has {', '.join(pairs)}."
            f"{another_spelling(unknown[0], pairs)}"
        )
    check_names(names or pairs, file)
    # Of all directions at once: each takes minutes to be found.
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
    """Avatars drawn twice, alike but for one attribute; else as `read_pairs`.

    An attribute with several values gives a direction for each, from the others to it.
    """
    # These need the extra.
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
