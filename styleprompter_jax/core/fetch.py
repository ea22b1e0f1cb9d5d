"""Local copies of objects and folders in buckets.

Code that reads files reads the copy. Copies are in the user's cache. Each version of an
address has its own folder, so a changed object gets another folder. The cache holds at
most `LIMIT` bytes; the program first removes the least recently used copies. A process
measures the cache from time to time. In between it counts what it adds itself, and does
not see what others add.

Messages name the addresses, and not the copies: `with_addresses` replaces the paths.
"""

import contextlib
import hashlib
import json
import os
import re
import shutil
import threading
import time
from pathlib import Path

from styleprompter_jax.core import buckets, errors
from styleprompter_jax.core.atomic import atomic_path, is_gone, machine, write_text
from styleprompter_jax.core.buckets import Address, Object
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.lock import lock
from styleprompter_jax.core.paths import cache_folder, local_path
from styleprompter_jax.core.snapshots import is_part, newest_around
from styleprompter_jax.core.sums import sha256

LIMIT = 200 * 2**30  # bytes of all copies
_FORGOTTEN = 7 * 24 * 3600  # seconds until a use by another machine counts as over
_SELDOM = 60.0  # seconds between measurements, at least
_SHARE = 20  # one part of the time for measurements, and of the cache to free at once
_USERS = ".users"  # a folder with a file for each process that reads the copy
_ADDRESS = ".address"  # a file beside it, of a complete copy
_COPIES = "buckets"  # folder of the copies in the cache
_measured: dict[Path, tuple[float, int]] = {}  # until when, and the bytes, by cache
_measuring = threading.Lock()


class NothingThere(StylePrompterError):
    """The address has neither an object nor a run."""


def local_copy(path: str | os.PathLike, name: str = "") -> Path:
    """Returns a local path as it is, and the local copy of an address.

    Args:
        path: a path, or an address in a bucket.
        name: a file or folder below it; only this part of a bucket is copied.

    Raises:
        StylePrompterError: if the address does not exist, or cannot be read.
    """
    if not buckets.in_bucket(path):
        return buckets.local_place(path) / name
    address = buckets.parse(f"{buckets.parse(path)}/{name}")
    for _ in range(3):  # a training may remove old parts meanwhile
        with contextlib.suppress(buckets.Missing):
            return _fetch(address)
    raise StylePrompterError(
        f"A part of {address} is missing: try again; a training may have changed it."
    )


def beside(path: str | os.PathLike, name: str) -> Path:
    """Returns the local path of another file in the folder of a file."""
    if not buckets.in_bucket(path):
        return local_path(path).parent / name
    return local_copy(str(buckets.parse(path).parent), name)


def folder_of(path: str | os.PathLike) -> Path:
    """Returns the local path of the folder of a file."""
    if not buckets.in_bucket(path):
        return Path(path).parent
    return local_copy(str(buckets.parse(path).parent))


def _fetch(address: Address) -> Path:
    listed = buckets.listing(address)
    files = {name: one for name, one in listed.items() if not is_part(name)}
    if files:
        found = {name: (address / name, one) for name, one in files.items()}
        if len(files) < len(listed):  # a run, and results of other commands beside it
            with contextlib.suppress(NothingThere):
                found = _of_run(address) | found
    elif address.key and (one := buckets.find(address)):
        found = {"": (address, one)}
    else:
        found = _of_run(address)
    identity = [str(address), [(name, one) for name, (_, one) in found.items()]]
    digest = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:16]
    root = cache_folder(_COPIES)
    entry = root / digest
    with lock(root / f".{digest}.lock", guarded=entry):
        users = entry / _USERS
        users.mkdir(parents=True, exist_ok=True)
        (users / f"{machine()}-{os.getpid()}").touch()
        os.utime(entry)
        place = entry / address.name
        missing = {
            place / name: source
            for name, source in found.items()
            if not (place / name).exists()
        }
        _make_room(entry, sum(one.size for _, one in missing.values()), address)
        buckets.each(lambda file: _download(file, *missing[file]), missing)
        # Now messages name the address, not the copy.
        write_text(entry / _ADDRESS, str(address))
    return place


def with_addresses(text: str) -> str:
    """Returns a text with the addresses of buckets in place of the paths of copies."""
    if f"{os.sep}{_COPIES}{os.sep}" not in text:
        return text
    root = cache_folder(_COPIES)
    copy = re.escape(f"{root}{os.sep}") + r"[0-9a-f]{16}(?=" + re.escape(os.sep) + ")"
    for found in set(re.findall(copy, text)):
        if address := _address_of(Path(found)):
            place = os.path.join(found, address.rpartition("/")[2])
            text = text.replace(place, address)
    return text


def _address_of(entry: Path) -> str:
    """Returns the address of a copy; "" if it is not complete."""
    with contextlib.suppress(OSError, ValueError):
        return (entry / _ADDRESS).read_text()
    return ""


errors.rewordings.append(with_addresses)


def _of_run(address: Address) -> dict[str, tuple[Address, Object]]:
    """Returns the files of a run that a training keeps in a bucket."""
    if found := newest_around(address):
        run, snapshot = found
        inside = address.key.removeprefix(run.key).strip("/")
        start = f"{inside}/" if inside else ""
        files = {
            name.removeprefix(start) if name != inside else "": (
                run / part.object,
                Object(part.size, part.sha256),
            )
            for name, part in snapshot.files.items()
            if name == inside or name.startswith(start)
        }
        if files:
            return files
    raise NothingThere(f"There is nothing at {address}: check the address.")


def _download(file: Path, address: Address, known: Object) -> None:
    with atomic_path(file) as partial:
        buckets.download(address, partial)
        whole = partial.stat().st_size == known.size
        if is_part(address.name) and whole:
            whole = sha256(partial) == known.tag
        if not whole:
            raise StylePrompterError(
                f"{address} came damaged: try again, or replace the object."
            )


def _make_room(own: Path, needed: int, address: Address) -> None:
    """Removes old copies; refuses a copy that is too large."""
    if not needed:
        return
    root = own.parent
    with _measuring:
        until, used = _measured.get(root, (0.0, 0))
        free = shutil.disk_usage(root).free
        if time.monotonic() > until or needed > min(LIMIT - used, free):
            begin = time.monotonic()
            used = _removed_old(own, needed, address)
            end = time.monotonic()
            until = end + max(_SELDOM, _SHARE * (end - begin))
        _measured[root] = until, used + needed


def _removed_old(own: Path, needed: int, address: Address) -> int:
    """Measures the cache, and removes old copies if it must; returns the bytes left."""
    root = own.parent
    entries = [entry for entry in root.iterdir() if (entry / _USERS).is_dir()]
    sizes = {entry: _size(entry) for entry in entries}
    used = sum(sizes.values())
    room = min(LIMIT - used, shutil.disk_usage(root).free)
    # Remove a little more than needed, so that not every new copy comes here.
    wanted = needed if room >= needed else needed + used // _SHARE
    for entry in sorted(set(entries) - {own}, key=_last_use):
        if room >= wanted:
            break
        # Another process that makes or takes a copy locks it. Do not remove this copy.
        with (
            contextlib.suppress(OSError, StylePrompterError),
            lock(root / f".{entry.name}.lock", f"{entry} is in use."),
        ):
            if not _is_used(entry):
                shutil.rmtree(entry, ignore_errors=True)
                room += sizes[entry]
                used -= sizes[entry]
    if room < needed:
        raise StylePrompterError(
            f"{address} has {needed:,} bytes, but its copy in {root} can have "
            f"{max(0, room):,}: name a smaller folder, free space there, or set "
            "XDG_CACHE_HOME to a larger disk."
        )
    return used


def _size(folder: Path) -> int:
    """Returns the bytes of the objects in a folder."""
    total = 0
    for file in folder.rglob("*"):
        if file.name == _ADDRESS:
            continue
        with contextlib.suppress(OSError):  # another process removes it
            total += file.stat().st_size if file.is_file() else 0
    return total


def _last_use(entry: Path) -> float:
    with contextlib.suppress(OSError):
        return entry.stat().st_mtime
    return 0.0


def _is_used(entry: Path) -> bool:
    """Returns whether a process that took the copy may still run."""
    for user in (entry / _USERS).iterdir():
        where, _, process = user.name.partition("-")
        # The processes of another machine with the same cache are unknown.
        other = where != machine() and time.time() - user.stat().st_mtime > _FORGOTTEN
        if not other and not is_gone(where, process):
            return True
    return False
