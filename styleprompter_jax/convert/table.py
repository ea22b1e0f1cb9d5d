"""The engine of conversion: one table of rows reads weights and writes them back.

A table is a tuple of rows. Patterns name a parameter (with "/" between its parts) or a
key of the file (with "." between its parts). ``{name}`` stands for letters, digits and
underscores, the same on both sides:

    Rule("layers_{i}/qkv/kernel", "layers.{i}.qkv.weight", "o i -> i o")

Exactly one row fills each leaf of the *target*. For each key of the file, a row uses
it, or derives it from the architecture, or ignores it for a stated reason. If anything
does not fit, one message lists all problems, and nothing is loaded. In the other
direction, the same table writes the file's layout, bit for bit.
"""

import dataclasses
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import einops
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.problems import refuse


@dataclasses.dataclass(frozen=True)
class Rule:
    """``source`` fills ``target``; ``layout`` is an einops pattern, file -> model."""

    target: str
    source: str
    layout: str = ""

    def keys(self, names: Mapping[str, str]) -> tuple[str, ...]:
        """Returns the keys that it reads, for the ``names`` in the target."""
        return (self.source.format(**names),)

    def read(self, *arrays: np.ndarray) -> np.ndarray:
        """Converts arrays, one for each key, from the file's layout to the model's."""
        (array,) = arrays
        return einops.rearrange(array, self.layout) if self.layout else array

    def write(self, array: np.ndarray) -> Sequence[np.ndarray]:
        """Converts an array to the file's layout; returns an array for each key."""
        there, _, here = self.layout.partition("->")
        return (einops.rearrange(array, f"{here}->{there}") if self.layout else array,)


@dataclasses.dataclass(frozen=True)
class Stacked(Rule):
    """Several arrays fill ``target``: {k} in ``source`` takes all ``numbers``.

    The layout stacks them along a first axis k.
    """

    numbers: range = range(0)

    def keys(self, names: Mapping[str, str]) -> tuple[str, ...]:
        """Returns the keys that it reads, in the order of the numbers."""
        return tuple(self.source.format(**names, k=k) for k in self.numbers)

    def read(self, *arrays: np.ndarray) -> np.ndarray:
        """Converts arrays, one for each key, from the file's layout to the model's."""
        return einops.rearrange([*arrays], self.layout)

    def write(self, array: np.ndarray) -> Sequence[np.ndarray]:
        """Converts an array to the file's layout; returns an array for each key."""
        there, _, here = self.layout.partition("->")
        return [*einops.rearrange(array, f"{here}->{there}", k=len(self.numbers))]


@dataclasses.dataclass(frozen=True)
class Flat(Rule):
    """A linear layer that reads a flattened map with ``side`` by ``side`` cells."""

    side: int = 1

    def read(self, *arrays: np.ndarray) -> np.ndarray:
        """Converts arrays, one for each key, from the file's layout to the model's."""
        (array,) = arrays
        return einops.rearrange(array, self.layout, h=self.side, w=self.side)

    def write(self, array: np.ndarray) -> Sequence[np.ndarray]:
        """Converts an array to the file's layout; returns an array for each key."""
        there, _, here = self.layout.partition("->")
        layout = f"{here}->{there}"
        return (einops.rearrange(array, layout, h=self.side, w=self.side),)


@dataclasses.dataclass(frozen=True, eq=False)
class Buffer:
    """An array of the file that follows from the architecture: a filter or a mask.

    A file may lack it. Another value means that the file has another architecture.
    """

    source: str
    value: np.ndarray


@dataclasses.dataclass(frozen=True)
class Ignored:
    """Keys of the file that the model does not need, and the reason."""

    source: str
    reason: str


@dataclasses.dataclass(frozen=True)
class Kept:
    """Parameters that keep their value, because the file lacks them, and the reason."""

    target: str
    reason: str


Row = Rule | Buffer | Ignored | Kept


def prefixed(
    rows: Iterable[Row], target: str = "", source: str = ""
) -> tuple[Row, ...]:
    """Returns the same table for a network inside a larger tree or file."""

    def prefix(row: Row) -> Row:
        changes: dict[str, Any] = {}
        if isinstance(row, Rule | Kept):
            changes["target"] = target + row.target
        if not isinstance(row, Kept):
            changes["source"] = source + row.source
        return dataclasses.replace(row, **changes)

    return tuple(prefix(row) for row in rows)


def read_table(
    rows: Iterable[Row],
    source: Mapping[str, np.ndarray],
    target: Mapping[str, Any],
    name: str = "the file",
) -> dict:
    """Fills a tree from the arrays of a file.

    Args:
        rows: the table.
        source: the file's arrays by key.
        target: nested dict with a shape and a dtype at each leaf, as from
            ``jax.eval_shape`` of a module's init; only ``Kept`` rows need values.
        name: name of the file in messages.

    Returns:
        The target's tree with NumPy arrays of its shapes and dtypes.

    Raises:
        StylePrompterError: one error with every entry that is missing, unexpected, not
            finite or of the wrong shape.
    """
    leaves = flatten_dict(target, sep="/")
    problems: dict[str, list[str]] = {}
    filled: dict[str, Any] = {}
    users: dict[str, str] = {}

    def problem(kind: str, text: str) -> None:
        problems.setdefault(kind, []).append(text)

    for path, row, keys in _assign(rows, leaves, problem):
        leaf = leaves[path]
        if isinstance(row, Kept):
            filled[path] = leaf
            continue
        for key in keys:
            if key in users:
                problem("used twice", f"{key} (for {users[key]} and for {path})")
            users[key] = path
            if key not in source:
                problem("missing", f"{key} (for {path}, {_describe(leaf)})")
        if any(key not in source for key in keys):
            continue
        arrays = [_array(source[key]) for key in keys]
        key, array = _odd_one(keys, arrays)
        try:
            value = row.read(*arrays)
        except (einops.EinopsError, ValueError):
            value = None
        if value is None or value.shape != leaf.shape:
            problem(
                "wrong shape",
                f"{key} is {_describe(array)}, but {path} is {_describe(leaf)}"
                + (f" ({row.layout})" if row.layout else ""),
            )
        elif not jnp.issubdtype(array.dtype, jnp.floating):
            problem("not floating point", f"{key} is {_describe(array)}")
        else:
            with np.errstate(over="ignore"):
                filled[path] = np.array(value, leaf.dtype, order="C")
            if not _is_finite(filled[path]):
                bad = (
                    k for k, a in zip(keys, arrays, strict=True) if not _is_finite(a)
                )
                problem("not finite", f"{next(bad, key)} (for {path})")

    buffers = {row.source: row.value for row in rows if isinstance(row, Buffer)}
    ignored = [_pattern(row.source) for row in rows if isinstance(row, Ignored)]
    for key in source:
        if key in users or any(p.fullmatch(key) for p in ignored):
            continue
        array = _array(source[key])
        if key not in buffers:
            problem("unexpected", f"{key} {_describe(array)}")
        elif array.shape != buffers[key].shape:
            problem(
                "wrong shape",
                f"{key} is {_describe(array)}, but follows from the architecture as "
                f"{_describe(buffers[key])}",
            )
        elif not np.allclose(array, buffers[key], rtol=1e-3, atol=1e-3):
            problem("wrong value", f"{key} differs from the architecture's own value")
    refuse(f"{name} does not fit the model; nothing was loaded.", problems)
    return unflatten_dict(filled, sep="/")


def write_table(
    rows: Iterable[Row], tree: Mapping[str, Any], name: str = "the model"
) -> dict[str, np.ndarray]:
    """Returns the arrays of a file, by key, from a tree: inverts ``read_table``."""
    leaves = flatten_dict(tree, sep="/")
    problems: dict[str, list[str]] = {}
    arrays = {}

    def problem(kind: str, text: str) -> None:
        problems.setdefault(kind, []).append(text)

    for path, row, keys in _assign(rows, leaves, problem):
        if isinstance(row, Kept):
            problem("without a key", path)
            continue
        for key, array in zip(keys, row.write(np.asarray(leaves[path])), strict=True):
            if key in arrays:
                problem("used twice", f"{key} (again for {path})")
            else:
                arrays[key] = np.asarray(array, order="C")
    arrays |= {row.source: row.value for row in rows if isinstance(row, Buffer)}
    refuse(f"{name} does not fit the file's layout; nothing was written.", problems)
    return arrays


def kept_leaves(rows: Iterable[Row], leaves: Iterable[str]) -> list[str]:
    """Returns the paths whose values a ``Kept`` row keeps."""
    patterns = [_pattern(row.target) for row in rows if isinstance(row, Kept)]
    return [path for path in leaves if any(p.fullmatch(path) for p in patterns)]


def size(arrays: Mapping[str, np.ndarray], *places: tuple[str, int]) -> int:
    """Returns the length of the first of these (key, axis) in the file.

    Raises:
        StylePrompterError: if the file has none of these axes.
    """
    for key, axis in places:
        shape = getattr(arrays.get(key), "shape", ())
        if axis < len(shape) and shape[axis] > 0:
            return shape[axis]
    raise StylePrompterError(f"{places[0][0]} is missing, empty or has too few axes.")


def count(pattern: str, keys: Iterable[str], first: int = 0) -> int:
    """Counts the layers in the keys, numbered from ``first`` without a gap.

    The group of the regular expression ``pattern`` is the number.
    """
    found = {m[1] for key in keys if (m := re.match(pattern, key))}
    number = first
    while str(number) in found:
        number += 1
    return number - first


def merge_collections(variables: Mapping[str, Any]) -> dict:
    """Merges a module's collections ("params" and "const") to one tree for tables."""
    merged: dict[str, Any] = {}
    for tree in variables.values():
        merged |= flatten_dict(tree, sep="/")
    return unflatten_dict(merged, sep="/")


def split_collections(tree: Mapping[str, Any], like: Mapping[str, Any]) -> dict:
    """Splits one tree into a module's collections, with the structure of ``like``."""
    leaves = flatten_dict(tree, sep="/")
    return {
        collection: unflatten_dict(
            {path: leaves[path] for path in flatten_dict(part, sep="/")}, sep="/"
        )
        for collection, part in like.items()
    }


def _assign(
    rows: Iterable[Row], leaves: Iterable[str], problem: Callable[[str, str], None]
) -> Iterator[tuple[str, Rule | Kept, tuple[str, ...]]]:
    """Yields (path, row, keys) for each leaf that exactly one row describes."""
    candidates = [(_pattern(r.target), r) for r in rows if isinstance(r, Rule | Kept)]
    for path in leaves:
        found = [(m, row) for p, row in candidates if (m := p.fullmatch(path))]
        if not found:
            problem("without a rule", path)
        elif len(found) > 1:
            problem("with several rules", path)
        else:
            ((match, row),) = found
            keys = row.keys(match.groupdict()) if isinstance(row, Rule) else ()
            yield path, row, keys


def _is_finite(array: np.ndarray) -> bool:
    with np.errstate(over="ignore"):
        return bool(np.isfinite(array.astype(np.float32)).all())


def _odd_one(
    keys: Sequence[str], arrays: Sequence[np.ndarray]
) -> tuple[str, np.ndarray]:
    """Returns the array of a parameter that differs from most others, or the first."""
    kinds = [(array.shape, array.dtype) for array in arrays]
    return min(
        zip(keys, arrays, strict=True),
        key=lambda pair: kinds.count((pair[1].shape, pair[1].dtype)),
    )


def _array(value: Any) -> np.ndarray:
    """Returns an array of a file; other values get a dtype that tables refuse."""
    return np.asarray(value if hasattr(value, "shape") else None)


def _pattern(text: str) -> re.Pattern[str]:
    """Converts a pattern with ``{name}`` pieces to a regular expression."""
    return re.compile(re.sub(r"\\{(\w+)\\}", r"(?P<\1>\\w+)", re.escape(text)))


def _describe(array: Any) -> str:
    return f"{np.dtype(array.dtype).name}{list(array.shape)}"
