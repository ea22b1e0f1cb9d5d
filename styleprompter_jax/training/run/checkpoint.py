"""Checkpoints: everything that a run needs to continue, with Orbax."""

import contextlib
import hashlib
import os
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from absl import logging
from jax.experimental import multihost_utils

from styleprompter_jax.core.atomic import not_written
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.sums import json_sha256
from styleprompter_jax.training.run import parallel
from styleprompter_jax.version import __version__

ROOT = Path(__file__).parents[3]


class Checkpoints:
    """The steps saved in WORKDIR/checkpoints; use as a context manager.

    A step holds two items: ``state``, a pytree of arrays, and ``record``, a JSON dict
    with the position in the data, the config, the revision of the code, and SHA-256
    sums of every array and of the record itself, which reveal damage.

    Saving runs in parallel with the training.  Orbax writes a step under a temporary
    name and renames it, so a killed run never leaves a step that only looks complete.

    Args:
        folder: the folder of the steps; made if missing.
        config: the config of the run, as plain JSON types.
        keep: the number of steps to keep.
        shared: whether all processes of the run see this folder; otherwise each has a
            folder with the same steps, and only the first process saves.
    """

    def __init__(self, folder: Path, config: dict, keep: int = 2, shared: bool = True):
        self._folder, self._config = Path(folder).absolute(), config
        self._revision = revision()
        self._last: int | None = None
        self._shared = shared
        self._writes = shared or parallel.is_first()
        self._moves = parallel.is_first() or not shared
        options = ocp.CheckpointManagerOptions(
            max_to_keep=keep,
            cleanup_tmp_directories=True,
            create=shared,
            multiprocessing_options=_together() if shared else _alone(),
        )
        try:
            if not shared:  # Orbax would wait for the other processes
                self._folder.mkdir(parents=True, exist_ok=True)
            self._manager = ocp.CheckpointManager(self._folder, options=options)
        except OSError as error:
            raise StylePrompterError(
                f"{self._folder} cannot be used for checkpoints ({error}): use "
                "another --workdir."
            ) from error

    def __enter__(self) -> "Checkpoints":
        self._hook, sys.unraisablehook = sys.unraisablehook, self._on_unraisable
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            self._manager.close()  # waits for the running save
        except Exception as error:
            if kind is None:
                raise self._failed(error) from error
        finally:
            sys.unraisablehook = self._hook

    def _on_unraisable(self, found: Any) -> None:
        # After a failed read or write, Orbax closes the event loop of the others. Each
        # of them would then print a traceback, in addition to our message.
        if str(found.exc_value) != "Event loop is closed":
            self._hook(found)

    def save(self, step: int, state: Any, position: dict) -> None:
        """Begins to save a step; a saved or restored step stays.

        Raises:
            StylePrompterError: if this step or the one before it cannot be written, or
                the state is not finite; the steps saved before stay as they are.
        """
        if step == self._last or not self._writes:
            return
        # Copies: the next training step overwrites the buffers.
        state = jax.tree.map(np.array, state)
        arrays = _named(state)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            finite = list(pool.map(_is_finite, arrays.values()))
            sums = list(pool.map(_sha256, arrays.values()))
        if not all(finite):
            raise StylePrompterError(
                f"Step {step} was not saved: the state holds NaN or infinity "
                f"({list(arrays)[finite.index(False)]}). {self.advice()}"
            )
        record = {
            "position": position,
            "config": self._config,
            "revision": self._revision,
            "arrays": dict(zip(arrays, sums, strict=True)),
        }
        record["sha256"] = json_sha256(record)
        try:
            self._manager.save(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.StandardSave(state),
                    record=ocp.args.JsonSave(record),
                ),
            )
        except Exception as error:  # of this save, or of the one in the background
            raise self._failed(error) from error
        self._last = step

    def wait(self) -> None:
        """Waits until the last save is on disk; raises the same errors as `save`."""
        try:
            self._manager.wait_until_finished()
        except Exception as error:
            raise self._failed(error) from error

    def restore(self, like: Any) -> tuple[int, Any, dict] | None:
        """Returns the newest whole step as (step, state, record); None without steps.

        The state has NumPy arrays, which fit any number of devices.

        It skips a damaged step with a warning and moves it to ``damaged/`` beside the
        folder, since the run will save that step again.

        Args:
            like: a state of the same structure, shapes and dtypes.

        Raises:
            StylePrompterError: if there are steps and none is whole; it moves nothing.
        """
        problems = {}
        for step in sorted(self._manager.all_steps(), reverse=True):
            try:
                state, record = self._read(step, like)
            except Exception as error:  # damage shows as nearly any exception
                problems[step] = f"step {step}: {str(error).splitlines()[0][:200]}"
                continue
            if problems:
                self._set_aside(problems)
                logging.warning(
                    "%s: %s; the run continues from step %d.",
                    self._folder,
                    "; ".join(problems.values()),
                    step,
                )
            self._last = step
            return step, state, record
        if problems:
            raise StylePrompterError(
                f"No step in {self._folder} can be restored "
                f"({'; '.join(problems.values())}): use another --workdir, or bring "
                "the folder back from a copy."
            )
        return None

    def _read(self, step: int, like: Any) -> tuple[Any, dict]:
        """Returns one step as NumPy arrays, and its record; raises if damaged."""
        empty = jax.tree.map(lambda x: np.empty(x.shape, x.dtype), like)
        restored = self._manager.restore(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardRestore(empty), record=ocp.args.JsonRestore()
            ),
        )
        record = restored.record
        if record.pop("sha256") != json_sha256(record):
            raise ValueError("its record is damaged")
        arrays, sums = _named(restored.state), record["arrays"]
        if arrays.keys() != sums.keys():
            raise ValueError("it holds other arrays than its record names")
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            found = pool.map(_sha256, arrays.values())
            damaged = [
                name for name, a in zip(arrays, found, strict=True) if a != sums[name]
            ]
        if damaged:
            raise ValueError(f"{damaged[0]} is damaged")
        return restored.state, record

    def _set_aside(self, steps: Iterable[int]) -> None:
        if self._moves:
            aside = self._folder.with_name("damaged")
            aside.mkdir(exist_ok=True)
            for step in steps:
                name, count = aside / str(step), 1
                while name.exists():
                    name, count = aside / f"{step}_{count}", count + 1
                (self._folder / str(step)).rename(name)
        if self._shared and jax.process_count() > 1:
            multihost_utils.sync_global_devices("damaged steps are set aside")
        self._manager.reload()

    def _failed(self, error: Exception) -> StylePrompterError:
        said = not_written(self._folder, error, "use another --workdir")
        return StylePrompterError(f"{said} {self.advice()}")

    def advice(self) -> str:
        """Names the step to continue from; waits for the last save."""
        with contextlib.suppress(Exception):  # `save` and `wait` report it
            self._manager.wait_until_finished()
        steps = saved_steps(self._folder)
        if not steps:
            return "No step was saved before."
        return f"Step {steps[-1]} is saved, and the same command continues from there."


def _together() -> ocp.options.MultiprocessingOptions:
    """Returns options with which all processes save and restore together."""
    return ocp.options.MultiprocessingOptions()


def _alone() -> ocp.options.MultiprocessingOptions:
    """Returns options with which each process saves and restores alone."""
    own = jax.process_index()
    return ocp.options.MultiprocessingOptions(
        primary_host=own, active_processes={own}, barrier_sync_key_prefix=f"of{own}"
    )


def saved_steps(folder: Path) -> list[int]:
    """Returns the numbers of the steps in a folder, whole or not."""
    return sorted(int(p.name) for p in Path(folder).glob("*") if p.name.isdigit())


def saved_config(folder: Path) -> dict | None:
    """Returns the config of the newest step with a whole record; None without one.

    It writes nothing, and needs no state for comparison.
    """
    if not (steps := saved_steps(folder)):
        return None
    options = ocp.CheckpointManagerOptions(create=False)
    with ocp.CheckpointManager(Path(folder).absolute(), options=options) as manager:
        for step in reversed(steps):
            items = ocp.args.Composite(record=ocp.args.JsonRestore())
            with contextlib.suppress(Exception):  # damage shows as nearly any
                record = manager.restore(step, args=items).record
                if record.pop("sha256") == json_sha256(record):
                    return record["config"]
    return None


def revision() -> str:
    """Returns the commit of the checkout that this code runs from, or the version."""
    if (ROOT / ".git").exists():  # not some repository around an installed package
        options = ["--always", "--dirty", "--abbrev=40", "--exclude=*"]
        try:
            result = subprocess.run(
                ["git", "describe", *options],
                cwd=ROOT,
                capture_output=True,
                text=True,
                timeout=10,
            )
            if result.returncode == 0:
                return result.stdout.strip()
        except (OSError, subprocess.SubprocessError):
            pass  # without git, use the version
    return __version__


def _named(tree: Any) -> dict[str, np.ndarray]:
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {jax.tree_util.keystr(path): leaf for path, leaf in leaves}


def _is_finite(array: np.ndarray) -> bool:
    if not jnp.issubdtype(array.dtype, jnp.inexact):
        return True
    return bool(np.isfinite(array).all())


def _sha256(array: np.ndarray) -> str:
    digest = hashlib.sha256(f"{array.dtype} {array.shape} ".encode())
    digest.update(np.ascontiguousarray(array).view(np.uint8).data)
    return digest.hexdigest()
