"""Results in buckets: a function writes to a local folder, and this module uploads it.

At first, the local folder has the objects of the bucket's folder, so that the function
finds its earlier results and the user's files. If the function fails, or another
program changed the same objects meanwhile, the module uploads nothing. Results that it
could not upload stay in the local folder.
"""

import contextlib
import dataclasses
import functools
import inspect
import logging
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from styleprompter_jax.core import buckets
from styleprompter_jax.core.atomic import is_gone, machine, make_folder, writing
from styleprompter_jax.core.buckets import Address, Object
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.paths import cache_folder, scheme
from styleprompter_jax.core.results import check_no_shards
from styleprompter_jax.core.snapshots import is_part

P = ParamSpec("P")
R = TypeVar("R")
# The record of results (`core.results`) is sent before all other files, because it
# shows which files this program wrote. The config of a model and the manifest of an
# export are sent last, because they complete the folder.
_FIRST, _LAST = ".styleprompter", ("config.json", "manifest.json")
_OPEN = re.compile(r"([0-9a-f]{8})-(\d+)-[0-9a-f]+")
_log = logging.getLogger(__name__)


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
            if not isinstance(place, str | os.PathLike) or not scheme(place):
                return function(*args, **kwargs)
            if not buckets.in_bucket(place):
                buckets.local_place(place)  # refuses it
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
        box = root / f"{machine()}-{os.getpid()}-{secrets.token_hex(4)}"
        box.mkdir()
    place = box / address.name
    try:
        with writing(place):
            there = _listing(address, one_file)
            check_no_shards(address, there)
            _begin(address, place, there)
            before = _files(place)
        try:
            yield place
        except StylePrompterError as error:
            text = str(error).replace(str(place), str(address))
            raise StylePrompterError(text) from error
        # With this name, the results outlive the process, however it ends.
        kept = box.rename(root / f"unsent-{box.name}")
    except BaseException:
        shutil.rmtree(box, ignore_errors=True)
        raise
    try:
        after = _files(kept / address.name)
        new = [name for name in after if after[name] != before.get(name)]
        gone = before.keys() - after.keys()
        now = _listing(address, one_file)
        if any(now.get(name) != there.get(name) for name in (*new, *gone)):
            raise StylePrompterError(
                f"Another program changed {address} while this command ran: run the "
                "same command again."
            )
        _send(address, kept / address.name, {name: after[name][0] for name in new})
        buckets.remove(address / name for name in gone)
    except StylePrompterError as error:
        raise StylePrompterError(f"{error} The results are in {kept}.") from error
    except BaseException:
        _log.warning("The results were not sent. They are in %s.", kept)
        raise
    shutil.rmtree(kept, ignore_errors=True)


def _listing(address: Address, one_file: bool) -> dict[str, Object]:
    """Returns the objects below an address by name; for one file, its name is "."."""
    if one_file:
        found = buckets.find(address)
        return {".": found} if found else {}
    if address.key and buckets.find(address):
        raise StylePrompterError(f"{address} is a file: choose another --output.")
    there = buckets.listing(address)
    return {name: one for name, one in there.items() if not is_part(name)}


def _begin(address: Address, place: Path, there: dict[str, Object]) -> None:
    if "." in there:
        place.touch()  # its content does not matter
        return
    size = sum(one.size for one in there.values())
    if size > shutil.disk_usage(place.parent).free:
        raise StylePrompterError(
            f"{address} has {size:,} bytes, more than {place.parent} has room for: "
            "choose a new folder for --output, or set XDG_CACHE_HOME to a larger disk."
        )

    def fetch(name: str) -> None:
        make_folder((place / name).parent)
        buckets.download(address / name, place / name)

    buckets.each(fetch, there)


def _send(address: Address, place: Path, sizes: dict[str, int]) -> None:
    def send(name: str) -> None:
        target = address if name == "." else address / name
        buckets.upload(place / name, target, sizes[name])

    groups: list[list[str]] = [[], [], []]
    for name in sizes:
        last = name.rpartition("/")[2]
        groups[1 + (last in _LAST) - (last == _FIRST)].append(name)
    for group in groups:
        buckets.each(send, group)


def _files(place: Path) -> dict[str, tuple[int, int, int]]:
    """Returns size, time and inode of each file that is not hidden, as `_listing`."""
    found = {}
    for file in [place, *sorted(place.rglob("*"))]:
        if file.is_file() and (file.name == _FIRST or not file.name.startswith(".")):
            status = file.stat()
            name = file.relative_to(place).as_posix()
            found[name] = status.st_size, status.st_mtime_ns, status.st_ino
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
