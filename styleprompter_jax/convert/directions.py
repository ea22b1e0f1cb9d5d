"""Reads published directions from files.

An array has one direction, or several directions one after the other. SeFa's factors
(rosinality) and GANSpace's components (in its own files and e4e's) are sorted by
weight. The reader takes the first `FIRST` of them. A pickle that GANSpace saved for one
edit gives its codes and its strength. InterFaceGAN's boundaries are unit vectors.
"""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from styleprompter_jax.convert.reading.files import Object, read_file
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.fetch import local_copy
from styleprompter_jax.core.names import check_name
from styleprompter_jax.core.refusal import quoted
from styleprompter_jax.core.spelling import another_path, another_spelling
from styleprompter_jax.editing.directions import Direction

FIRST = 10  # number of components that the reader takes
_MANY = 100
# Keys of a pickle that GANSpace saved for one edit.
_EDIT = {"lat_comp", "edit_start", "edit_end"}
_OF_Z = (
    "holds GANSpace's components of Z, which mean nothing to codes: compute those of W "
    "there (--use_w)."
)
_BOUNDARY = (
    "It is a unit vector, like InterFaceGAN's boundaries, and taken for one of W: "
    "boundaries of Z, without _w_ in their names there, mean nothing to codes."
)
_SUFFIXES = (".npy", ".npz", ".pt", ".pth", ".safetensors")


def find_direction(
    name_or_path: str | os.PathLike,
    known: Mapping[str, Direction],
    num_codes: int,
    w_dim: int,
) -> tuple[str, Direction]:
    """Finds the direction for a command's argument; returns its name and the direction.

    Args:
        name_or_path: a key of `known`, or a file (see `read_direction`).
        known: the model's own directions.
        num_codes: number of codes of the model.
        w_dim: channels of a code.

    Raises:
        StylePrompterError: if the argument is neither a name nor a file, or if its name
            is not valid in the names of results.
    """
    name = os.fspath(name_or_path)
    if name in known:
        return check_name(name, "The model's directions"), known[name]
    path = local_copy(name)
    if path.suffix.lower() in _SUFFIXES or path.exists():
        name = check_name(path.stem, os.fspath(path))
        return name, read_direction(path, num_codes, w_dim)
    if (start := name.rpartition(":")[0]) in known:
        raise StylePrompterError(
            f"{name} is a direction with a weight, which only --together takes: give "
            f"--direction {start}, with --strength for its strength."
        )
    raise StylePrompterError(
        f"The model has no direction {name!r}, and no such file exists; its directions "
        f"are: {', '.join(sorted(known)) or 'none'}."
        + (another_spelling(name, known) or another_path(path))
    )


def named_directions(
    names_or_paths: Sequence[str | os.PathLike],
    known: Mapping[str, Direction],
    num_codes: int,
    w_dim: int,
) -> dict[str, Direction]:
    """Finds several directions, in their order; see `find_direction`.

    Raises:
        StylePrompterError: like `find_direction`, or if two have the same name.
    """
    found: dict[str, Direction] = {}
    for given in names_or_paths:
        name, direction = find_direction(given, known, num_codes, w_dim)
        if name in found:
            raise StylePrompterError(
                f"Two directions have the name {name!r}: leave out one of them, or "
                "rename its file."
            )
        found[name] = direction
    return found


def read_direction(path: str | os.PathLike, num_codes: int, w_dim: int) -> Direction:
    """Reads the only direction of a file.

    Args:
        path: the file, with [w_dim], [1, w_dim], [n, w_dim] or [1, n * w_dim].
        num_codes: number of codes of the model.
        w_dim: channels of a code.

    Raises:
        StylePrompterError: if the file cannot be read, does not fit the model, or holds
            several directions.
    """
    path = Path(path)
    found = direction_arrays(read_file(path), path.stem)
    if not found.arrays:
        raise StylePrompterError(
            f"{path} cannot be read as a direction: give a file with one array."
        )
    made = make_directions(found, num_codes, w_dim, os.fspath(path))
    if len(made) > 1:
        names = ", ".join(list(made)[:3]) + ", ..." * (len(made) > 3)
        raise StylePrompterError(
            f"{path} holds {len(made)} directions, {names}: add them to a model "
            f"(styleprompter convert {path} MODEL), and name one of them."
        )
    (direction,) = made.values()
    return direction


class Edit(NamedTuple):
    """The codes and the strength that the author of a direction intended.

    Attributes:
        codes: the first code that the direction changes, and the code after the last.
        strength: the intended strength.
    """

    codes: tuple[int, int]
    strength: float


class Arrays(NamedTuple):
    """The arrays of directions in a file.

    Attributes:
        arrays: names, each with an array of one or several directions; a name may come
            twice.
        notes: further sentences for users.
        edit: codes and strength of the file's only direction, if the file gives them.
        refused: the end of a sentence about a file whose directions are not in W.
    """

    arrays: tuple[tuple[str, np.ndarray], ...] = ()
    notes: tuple[str, ...] = ()
    edit: Edit | None = None
    refused: str = ""


def direction_arrays(tree: Any, stem: str) -> Arrays:
    """Returns the arrays of a file that may hold directions; no arrays for other files.

    Args:
        tree: see `read_file`.
        stem: name of the file; the only array of a file gets this name.
    """
    if isinstance(tree, list | tuple) and len(tree) == 1:
        (tree,) = tree
    if isinstance(tree, np.ndarray):
        return Arrays(((stem, tree),), (_BOUNDARY,) if _is_boundary(tree) else ())
    if not isinstance(tree, Mapping):
        return Arrays()
    if tree.keys() >= _EDIT:
        return _ganspace_edit(tree)
    arrays = {k: v for k, v in tree.items() if isinstance(v, np.ndarray)}
    others = [v for v in tree.values() if not isinstance(v, np.ndarray)]
    if (components := _components(arrays)) is not None:
        count, is_sefa = len(components), "eigvec" in arrays
        notes = ["SeFa's factors." if is_sefa else "Components of GANSpace."]
        if count > FIRST:
            notes.append(f"Only the first {FIRST} of its {count} components are taken.")
        deviations = arrays.get("lat_stdev")
        in_z = not is_sefa and deviations is not None and (deviations == 1).all()
        found = Arrays(((stem, components[:FIRST]),), tuple(notes))
        return found._replace(refused=_OF_Z) if in_z else found
    if not arrays or any(array.ndim > 3 for array in arrays.values()):
        return Arrays()
    names: Any = tree.get("names")
    if len(arrays) == 1 and _are_texts(names) and len(others) == 1:
        (array,) = arrays.values()
        rows = array if len(names) > 1 else array[None]
        if len(rows) == len(names):
            return Arrays(tuple(zip(names, rows, strict=True)))
    if any(isinstance(value, Mapping | list | tuple | Object) for value in others):
        return Arrays()
    names = [stem] if len(arrays) == 1 else map(str, arrays)
    return Arrays(tuple(zip(names, arrays.values(), strict=True)))


def _components(arrays: Mapping[str, np.ndarray]) -> np.ndarray | None:
    """Returns the components (k, 1, w_dim) of a method, with the method's own scale."""
    eigenvectors = arrays.get("eigvec")
    if eigenvectors is not None and eigenvectors.ndim == 2:
        return eigenvectors.T[:, None]
    for key, scale in (("lat_comp", "lat_stdev"), ("comp", "std")):
        vectors, deviations = arrays.get(key), arrays.get(scale)
        if vectors is None or deviations is None or vectors.ndim not in (2, 3):
            continue
        if deviations.shape == vectors.shape[:1] and len(vectors):
            rows = vectors.reshape(len(vectors), 1, -1)
            return rows.astype(np.float64) * deviations[:, None, None]
    return None


def _is_boundary(array: np.ndarray) -> bool:
    """Returns whether an array has the form of InterFaceGAN's boundaries."""
    flat = array.dtype.kind == "f" and array.ndim == 2 and len(array) == 1
    return flat and bool(abs(np.linalg.norm(array) - 1) < 1e-3)


def _ganspace_edit(tree: Mapping) -> Arrays:
    """Returns the direction of a pickle that GANSpace's interactive program saved."""
    vector, name = tree["lat_comp"], tree.get("name")
    deviation, sigma = tree.get("lat_stdev", 1.0), tree.get("sigma_range", 1.0)
    codes = tree["edit_start"], tree["edit_end"]
    numbers = (deviation, sigma)
    if not (
        isinstance(vector, np.ndarray)
        and isinstance(name, str)
        and all(isinstance(x, float | int) and np.isfinite(x) for x in numbers)
        and all(type(code) is int and 0 <= code < 2**15 for code in codes)
        and codes[0] < codes[1]
    ):
        return Arrays()
    key = "_".join(name.split()) or "edit"
    where = tree.get("decomposition")
    layer = where.get("layer") if isinstance(where, Mapping) else None
    space, kind = tree.get("latent_space", "W"), tree.get("edit_type", "latent")
    note = (
        f"GANSpace's edit {quoted(name)}: component {tree.get('component_index')} of "
        f"layer {quoted(str(layer))}, in {quoted(str(space))}, codes {codes[0]} to "
        f"{codes[1] - 1}, {sigma:.3g} standard deviations of {deviation:.3g}."
    )
    refused = ""
    if space != "W":
        refused = _OF_Z
    elif kind != "latent":
        refused = (
            f"holds an edit of GANSpace that changes {quoted(str(kind))} and no codes: "
            "save it there with the mode latent."
        )
    # Keep the author's sign: a positive strength has the effect that the name states.
    scale = float(deviation) * (-1.0 if sigma < 0 else 1.0)
    array = vector.reshape(1, -1).astype(np.float64) * scale
    edit = Edit(codes, float(abs(sigma)) or 1.0)
    return Arrays(((key, array),), (note,), edit, refused)


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def make_directions(
    found: Arrays, num_codes: int, w_dim: int, file: str
) -> dict[str, Direction]:
    """Makes directions of a model by name; numbers several directions of one array.

    Args:
        found: see `direction_arrays`.
        num_codes: number of codes of the model.
        w_dim: channels of a code.
        file: name of the file in messages.

    Raises:
        StylePrompterError: if a direction does not fit the model, or two directions
            have the same name.
    """
    if found.refused:
        raise StylePrompterError(f"{file} {found.refused}")
    made = {}
    for name, array in found.arrays:
        label = file if len(found.arrays) == 1 else f"{file}, {name},"
        rows = _split(np.asarray(array), num_codes, w_dim, label)
        for k, row in enumerate(rows):
            key = name if len(rows) == 1 else f"{name}_{k}"
            if key in made:
                raise StylePrompterError(
                    f"{file} holds two directions {quoted(key)}: rename one of them."
                )
            made[key] = _direction(row, label)
            if found.edit is not None:
                made[key] = _as_meant(made[key], found.edit, num_codes, file)
    return made


def _as_meant(direction: Direction, edit: Edit, num_codes: int, file: str) -> Direction:
    """Returns the direction with the file's strength, for its codes in this model."""
    first, end = edit.codes
    if first >= num_codes:
        raise StylePrompterError(
            f"{file} changes the codes {first} to {end - 1}, and this model has "
            f"{num_codes}: it is for a larger generator."
        )
    most = max(3.0, edit.strength)
    return dataclasses.replace(
        direction,
        layers=tuple(range(first, min(end, num_codes))),
        strength=edit.strength,
        range=(-most, most),
    )


def _split(
    array: np.ndarray, num_codes: int, w_dim: int, label: str
) -> list[np.ndarray]:
    """Splits an array into directions, each (w_dim,) or (n, w_dim)."""
    shape, both = array.shape, num_codes * w_dim
    if shape in ((w_dim,), (1, w_dim), (w_dim, 1)):
        return [array.reshape(w_dim)]
    if shape in ((num_codes, w_dim), (both,), (1, both)):
        return [array.reshape(num_codes, w_dim)]
    # [k, w_dim] may be one direction of a model with k codes: it is not split.
    if len(shape) != 3 or shape[1:] not in ((1, w_dim), (num_codes, w_dim)):
        raise StylePrompterError(
            f"{label} holds {list(shape)}, but a direction of this model is [{w_dim}], "
            f"[{num_codes}, {w_dim}] or [1, {both}]: use directions of this model."
        )
    if not 1 <= len(array) <= _MANY:
        raise StylePrompterError(
            f"{label} holds {len(array)} directions: save only those that you need, at "
            f"most {_MANY}."
        )
    return [row[0] if len(row) == 1 else row for row in array]


def _direction(array: np.ndarray, label: str) -> Direction:
    if array.dtype.kind not in "fiu":
        raise StylePrompterError(
            f"{label} holds {array.dtype}, but a direction has numbers: save it as "
            "float32."
        )
    with np.errstate(over="ignore"):  # float64 values may overflow
        vector = array.astype(np.float32)
    if not np.isfinite(vector).all():
        raise StylePrompterError(
            f"{label} holds NaN, infinity or numbers beyond float32: download or make "
            "the file again."
        )
    # Published directions have a length of about 1, and strength 1 would hardly show.
    return Direction(vector, strength=3.0, origin=label)
