"""Folders in a bucket: one writer at a time changes a folder as a whole.

    RUN/.styleprompter/0000000012.json   the ledger: numbered entries; the last is valid
    RUN/PATH@TOKEN.7                     a part: the content of the file PATH

An entry names its writer and a manifest: a part that lists the files. `buckets.create`
makes entries, so only one writer can make the next entry. The entry is the lock, and it
makes a new manifest valid. A writer renews its lock with further entries. Each part has
a unique name, so no writer overwrites a part. A reader always sees one whole version,
and a writer that lost the lock can change nothing.
"""

import contextlib
import itertools
import json
import logging
import os
import re
import secrets
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from styleprompter_jax.core import buckets
from styleprompter_jax.core.atomic import is_gone, machine
from styleprompter_jax.core.buckets import Address
from styleprompter_jax.core.errors import StylePrompterError

log = logging.getLogger(__name__)

LEDGER = ".styleprompter"
RENEW, EXPIRY = 15.0, 60.0  # seconds between entries, and without one until expiry
_POLL = 2.0
_ENTRY = re.compile(r"\d{10}\.json")
_PART = re.compile(r".+@[0-9a-f]{12}\.\d+")
_OLD_ENTRIES = 4  # number of old entries to keep for readers that just listed them


class Part(NamedTuple):
    """The object with the content of a file, its size in bytes and its SHA-256."""

    object: str
    size: int
    sha256: str


class Snapshot(NamedTuple):
    """The last entry of a ledger, with the files of its manifest by path."""

    number: int
    manifest: str
    files: dict[str, Part]
    holder: dict[str, Any]


class Lost(Exception):
    """Another writer has made the next entry."""


def is_part(name: str) -> bool:
    """Returns whether a name of an object belongs to a snapshot."""
    return _PART.fullmatch(name) is not None or f"/{LEDGER}/" in f"/{name}"


def newest(run: Address) -> Snapshot | None:
    """Returns the current version of a folder; None if it was never written.

    Raises:
        StylePrompterError: if it cannot be read.
    """
    for _ in range(3):  # the writer may remove old entries meanwhile
        if not (numbers := _numbers(run)):
            return None
        with contextlib.suppress(buckets.Missing):
            return _read(run, numbers[-1])
    raise StylePrompterError(f"{run} changes all the time: try again.")


def newest_around(address: Address) -> tuple[Address, Snapshot] | None:
    """Returns the folder at or around an address that has a ledger, and its version."""
    run: Address | None = address
    while run:
        if snapshot := newest(run):
            return run, snapshot
        run = run.parent
    return None


class Writer:
    """The only writer of a folder in a bucket.

    Args:
        run: the folder.
        what: what a writer does, for messages.
        option: the option of the command that names the folder, for messages.
        shown: the name of the folder in messages; "" for its address.
    """

    def __init__(
        self,
        run: Address,
        what: str = "training runs",
        option: str = "--workdir",
        shown: str = "",
    ):
        self.run = run
        self._what, self._option, self._shown = what, option, shown or str(run)
        self.token = secrets.token_hex(6)  # in the names of its parts
        self._counts = itertools.count(1)  # for several threads
        self._entry = threading.Lock()
        self._number = 0
        self.manifest = ""
        self.files: dict[str, Part] = {}
        self._before: set[str] = set()  # parts of the previous version

    def acquire(self) -> None:
        """Takes the lock; waits to see whether another writer is alive.

        Raises:
            StylePrompterError: if another writer holds the lock.
        """
        found = newest(self.run)
        if found and not _is_free(found.holder):
            end = time.monotonic() + EXPIRY
            while time.monotonic() < end:
                time.sleep(_POLL)
                if _numbers(self.run)[-1:] != [found.number]:
                    raise self._busy(found.holder)

        if found:
            self._number, self.manifest, self.files = found[:3]
        try:
            self._append()
        except Lost as error:
            raise self._busy(found.holder if found else {}) from error

    def renew(self) -> None:
        """Extends the lock; another thread may write parts at the same time.

        Raises:
            Lost: if another writer has the lock now.
        """
        with self._entry:
            self._append()

    def keep(self, ended: threading.Event) -> None:
        """Renews the lock until the event is set.

        Raises:
            Lost: if another writer has the lock now.
        """
        while not ended.wait(RENEW):
            try:
                self.renew()
            except StylePrompterError as error:  # the next call may succeed
                log.warning("%s", error)

    def part(self, path: str) -> Address:
        """Returns a new name for the content of a file."""
        return self.run / f"{path}@{self.token}.{next(self._counts)}"

    def commit(self, files: Mapping[str, Part]) -> None:
        """Makes ``files``, whose parts are written, the current version.

        Raises:
            Lost: if another writer has the lock now; then nothing changes.
        """
        manifest = self.part("manifest")
        rows = {path: part._asdict() for path, part in files.items()}
        buckets.write(manifest, json.dumps({"version": 1, "files": rows}).encode())
        old_parts = {self.manifest, *(part.object for part in self.files.values())}
        with self._entry:
            self.manifest = manifest.key.removeprefix(self._start)
            self.files = dict(files)
            # If the entry fails, the bucket still has the older version.
            before, self._before = self._before, self._before | old_parts
            self._append()
        now = {self.manifest, *(part.object for part in files.values())}
        # Keep one older version for readers.
        gone, self._before = before - now - old_parts, old_parts - now
        buckets.remove(self.run / name for name in gone if name)

    def discard(self, part: Part) -> None:
        """Removes a part that neither this version nor the one before it names."""
        named = {part.object for part in self.files.values()} | self._before
        if part.object not in named:
            buckets.remove([self.run / part.object])

    def sweep(self) -> None:
        """Removes the parts that killed writers left."""
        there = [*buckets.listing(self.run)]
        others = {name.partition(f"{LEDGER}/")[0] for name in there if LEDGER in name}
        others.discard("")  # other runs inside this folder keep their parts
        named = {self.manifest, *(part.object for part in self.files.values())}
        buckets.remove(
            self.run / name
            for name in there
            if _PART.fullmatch(name)
            and name not in named
            and not name.startswith(tuple(others))
        )

    def release(self) -> None:
        """Releases the lock, and removes the parts of the previous version."""
        with contextlib.suppress(Lost):
            self._append(free=True)
            buckets.remove(self.run / name for name in self._before if name)

    @property
    def _start(self) -> str:
        return f"{self.run.key}/" if self.run.key else ""

    def _append(self, free: bool = False) -> None:
        holder = {
            "token": self.token,
            "machine": machine(),
            "boot": _boot(),
            "process": os.getpid(),
            "free": free,
        }
        entry = {"version": 1, "manifest": self.manifest, "holder": holder}
        content = json.dumps(entry).encode()
        while not buckets.create(_place(self.run, self._number + 1), content):
            # An earlier call of this writer may have made it, and its answer was lost.
            self._number += 1
            try:
                holder = _read(self.run, self._number).holder
            except buckets.Missing as error:
                raise Lost from error
            if holder.get("token") != self.token:
                raise Lost
        self._number += 1
        numbers = _numbers(self.run)
        if numbers[-1:] != [self._number]:  # this one was old, and removed
            raise Lost
        old = [n for n in numbers if n <= self._number - _OLD_ENTRIES]
        buckets.remove(_place(self.run, number) for number in old)

    def _busy(self, holder: Mapping) -> StylePrompterError:
        here = holder.get("machine") == machine()
        where = f", in process {holder.get('process')} of this machine" if here else ""
        return StylePrompterError(
            f"Another {self._what} in {self._shown}{where}: stop it, or use another "
            f"{self._option}."
        )


def _place(run: Address, number: int) -> Address:
    return run / LEDGER / f"{number:010}.json"


def _numbers(run: Address) -> list[int]:
    found = buckets.listing(run / LEDGER)
    return sorted(int(name[:10]) for name in found if _ENTRY.fullmatch(name))


def _read(run: Address, number: int) -> Snapshot:
    """Returns an entry with its manifest; raises Missing if it has been removed."""
    place = _place(run, number)
    try:
        entry = json.loads(buckets.read(place))
        manifest, holder, files = entry["manifest"], dict(entry["holder"]), {}
        if manifest:
            rows = json.loads(buckets.read(run / manifest))["files"]
            files = {path: Part(**row) for path, row in rows.items()}
        for path, part in files.items():
            if not (buckets.is_plain(path) and buckets.is_plain(part.object)):
                raise ValueError(path)
    except (ValueError, KeyError, TypeError) as error:
        raise StylePrompterError(
            f"{place} is damaged, or of a newer version of this program: use another "
            "folder."
        ) from error
    return Snapshot(number, manifest, files, holder)


def _is_free(holder: Mapping) -> bool:
    """Returns whether a writer has certainly ended."""
    if holder.get("free"):
        return True
    process = holder.get("process")
    known = bool(_boot()) and isinstance(process, int)
    here = holder.get("machine") == machine() and holder.get("boot") == _boot()
    return known and here and is_gone(holder["machine"], str(process))


def _boot() -> str:
    """Returns a text that identifies the current boot of the machine."""
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return ""
