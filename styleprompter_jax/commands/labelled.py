"""Codes of labelled pictures, for `styleprompter directions --method labels`."""

import csv
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict
from tqdm import tqdm

from styleprompter_jax.commands import pictures
from styleprompter_jax.data.loader import eval_batches
from styleprompter_jax.data.sources import make_source
from styleprompter_jax.errors import StylePrompterError
from styleprompter_jax.latents import Latents
from styleprompter_jax.pipeline import StylePrompter

# What the avatars' labels are called as directions.
BOOLEANS = {"smile": "smile", "glasses": "glasses", "beard": "beard"}
CLASSES = {
    "hair": "hair",
    "hair_color": "hair_color",
    "skin_color": "skin",
    "background": "background",
    "clothing": "clothing",
}
# The two values of a column that make it one of booleans: off, on.
OFF_ON = (("0", "1"), ("-1", "1"), ("false", "true"), ("no", "yes"))


def encode_avatars(
    model: StylePrompter, data: str, data_dir: str | None, count: int, batch_size: int
) -> tuple[np.ndarray, dict, Latents]:
    """Codes (m, n, w_dim) and labels of the train split; the latents of the first."""
    size = model.image_size
    source = make_source(
        ConfigDict(dict(name=data, path=data_dir, image_size=size)), "train"
    )
    total = min(count, len(source))
    names = {label: source.features[label].names for label in CLASSES}
    codes, labels, example = [], {label: [] for label in [*BOOLEANS, *CLASSES]}, None
    done = 0
    with tqdm(total=total, unit="image", disable=None) as bar:
        for batch in eval_batches(source, batch_size=batch_size, image_size=size):
            m = min(len(batch["image"]), total - done)
            latents = model.encode(pictures.pad(batch["image"], batch_size))
            latents = pictures.take(latents, m)
            codes.append(latents.w_plus)
            for label, values in labels.items():
                values.append(batch[label][:m])
            example = example or latents[0]
            bar.update(m)
            done += m
            if done == total:
                break
    labels = {label: np.concatenate(values) for label, values in labels.items()}
    attributes = {name: labels[label] for label, name in BOOLEANS.items()}
    for label, name in CLASSES.items():
        attributes[name] = np.asarray(names[label])[labels[label]]
    # A bald face without a beard has no hair to see the colour of.
    unseen = (attributes["hair"] == "bald") & ~attributes["beard"].astype(bool)
    attributes["hair_color"] = np.where(unseen, "", attributes["hair_color"])
    return np.concatenate(codes), attributes, example


def encode_csv(
    model: StylePrompter, file: str, count: int | None, batch_size: int
) -> tuple[np.ndarray, dict, Latents]:
    """Codes (m, n, w_dim) and labels of the pictures that a CSV names; see `read_csv`.

    The third result are the latents of the first.
    """
    paths, attributes = read_csv(file, count)
    codes, example = [], None
    with tqdm(total=len(paths), unit="image", disable=None) as bar:
        for part, images in pictures.read_batches(paths, model.image_size, batch_size):
            latents = pictures.take(model.encode(images), part.stop - part.start)
            codes.append(latents.w_plus)
            example = example or latents[0]
            bar.update(part.stop - part.start)
    return np.concatenate(codes), attributes, example


def read_csv(
    file: str, count: int | None = None
) -> tuple[list[Path], dict[str, np.ndarray]]:
    """Pictures and their attributes from a CSV with a header.

    The first column names pictures, relative to the file; each other is an attribute:
    0 and 1, -1 and 1, false and true, or no and yes for one that is on or off; other
    texts are classes, and an empty one means that the attribute does not apply.

    Args:
        file: the CSV.
        count: reads no more rows than this.

    Returns:
        The paths, and for each attribute (m,) of bool or str.

    Raises:
        StylePrompterError: if it cannot be read so, or a picture is missing.
    """
    try:
        with open(file, newline="", encoding="utf-8-sig") as stream:
            rows = csv.reader(stream, strict=True)
            header = next(rows, [])
            content = [row for row, _ in zip(rows, range(count or 10**9), strict=False)]
    except FileNotFoundError as error:
        raise StylePrompterError(f"There is no file {file}.") from error
    except (OSError, ValueError, csv.Error) as error:
        raise StylePrompterError(f"{file} cannot be read as CSV: {error}.") from error
    content = [row for row in content if row]
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
    names, *columns = zip(*content, strict=True)
    paths = [Path(file).parent / name for name in names]
    if missing := [path for path in paths if not path.is_file()]:
        raise StylePrompterError(
            f"{file} names {missing[0]}, and {len(missing) - 1} more, which are not "
            "there: names are relative to the file's folder."
        )
    return paths, {
        name: _labels(column) for name, column in zip(header[1:], columns, strict=True)
    }


def _labels(column) -> np.ndarray:
    values = np.asarray([value.strip() for value in column], str)
    lower = np.char.lower(values)
    for off, on in OFF_ON:
        if np.isin(lower, (off, on)).all():
            return lower == on
    return values
