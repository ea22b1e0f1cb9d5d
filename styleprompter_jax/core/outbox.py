"""Results in buckets: a function writes to a local folder, and this module uploads it.

At first, the local folder has the objects of the bucket's folder, so that the function
finds its earlier results and the user's files. If the function fails, the module
uploads nothing.
"""

import contextlib
import dataclasses
import functools
import inspect
import itertools
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from styleprompter_jax.core import buckets
from styleprompter_jax.core.atomic import is_gone, machine, make_folder, writing
from styleprompter_jax.core.buckets import Address
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.paths import cache_folder
from styleprompter_jax.core.snapshots import is_part

P = ParamSpec("P")
R = TypeVar("R")
# The record of results (`core.results`) is sent before all other files, because it
# shows which files this program wrote. The config of a model and the manifest of an
# export are sent last, because they complete the folder.
_FIRST, _LAST = ".styleprompter", ("config.json", "manifest.json")
_OPEN = re.compile(r"([0-9a-f]{8})-(\d+)-\d+")
_count = itertools.count()


def to_bucket(
    output: str, *, file: bool = False
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Makes a function accept an address in a bucket for its results.

    Args:
        output: the parameter with the folder of the results.
        file: whether the parameter is one file.
    """

    def decorated(function: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(function)

        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            bound = signature.bind(*args, **kwargs)
            place = bound.arguments.get(output)
            if not isinstance(place, str | os.PathLike) or not buckets.in_bucket(place):
                return function(*args, **kwargs)
            address = buckets.parse(place)
            with _sent(address, file) as folder:
                bound.arguments[output] = folder
                made = function(*bound.args, **bound.kwargs)
            return _moved(made, folder, address)

        return call

    return decorated


@contextlib.contextmanager
def _sent(address: Address, one_file: bool) -> Iterator[Path]:
    """Yields a local folder or file to write; sends the changes after the block."""
    root = cache_folder("outputs")
    with writing(root):
        make_folder(root)
        _sweep(root)
        box = root / f"{machine()}-{os.getpid()}-{next(_count)}"
        box.mkdir()
    place = box / address.name
    try:
        with writing(place):
            _begin(address, place, one_file)
            before = _files(box)
        try:
            yield place
        except StylePrompterError as error:
            text = str(error).replace(str(place), str(address))
            raise StylePrompterError(text) from error
        try:
            _send(address, place, box, before)
        except StylePrompterError as error:
            kept = box.rename(root / f"unsent-{box.name}")
            raise StylePrompterError(f"{error} The results are in {kept}.") from error
    finally:
        shutil.rmtree(box, ignore_errors=True)


def _begin(address: Address, place: Path, one_file: bool) -> None:
    if one_file:
        if buckets.find(address):
            place.touch()  # its content does not matter
        return
    if buckets.find(address) if address.key else None:
        raise StylePrompterError(f"{address} is a file: choose another --output.")
    there = buckets.listing(address)
    found = [name for name in there if not is_part(name)]
    size = sum(there[name].size for name in found)
    if size > shutil.disk_usage(place.parent).free:
        raise StylePrompterError(
            f"{address} has {size:,} bytes, more than {place.parent} has room for: "
            "choose a new folder for --output, or set XDG_CACHE_HOME to a larger disk."
        )

    def fetch(name: str) -> None:
        make_folder((place / name).parent)
        buckets.download(address / name, place / name)

    buckets.each(fetch, found)


def _send(address: Address, place: Path, box: Path, before: dict) -> None:
    def target(file: Path) -> Address:
        below = file.relative_to(place).as_posix()
        return address if below == "." else address / below

    after = _files(box)
    changed = [file for file in after if after[file] != before.get(file)]
    groups: list[list[Path]] = [[], [], []]
    for file in changed:
        groups[1 + (file.name in _LAST) - (file.name == _FIRST)].append(file)
    for group in groups:
        buckets.each(lambda f: buckets.upload(f, target(f), after[f][0]), group)
    buckets.remove(target(file) for file in before if file not in after)


def _files(folder: Path) -> dict[Path, tuple[int, int, int]]:
    """Returns size, time and inode of each file that is not hidden."""
    found = {}
    for file in sorted(folder.rglob("*")):
        if file.is_file() and (file.name == _FIRST or not file.name.startswith(".")):
            status = file.stat()
            found[file] = status.st_size, status.st_mtime_ns, status.st_ino
    return found


def _moved(value: Any, place: Path, address: Address) -> Any:
    """Returns a result with addresses instead of the local paths.

    In a Path, gs:// has only one slash. `buckets.parse` accepts this form too.
    """
    if isinstance(value, Path):
        with contextlib.suppress(ValueError):
            return Path(str(address), value.relative_to(place))
    if isinstance(value, list):
        return [_moved(one, place, address) for one in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in dataclasses.fields(value) if field.init]
        new = {name: _moved(getattr(value, name), place, address) for name in names}
        return dataclasses.replace(value, **new)
    return value


def _sweep(root: Path) -> None:
    """Removes the folders of killed processes."""
    for box in root.iterdir():
        if (found := _OPEN.fullmatch(box.name)) and is_gone(found[1], found[2]):
            shutil.rmtree(box, ignore_errors=True)
