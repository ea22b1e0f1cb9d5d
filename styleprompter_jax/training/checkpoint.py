"""Checkpoints: the trained state and the position in the data, with Orbax."""

import json
from pathlib import Path

import jax
import orbax.checkpoint as ocp


class Checkpoints:
    """The steps saved in WORKDIR/checkpoints; use as a context manager.

    A step holds two items: ``state``, a pytree of arrays, and ``position``, a JSON
    dict (the data iterator's).  Orbax writes a step under a temporary name and
    renames it, so a kill never leaves half a step that passes for a whole one.
    """

    def __init__(self, folder: Path, keep: int = 2):
        options = ocp.CheckpointManagerOptions(
            max_to_keep=keep, enable_async_checkpointing=False
        )
        self._manager = ocp.CheckpointManager(folder.absolute(), options=options)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._manager.close()

    def save(self, step: int, state, position: dict):
        """Saves a step; one that is there already stays."""
        if step in self._manager.all_steps():
            return
        self._manager.save(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardSave(state), position=ocp.args.JsonSave(position)
            ),
        )

    def restore(self, like):
        """The newest step as (step, state, position), or None where there is none.

        ``like``: a state of the same structure, shapes and placement.
        """
        step = self._manager.latest_step()
        if step is None:
            return None
        restored = self._manager.restore(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardRestore(
                    jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
                ),
                position=ocp.args.JsonRestore(),
            ),
        )
        return step, restored.state, restored.position


def check_config(file: Path, config: dict, free: tuple[str, ...]):
    """Differences between ``config`` and the run's stored one, as sentences.

    Writes the file where there is none.  Keys in ``free`` may change on the way.
    """
    if not file.exists():
        temporary = file.with_suffix(".tmp")
        temporary.write_text(json.dumps(config, indent=2) + "\n")
        temporary.replace(file)
        return []
    old, new = _flat(json.loads(file.read_text())), _flat(config)
    return [
        f"{key}: {old.get(key)!r} there, {new.get(key)!r} now"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key) and key.split(".")[0] not in free
    ]


def _flat(tree: dict, prefix: str = "") -> dict:
    flat = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat
