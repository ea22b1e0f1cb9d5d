"""Converts labels of datasets and tables to attributes: booleans, or names of values.

Axes: m images.
"""

import functools
import operator
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from styleprompter_jax.core.values import whole

# A column with only these values, in any mixture, is a column of booleans.
OFF = ("0", "-1", "false", "f", "no", "n", "off")
ON = ("1", "true", "t", "yes", "y", "on")
# These mean that a value is not known.
UNKNOWN = ("", "na", "n/a", "#n/a", "#na", "nan", "-nan", "<na>", "null")
# These mean the same in a column of booleans, or in a column without other values. In
# another column, "none" may be the name of a class.
UNSAID = ("none", "?", "-", "--", "unknown", "missing")
_WHOLE = re.compile(r"\+?(-?[0-9]+)\.?0*")
_NUMBER = re.compile(
    r"[+-]?(([0-9]+[.,]?|[0-9]*[.,][0-9]+)(e[+-]?[0-9]+)?|inf(inity)?)", re.I
)


class Labelled:
    """The first images of a source, with their labels.

    A sequence of {"image": ..., NAME: label, ...}. The labels are the classes and
    single booleans among the features, nested or not.

    Args:
        source: a TFDS source, or another source with such ``features``.
        count: number of images, 1 or more; by default all.

    Attributes:
        names: the names of the labels.
    """

    def __init__(self, source: Any, count: int | None = None):
        self._source = source
        self._count = len(source)
        if count is not None:
            self._count = min(whole(count, "count", 1), self._count)
        self._classes = dict(_labels_among(source.features))
        self.names = ["/".join(path) for path in self._classes]

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> dict:
        element = self._source[index]
        labels = {
            name: functools.reduce(operator.getitem, path, element)
            for name, path in zip(self.names, self._classes, strict=True)
        }
        return labels | {"image": element["image"]}

    def every_value(self) -> dict[str, np.ndarray]:
        """Returns `attributes` of all possible label values; reads no image."""
        values = {
            name: np.arange(len(classes)) if classes else np.array([False, True])
            for name, classes in zip(self.names, self._classes.values(), strict=True)
        }
        most = max(map(len, values.values()))
        return self.attributes({k: np.resize(v, most) for k, v in values.items()})

    def attributes(self, labels: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Converts labels to attributes by name, each (m,) of booleans or strings.

        "" means that an attribute is not known or not visible.

        Args:
            labels: (m,) for each name in `names`.
        """
        attributes = {}
        for name, (path, classes) in zip(
            self.names, self._classes.items(), strict=True
        ):
            values = labels[name]
            # Use only the last name if it is unique: "Smiling" of "attributes".
            alone = sum(path[-1] == other[-1] for other in self._classes) == 1
            if classes:  # in TFDS, a label below 0 means "not known"
                values = np.where(values < 0, "", np.asarray(classes)[values])
                values = as_booleans(values)
            attributes[path[-1] if alone else "_".join(path)] = values
        if self._source.name.startswith("avatars/"):
            from styleprompter_jax.data import avatars

            attributes = avatars.as_seen(attributes)
        return attributes


def as_attribute(column: Iterable[str]) -> np.ndarray:
    """Converts the strings of a table's column (m,) to the labels of an attribute.

    Returns:
        Booleans if all strings are in `OFF` and `ON`; 1, 0 and NaN if some of these are
        not known; otherwise strings, with "" for unknown values. See `ambiguity`.
    """
    values = np.asarray([value.strip() for value in column], str)
    plain = np.asarray([_plain(value) for value in values])
    said = ~np.isin(plain, UNKNOWN + UNSAID)
    if _are_switches(set(plain[said])) and not _two_ways_off(set(plain[said])):
        on = np.isin(plain, ON)
        return on if said.all() else np.where(said, on, np.nan)
    if not said.any():
        return np.full(len(values), "")
    return np.where(np.isin(plain, UNKNOWN), "", values)


def ambiguity(labels: np.ndarray) -> str | None:
    """Describes an ambiguity in the labels of a column, and its fix; None if clear.

    There are two ambiguities. A number that is not whole is not the name of a class. If
    a column of booleans contains both -1 and 0, one of them means "not known" in some
    files, and the other one in other files.
    """
    if labels.dtype.kind != "U":
        return None
    known = {_plain(label) for label in labels} - {*UNKNOWN, *UNSAID}
    if _are_switches(known) and _two_ways_off(known):
        *others, last = sorted(known)
        return (
            f"contains {', '.join(others)} and {last}, and either -1 or 0 may mean "
            '"not known": replace that one by an empty cell'
        )
    fractions = {
        label
        for label in known
        if _NUMBER.fullmatch(label) and not _WHOLE.fullmatch(label)
    }
    if fractions and all(
        _NUMBER.fullmatch(label) or _are_switches({label}) for label in known
    ):
        return (
            f"contains {min(fractions)}, which is not a class: write 1 for on and 0 "
            "for off"
        )
    return None


def _plain(label: str) -> str:
    """Returns a label in lower case; a whole number loses sign + and decimals."""
    label = label.strip().lower()
    whole = _WHOLE.fullmatch(label)
    return whole[1] if whole else label


def _are_switches(labels: set[str]) -> bool:
    """Returns whether there are labels, and all are in `OFF` and `ON`."""
    return bool(labels) and labels <= {*OFF, *ON}


def _two_ways_off(labels: set[str]) -> bool:
    return {"-1", "0"} <= labels


def as_booleans(column: Sequence[str] | np.ndarray) -> np.ndarray:
    """Converts strings (m,) to booleans if they are 0 and 1, no and yes, or similar."""
    labels = as_attribute(column)
    return labels if labels.dtype == bool else np.asarray(column, str)


def _labels_among(
    features: Mapping, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], list | None]]:
    """Yields the path of each label among TFDS's features, and its class names."""
    from styleprompter_jax.data.tfds import tfds  # slow to import

    for key, feature in features.items():
        here = (*path, key)
        if isinstance(feature, tfds.features.FeaturesDict):
            yield from _labels_among(feature, here)
        elif isinstance(feature, tfds.features.ClassLabel):
            yield here, feature.names
        elif feature.shape == () and feature.np_dtype == np.bool_:
            yield here, None
