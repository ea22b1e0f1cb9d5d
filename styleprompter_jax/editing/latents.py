"""What an image becomes: W+ codes, and the feature maps that SMART reads."""

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
        w_plus: float32 (b, n, w_dim), the mean code added.
        features: the encoder's maps (b, h, w, c), coarse to fine; () where there are
            none, and then an image can be decoded without SMART only.
    """

    w_plus: jax.Array | np.ndarray
    features: tuple[jax.Array | np.ndarray, ...] = ()

    def __len__(self) -> int:
        return len(self.w_plus)

    def __eq__(self, other: object) -> bool:
        """Whether both hold the same numbers, features included."""
        if not isinstance(other, Latents):
            return NotImplemented
        mine, others = jax.tree.leaves(self), jax.tree.leaves(other)
        return len(mine) == len(others) and all(map(np.array_equal, mine, others))

    def __getitem__(self, index: Any) -> "Latents":
        """The latents of one image (still a batch, of 1) or of several.

        Args:
            index: a whole number, from the end if below 0; a slice; or a list or array
                of whole numbers, or of b booleans.

        Raises:
            StylePrompterError: for another index; if there is no such image, it is an
                IndexError too.
        """
        rows = _rows(index, len(self))
        return jax.tree.map(lambda array: array[rows], self)

    def __iter__(self) -> Iterator["Latents"]:
        """The latents of one image after the other, each a batch of 1."""
        return (self[k] for k in range(len(self)))

    def edit(
        self,
        direction: Direction | np.ndarray,
        strength: float | np.ndarray | None = None,
        layers: Sequence[int] | None = None,
    ) -> "Latents":
        """Codes moved by ``strength * direction``, with the same features.

        Args:
            direction: one of a model's `directions`, or an array (w_dim,) or
                (n, w_dim).
            strength: one number, or (b,); by default the direction's.
            layers: indices of the codes to change; by default those of the direction,
                which are all for an array.

        Raises:
            StylePrompterError: if a shape or an index does not fit the codes.
        """
        codes = as_numbers(self.w_plus, "The codes")
        if codes.ndim != 3:
            raise StylePrompterError(
                f"The codes are {codes.shape}, but those of latents are (b, n, w_dim)."
            )
        batch, n, w_dim = codes.shape
        if not isinstance(direction, Direction):
            vector = as_numbers(direction, "The direction's numbers")
            if vector.ndim not in (1, 2):
                raise StylePrompterError(
                    f"The direction is {vector.shape}, but one of these codes is "
                    f"({w_dim},) or ({n}, {w_dim})."
                )
            direction = Direction(np.asarray(vector))
        shape, response = direction.vector.shape, direction.response
        if shape not in ((w_dim,), (n, w_dim)) or (
            response is not None and response.reads.shape[1:] != (n, w_dim)
        ):
            raise StylePrompterError(
                f"The direction is {list(shape)}, but the codes are "
                f"[{n}, {w_dim}]: it belongs to another model."
            )
        strength = direction.strength if strength is None else strength
        strengths = jnp.asarray(as_numbers(strength, "The strengths"))
        if strengths.shape not in ((), (batch,)):
            raise StylePrompterError(
                f"The strength is {list(strengths.shape)} for {batch} images: give one "
                "number, or one an image."
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
        """Writes an .npz with w_plus and, if asked for, the features and b names.

        ``source`` is kept with them: the model that they are of, as
        `StylePrompter.source` names it.

        Raises:
            StylePrompterError: if the name does not end in .npz or cannot be written,
                names, codes and features are not of b images, or `load_named` would
                refuse the names.
        """
        path = local_path(path)
        if path.suffix.lower() != ".npz":
            raise StylePrompterError(f"{path} must end in .npz: latents are saved so.")
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
                f"{path} was not written: its arrays would be {shapes}, but w_plus is "
                "(b, n, w_dim), and there are b of all others."
            )
        if source:
            arrays["source"] = np.asarray(source)
        with atomic_path(path) as partial, partial.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]  # none is allow_pickle

    @classmethod
    def load(cls, path: str | os.PathLike) -> "Latents":
        """Reads what `save` wrote: w_plus (b, n, w_dim), or (n, w_dim) of one image.

        Also an .npz or .npy with one array (b, n, w_dim) under any name.

        Raises:
            StylePrompterError: if the file is missing, damaged or of another kind.
        """
        return _read(path)[0]


def _names(names: Sequence[str]) -> list[str]:
    found = list(names) if isinstance(names, Iterable) else [names]
    if isinstance(names, str) or not all(isinstance(name, str) for name in found):
        raise StylePrompterError(
            f"The names are {shown(names)}: give a list of text, one for each image."
        )
    return found


class _NoSuchImageError(StylePrompterError, IndexError):
    """What ends a loop over indices, as for other sequences."""


def _rows(index: Any, count: int) -> slice | np.ndarray:
    """The rows (m,) of `count` images that an index stands for."""
    try:
        if isinstance(index, slice):
            index.indices(count)
            return index
        rows = _numbers(index, count)
    except (TypeError, ValueError) as error:
        raise StylePrompterError(
            f"{shown(index)} is no index of latents: give a whole number, a "
            f"slice, or a list of whole numbers or of {count} booleans."
        ) from error
    if beyond := [k for k in rows if not -count <= k < count]:
        raise _NoSuchImageError(f"There is no image {beyond[0]} among {count}.")
    return np.array(rows, int)


def _numbers(index: Any, count: int) -> list[int]:
    """Whole numbers of an index that is no slice; TypeError, ValueError for others."""
    if isinstance(index, bool | np.bool | tuple):  # a tuple would be of several axes
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
    """`Latents.load`, and the names that the images were saved with.

    Where there are none, the names are "0000", "0001", ...

    Raises:
        StylePrompterError: as `Latents.load`, or if a name is none of a file below a
            folder, or that of two images.
    """
    latents, names = _read(path)
    _check_names(path, names)
    return latents, names


def _check_names(path: str | os.PathLike, names: Iterable[str]) -> None:
    """Refuses what cannot name the images of a file, and each a picture."""
    seen = set()
    for name in names:
        if not _is_below(name):
            raise StylePrompterError(
                f"{path} names an image {quoted(name)}, which is no name below a "
                "folder: save the codes with other names."
            )
        if name in seen:
            raise StylePrompterError(
                f"{path} names two images {quoted(name)}: save the codes with "
                "different names."
            )
        seen.add(name)


def _is_below(name: str) -> bool:
    """Whether a file of that name lies below the folder that it is written to."""
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
    """Latents of a file, and what the images are called there."""
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
                f"{error} Latents are an .npz with w_plus of [b, n, w_dim], as "
                "`styleprompter invert` writes."
            ) from error
    if {len(names), *map(len, features)} != {batch}:
        raise StylePrompterError(
            f"{path} cannot be read as latents: its arrays are of different lengths, "
            "and each is of one image after the other."
        )
    return Latents(w_plus, tuple(features)), names


def _arrays(file: BinaryIO) -> dict[str, np.ndarray]:
    """The arrays of an .npz by name; that of an .npy is w_plus."""
    size = os.fstat(file.fileno()).st_size
    if not size:
        raise Refusal(f"it is empty; {DAMAGED}")
    # A view of the file, of which every array is copied into floats.
    data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    head = bytes(data[:6])
    if head == NPY:
        return {"w_plus": parse_npy(data)}
    if not head.startswith(ZIP):
        raise Refusal("it is no .npz.")
    return parse_npz(Archive(file, data))


def _codes(arrays: dict[str, np.ndarray]) -> np.ndarray:
    """w_plus, or whatever the codes of a file are called that has nothing else.

    NVIDIA's projector writes "w", others "dlatents".
    """
    others = [key for key in arrays if key != "names" and key != "w_plus"]
    key = "w_plus" if "w_plus" in arrays or len(others) != 1 else others[0]
    codes = _floats(arrays, key)
    if codes.ndim == 2 and key == "w_plus":  # of one image
        codes = codes[None]
    if codes.ndim != 3 or 0 in codes.shape:
        raise Refusal(f"{quoted(key)} is {list(codes.shape)}.")
    return codes


def _floats(arrays: dict[str, np.ndarray], key: str) -> np.ndarray:
    """An array of a file as finite float32, in memory of its own."""
    if key not in arrays:
        raise Refusal(f"it has no {key}.")
    array = arrays[key]
    if array.dtype.kind not in "fiu" or not array.ndim:
        raise Refusal(f"{quoted(key)} holds no numbers.")
    with np.errstate(over="ignore"):  # of float64
        array = array.astype(np.float32)
    if not np.isfinite(array).all():
        raise Refusal(f"{quoted(key)} holds NaN or infinity.")
    return array
