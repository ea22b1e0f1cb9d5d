"""The folder of a run: whose it is, which config it belongs to, its best model."""

import contextlib
import json
import math
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from styleprompter_jax.core import lock as locks
from styleprompter_jax.core.json_files import read_json
from styleprompter_jax.errors import StylePrompterError
from styleprompter_jax.training.pinning import SOURCES

# What may differ between a run and its continuation.
FREE_KEYS = (
    "total_steps",
    "eval_every",
    "checkpoint_every",
    "log_every",
    "on_nan",
    "data.workers",
    "data.on_bad",
)
CONFIG, BEST, SCORE = "config.json", "model_best", "validation.json"


@contextlib.contextmanager
def writing(path: Path):
    """Turns an OSError within into one sentence about ``path``."""
    try:
        yield
    except OSError as error:
        raise StylePrompterError(
            f"{path} cannot be written ({error}): free space there, or use another "
            "--workdir; what was saved before is whole."
        ) from error


def plain(config) -> dict:
    """A ConfigDict as JSON has it."""
    return json.loads(config.to_json_best_effort())


def check_config(workdir: Path, config: dict) -> None:
    """Refuses a workdir that holds a run of another config; writes nothing."""
    file = workdir / CONFIG
    if os.path.lexists(workdir) and not workdir.is_dir():
        raise StylePrompterError(f"{workdir} is no folder: use another --workdir.")
    if os.path.lexists(file):
        hint = "remove it, since every saved step holds the config too."
        check_same(workdir, read_json(file, hint=hint), config)


def check_same(workdir: Path, there: dict, config: dict) -> None:
    """Refuses to go on with a config that differs beyond FREE_KEYS."""
    if there.get("stage") != config["stage"]:
        raise StylePrompterError(
            f"{workdir} holds a run of stage {there.get('stage')!r}, and the config's "
            f"stage is {config['stage']!r}: use another --workdir."
        )
    old, new = _flat(there), _flat(config)
    differences = [
        f"{key}: {old.get(key)!r} there, {new.get(key)!r} now"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key)
        and key not in FREE_KEYS
        and not key.startswith(f"{SOURCES}.")
    ]
    if differences:
        raise StylePrompterError(
            f"{workdir} holds a run with another config ({'; '.join(differences)}): "
            "use its values or another --workdir."
        )


def write_config(workdir: Path, config: dict) -> None:
    """Writes config.json where there is none."""
    file = workdir / CONFIG
    if file.exists():
        return
    with writing(file):
        temporary = file.with_suffix(".tmp")
        temporary.write_text(json.dumps(config, indent=2) + "\n")
        temporary.replace(file)


def _flat(tree: dict, prefix: str = "") -> dict:
    flat = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


@contextlib.contextmanager
def lock(workdir: Path):
    """Makes the folder, and holds it against a second training."""
    with writing(workdir):
        workdir.mkdir(parents=True, exist_ok=True)
    busy = f"Another training runs in {workdir}: stop it, or use another --workdir."
    with locks.lock(workdir / ".lock", busy):
        yield


class BestModel:
    """WORKDIR/model_best: the model of the evaluation with the lowest score.

    Its score is in the folder, so that it outlives the run, and a worse model of a
    later one does not replace it.
    """

    def __init__(self, workdir: Path):
        self._folder = workdir / BEST
        self._new = workdir / f".{BEST}.new"
        self._old = workdir / f".{BEST}.old"
        if self._old.exists() and not self._folder.exists():
            self._old.rename(self._folder)  # killed between the two renames below

    def score(self) -> float:
        """The best one so far; infinity where there is none."""
        try:
            score = read_json(self._folder / SCORE).get("score")
        except StylePrompterError:
            return math.inf
        return float(score) if isinstance(score, int | float) else math.inf

    def offer(self, step: int, name: str, score: float, export: Callable) -> None:
        """Keeps the model that ``export(folder)`` writes if its score is lower."""
        if not score < self.score():  # nor if it is NaN
            return
        with writing(self._folder):
            shutil.rmtree(self._new, ignore_errors=True)
            shutil.rmtree(self._old, ignore_errors=True)
            export(self._new)
            text = {"step": step, "metric": name, "score": score}
            (self._new / SCORE).write_text(json.dumps(text) + "\n")
            if self._folder.exists():
                os.rename(self._folder, self._old)
            os.rename(self._new, self._folder)
            shutil.rmtree(self._old, ignore_errors=True)
