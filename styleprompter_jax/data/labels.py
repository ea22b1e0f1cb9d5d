"""Labels of TFDS data sets as attributes: what is on or off, and names of values.

Axes: m images.
"""

import functools
import operator
import re
from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from styleprompter_jax.data.sources import TfdsSource

# The two values of a column that make it one of booleans: off, on.
OFF_ON = (
    *(("0", "1"), ("-1", "1"), ("false", "true"), ("f", "t")),
    *(("no", "yes"), ("n", "y"), ("off", "on")),
)
# What stands for a value that is not known.
UNKNOWN = ("", "na", "n/a", "nan", "<na>", "null")
_WHOLE = re.compile(r"\+?(-?[0-9]+)\.?0*")
_NUMBER = re.compile(r"[+-]?([0-9]+[.,]?|[0-9]*[.,][0-9]+)(e[+-]?[0-9]+)?", re.I)


class Labelled:
    """The first images of a source, with their labels side by side.

    A sequence of {"image": ..., NAME: label, ...}; labels are the classes and single
    booleans among the features, nested or not.

    Attributes:
        names: of the labels.
    """

    def __init__(self, source: TfdsSource, count: int | None = None):
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
        Booleans where they are of `OFF_ON`; 1, 0 and NaN where some are not known; else
        strings, "" where they are not known.
    """
    values = np.asarray([value.strip() for value in column], str)
    plain = np.asarray([_WHOLE.sub(r"\1", value.lower()) for value in values])
    known = ~np.isin(plain, UNKNOWN)
    for off, on in OFF_ON if known.any() else ():
        if np.isin(plain[known], (off, on)).all():
            return plain == on if known.all() else np.where(known, plain == on, np.nan)
    return np.where(known, values, "")


def ambiguity(labels: np.ndarray) -> str | None:
    """What is not clear about the labels of a column, and what to do; None if nothing.

    Numbers that are not whole are names of no classes; of -1, 0 and 1, some files have
    -1 and some 0 for what is not known.
    """
    known = {label for label in labels if label} if labels.dtype.kind == "U" else set()
    if {_WHOLE.sub(r"\1", label) for label in known} == {"-1", "0", "1"}:
        return (
            "holds -1, 0 and 1, of which -1 or 0 may mean that it is not known: leave "
            "that one empty"
        )
    fractions = [label for label in known if not _WHOLE.fullmatch(label)]
    if fractions and all(map(_NUMBER.fullmatch, known)):
        return (
            f"holds {min(fractions)}, which is no class: write 1 for on and 0 for off"
        )
    return None


def as_booleans(column) -> np.ndarray:
    """Strings (m,), as booleans where they are 0 and 1, no and yes, or the like."""
    labels = as_attribute(column)
    return labels if labels.dtype == bool else np.asarray(column, str)


def _labels_among(features, path=()) -> Iterator[tuple[tuple[str, ...], list | None]]:
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
