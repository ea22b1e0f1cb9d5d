"""Latents of images: W+ codes, and the feature maps that SMART reads."""

import dataclasses
import mmap
import operator
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import jax
import jax.numpy as jnp
import numpy as np

from styleprompter_jax.core.archive import Archive
from styleprompter_jax.core.arrays import as_numbers
from styleprompter_jax.core.atomic import atomic_path
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.files import open_file
from styleprompter_jax.core.numpy_files import NPY, ZIP, parse_npy, parse_npz
from styleprompter_jax.core.paths import local_path
from styleprompter_jax.core.refusal import DAMAGED, Refusal, quoted
from styleprompter_jax.core.values import shown
from styleprompter_jax.editing.directions import Direction, check_layers


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Latents:
    """The latents of b images; a pytree, and a sequence of the latents of one image.

    Attributes:
        w_plus: float32 (b, n, w_dim), including the mean code.
        features: the encoder's maps (b, h, w, c), coarse to fine. () means that there
            are no maps; then the latents can be decoded only without SMART.
    """

    w_plus: jax.Array | np.ndarray
    features: tuple[jax.Array | np.ndarray, ...] = ()

    def __len__(self) -> int:
        return len(self.w_plus)

    def __eq__(self, other: object) -> bool:
        """Returns whether both have the same numbers, including the features."""
        if not isinstance(other, Latents):
            return NotImplemented
        mine, others = jax.tree.leaves(self), jax.tree.leaves(other)
        return len(mine) == len(others) and all(map(np.array_equal, mine, others))

    def __getitem__(self, index: Any) -> "Latents":
        """Returns the latents of one image (as a batch of 1) or of several.

        Args:
            index: a whole number, counted from the end if below 0; a slice; or a list
                or array of whole numbers, or of b booleans.

        Raises:
            StylePrompterError: for another index. If no such image exists, the error
                is an IndexError too.
        """
        rows = _rows(index, len(self))
        return jax.tree.map(lambda array: array[rows], self)

    def __iter__(self) -> Iterator["Latents"]:
        """Yields the latents of each image, as a batch of 1."""
        return (self[k] for k in range(len(self)))

    def edit(
        self,
        direction: Direction | np.ndarray,
        strength: float | np.ndarray | None = None,
        layers: Sequence[int] | None = None,
    ) -> "Latents":
        """Moves the codes by ``strength * direction``; the features do not change.

        Args:
            direction: one of a model's `directions`, or an array (w_dim,) or
                (n, w_dim).
            strength: one number, or (b,); by default the strength of the direction.
            layers: indices of the codes to change; by default the layers of the
                direction. For an array, these are all codes.

        Raises:
            StylePrompterError: if a shape or an index does not fit the codes.
        """
        codes = as_numbers(self.w_plus, "The codes")
        if codes.ndim != 3:
            raise StylePrompterError(
                f"The codes have the shape {codes.shape}: it must be (b, n, w_dim)."
            )
        batch, n, w_dim = codes.shape
        if not isinstance(direction, Direction):
            vector = as_numbers(direction, "The direction's numbers")
            if vector.ndim not in (1, 2):
                raise StylePrompterError(
                    f"The direction has the shape {vector.shape}: for these codes, it "
                    f"must be ({w_dim},) or ({n}, {w_dim})."
                )
            direction = Direction(np.asarray(vector))
        shape, response = direction.vector.shape, direction.response
        if shape not in ((w_dim,), (n, w_dim)) or (
            response is not None and response.reads.shape[1:] != (n, w_dim)
        ):
            raise StylePrompterError(
                f"The direction has the shape {list(shape)}, but the codes have "
                f"[{n}, {w_dim}]: use a direction of the same model."
            )
        strength = direction.strength if strength is None else strength
        strengths = jnp.asarray(as_numbers(strength, "The strengths"))
        if strengths.shape not in ((), (batch,)):
            raise StylePrompterError(
                f"The strength has the shape {list(strengths.shape)} for {batch} "
                "images: give one number, or one for each image."
            )
        layers = check_layers(direction.layers if layers is None else layers, n)
        step = strengths.reshape(-1, 1, 1) * direction.step(codes, layers)
        return dataclasses.replace(self, w_plus=codes + step)

    def save(
        self,
        path: str | os.PathLike,
        *,
        features: bool = False,
        names: Sequence[str] | None = None,
        source: str = "",
    ) -> None:
        """Writes an .npz with w_plus.

        Args:
            path: the file; its name ends in .npz.
            features: write the features too.
            names: b names of the images to write too.
            source: the model of the latents, see `StylePrompter.source`; written too.

        Raises:
            StylePrompterError: if the name does not end in .npz, the file cannot be
                written, the numbers of codes, features and names differ, or
                `load_named` would refuse the names.
        """
        path = local_path(path)
        if path.suffix.lower() != ".npz":
            raise StylePrompterError(
                f"{path} must end in .npz, the format of latents: rename it."
            )
        arrays = {"w_plus": np.asarray(as_numbers(self.w_plus, "The codes"))}
        if features:
            for k, array in enumerate(self.features):
                maps = as_numbers(array, "The features")
                arrays[f"features_{k}"] = np.asarray(maps)
        if names is not None:
            arrays["names"] = np.asarray(_names(names))
            _check_names(path, names)
        shapes = {key: array.shape for key, array in arrays.items()}
        batch = shapes["w_plus"][:1]
        if len(shapes["w_plus"]) != 3 or any(s[:1] != batch for s in shapes.values()):
            raise StylePrompterError(
                f"{path} was not written, because its arrays have the shapes {shapes}: "
                "w_plus must be (b, n, w_dim), and all others must have b entries."
            )
        if source:
            arrays["source"] = np.asarray(source)
        with atomic_path(path) as partial, partial.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]  # none is allow_pickle

    @classmethod
    def load(cls, path: str | os.PathLike) -> "Latents":
        """Reads a file of `save`: w_plus (b, n, w_dim), or (n, w_dim) of one image.

        It also reads an .npz or .npy with one array (b, n, w_dim) under any name.

        Raises:
            StylePrompterError: if the file is missing, damaged or of another kind.
        """
        return _read(path)[0]


def _names(names: Sequence[str]) -> list[str]:
    found = list(names) if isinstance(names, Iterable) else [names]
    if isinstance(names, str) or not all(isinstance(name, str) for name in found):
        raise StylePrompterError(
            f"The names are {shown(names)}: give a list of strings, one for each image."
        )
    return found


class _NoSuchImageError(StylePrompterError, IndexError):
    """Ends a loop over indices, as IndexError does for other sequences."""


def _rows(index: Any, count: int) -> slice | np.ndarray:
    """Returns the rows (m,) among `count` images that an index selects."""
    try:
        if isinstance(index, slice):
            index.indices(count)
            return index
        rows = _numbers(index, count)
    except (TypeError, ValueError) as error:
        raise StylePrompterError(
            f"{shown(index)} is not an index of latents: give a whole number, a "
            f"slice, or a list of whole numbers or of {count} booleans."
        ) from error
    if beyond := [k for k in rows if not -count <= k < count]:
        raise _NoSuchImageError(
            f"There is no image {beyond[0]} among {count} images: correct the index."
        )
    return np.array(rows, int)


def _numbers(index: Any, count: int) -> list[int]:
    """Returns the whole numbers of an index that is not a slice.

    Raises:
        TypeError, ValueError: for another index.
    """
    if isinstance(index, bool | np.bool | tuple):  # a tuple would index several axes
        raise TypeError
    if hasattr(index, "__index__") and not np.ndim(index):
        return [operator.index(index)]
    rows = np.asarray(index)
    if rows.shape == (count,) and rows.dtype == bool:
        return np.flatnonzero(rows).tolist()
    if rows.ndim != 1 or (len(rows) and rows.dtype.kind not in "iu"):
        raise TypeError
    return rows.tolist()


def load_named(path: str | os.PathLike) -> tuple[Latents, list[str]]:
    """Reads latents like `Latents.load`, with the names of the images.

    A file without names gives the names "0000", "0001", ...

    Raises:
        StylePrompterError: like `Latents.load`, or if a name is not a relative path
            inside a folder, or two images have the same name.
    """
    latents, names = _read(path)
    _check_names(path, names)
    return latents, names


def _check_names(path: str | os.PathLike, names: Iterable[str]) -> None:
    """Refuses names that cannot be names of image files, and equal names."""
    seen = set()
    for name in names:
        if not _is_below(name):
            raise StylePrompterError(
                f"{path} names an image {quoted(name)}, which is not a path inside a "
                "folder: save the codes with other names."
            )
        if name in seen:
            raise StylePrompterError(
                f"{path} names two images {quoted(name)}: save the codes with "
                "different names."
            )
        seen.add(name)


def _is_below(name: str) -> bool:
    """Returns whether a file of this name stays inside the folder of the results."""
    path = Path(name)
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        return False
    return (
        bool(path.parts)
        and not path.is_absolute()
        and ".." not in path.parts
        and "\0" not in name
    )


def _read(path: str | os.PathLike) -> tuple[Latents, list[str]]:
    """Reads the latents of a file, and the names of the images."""
    with open_file(path) as file:
        try:
            arrays = _arrays(file)
            w_plus = _codes(arrays)
            count = sum(key.startswith("features_") for key in arrays)
            features = [_floats(arrays, f"features_{k}") for k in range(count)]
            batch = len(w_plus)
            given = arrays.get("names", np.array([f"{k:04d}" for k in range(batch)]))
            if given.dtype.kind == "S":
                given = np.char.decode(given, "latin-1")
            names = [str(name) for name in np.atleast_1d(given).ravel()]
        except Refusal as error:
            raise Refusal(
                f"{error} Give an .npz with w_plus of [b, n, w_dim], such as "
                "`styleprompter invert` writes."
            ) from error
    if {len(names), *map(len, features)} != {batch}:
        raise StylePrompterError(
            f"{path} cannot be read as latents, because its arrays have different "
            "lengths: save it again, with one entry for each image in each array."
        )
    return Latents(w_plus, tuple(features)), names


def _arrays(file: BinaryIO) -> dict[str, np.ndarray]:
    """Reads the arrays of an .npz by name; the array of an .npy becomes w_plus."""
    size = os.fstat(file.fileno()).st_size
    if not size:
        raise Refusal(f"it is empty; {DAMAGED}")
    # A view of the file. `_floats` copies every array.
    data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    head = bytes(data[:6])
    if head == NPY:
        return {"w_plus": parse_npy(data)}
    if not head.startswith(ZIP):
        raise Refusal("it is not an .npz.")
    return parse_npz(Archive(file, data))


def _codes(arrays: dict[str, np.ndarray]) -> np.ndarray:
    """Returns w_plus, or the only array of a file that has no other arrays.

    NVIDIA's projector writes "w", and other programs write "dlatents".
    """
    others = [key for key in arrays if key != "names" and key != "w_plus"]
    key = "w_plus" if "w_plus" in arrays or len(others) != 1 else others[0]
    codes = _floats(arrays, key)
    if codes.ndim == 2 and key == "w_plus":  # the codes of one image
        codes = codes[None]
    if codes.ndim != 3 or 0 in codes.shape:
        raise Refusal(f"{quoted(key)} has the shape {list(codes.shape)}.")
    return codes


def _floats(arrays: dict[str, np.ndarray], key: str) -> np.ndarray:
    """Returns an array of a file as finite float32, as a copy."""
    if key not in arrays:
        raise Refusal(f"it has no {key}.")
    array = arrays[key]
    if array.dtype.kind not in "fiu" or not array.ndim:
        raise Refusal(f"{quoted(key)} does not contain numbers.")
    with np.errstate(over="ignore"):  # float64 may overflow
        array = array.astype(np.float32)
    if not np.isfinite(array).all():
        raise Refusal(f"{quoted(key)} contains NaN or infinity.")
    return array
