"""Labels of TFDS data sets as attributes: what is on or off, and names of values.

Axes: m images.
"""

import functools
import operator
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

# The values that make a column one of booleans, however they are mixed.
OFF = ("0", "-1", "false", "f", "no", "n", "off")
ON = ("1", "true", "t", "yes", "y", "on")
# What stands for a value that is not known.
UNKNOWN = ("", "na", "n/a", "#n/a", "#na", "nan", "-nan", "<na>", "null")
# What does so among on and off, and where nothing else is said; elsewhere "none" may be
# the name of a class.
UNSAID = ("none", "?", "-", "--", "unknown", "missing")
_WHOLE = re.compile(r"\+?(-?[0-9]+)\.?0*")
_NUMBER = re.compile(
    r"[+-]?(([0-9]+[.,]?|[0-9]*[.,][0-9]+)(e[+-]?[0-9]+)?|inf(inity)?)", re.I
)


class Labelled:
    """The first images of a source, with their labels side by side.

    A sequence of {"image": ..., NAME: label, ...}; labels are the classes and single
    booleans among the features, nested or not.

    Args:
        source: one of TFDS's, or any with such ``features``.
        count: of images; by default all.

    Attributes:
        names: of the labels.
    """

    def __init__(self, source: Any, count: int | None = None):
        self._source = source
        self._count = min(count or len(source), len(source))
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
        """`attributes` of labels that take each of their values, before any is read."""
        values = {
            name: np.arange(len(classes)) if classes else np.array([False, True])
            for name, classes in zip(self.names, self._classes.values(), strict=True)
        }
        most = max(map(len, values.values()))
        return self.attributes({k: np.resize(v, most) for k, v in values.items()})

    def attributes(self, labels: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Labels by the names of attributes, (m,) of booleans or strings each.

        "" means that an attribute is not known, or cannot be seen.

        Args:
            labels: (m,) for each of `names`.
        """
        attributes = {}
        for name, (path, classes) in zip(
            self.names, self._classes.items(), strict=True
        ):
            values = labels[name]
            # The name alone where it tells the attribute: "Smiling" of "attributes".
            alone = sum(path[-1] == other[-1] for other in self._classes) == 1
            if classes:  # a label below 0 is TFDS's for "not known"
                values = np.where(values < 0, "", np.asarray(classes)[values])
                values = as_booleans(values)
            attributes[path[-1] if alone else "_".join(path)] = values
        if self._source.name.startswith("avatars/"):
            from styleprompter_jax.data import avatars

            attributes = avatars.as_seen(attributes)
        return attributes


def as_attribute(column: Iterable[str]) -> np.ndarray:
    """The strings of a table's column (m,), as the labels of an attribute.

    Returns:
        Booleans where they are of `OFF` and `ON`; 1, 0 and NaN where some are not
        known; else strings, "" where they are not known. See `ambiguity`.
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
    """What is not clear about the labels of a column, and what to do; None if nothing.

    Numbers that are not whole are names of no classes; of -1 and 0 that are both in a
    column of on and off, some files have -1 and some 0 for what is not known.
    """
    if labels.dtype.kind != "U":
        return None
    known = {_plain(label) for label in labels} - {*UNKNOWN, *UNSAID}
    if _are_switches(known) and _two_ways_off(known):
        *others, last = sorted(known)
        return (
            f"holds {', '.join(others)} and {last}, of which -1 or 0 may mean that it "
            "is not known: leave that one empty"
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
            f"holds {min(fractions)}, which is no class: write 1 for on and 0 for off"
        )
    return None


def _plain(label: str) -> str:
    """A label in small letters, and a whole number as such."""
    label = label.strip().lower()
    whole = _WHOLE.fullmatch(label)
    return whole[1] if whole else label


def _are_switches(labels: set[str]) -> bool:
    """Whether labels are of on and off alone, and any."""
    return bool(labels) and labels <= {*OFF, *ON}


def _two_ways_off(labels: set[str]) -> bool:
    return {"-1", "0"} <= labels


def as_booleans(column: Sequence[str] | np.ndarray) -> np.ndarray:
    """Strings (m,), as booleans where they are 0 and 1, no and yes, or the like."""
    labels = as_attribute(column)
    return labels if labels.dtype == bool else np.asarray(column, str)


def _labels_among(
    features: Mapping, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], list | None]]:
    """Where labels are among TFDS's features, and the names of their classes."""
    from styleprompter_jax.data.tfds import tfds  # slow to import

    for key, feature in features.items():
        here = (*path, key)
        if isinstance(feature, tfds.features.FeaturesDict):
            yield from _labels_among(feature, here)
        elif isinstance(feature, tfds.features.ClassLabel):
            yield here, feature.names
        elif feature.shape == () and feature.np_dtype == np.bool_:
            yield here, None
