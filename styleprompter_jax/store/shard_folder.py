"""Folders of shards, on a disk or in a bucket: one call writes to one at a time.

    folder = shard_folder("gs://faces/inversions")
    with folder.owned():
        done = folder.finished(run)
        with folder.file(shard_name(sources)) as path:
            write_shard(path, run, sources, images, latents)

Machines of a cluster write to the folder that one of them owns.
"""

import contextlib
import dataclasses
import logging
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from styleprompter_jax.core import buckets, snapshots
from styleprompter_jax.core.atomic import make_folder, writing
from styleprompter_jax.core.background import Background
from styleprompter_jax.core.buckets import Address
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.lock import lock
from styleprompter_jax.core.paths import AnyPath
from styleprompter_jax.core.results import ACCOUNT
from styleprompter_jax.core.snapshots import Lost, Writer
from styleprompter_jax.store import shards

LOCK = ".lock"  # a file of a disk
WRITER = ".writer"  # a folder of a bucket; not LOCK, since users copy buckets to disks

log = logging.getLogger(__name__)


def shard_folder(place: AnyPath) -> "LocalShards | BucketShards":
    """Returns a folder of shards.

    Raises:
        StylePrompterError: if the path or the address is not valid.
    """
    if buckets.in_bucket(place):
        return BucketShards(buckets.parse(place))
    return LocalShards(buckets.local_place(place).absolute())


def _other_results(folder: object) -> StylePrompterError:
    return StylePrompterError(
        f"{folder} holds results of another command, which {ACCOUNT} lists: choose "
        "another --output for the shards."
    )


@dataclasses.dataclass(frozen=True)
class LocalShards:
    """A folder on a disk, which all machines of a cluster see."""

    folder: Path

    def __str__(self) -> str:
        return str(self.folder)

    @contextlib.contextmanager
    def owned(self) -> Iterator["LocalShards"]:
        """Makes the folder, and refuses a second call.

        Raises:
            StylePrompterError: if another call owns it, it has other results, or it
                cannot be written.
        """
        if (self.folder / ACCOUNT).is_file():
            raise _other_results(self)
        with writing(self.folder):
            make_folder(self.folder)
        busy = f"Another call writes to {self}: wait for its end, or choose another."
        with lock(self.folder / LOCK, busy, self.folder):
            yield self

    def check(self) -> None:
        """Raises an error if another call owns the folder now."""

    def path(self, name: str) -> Path:
        """Returns the path of a shard."""
        return self.folder / name

    def finished(self, run: Mapping[str, Any]) -> set[str]:
        """Returns the names of all images in shards; see `shards.names_in`."""
        return {
            name
            for path in sorted(self.folder.glob(f"*{shards.SUFFIX}"))
            if not path.name.startswith(".")  # an unfinished file of a killed process
            for name in shards.names_in(path, run, str(path))
        }

    @contextlib.contextmanager
    def file(self, name: str) -> Iterator[Path]:
        """Yields the path at which to write a shard."""
        yield self.path(name)


class BucketShards:
    """A folder in a bucket. A shard appears there completely or not at all.

    Args:
        address: of the folder.
    """

    def __init__(self, address: Address):
        self._address = address
        self._error: Exception | None = None

    def __str__(self) -> str:
        return str(self._address)

    @contextlib.contextmanager
    def owned(self) -> Iterator["BucketShards"]:
        """Holds the folder's lock, and refuses a second call.

        Raises:
            StylePrompterError: if another call holds it, it has other results, it
                cannot be written, or an object has its name.
        """
        if self._address.key and buckets.find(self._address):
            raise StylePrompterError(f"{self} is a file: choose another --output.")
        if buckets.find(self._address / ACCOUNT):
            raise _other_results(self)
        place = self._address / WRITER
        writer = Writer(place, "call writes", "--output", str(self))

        def keep(ended: threading.Event) -> None:
            try:
                writer.keep(ended)
            except Exception as error:
                self._error = error

        writer.acquire()
        with Background(keep) as thread:
            try:
                yield self
            finally:
                thread.stop()
                if self._error is None:
                    self._release(writer)

    def _release(self, writer: Writer) -> None:
        """Releases the lock; without the bucket, it expires by itself."""
        try:
            writer.release()
        except StylePrompterError as error:
            log.warning("%s", error)

    def check(self) -> None:
        """Raises an error if another call owns the folder now.

        Raises:
            StylePrompterError: if this call could not renew its lock.
        """
        if isinstance(self._error, Lost):
            raise StylePrompterError(
                f"Another call took over {self}, because this one could not renew its "
                f"lock for {snapshots.EXPIRY:.0f} seconds: let the other one go on."
            )
        if self._error is not None:
            raise self._error

    def path(self, name: str) -> Path:
        """Returns the address of a shard; in a Path, gs:// has only one slash."""
        return Path(str(self._address / name))

    def finished(self, run: Mapping[str, Any]) -> set[str]:
        """Returns the names of all images in shards, and reads only these names."""
        there = buckets.listing(self._address)
        found = [
            name
            for name in there
            if name.endswith(shards.SUFFIX) and not name.startswith(".")
            if "/" not in name
        ]

        def names(name: str) -> set[str]:
            address = self._address / name
            with (
                contextlib.suppress(buckets.Missing),  # a user has just removed it
                buckets.Reader(address, there[name].size) as file,
            ):
                return shards.names_in(file, run, str(address))
            return set()

        return set().union(*buckets.each(names, found))

    @contextlib.contextmanager
    def file(self, name: str) -> Iterator[Path]:
        """Yields a temporary path at which to write a shard, and sends the file.

        Raises:
            StylePrompterError: if it cannot be sent.
        """
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, name)
            yield path
            buckets.upload(path, self._address / name, path.stat().st_size)
