"""Disturbs a tiny run with kills, signals and flipped bits: part of `make soak`.

    python tests/soak_training.py --kills 100 --terms 40 --flips 500

It kills the run, or sends SIGTERM, at random moments, and starts it again each time. At
the end, it compares the run bit for bit with an undisturbed run. Then it flips single
bits of the newest step, and compares the restored state with the saved one. The tests
run a sample of this; docs/reliability.md has the results.

Each call is its own process. The processes fork from a process that has imported
everything and started nothing, so that signals reach the training and not the imports.
"""

import argparse
import json
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import jax
import numpy as np
from absl import logging
from conftest import TINY, random_variables
from test_training import final_state, losses, newest_step

from styleprompter_jax.configs import tiny
from styleprompter_jax.store import model_folder
from styleprompter_jax.training import loop
from styleprompter_jax.training.run.checkpoint import Checkpoints

STEPS = 24
PATIENCE = 900  # seconds that a run may take to leave after SIGTERM
# Its server imports this file once; every process is a fork of it.
FORKS = multiprocessing.get_context("forkserver")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--terms", type=int, default=40)
    parser.add_argument("--flips", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rng = random.Random(args.seed)
    with tempfile.TemporaryDirectory() as folder:
        soak = Soak(Path(folder), rng)
        print(f"Undisturbed: {soak.seconds:.0f} s for {STEPS} steps.", flush=True)
        for number, count in (
            (signal.SIGKILL, args.kills),
            (signal.SIGTERM, args.terms),
        ):
            print(f"{number.name}: {soak.signals(number, count)}", flush=True)
        print(f"Flipped bits: {soak.flips(args.flips)}", flush=True)
    print("Nothing was lost.")
    return 0


class Soak:
    """The undisturbed run, and the disturbances of the other runs."""

    def __init__(self, folder: Path, rng: random.Random):
        self._folder, self._rng = folder, rng
        self._model = model_folder.save_model(
            folder / "start", TINY, random_variables(TINY)
        )
        # Twice, since the first one fills the compilation cache.
        for name in ("first", "undisturbed"):
            self.undisturbed, start = folder / name, time.perf_counter()
            process = self._start(self.undisturbed)
            process.join()
            assert process.exitcode == 0, self._log()
            self.seconds = time.perf_counter() - start
        self._expected = final_state(self.undisturbed)

    def _start(self, workdir: Path) -> multiprocessing.Process:
        arguments = self._model, workdir, self._folder
        process = FORKS.Process(target=run, args=arguments)
        process.start()
        return process

    def signals(self, number: signal.Signals, count: int) -> dict:
        """Sends signals at random moments of `count` calls; counts the outcomes."""
        found, sent, run = Counter(), 0, 0
        while sent < count:
            workdir, run = self._folder / f"{number.name}_{run}", run + 1
            while True:
                before = _progress(workdir)
                process = self._start(workdir)
                # Few reach the end before it.
                process.join(self._rng.uniform(0, 1.1 * self.seconds))
                if process.exitcode is None and sent < count:
                    sent += 1
                    os.kill(process.pid, number)
                process.join(PATIENCE)
                code = process.exitcode
                if code == 0:
                    break
                after, saved, log = _progress(workdir), _saved(workdir), self._log()
                if number == signal.SIGKILL:
                    assert code == -signal.SIGKILL, log
                    found["while training" if after > before else "before a step"] += 1
                elif code == -signal.SIGTERM:
                    assert after <= before, f"a signal was not handled: {log}"
                    found["before the run began"] += 1
                else:
                    assert code == 1 and "Stopped at step" in log, log
                    assert saved >= after, f"step {after} of {saved} is lost: {log}"
                    found["saved"] += 1
            self._compare(workdir)
            found["runs compared"] += 1
            shutil.rmtree(workdir)
        return dict(found, sent=sent)

    def _log(self) -> str:
        return (self._folder / "log").read_text()

    def _compare(self, workdir: Path) -> None:
        state = final_state(workdir)
        assert state.keys() == self._expected.keys()
        for key, value in self._expected.items():
            np.testing.assert_array_equal(state[key], value, err_msg=key)
        np.testing.assert_array_equal(losses(workdir), losses(self.undisturbed))
        assert not (workdir / "damaged").exists(), "a kill left half a step"
        for name in ("model", "model_best"):
            model_folder.load_model(workdir / name)

    def flips(self, count: int) -> dict:
        """Flips single bits in the newest step; counts the outcomes of a restore."""
        config = smallest(self._model)
        objective = loop.make_objective(config, config.batch_size)
        state = objective.init(jax.random.key(0))
        state = jax.tree.map(jax.numpy.asarray, state)
        source = self.undisturbed / "checkpoints"
        with Checkpoints(source, {}) as checkpoints:
            whole = {STEPS: checkpoints.restore(state)}
        self._folder.joinpath("older").mkdir()
        older = self._folder / "older" / "checkpoints"
        shutil.copytree(source, older)
        shutil.rmtree(older / str(STEPS))
        with Checkpoints(older, {}) as checkpoints:
            step, *rest = checkpoints.restore(state)
            whole[step] = step, *rest
        files = [p for p in sorted((source / str(STEPS)).rglob("*")) if p.is_file()]
        sizes = [p.stat().st_size for p in files]
        found = Counter()
        logging.set_verbosity(logging.FATAL)
        for k in range(count):
            # Half of them by size, half in any file: most files are small.
            (file,) = self._rng.choices(
                files, sizes if k % 2 else [s > 0 for s in sizes]
            )
            folder = self._folder / "flipped" / "checkpoints"
            shutil.copytree(source, folder)
            copy = folder / file.relative_to(source)
            content = bytearray(copy.read_bytes())
            content[self._rng.randrange(len(content))] ^= 1 << self._rng.randrange(8)
            copy.write_bytes(content)
            with Checkpoints(folder, {}) as checkpoints:
                step, *rest = checkpoints.restore(state)
            jax.tree.map(np.testing.assert_array_equal, rest, list(whole[step][1:]))
            found["without effect" if step == STEPS else "found"] += 1
            shutil.rmtree(folder.parent)
        return dict(found)


def smallest(model: Path):
    """The config of all runs: an encoder of one block, which is quick to trace."""
    config = tiny.get_config("encoder")
    config.init_from, config.total_steps = str(model), STEPS
    config.checkpoint_every, config.eval_every, config.log_every = 2, 8, 1
    config.model.encoder.update(depths=(1,), num_heads=(1,))
    return config


def run(model: Path, workdir: Path, folder: Path) -> None:
    """Runs the tiny training on one device, in its own process."""
    with (folder / "log").open("w") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    jax.config.update("jax_compilation_cache_dir", str(folder / "cache"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    loop.train(smallest(model), workdir, devices=jax.devices()[:1])


def _progress(workdir: Path) -> int:
    """The last step that metrics.jsonl holds."""
    try:
        rows = (workdir / "metrics.jsonl").read_text().splitlines()
        return max(json.loads(row)["step"] for row in rows if row.endswith("}"))
    except (FileNotFoundError, ValueError):
        return 0


def _saved(workdir: Path) -> int:
    try:
        return newest_step(workdir)
    except (FileNotFoundError, ValueError):
        return 0


if __name__ == "__main__":
    sys.exit(main())
