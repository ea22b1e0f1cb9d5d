"""Encodes labelled images; directions are found from their codes and labels."""

import os
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

import numpy as np
from ml_collections import ConfigDict

from styleprompter_jax.core.batches import pad, take
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.fetch import folder_of
from styleprompter_jax.core.files import open_file
from styleprompter_jax.core.progress import Progress
from styleprompter_jax.core.spelling import another_spelling
from styleprompter_jax.core.sums import sha256
from styleprompter_jax.data.labels import Labelled, ambiguity, as_attribute
from styleprompter_jax.data.loader import eval_batches
from styleprompter_jax.data.sources import make_source
from styleprompter_jax.data.tables import (
    find_picture,
    find_pictures,
    is_table,
    read_table,
)
from styleprompter_jax.editing.directions import attribute_directions, label_design
from styleprompter_jax.editing.latent_files import image_sums
from styleprompter_jax.editing.latents import Latents, load_named
from styleprompter_jax.images.batches import read_batches
from styleprompter_jax.images.inputs import InputReader
from styleprompter_jax.inversion.pipeline import StylePrompter


def encode_tfds(
    model: StylePrompter,
    data: str,
    data_dir: str | None,
    count: int,
    batch_size: int,
    wanted: Sequence[str] = (),
) -> tuple[np.ndarray, dict, Latents]:
    """Encodes the images of a TFDS dataset, split "train", and reads their labels.

    Attributes are the class labels and single booleans of the dataset's features,
    nested or not, by their own names.

    Returns:
        Codes (m, n, w_dim), attributes, and the latents of the first image.

    Raises:
        StylePrompterError: if the dataset does not exist, or lacks labels or those
            wanted; before it encodes anything.
    """
    size = model.image_size
    width = model.config.image_size
    config = ConfigDict(dict(name=data, path=data_dir, image_size=width))
    labelled = Labelled(make_source(config, "train"), count)
    if not labelled.names:
        raise StylePrompterError(f"{data} has neither class labels nor booleans.")
    _check_names(wanted, labelled.every_value(), data)
    values: dict[str, list] = {name: [] for name in labelled.names}
    codes: list[np.ndarray] = []
    examples: list[Latents] = []
    with Progress(total=len(labelled), unit="image") as bar:
        batch_size = min(batch_size, len(labelled))
        for batch in eval_batches(labelled, batch_size=batch_size, image_size=size):
            m = len(batch["image"])
            latents = model.encode(pad(batch["image"], batch_size))
            latents = take(latents, m)
            codes.append(latents.w_plus)
            for name, labels in values.items():
                labels.append(batch[name])
            examples = examples or [latents[0]]
            bar.update(m)
    attributes = labelled.attributes(
        {name: np.concatenate(labels) for name, labels in values.items()}
    )
    _check_labels(wanted, attributes, data)
    return np.concatenate(codes), attributes, examples[0]


def encode_csv(
    model: StylePrompter,
    file: str,
    count: int | None,
    batch_size: int,
    wanted: Sequence[str] = (),
) -> tuple[np.ndarray, dict, Latents]:
    """Encodes the images that a CSV names, and reads their labels; see `read_csv`.

    Returns:
        Codes (m, n, w_dim), attributes, and the latents of the first image.

    Raises:
        StylePrompterError: if an image or a wanted label is missing, or the labels
            give no direction; before it encodes anything.
    """
    names, attributes = read_csv(file, count)
    _check_names(wanted, attributes, file)
    paths = find_pictures(file, names)
    _check_labels(wanted, attributes, file)
    codes: list[np.ndarray] = []
    examples: list[Latents] = []
    read = InputReader(model.config.input_shape)
    batch_size = min(batch_size, len(paths))
    with Progress(total=len(paths), unit="image") as bar:
        for part, images in read_batches(paths, read, batch_size):
            latents = take(model.encode(images), part.stop - part.start)
            codes.append(latents.w_plus)
            examples = examples or [latents[0]]
            bar.update(part.stop - part.start)
    return np.concatenate(codes), attributes, examples[0]


def read_data(
    data: str, data_dir: str | None, count: int, size: tuple[int, int, int]
) -> np.ndarray:
    """Reads at most ``count`` images (m, h, w, 3) of a TFDS dataset or of a CSV.

    Raises:
        StylePrompterError: if the data do not exist, or an image cannot be read.
    """
    if is_table(data):
        paths = find_pictures(data, read_csv(data, count)[0])
        read = read_batches(paths, InputReader(size), 1)
        return np.concatenate([images for _, images in read])
    width = max(size[:2])
    config = ConfigDict(dict(name=data, path=data_dir, image_size=width))
    source = Labelled(make_source(config, "train"), count)
    batches = eval_batches(source, batch_size=50, image_size=size[:2])
    return np.concatenate([batch["image"] for batch in batches])


def stored_codes(
    latents: str, file: str, count: int | None, wanted: Sequence[str] = ()
) -> tuple[np.ndarray, dict, Latents]:
    """Does the same as `encode_csv`, with stored latents instead of an encoder.

    It finds the latents of an image by its SHA-256. If the latents do not store it, or
    the image is not there, the CSV must have the image names of the latents, with or
    without a suffix.

    Raises:
        StylePrompterError: as `encode_csv`, or if the latents of an image are missing.
    """
    stored, known = load_named(latents, lazy=True)
    names, attributes = read_csv(file, count)
    _check_names(wanted, attributes, file)
    found = _rows(names, file, known, image_sums(latents))
    if None in found:
        missing = names[found.index(None)]
        raise StylePrompterError(
            f"{file} names {missing}, but {latents} does not hold its latents; it "
            f"holds those of {known[0]}, for example: run `invert` on all images of "
            "the table, or remove this row."
            f"{another_spelling(_without_ending(missing), known)}"
        )
    _check_labels(wanted, attributes, file)
    return np.asarray(stored.w_plus)[found], attributes, stored[found[0]]


def _rows(
    names: Sequence[str], file: str, known: Sequence[str], sums: list[str] | None
) -> list:
    """Returns the row in latents of each image of a table; None for a missing one.

    Args:
        names: the images in the table.
        file: the table.
        known: names of the images of the latents.
        sums: SHA-256 of these images; None if the latents do not store it.
    """
    by_name = {name: row for row, name in enumerate(known)}
    if sums is None:
        return [by_name.get(n, by_name.get(_without_ending(n))) for n in names]
    by_sum = {digest: row for row, digest in enumerate(sums)}
    folder = folder_of(file)

    def row(name: str) -> int | None:
        # The names in latents depend on the folders that `invert` was given, so an
        # image of the same name may be another one.
        if os.path.isfile(path := find_picture(folder, name)):
            with open_file(path) as image:
                return by_sum.get(sha256(image))
        return by_name.get(name, by_name.get(_without_ending(name)))

    return [row(name) for name in names]


def _without_ending(name: str) -> str:
    r"""Returns the name in latents of a name in a table: "x/a" for "x\a.png"."""
    path = PurePosixPath(name.replace("\\", "/"))
    return str(path.with_suffix("")) if path.name else name


def _check_names(
    wanted: Sequence[str], attributes: Mapping[str, np.ndarray], data: str
) -> None:
    if unknown := [name for name in wanted if name not in attributes]:
        raise StylePrompterError(
            f"{data} has no attribute {unknown[0]!r}: it has {', '.join(attributes)}."
            f"{another_spelling(unknown[0], attributes)}"
        )
    for name in wanted or attributes:
        attribute_directions(name, attributes[name], data)
        if problem := ambiguity(attributes[name]):
            raise StylePrompterError(
                f"{data}: {name!r} {problem}, or name other columns with --attributes."
            )


def _check_labels(
    wanted: Sequence[str], attributes: Mapping[str, np.ndarray], data: str
) -> None:
    """Refuses labels that give no direction."""
    chosen = {name: attributes[name] for name in wanted or attributes}
    try:
        label_design(chosen, len(next(iter(chosen.values()))))
    except StylePrompterError as error:
        raise StylePrompterError(f"{data}: {error}") from error


def read_csv(
    file: str, count: int | None = None
) -> tuple[Sequence[str], dict[str, np.ndarray]]:
    """Reads names and attributes of images from a CSV with a header.

    The first column names images, and each other column is an attribute. An attribute
    that is on or off has the values 0 and 1, -1 and 1, false and true, no and yes, f
    and t, or any mix of these. Other texts are classes. An empty value, or NA, means
    that the attribute does not apply or is unknown. None, ?, - and unknown mean the
    same in a column of on and off, or in a column without other values.

    Args:
        file: the table; see `tables.read_table`.
        count: largest number of rows to read; None for all.

    Returns:
        The names, and for each attribute (m,); see `labels.as_attribute`.

    Raises:
        StylePrompterError: if the table cannot be read.
    """
    header, content = read_table(file)
    names, *columns = zip(*content[:count], strict=True)
    return names, {
        name: as_attribute(column)
        for name, column in zip(header[1:], columns, strict=True)
    }
