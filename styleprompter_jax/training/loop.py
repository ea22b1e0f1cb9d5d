"""The training loop, one for all stages.

An *objective* (`adversarial.Adversarial`, `inversion.Inversion`) is what differs
between stages.  The loop calls

    init(rng) -> state                     a pytree: everything that a step changes
    variant(step) -> hashable              which compiled form of `step` to use
    step(state, batch, rng, variant=...)   on one device; -> (state, metrics)
    evaluate(state, report, step)          metrics and pictures on held-out data
    export(state, folder)                  the finished model

and does the rest: devices, data, logs, checkpoints, resuming, stopping.
"""

import contextlib
import json
import signal
import threading
import time
from functools import partial
from pathlib import Path

import jax
from absl import logging

from styleprompter_jax.data.loader import train_iterator
from styleprompter_jax.data.sources import make_source
from styleprompter_jax.errors import StylePrompterError
from styleprompter_jax.training import parallel
from styleprompter_jax.training.checkpoint import Checkpoints, check_config
from styleprompter_jax.training.report import Report

# What may differ between a run and its continuation.
FREE_KEYS = ("total_steps", "eval_every", "checkpoint_every", "log_every")


def make_objective(config):
    """The objective of ``config.stage``."""
    if config.stage == "generator":
        from styleprompter_jax.training.adversarial import Adversarial

        return Adversarial(config)
    if config.stage in ("encoder", "smart"):
        from styleprompter_jax.training.inversion import Inversion

        return Inversion(config)
    raise StylePrompterError(
        f'config.stage is {config.stage!r}: it must be "generator", "encoder" or '
        '"smart".'
    )


def train(config, workdir, *, devices=None, time_limit: float | None = None) -> Path:
    """Trains as ``config`` says, or goes on where an earlier call stopped.

    Args:
      config: an ml_collections ConfigDict; see configs/.
      workdir: folder of the run; made where missing.
      devices: jax devices to use; all by default.
      time_limit: seconds after which to finish as if total_steps were reached.

    Returns:
      The folder of the finished model, WORKDIR/model.  Where SIGTERM or SIGINT
      arrived, the state is saved and SystemExit raised.

    Raises:
      StylePrompterError: for a config, data or workdir that the user can mend;
        raised before anything is written.
    """
    workdir, start = Path(workdir), time.perf_counter()
    mesh = parallel.make_mesh(devices)
    parallel.check_batch_size(config.batch_size, mesh)
    _check_workdir(workdir, config)
    objective = make_objective(config)
    iterator = train_iterator(
        make_source(config.data, config.data.train_split),
        batch_size=config.batch_size // jax.process_count(),
        image_size=config.data.image_size,
        flip=config.data.flip,
        seed=config.seed,
        shard=(jax.process_index(), jax.process_count()),
    )
    workdir.mkdir(parents=True, exist_ok=True)
    check_config(workdir / "config.json", _plain(config), FREE_KEYS)

    init_rng, run_rng = jax.random.split(jax.random.key(config.seed))
    state = parallel.replicate(objective.init(init_rng), mesh)
    with (
        Checkpoints(workdir / "checkpoints") as checkpoints,
        _stop_signals() as stopping,
    ):
        step = 0
        if (saved := checkpoints.restore(state)) is not None:
            step, state, position = saved
            iterator.set_state(position)
            logging.info("Resumed %s at step %d.", workdir, step)
        compiled = {}
        with Report(
            workdir,
            step=step,
            total_steps=config.total_steps,
            batch_size=config.batch_size,
        ) as report:
            end = config.total_steps
            while step < end and not stopping.is_set():
                variant = objective.variant(step)
                first = variant not in compiled
                if first:
                    compiled[variant] = parallel.map_step(
                        partial(objective.step, variant=variant), mesh
                    )
                batch = parallel.shard_batch(next(iterator), mesh)
                rng = jax.random.fold_in(run_rng, step)
                state, metrics = compiled[variant](state, batch, rng)
                step += 1
                report.advance()
                if time_limit is not None and time.perf_counter() - start > time_limit:
                    end = step
                last = step == end
                if step % config.log_every == 0 or last:
                    report.scalars(step, jax.device_get(metrics))
                elif first:
                    jax.block_until_ready(metrics)
                    report.restart_clock(step)
                if step % config.checkpoint_every == 0 or last:
                    checkpoints.save(step, state, iterator.get_state())
                if step % config.eval_every == 0 or last:
                    objective.evaluate(state, report, step)
                    report.restart_clock(step)
            if stopping.is_set() and step < end:
                checkpoints.save(step, state, iterator.get_state())
                report.say(f"Stopped at step {step}; the same command goes on.")
                raise SystemExit(1)
    objective.export(state, workdir / "model")
    return workdir / "model"


def _plain(config) -> dict:
    return json.loads(config.to_json_best_effort())


def _check_workdir(workdir: Path, config):
    """Refuses a workdir that holds another run, before anything is written."""
    file = workdir / "config.json"
    if not file.exists():
        return
    stage = json.loads(file.read_text()).get("stage")
    if stage != config.stage:
        raise StylePrompterError(
            f"{workdir} holds a run of stage {stage!r}, and the config's stage is "
            f"{config.stage!r}: use another --workdir."
        )
    if differences := check_config(file, _plain(config), FREE_KEYS):
        raise StylePrompterError(
            f"{workdir} holds a run with another config ({'; '.join(differences)}): "
            "use its values or another --workdir."
        )


@contextlib.contextmanager
def _stop_signals():
    """An event that SIGTERM and SIGINT set; the loop saves and leaves."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return
    old = {
        s: signal.signal(s, lambda *_: event.set())
        for s in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        yield event
    finally:
        for s, handler in old.items():
            signal.signal(s, handler)
