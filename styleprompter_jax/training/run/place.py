"""The place of a run: a local folder, or a bucket with a local stage.

A training reads and writes a local folder in both cases. For a bucket, this folder is
the stage, in the user's cache. It starts as a copy of the bucket's last version. A
thread sends every saved step, and all other changed files with it, as a new version
(`core.snapshots`). So the bucket always holds the run at one of its saved steps, and
the stage has all guarantees of a local disk.
"""

import contextlib
import hashlib
import os
import shutil
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import jax
from absl import logging

from styleprompter_jax.core import buckets, snapshots
from styleprompter_jax.core.atomic import atomic_path, is_partial, write_text
from styleprompter_jax.core.background import Background
from styleprompter_jax.core.buckets import Address
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.lock import lock
from styleprompter_jax.core.paths import cache_folder
from styleprompter_jax.core.snapshots import Lost, Part, Snapshot, Writer
from styleprompter_jax.core.sums import sha256
from styleprompter_jax.training.run import workdir as folders
from styleprompter_jax.training.run.checkpoint import saved_steps
from styleprompter_jax.training.run.workdir import BEST, CHECKPOINTS

# A file in a stage: the bucket's version that the stage continues, and the marks of the
# versions that it made.
BASE = ".version"
_SOON = 0.5  # seconds between looks at the stage
_OFTEN = 60.0  # seconds between versions without a new step
_PATIENCE = 600.0  # seconds without the bucket until the training stops
_PAUSE = 5.0  # seconds after a failure
_BLOCK = 2**23  # bytes


class _File(NamedTuple):
    """The identity of a file's content; a file that grows keeps its node."""

    size: int
    changed: int
    node: int


class Local:
    """A run in a local folder.

    Attributes:
        folder: where the training reads and writes.
        shared: whether all processes of the training see this folder.
    """

    shared = True

    def __init__(self, folder: Path):
        self.folder = folder

    def shown(self, name: str) -> Path | str:
        """Returns the place of a file of the run, for the user."""
        return self.folder / name

    @contextlib.contextmanager
    def owned(self) -> Iterator[None]:
        """Makes the folder, and refuses a second training in it."""
        with folders.lock(self.folder):
            yield

    def check(self) -> None:
        """Raises an error if the run must stop."""


class Staged(Local):
    """A run in a bucket; the folder is its stage.

    Args:
        run: the folder in the bucket.
        stage: the local folder, locked.
        version: the bucket's version that the stage continues; None for a new run.
    """

    shared = False

    def __init__(self, run: Address, stage: Path, version: Snapshot | None):
        super().__init__(stage)
        self._run, self._writer, self._version = run, Writer(run), version
        self._sent: dict[str, tuple[_File, Part]] = {}
        self._error: Exception | None = None
        self._sender = Background(self._work)
        self._renewer = Background(self._renew)

    def shown(self, name: str) -> str:
        """Returns the address of a file of the run."""
        return str(self._run / name)

    @contextlib.contextmanager
    def owned(self) -> Iterator[None]:
        """Locks the bucket's folder, and sends the stage there until the end.

        Raises:
            StylePrompterError: if another training owns it, it cannot be written, or an
                object has its name.
        """
        if self._run.key and buckets.find(self._run):
            raise StylePrompterError(f"{self._run} is a file: use another --workdir.")
        self._writer.acquire()
        if self._writer.manifest != _manifest(self._version):
            self._writer.release()
            raise StylePrompterError(
                f"Another training has just changed {self._run}: run the same command "
                "again."
            )
        with super().owned(), self._renewer:
            self._mark()
            try:
                self._writer.sweep()
                with self._sender:
                    yield
            except BaseException:
                # The error that ends the training matters more.
                with contextlib.suppress(Lost, StylePrompterError, OSError):
                    self._finish()
                raise
            try:
                self._finish()
            except (Lost, StylePrompterError, OSError) as error:
                raise self._told(error) from error

    def check(self) -> None:
        """Raises the error of the thread that sends, so that the training stops.

        Raises:
            StylePrompterError: if another training owns the bucket's folder now, or it
                could not be written for ten minutes.
        """
        if self._error is not None:
            raise self._told(self._error) from self._error

    def _finish(self) -> None:
        """Sends the last changes, also after an error of the training."""
        if isinstance(self._error, Lost):
            raise self._error
        self._send()
        self._renewer.stop()
        self._writer.release()

    def _told(self, error: Exception) -> StylePrompterError:
        if isinstance(error, Lost):
            return StylePrompterError(
                f"Another training took over {self._run}, because this one could not "
                f"renew its lock for {snapshots.EXPIRY:.0f} seconds: let the other one "
                "go on, or use another --workdir."
            )
        return StylePrompterError(
            f"{error} The last steps are saved in {self.folder}, and the same command "
            "on this machine continues from there."
        )

    def _renew(self, ended: threading.Event) -> None:
        """Renews the lock, also while the other thread sends a large file."""
        try:
            self._writer.keep(ended)
        except Exception as error:  # otherwise the lock would end without a message
            self._error = error

    def _work(self, ended: threading.Event) -> None:
        """Sends new steps, and the rest from time to time."""
        steps: list[int] | None = None
        sent = well = time.monotonic()
        pause = 0.0
        while not ended.wait(pause):
            now, pause = time.monotonic(), _SOON
            try:
                there = saved_steps(self.folder / CHECKPOINTS)
                if there != steps or now - sent > _OFTEN:
                    self._send()
                    steps, sent = there, now
                well = now
            except FileNotFoundError as error:
                # The run replaced a file meanwhile: the next look sees it.
                if now - well > _PATIENCE:
                    logging.warning("%s could not be sent: %s", self.folder, error)
                    well = now
            except Lost as error:
                self._error = error
                return
            except StylePrompterError as error:
                logging.warning("%s", error)
                pause = _PAUSE
                if now - well > _PATIENCE:
                    self._error = error
                    return
            except Exception as error:  # otherwise the training would continue unsent
                self._error = error
                return

    def _send(self) -> None:
        """Sends the stage as a new version, without steps that change meanwhile.

        Raises:
            FileNotFoundError: if the run replaced another file or all steps meanwhile.
        """
        there = _scan(self.folder)

        def send(path: str) -> None:
            known = self._sent.get(path)
            if known and known[0] == there[path]:
                return
            if known:  # perhaps of an attempt that made no version
                del self._sent[path]
                self._writer.discard(known[1])
            with contextlib.suppress(FileNotFoundError):
                self._sent[path] = there[path], self._upload(path, there[path].size)

        buckets.each(send, there)
        now = _scan(self.folder)
        changed = {
            _unit(path)
            for path, file in there.items()
            if path not in self._sent or path not in now or now[path].node != file.node
        }
        # A run replaces its models, and never removes them.
        models = {_unit(path) for path in (*self._writer.files, *now)} & {BEST, "model"}
        new = {_unit(path) for path in now.keys() - there.keys()}
        changed |= models & (new | models - {_unit(path) for path in there})
        steps = {_unit(path) for path in there if path.startswith(f"{CHECKPOINTS}/")}
        if changed - steps or (steps and not steps - changed):
            raise FileNotFoundError(min(changed))
        for path in self._sent.keys() - now.keys():
            self._writer.discard(self._sent.pop(path)[1])
        files = {
            path: self._sent[path][1] for path in there if _unit(path) not in changed
        }
        if files != self._writer.files:
            self._writer.commit(files)
            # Now the stage needs this version: if the user deletes the run, the next
            # training must not continue it. A kill before this line keeps the stage.
            self._mark()

    def _mark(self) -> None:
        """Notes the versions that the stage continues."""
        base = f"{self._writer.manifest}\n@{self._writer.token}."
        write_text(self.folder / BASE, base)

    def _upload(self, path: str, size: int) -> Part:
        file = self.folder / path
        with file.open("rb") as opened:
            digest = _digest(opened, size)
            known = self._writer.files.get(path)
            if known and (known.size, known.sha256) == (size, digest):
                return known
            place = self._writer.part(path)
            buckets.upload(file, place, size)
        return Part(place.path.removeprefix(f"{self._run.path}/"), size, digest)


@contextlib.contextmanager
def open_place(workdir: str | os.PathLike) -> Iterator[Local]:
    """Yields the place of a run; for a bucket, it first copies the last version.

    After a run that ended without an error, it removes the stage of a bucket.

    Raises:
        StylePrompterError: if another training of this machine uses the bucket's
            folder, or it cannot be read.
    """
    if not buckets.in_bucket(workdir):
        yield Local(buckets.local_place(workdir))
        return
    run = buckets.parse(workdir)
    digest = hashlib.sha256(str(run).encode()).hexdigest()[:16]
    if several := jax.process_count() > 1:  # each has a stage, perhaps on one machine
        digest += f"-{jax.process_index()}"
    stage = cache_folder("runs") / digest
    busy = f"Another training runs in {run}: stop it, or use another --workdir."
    with lock(stage.with_name(f".{digest}.lock"), busy, guarded=stage):
        version = snapshots.newest(run)
        # Several processes must begin with the same step, which the bucket has.
        _pull(run, stage, version, exact=several)
        try:
            yield Staged(run, stage, version)
        except StylePrompterError as error:
            if str(stage) not in str(error):
                raise
            raise StylePrompterError(
                f"{error} This folder is the local copy of {run}."
            ) from error
        shutil.rmtree(stage, ignore_errors=True)


def _pull(run: Address, stage: Path, version: Snapshot | None, exact: bool) -> None:
    """Makes a stage equal to the bucket's version, unless it continues that version."""
    base, manifest = stage / BASE, _manifest(version)
    with folders.writing(stage):
        if not exact and base.exists():
            first, *own = base.read_text().split("\n")
            if manifest == first or any(mark and mark in manifest for mark in own):
                return  # it may hold later steps than the bucket
        base.unlink(missing_ok=True)
        files = version.files if version else {}
        for file in stage.rglob("*"):
            known = files.get(file.relative_to(stage).as_posix())
            if not file.is_dir() and not (known and _is_same(file, known)):
                file.unlink()
        for folder in sorted(stage.rglob("*"), reverse=True):
            with contextlib.suppress(OSError):  # it is a file, or is not empty
                folder.rmdir()
        missing = [path for path in files if not (stage / path).exists()]

        def fetch(path: str) -> None:
            part, file = files[path], stage / path
            try:
                with atomic_path(file) as partial:
                    buckets.download(run / part.object, partial)
            except buckets.Missing:
                logging.warning("%s is missing.", run / part.object)
                return
            if not _is_same(file, part):  # the restore uses an earlier step
                logging.warning("%s is damaged.", run / part.object)

        buckets.each(fetch, missing)
        write_text(base, manifest)


def _scan(stage: Path) -> dict[str, _File]:
    """Returns the files of a stage by path, without temporary ones."""
    found = {}
    steps = map(str, saved_steps(stage / CHECKPOINTS))
    own = {name for name in os.listdir(stage) if not name.startswith(".")}
    own.discard(CHECKPOINTS)
    for top in [*(f"{CHECKPOINTS}/{step}" for step in steps), *sorted(own)]:
        for file in [stage / top, *(stage / top).rglob("*")]:
            path = file.relative_to(stage)
            status = file.stat()
            # A step may have hidden files of its own, which are not temporary.
            hidden = any(part.startswith(".") for part in path.parts[1:-1])
            if stat.S_ISREG(status.st_mode) and not (hidden or is_partial(path.name)):
                found[path.as_posix()] = _File(
                    status.st_size, status.st_mtime_ns, status.st_ino
                )
    return found


def _unit(path: str) -> str:
    """Returns the folder that a run replaces as a whole: a step, a model, or a file."""
    first, *others = path.split("/")
    return f"{first}/{others[0]}" if first == CHECKPOINTS and others else first


def _manifest(version: Snapshot | None) -> str:
    return version.manifest if version else ""


def _is_same(file: Path, part: Part) -> bool:
    return file.stat().st_size == part.size and sha256(file) == part.sha256


def _digest(file: BinaryIO, size: int) -> str:
    """Returns the SHA-256 of the first bytes of a file."""
    digest = hashlib.sha256()
    while block := file.read(min(size, _BLOCK)):
        digest.update(block)
        size -= len(block)
    return digest.hexdigest()
