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

import time
from functools import partial
from pathlib import Path

import jax
from absl import logging

from styleprompter_jax.data.loader import train_iterator
from styleprompter_jax.data.sources import make_source
from styleprompter_jax.errors import StylePrompterError
from styleprompter_jax.training import parallel
from styleprompter_jax.training import workdir as folders
from styleprompter_jax.training.checkpoint import Checkpoints
from styleprompter_jax.training.health import Health, guard
from styleprompter_jax.training.report import Report
from styleprompter_jax.training.settings import check_settings
from styleprompter_jax.training.stopping import Stop

# What an evaluation is judged by; the lowest is the best.
SCORE = {
    "generator": "frechet_distance",
    "encoder": "mse_w_plus",
    "smart": "mse_refined",
}


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
      The folder of the finished model, WORKDIR/model; the model of the best
      evaluation is in WORKDIR/model_best.  Where SIGTERM or SIGINT arrived, the state
      is saved and SystemExit raised.

    Raises:
      StylePrompterError: for a config, data or workdir that the user can mend, before
        anything is written; for a disk that is full, pictures that cannot be read and
        losses that are not finite, with what was saved before as it was.
    """
    workdir, start = Path(workdir), time.perf_counter()
    check_settings(config)
    mesh = parallel.make_mesh(devices)
    parallel.check_batch_size(config.batch_size, mesh)
    settings = folders.plain(config)
    folders.check_config(workdir, settings)
    objective = make_objective(config)
    iterator = train_iterator(
        make_source(config.data, config.data.train_split),
        batch_size=config.batch_size // jax.process_count(),
        image_size=config.data.image_size,
        flip=config.data.flip,
        crop=config.data.get("crop", "center"),
        seed=config.seed,
        workers=config.data.get("workers", 0),
        shard=(jax.process_index(), jax.process_count()),
    )
    with (
        folders.lock(workdir),
        Checkpoints(workdir / "checkpoints", settings) as checkpoints,
        iterator,
        Stop() as stop,
    ):
        folders.write_config(workdir, settings)
        best = folders.BestModel(workdir)
        init_rng, run_rng = jax.random.split(jax.random.key(config.seed))
        state, step = parallel.replicate(objective.init(init_rng), mesh), 0
        if (saved := checkpoints.restore(state)) is not None:
            step, state, record = saved
            folders.check_same(workdir, record["config"], settings)
            iterator.set_state(record["position"])
            logging.info("Resumed %s at step %d.", workdir, step)
        end = config.total_steps

        def evaluation_is_due():
            return step > 0 and (step % config.eval_every == 0 or step == end)

        def evaluate():
            objective.evaluate(state, report, step)
            name = SCORE[config.stage]
            export = partial(objective.export, state)
            best.offer(step, name, report.validation[name], export)

        skip = config.get("on_nan", "stop") == "skip"
        compiled, health = {}, Health(skip)
        with Report(
            workdir,
            step=step,
            evaluate=evaluation_is_due(),
            total_steps=end,
            batch_size=config.batch_size,
        ) as report:
            while True:
                # Of a step that was saved too: its evaluation may have been broken off.
                if evaluation_is_due():
                    stop.at_once(evaluate)
                    report.restart_clock(step)
                if step >= end or stop.requested:
                    break
                variant = objective.variant(step)
                first = variant not in compiled
                if first:
                    compiled[variant] = parallel.map_step(
                        guard(partial(objective.step, variant=variant), skip), mesh
                    )
                position = iterator.get_state()
                try:
                    batch = next(iterator)
                except StylePrompterError:
                    checkpoints.save(step, state, position)
                    raise
                batch = parallel.shard_batch(batch, mesh)
                rng = jax.random.fold_in(run_rng, step)
                state, metrics = compiled[variant](state, batch, rng)
                health.add(metrics.pop("finite"))
                step += 1
                report.advance()
                if time_limit is not None and time.perf_counter() - start > time_limit:
                    end = step
                if step % config.log_every == 0 or step == end:
                    counts = health.check(step, checkpoints.advice)
                    counts |= iterator.bad_images()
                    report.scalars(step, jax.device_get(metrics) | counts)
                elif first:
                    jax.block_until_ready(metrics)
                    report.restart_clock(step)
                if step % config.checkpoint_every == 0 or step == end:
                    checkpoints.save(step, state, iterator.get_state())
            if stop.requested:
                checkpoints.save(step, state, iterator.get_state())
                checkpoints.wait()
                report.say(f"Stopped at step {step}; the same command goes on.")
                raise SystemExit(1)
        objective.export(state, workdir / "model")
    return workdir / "model"
