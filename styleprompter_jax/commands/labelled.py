"""Codes of labelled pictures, for `styleprompter directions --method labels`."""

import csv
import functools
import operator
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict
from tqdm import tqdm

from styleprompter_jax.commands import pictures
from styleprompter_jax.data.loader import eval_batches
from styleprompter_jax.data.sources import make_source
from styleprompter_jax.errors import StylePrompterError
from styleprompter_jax.latents import Latents, load_named
from styleprompter_jax.pipeline import StylePrompter

# The two values of a column that make it one of booleans: off, on.
OFF_ON = (("0", "1"), ("-1", "1"), ("false", "true"), ("no", "yes"))


def encode_tfds(
    model: StylePrompter, data: str, data_dir: str | None, count: int, batch_size: int
) -> tuple[np.ndarray, dict, Latents]:
    """Codes (m, n, w_dim) and labels of a TFDS data set; the latents of the first.

    Attributes are the class labels and single booleans of its features, nested or not,
    by their own names; of its split "train".

    Raises:
        StylePrompterError: if there is no such data set, or it has no labels.
    """
    size = model.image_size
    config = ConfigDict(dict(name=data, path=data_dir, image_size=size))
    source = make_source(config, "train")
    features = dict(_labels_among(source.features))
    if not features:
        raise StylePrompterError(f"{data} has neither class labels nor booleans.")
    total = min(count, len(source))
    codes, values, example = [], {path: [] for path in features}, None
    with tqdm(total=total, unit="image", disable=None) as bar:
        labelled = _Labelled(source, total, features)
        for batch in eval_batches(labelled, batch_size=batch_size, image_size=size):
            m = len(batch["image"])
            latents = model.encode(pictures.pad(batch["image"], batch_size))
            latents = pictures.take(latents, m)
            codes.append(latents.w_plus)
            for path, labels in values.items():
                labels.append(batch["/".join(path)])
            example = example or latents[0]
            bar.update(m)
    attributes = {}
    for path, names in features.items():
        labels = np.concatenate(values[path])
        # The name alone where it tells the attribute: "Smiling" of "attributes".
        alone = sum(path[-1] == other[-1] for other in features) == 1
        name = path[-1] if alone else "_".join(path)
        if names:  # a label below 0 is TFDS's for "not known"
            labels = _labels(np.where(labels < 0, "", np.asarray(names)[labels]))
        attributes[name] = labels
    if data.partition("/")[0] == "avatars":
        # A bald face without a beard has no hair to see the colour of.
        unseen = (attributes["hair"] == "bald") & ~attributes["beard"]
        attributes["hair_color"] = np.where(unseen, "", attributes["hair_color"])
        attributes["skin"] = attributes.pop("skin_color")
    return np.concatenate(codes), attributes, example


class _Labelled:
    """The first images of a source, with these of their labels side by side."""

    def __init__(self, source, count: int, paths: Iterable[tuple[str, ...]]):
        self._source, self._count, self._paths = source, count, list(paths)

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> dict:
        element = self._source[index]
        labels = {
            "/".join(path): functools.reduce(operator.getitem, path, element)
            for path in self._paths
        }
        return labels | {"image": element["image"]}


def _labels_among(features, path=()) -> Iterator[tuple[tuple[str, ...], list | None]]:
    """Where labels are among TFDS's features, and the names of their classes."""
    import tensorflow_datasets as tfds  # slow to import

    for key, feature in features.items():
        here = (*path, key)
        if isinstance(feature, tfds.features.FeaturesDict):
            yield from _labels_among(feature, here)
        elif isinstance(feature, tfds.features.ClassLabel):
            yield here, feature.names
        elif feature.shape == () and feature.np_dtype == np.bool_:
            yield here, None


def encode_csv(
    model: StylePrompter, file: str, count: int | None, batch_size: int
) -> tuple[np.ndarray, dict, Latents]:
    """Codes (m, n, w_dim) and labels of the pictures that a CSV names; see `read_csv`.

    The third result are the latents of the first.
    """
    names, attributes = read_csv(file, count)
    paths = [Path(file).parent / name for name in names]
    if missing := [path for path in paths if not path.is_file()]:
        raise StylePrompterError(
            f"{file} names {missing[0]}, and {len(missing) - 1} more, which are not "
            "there: names are relative to the file's folder."
        )
    codes, example = [], None
    with tqdm(total=len(paths), unit="image", disable=None) as bar:
        for part, images in pictures.read_batches(paths, model.image_size, batch_size):
            latents = pictures.take(model.encode(images), part.stop - part.start)
            codes.append(latents.w_plus)
            example = example or latents[0]
            bar.update(part.stop - part.start)
    return np.concatenate(codes), attributes, example


def stored_codes(
    latents: str, file: str, count: int | None
) -> tuple[np.ndarray, dict, Latents]:
    """`encode_csv` of images whose latents are in a file already.

    The CSV names them as the file does, with or without an ending.
    """
    stored, known = load_named(latents)
    rows = {name: row for row, name in enumerate(known)}
    names, attributes = read_csv(file, count)
    found = [
        rows.get(name, rows.get(str(Path(name).with_suffix("")))) for name in names
    ]
    if None in found:
        raise StylePrompterError(
            f"{file} names {names[found.index(None)]}, whose latents {latents} does "
            f"not hold; it holds those of {known[0]}."
        )
    return stored.w_plus[found], attributes, stored[found[0]]


def read_csv(
    file: str, count: int | None = None
) -> tuple[Sequence[str], dict[str, np.ndarray]]:
    """Names and attributes of pictures from a CSV with a header.

    The first column names pictures, each other is an attribute: 0 and 1, -1 and 1,
    false and true, or no and yes for one that is on or off; other texts are classes, an
    empty one means that the attribute does not apply.

    Args:
        file: the CSV.
        count: reads no more rows than this.

    Returns:
        The names, and for each attribute (m,) of bool or str.

    Raises:
        StylePrompterError: if it cannot be read so.
    """
    header, content = read_table(file)
    names, *columns = zip(*content[:count], strict=True)
    return names, {
        name: _labels(column) for name, column in zip(header[1:], columns, strict=True)
    }


def read_table(file: str) -> tuple[list[str], list[list[str]]]:
    """The header of a CSV, and its rows, all of one length.

    Raises:
        StylePrompterError: if it cannot be read so.
    """
    try:
        with open(file, newline="", encoding="utf-8-sig") as stream:
            rows = csv.reader(stream, strict=True)
            header = next(rows, [])
            content = [row for row in rows if row]
    except FileNotFoundError as error:
        raise StylePrompterError(f"There is no file {file}.") from error
    except (OSError, ValueError, csv.Error) as error:
        raise StylePrompterError(f"{file} cannot be read as CSV: {error}.") from error
    if len(header) < 2 or len(set(header)) < len(header) or not content:
        raise StylePrompterError(
            f"{file} holds no labels: its first row names the columns, the pictures' "
            "and then one for each attribute, and a row for each picture follows."
        )
    for row in content:
        if len(row) != len(header):
            raise StylePrompterError(
                f"{file}: the row of {row[0]!r} has {len(row)} columns, and the first "
                f"row {len(header)}."
            )
    return header, content


def _labels(column) -> np.ndarray:
    values = np.asarray([value.strip() for value in column], str)
    lower = np.char.lower(values)
    for off, on in OFF_ON:
        if np.isin(lower, (off, on)).all():
            return lower == on
    return values
