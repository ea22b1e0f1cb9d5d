"""Reads files of latents.

    w_plus        codes (b, n, w_dim)
    features_0    maps (b, h, w, c), coarse to fine; and so on; optional
    names         of the images, b texts; optional
    image_sha256  of the image files, b texts; optional
    generators    (b, 2) texts: for each image the file beside with the change of its
                  generator, and that file's SHA-256; or two empty ones; optional
    source        the name of the model; optional
    generator_sha256  of the weights of the model's generator; optional

An array of codes alone, in an .npz or .npy, will do.
"""

import functools
import mmap
import os
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from styleprompter_jax.core.archive import Archive
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.fetch import NothingThere, beside
from styleprompter_jax.core.files import open_file
from styleprompter_jax.core.numpy_files import NPY, TEXT, ZIP, parse_npy, parse_npz
from styleprompter_jax.core.refusal import DAMAGED, Refusal, quoted
from styleprompter_jax.editing.generator_change import GeneratorChange

# Largest number of changes in memory that are read when they are needed: those of a
# batch of the usual size. Each may take 100 MB.
KEPT = 16


class Content(NamedTuple):
    """The fields of `Latents`, and the names of the images."""

    w_plus: np.ndarray
    features: tuple[np.ndarray, ...]
    changes: np.ndarray | None
    names: list[str]


def check_names(path: str | os.PathLike, names: Iterable[str]) -> None:
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
        and len(name) <= TEXT
        and not path.is_absolute()
        and ".." not in path.parts
        and "\0" not in name
    )


def read(path: str | os.PathLike, lazy: bool = False) -> Content:
    """Reads an .npz of latents, or an array of codes alone.

    Args:
        path: the file.
        lazy: read the changes of generators when they are needed, and forget them.
            Their files must then stay as they are.

    Raises:
        StylePrompterError: if the file, or a file that it names, is missing, damaged or
            of another kind.
    """
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
            files = _files(arrays, batch)
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
    changes = None if files is None else _load_changes(path, files, lazy)
    return Content(w_plus, tuple(features), changes, names)


def image_sums(path: str | os.PathLike) -> list[str] | None:
    """Returns the SHA-256 of the image files in a file that `read` has accepted.

    Older files have none; then the result is None.
    """
    with open_file(path) as file:
        arrays = _arrays(file)
        if "image_sha256" not in arrays:
            return None
        sums = arrays["image_sha256"]
        if sums.dtype.kind != "U" or sums.shape != arrays["w_plus"].shape[:1]:
            raise Refusal("'image_sha256' does not have one text for each image.")
        return sums.tolist()


def generator_sum(path: str | os.PathLike) -> str:
    """Returns the SHA-256 of the generator in a file that `read` has accepted.

    It is "" in older files.
    """
    with open_file(path) as file:
        given = _arrays(file).get("generator_sha256", np.array(""))
    return str(given) if given.dtype.kind == "U" and not given.ndim else ""


def _files(arrays: dict[str, np.ndarray], batch: int) -> list[list[str]] | None:
    """Returns for each image the file of its generator's change, and its SHA-256."""
    if "generators" not in arrays:
        return None
    given = arrays["generators"]
    if given.dtype.kind != "U" or given.shape != (batch, 2):
        raise Refusal(f"'generators' has not two texts for each of {batch} images.")
    rows = given.tolist()
    for name, _ in rows:
        if name and not _is_below(name):
            raise Refusal(f"{quoted(name)} is not the name of a file beside it.")
    return rows


def _load_changes(
    path: str | os.PathLike, files: list[list[str]], lazy: bool
) -> np.ndarray:
    """Returns objects (b,): the change for each image, one object for each file."""
    load = functools.lru_cache(KEPT)(GeneratorChange.load)
    known: dict[tuple, GeneratorChange | None] = {("", ""): None}
    changes = np.full(len(files), None)
    for k, (name, digest) in enumerate(files):
        if (name, digest) not in known:
            file = _beside(path, name)
            if lazy:
                read = functools.partial(load, file, digest)
                known[name, digest] = GeneratorChange.lazy(file, read)
            else:
                known[name, digest] = GeneratorChange.load(file, digest)
        changes[k] = known[name, digest]
    return changes


def _beside(path: str | os.PathLike, name: str) -> Path:
    """Returns the path of the file of a change; refuses a missing file."""
    try:
        if (file := beside(path, name)).exists():
            return file
    except (NothingThere, OSError):  # as a path that is too long gives
        pass
    raise StylePrompterError(
        f"There is no file {name} beside {path}, which names it: copy the whole folder "
        "that `invert` wrote."
    )


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
        raise Refusal(f"{quoted(key)} has NaN, infinity or more than float32 holds.")
    return array
