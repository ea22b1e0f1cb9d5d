"""The folder of a run: its owner, config, images and best model."""

import contextlib
import json
import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from absl import logging

from styleprompter_jax.core import atomic
from styleprompter_jax.core import lock as locks
from styleprompter_jax.core.atomic import atomic_folder, repair_folder
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.json_files import read_json, write_json
from styleprompter_jax.core.paths import broken_link
from styleprompter_jax.store.places import DIRECTIONS, PARTS
from styleprompter_jax.training.run.checkpoint import saved_config, saved_steps
from styleprompter_jax.training.run.pinning import SOURCES

# The keys that may differ between a run and its continuation.
FREE_KEYS = (
    "total_steps",
    "eval_every",
    "checkpoint_every",
    "log_every",
    "on_nan",
    "data.workers",
    "data.on_bad",
    "data.path",  # the images may move; another check compares them
)
# Keys that newer versions added, with their values for older runs.
SINCE = {
    "loss.augment": "none",
    "loss.augment_p": 0.0,
    "loss.augment_target": 0.6,
    "loss.augment_images": 500_000,
    "optimizer.frozen_blocks": 0,
}
CONFIG, DATA, CHECKPOINTS = "config.json", "data.json", "checkpoints"
BEST, SCORE = "model_best", "validation.json"


def writing(path: Path) -> contextlib.AbstractContextManager[None]:
    """Turns an OSError within into one sentence about ``path``."""
    return atomic.writing(
        path, "use another --workdir; the files saved before are whole"
    )


def plain(config: Any) -> dict:
    """Returns a ConfigDict as JSON stores it."""
    return json.loads(config.to_json_best_effort())


def check_config(workdir: Path, config: dict) -> dict:
    """Refuses a workdir that holds a run of another config; writes nothing.

    Returns:
        The config of the run in the folder: from its newest step, or before the first
        save from config.json; {} without either.
    """
    file = workdir / CONFIG
    if os.path.lexists(workdir) and not workdir.is_dir():
        fault = broken_link(workdir) or f"{workdir} is not a folder"
        raise StylePrompterError(f"{fault}: use another --workdir.")
    there = saved_config(workdir / CHECKPOINTS)
    if there is None and os.path.lexists(file):
        there = read_json(file, hint="remove it, since no step was saved yet.")
    if there is not None:
        check_same(workdir, there, config)
    return there or {}


def check_same(workdir: Path, there: dict, config: dict) -> None:
    """Refuses to continue with a config that differs beyond FREE_KEYS."""
    if "stage" not in there:
        raise StylePrompterError(
            f"{workdir} has a {CONFIG} of something else than a run, such as a model: "
            "use another --workdir."
        )
    if there["stage"] != config["stage"]:
        raise StylePrompterError(
            f"{workdir} holds a run of stage {_shown(there['stage'])}, but the "
            f"config's stage is {config['stage']!r}: use another --workdir."
        )
    if differences := _differences(there, config):
        raise StylePrompterError(
            f"{workdir} holds a run with another config ({'; '.join(differences)}): "
            "use its values or another --workdir."
        )


def write_config(workdir: Path, config: dict) -> None:
    """Writes config.json if it is missing; call it after the checks of the config."""
    file = workdir / CONFIG
    with contextlib.suppress(StylePrompterError):
        if not _differences(read_json(file), config):
            return
    write_json(file, config)


def check_data(workdir: Path, data: dict, there: dict, config: dict) -> None:
    """Refuses to continue with other images than at the start; writes nothing.

    Args:
        workdir: of the run.
        data: the `Source.fingerprint` of each split.
        there: the config of the run in the folder.
        config: the config to continue with.
    """
    file = workdir / DATA
    if not saved_steps(workdir / CHECKPOINTS):
        return  # no step depends on the images yet
    if not os.path.lexists(file):
        old, new = (str(c.get("data", {}).get("path") or "") for c in (there, config))
        if old != new:
            logging.warning(
                "%s does not say which images the run began with: make sure that %s "
                "holds those of %s.",
                workdir,
                new or "TFDS's own folder",
                old or "TFDS's own folder",
            )
        return
    began = read_json(file, hint="remove it to go on with the pictures as they are.")
    for split, now in data.items():
        if changed := _change(began.get(split), now):
            raise StylePrompterError(
                f"The {split} images are not those that the run in {workdir} began "
                f"with: {changed}. Restore those, use another --workdir, or remove "
                f"{file} to continue with these."
            )


def write_data(workdir: Path, data: dict) -> None:
    """Writes the fingerprints of the run's images, if they are missing."""
    file = workdir / DATA
    with contextlib.suppress(StylePrompterError):
        if read_json(file) == data:
            return
    write_json(file, data)


def _change(began: Any, now: dict) -> str:
    """Describes the change of the images since the start; "" without a change."""
    if not isinstance(began, dict):
        return "the record does not list them"
    if began.get("count") != now["count"]:
        return f"there are {now['count']} now, but were {began.get('count')}"
    if began.get("names") != now["names"]:
        return "the number is the same, but the names differ"
    if began.get("contents") != now["contents"]:
        return "the names are the same, but the contents differ"
    return ""


def _differences(there: dict, config: dict) -> list[str]:
    """Returns the differences beyond FREE_KEYS, a text for each key."""
    old, new = (_with_later_keys(_flat(tree)) for tree in (there, config))
    return [
        f"{key if key.isprintable() else ascii(key)}: "
        f"{_shown(old.get(key))} there, {_shown(new.get(key))} now"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key)
        and key not in FREE_KEYS
        and not key.startswith(f"{SOURCES}.")
    ]


def _with_later_keys(flat: dict) -> dict:
    """Adds the later keys to a config of stage "generator"."""
    return SINCE | flat if flat.get("stage") == "generator" else flat


def _shown(value: Any) -> str:
    """Returns the text of a value, shortened if it is huge."""
    text = repr(value)
    return text if len(text) <= 300 else f"{text[:300]}..."


def _flat(tree: dict, prefix: str = "") -> dict:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


@contextlib.contextmanager
def lock(workdir: Path) -> Iterator[None]:
    """Makes the folder, and locks it against a second training."""
    with writing(workdir):
        workdir.mkdir(parents=True, exist_ok=True)
    busy = f"Another training runs in {workdir}: stop it, or use another --workdir."
    with locks.lock(workdir / ".lock", busy):
        yield


class BestModel:
    """WORKDIR/model_best: the model of the evaluation with the lowest score.

    Its score is in the folder, so a worse model of a later run does not replace it.
    """

    def __init__(self, workdir: Path):
        self._folder = workdir / BEST
        repair_folder(self._folder)
        old = workdir / f".{BEST}.old"  # from version 0.1, killed between two renames
        if old.exists() and not self._folder.exists():
            old.rename(self._folder)

    def score(self) -> float:
        """Returns the best score so far; infinity before the first."""
        try:
            score = read_json(self._folder / SCORE).get("score")
        except StylePrompterError:
            return math.inf
        return float(score) if isinstance(score, int | float) else math.inf

    def offer(self, step: int, name: str, score: float, export: Callable) -> None:
        """Keeps the model that ``export(folder)`` writes if its score is lower."""
        if not score < self.score():  # nor if it is NaN
            return
        parts = [*PARTS, SCORE]
        parts.remove(DIRECTIONS)  # found directions stay
        with atomic_folder(self._folder, parts) as new:
            new.rmdir()  # export makes the folder
            export(new)
            text = {"step": step, "metric": name, "score": score}
            (new / SCORE).write_text(json.dumps(text) + "\n")
