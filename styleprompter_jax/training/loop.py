"""The training loop, one for all stages.

An `objective.Objective` holds the differences between stages.  The loop does the rest:
devices, data, logs, checkpoints, resuming, stopping.
"""

import math
import os
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import logging
from jax.sharding import Mesh

from styleprompter_jax.core import xnnpack
from styleprompter_jax.core.cpu_devices import devices_for, use_cpu_devices
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.problems import Problems
from styleprompter_jax.core.seeds import key_of
from styleprompter_jax.core.values import real
from styleprompter_jax.data.inputs import Inputs
from styleprompter_jax.data.loader import TrainIterator, picture_size, train_iterator
from styleprompter_jax.data.sources import LOOKED_INTO, NoDatasetError, make_source
from styleprompter_jax.models.discriminators.stylegan2 import DiscriminatorConfig
from styleprompter_jax.training.objective import Objective, make_objective
from styleprompter_jax.training.parts import kind_of
from styleprompter_jax.training.run import parallel
from styleprompter_jax.training.run import workdir as folders
from styleprompter_jax.training.run.checkpoint import Checkpoints
from styleprompter_jax.training.run.hardware import peak_flops
from styleprompter_jax.training.run.health import Health, guard
from styleprompter_jax.training.run.pinning import SOURCES, known_sources, pin_models
from styleprompter_jax.training.run.place import Local, open_place
from styleprompter_jax.training.run.report import Report, Silence
from styleprompter_jax.training.run.stopping import Stop
from styleprompter_jax.training.settings import check_settings

# The metric that ranks the evaluations of a stage; the lowest is the best.
SCORE = {
    "generator": "frechet_distance",
    "encoder": "mse_w_plus",
    "refiner": "mse_refined",
}


def train(
    config: Any,
    workdir: str | os.PathLike,
    *,
    devices: Sequence[jax.Device] | None = None,
    time_limit: float | None = None,
) -> Path | str:
    """Trains as ``config`` says, or continues where an earlier call stopped.

    Args:
        config: an ml_collections ConfigDict; see configs/.
        workdir: folder of the run, made if missing; or its address in a bucket,
            gs://BUCKET/FOLDER or s3://BUCKET/FOLDER.
        devices: jax devices to use; all by default. If JAX has not started, it may
            split the CPU first; see `core.cpu_devices`.
        time_limit: seconds until the run finishes as at total_steps, 0 or more; only
            for a run of one process, because each process has a clock of its own.

    Returns:
        The folder of the finished model, WORKDIR/model; the model of the best
        evaluation is in WORKDIR/model_best.  After SIGTERM or SIGINT, it saves the
        state and raises SystemExit.

    Raises:
        StylePrompterError: for a wrong config, dataset or workdir, before it writes
            anything; for a full disk, images that cannot be read and losses that are
            not finite.  Saved files stay as they are.
    """
    if time_limit is not None:
        real(time_limit, "time_limit", 0)
    check_settings(config)
    if devices is None:
        devices = _split_cpu(config)  # before a bucket's place starts JAX
    with open_place(workdir) as place:
        return _train_at(place, config, devices, time_limit)


def _train_at(
    place: Local,
    config: Any,
    devices: Sequence[jax.Device],
    time_limit: float | None,
) -> Path | str:
    """Trains at a place; see `train`."""
    workdir, start = place.folder, time.perf_counter()
    mesh = parallel.make_mesh(devices)
    if time_limit is not None and jax.process_count() > 1:
        raise StylePrompterError(
            "time_limit is only for a run of one process: set config.total_steps "
            "instead."
        )
    xnnpack.check_off(mesh.devices.flat[0].platform)
    parallel.check_batch_size(config.batch_size, mesh)
    settings = folders.plain(config)
    there = folders.check_config(workdir, settings)
    config, sources = pin_models(config, known_sources(there))
    if sources:
        settings[SOURCES] = sources
    objective, (iterator, data) = _prepare(config, config.batch_size // mesh.size)
    folders.check_data(workdir, data, there, settings)
    init_rng, run_rng = jax.random.split(key_of(config.seed))
    with Stop() as stop:
        run = _Run(config, workdir, objective, mesh)
        run.state = parallel.replicate(objective.init(init_rng), mesh)
        with (
            place.owned() if parallel.is_first() else nullcontext(),
            Checkpoints(
                workdir / folders.CHECKPOINTS, settings, shared=place.shared
            ) as checkpoints,
            iterator,
        ):
            if (saved := checkpoints.restore(run.state)) is not None:
                run.step, state, record = saved
                run.state = parallel.replicate(state, mesh)
                folders.check_same(workdir, record["config"], settings)
                iterator.set_state(record["position"])
                logging.info("Resumed %s at step %d.", workdir, run.step)
                if run.step > run.end:
                    logging.warning(
                        "%s is already at step %d, beyond config.total_steps (%d): its "
                        "model is of step %d.",
                        *(workdir, run.step, run.end, run.step),
                    )
            parallel.check_step(run.step)
            if parallel.is_first():  # only now: a refused call leaves nothing
                folders.write_config(workdir, settings)
                folders.write_data(workdir, data)
            deadline = start + time_limit if time_limit is not None else math.inf
            run.loop(iterator, run_rng, checkpoints, stop, deadline, place.check)
            if parallel.is_first():
                state = parallel.local_copy(run.state)
                objective.export(state, workdir / "model")
    return place.shown("model")


def _split_cpu(config: Any) -> Sequence[jax.Device]:
    """Lets a CPU work as several devices, if that is faster; returns the devices."""
    discriminator = config.model.get("discriminator") or {}
    # Groups of the discriminator's minibatch deviation stay on one device.
    usual = DiscriminatorConfig.mbstd_group if config.stage == "generator" else 1
    group = discriminator.get("mbstd_group", usual)
    batch = np.max(picture_size(config.data)), config.batch_size, group
    count = use_cpu_devices(*batch)
    if count > 1:
        logging.info("Training splits the CPU into %d devices.", count)
    return devices_for(parallel.all_devices(), *batch)


def _prepare(config: Any, local_batch_size: int) -> tuple:
    """Returns objective and data; one error names everything that is missing."""
    objective: Objective | None = None
    data = None
    with Problems() as problems:
        with problems.gathered():
            objective = make_objective(config, local_batch_size)
        with problems.gathered():
            data = _make_data(config, objective.inputs if objective else None)
    return objective, data


def _make_data(config: Any, inputs: Inputs | None = None) -> tuple:
    """Returns the batches to train on, and the fingerprint of each split."""
    data = config.data
    draws = config.stage == "generator"
    least = data.image_size if draws else 1
    try:
        source, held_out = (
            make_source(data, split, least, inputs)
            for split in (data.train_split, data.eval_split)
        )
    except NoDatasetError as error:
        raise StylePrompterError(
            f"config.data.name is {data.name!r}, and there is no such TFDS dataset: "
            'set it to "folder", "array_record", "avatars", "cells" or a name from '
            "tensorflow.org/datasets."
        ) from error
    if draws and len(held_out) < 2:
        raise StylePrompterError(
            f"config.data.eval_split is {data.eval_split!r}, {len(held_out)} images: "
            "choose a larger split, because the Fréchet distance needs 2 or more."
        )
    prints = {"training": source.fingerprint(), "validation": held_out.fingerprint()}
    iterator = train_iterator(
        source,
        batch_size=config.batch_size // jax.process_count(),
        image_size=picture_size(data),
        flip=data.flip,
        crop=data.get("crop", "center"),
        seed=config.seed,
        workers=data.get("workers", 0),
        shard=(jax.process_index(), jax.process_count()),
        inputs=inputs,
    )
    if draws:  # refuses images that are too small before the first step
        for images in (source, held_out):
            for index in range(0, len(images), max(1, len(images) // LOOKED_INTO)):
                images[index]
    return iterator, prints


class _Run:
    """The loop of one call of `train`, and its state."""

    def __init__(self, config: Any, workdir: Path, objective: Objective, mesh: Mesh):
        self.state, self.step, self.end = None, 0, config.total_steps
        self._config, self._workdir = config, workdir
        self._objective, self._mesh = objective, mesh
        self._skip = config.get("on_nan", "stop") == "skip"
        self._compiled: dict[
            Any, tuple
        ] = {}  # by variant: the step, and its FLOPs on one device

    def loop(
        self,
        iterator: TrainIterator,
        rng: jax.Array,
        checkpoints: Checkpoints,
        stop: Stop,
        deadline: float,
        check: Callable[[], None],
    ) -> None:
        """Trains from ``self.step`` to the end; raises SystemExit if stopped before.

        The batch and the random numbers of a step depend only on its number.
        ``check()`` raises an error if the run must stop.
        """
        config, health = self._config, Health(self._skip)

        def save():
            checkpoints.save(self.step, self.state, iterator.get_state())

        with self._report() as report:
            while True:
                try:
                    # Also for a restored step: a stop may have ended its evaluation.
                    if self._is_due(config.eval_every) and parallel.is_first():
                        stop.at_once(partial(self._evaluate, report))
                        report.restart_clock(self.step)
                    if self.step >= self.end or stop.requested:
                        break
                    check()
                    batch = parallel.shard_batch(next(iterator), self._mesh)
                except StylePrompterError:
                    if jax.process_count() == 1:  # a save waits for all processes
                        with suppress(StylePrompterError):  # the first error says why
                            save()
                    raise
                step_rng = jax.random.fold_in(rng, self.step)
                update, flops, is_new = self._update(batch, step_rng)
                self.state, metrics = update(self.state, batch, step_rng)
                health.add(metrics.pop("finite"))
                self.step += 1
                stop.agree(self.step)
                report.advance(flops)
                if time.perf_counter() > deadline:
                    self.end = self.step
                if self._is_due(config.log_every):
                    counts = health.check(self.step, checkpoints.advice)
                    counts |= iterator.bad_images()
                    report.scalars(self.step, jax.device_get(metrics) | counts)
                elif is_new:
                    jax.block_until_ready(metrics)
                    report.restart_clock(self.step)
                if self._is_due(config.checkpoint_every):
                    save()
            if stop.requested:
                save()
                checkpoints.wait()
                report.say(
                    f"Stopped at step {self.step}. Run the same command to continue."
                )
                raise SystemExit(1)

    def _report(self):
        if not parallel.is_first():
            return Silence()
        return Report(
            self._workdir,
            step=self.step,
            evaluate=self._is_due(self._config.eval_every),
            total_steps=self.end,
            batch_size=self._config.batch_size,
            peak_flops=peak_flops(self._mesh.devices.flat[0].device_kind),
        )

    def _is_due(self, every: int) -> bool:
        """Returns whether a task is due, each ``every`` steps and at the end."""
        return self.step > 0 and (self.step % every == 0 or self.step == self.end)

    def _update(self, batch: Any, rng: jax.Array) -> tuple:
        """Returns the compiled step for this step, its FLOPs, and whether it is new."""
        variant = self._objective.variant(self.step)
        is_new = variant not in self._compiled
        if is_new:
            step = guard(partial(self._objective.step, variant=variant), self._skip)
            step = parallel.map_step(step, self._mesh)
            step = step.lower(self.state, batch, rng).compile()
            self._compiled[variant] = step, (step.cost_analysis() or {}).get("flops", 0)
        return *self._compiled[variant], is_new

    def _evaluate(self, report: Report) -> Any:
        state, name = (
            parallel.local_copy(self.state),
            SCORE[kind_of(self._config.stage)],
        )
        self._objective.evaluate(state, report, self.step)
        export = partial(self._objective.export, state)
        best = folders.BestModel(self._workdir)
        best.offer(self.step, name, report.validation[name], export)
