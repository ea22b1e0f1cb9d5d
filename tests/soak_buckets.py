"""Disturbs runs in buckets with kills and cut connections: part of `make soak`.

    python tests/soak_buckets.py --kills 60 --cuts 20

A tiny training writes to an emulator of a bucket, through a proxy that can cut
connections and answer slowly. Kills come at random moments. The next call runs on the
same machine, or on another one, which has an empty cache. After each kill, the bucket
must hold a whole version with at least the steps of the version before. At the end, the
run must be equal, bit for bit, to an undisturbed run on a disk. docs/reliability.md has
the results.
"""

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import jax
import numpy as np
from conftest import TINY, random_variables
from emulators import KINDS, Emulator, environment, free_port, using
from soak_training import FORKS, PATIENCE, smallest
from test_training import final_state, losses

from styleprompter_jax.core import buckets, fetch, snapshots
from styleprompter_jax.store import model_folder
from styleprompter_jax.training import loop


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--cuts", type=int, default=20)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        undisturbed = Undisturbed(Path(folder))
        print(f"Undisturbed: {undisturbed.seconds:.0f} s.", flush=True)
        for kind in args.kinds:
            with Emulator(kind) as emulator, Proxy(emulator.port) as proxy:
                soak = Soak(undisturbed, emulator, proxy, random.Random(args.seed))
                print(
                    kind,
                    "SIGKILL:",
                    soak.kills(args.kills // len(args.kinds)),
                    flush=True,
                )
                print(kind, "cut:", soak.cuts(args.cuts // len(args.kinds)), flush=True)
        two_machines("gs", undisturbed.model, Path(folder))
        print("Two machines trained as one.")
    print("Nothing was lost.")
    return 0


class Undisturbed:
    """A run on a disk, which all others must equal."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.model = model_folder.save_model(
            folder / "start", TINY, random_variables(TINY)
        )
        # Twice, since the first one fills the compilation cache.
        for name in ("first", "undisturbed"):
            began, self.workdir = time.perf_counter(), folder / name
            process = self.start(str(self.workdir), {}, folder / "cache")
            process.join()
            assert process.exitcode == 0, self.log()
            self.seconds = time.perf_counter() - began
        self.state, self.losses = final_state(self.workdir), losses(self.workdir)

    def start(self, workdir, environment, cache):
        process = FORKS.Process(
            target=run, args=(self.model, workdir, self.folder, environment, cache)
        )
        process.start()
        return process

    def log(self) -> str:
        return (self.folder / "log").read_text()


class Proxy:
    """Passes connections on to a port, slowly, until it cuts them; a context manager.

    Attributes:
        port: where it listens.
        cuts: the number of connections that were cut amid a request or an answer.
    """

    def __init__(self, target: int):
        self.port, self._target, self.cuts = free_port(), target, 0
        self._lock, self._open = threading.Lock(), {}

    def __enter__(self):
        self._server = socket.create_server(("127.0.0.1", self.port), backlog=64)
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._server.close()

    def cut(self) -> None:
        """Cuts all connections on which something moved in the last second."""
        with self._lock:
            for pair, moved in [*self._open.items()]:
                if time.monotonic() - moved < 1:
                    self.cuts += 1
                    for one in pair:
                        with contextlib.suppress(OSError):
                            one.shutdown(socket.SHUT_RDWR)

    def _accept(self):
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._target))
            pair = client, server
            self._open[pair] = time.monotonic()
            for way in (pair, pair[::-1]):
                threading.Thread(target=self._pass, args=(pair, *way)).start()

    def _pass(self, pair, source, target):
        with contextlib.suppress(OSError):
            while data := source.recv(2**16):
                self._open[pair] = time.monotonic()
                time.sleep(0.002)  # a network is not as quick as the loopback
                target.sendall(data)
        for one in pair:
            one.close()
        with self._lock:
            self._open.pop(pair, None)


class Soak:
    """Disturbances of runs in one kind of bucket."""

    def __init__(self, undisturbed, emulator, proxy, rng):
        self._undisturbed, self._rng, self._proxy = undisturbed, rng, proxy
        self._emulator, self._machines = emulator, 0
        self._environment = environment(emulator.kind, proxy.port)
        self._folder = undisturbed.folder

    def kills(self, count: int) -> dict:
        """Kills calls at random moments; counts the outcomes."""
        found, runs = Counter(), 0
        while found["kills"] < count:
            address, runs = f"{self._emulator.address}/kills{runs}", runs + 1
            cache = self._machine()
            before = [0]
            while True:
                process = self._undisturbed.start(address, self._environment, cache)
                self._wait(process, cache)
                if process.exitcode is None and found["kills"] < count:
                    os.kill(process.pid, signal.SIGKILL)
                    found["kills"] += 1
                process.join(PATIENCE)
                if process.exitcode == 0:
                    break
                assert process.exitcode == -signal.SIGKILL, self._undisturbed.log()
                steps = self._steps(address)
                assert max(steps, default=0) >= max(before), (before, steps)
                moved = max(steps, default=0) > max(before)
                found["with new steps" if moved else "without new steps"] += 1
                before = steps or before
                print(address, dict(found), flush=True)
                if self._rng.random() < 0.5:
                    cache, _ = self._machine(), shutil.rmtree(cache, True)
                    found["continued on another machine"] += 1
            self._compare(address)
            found["runs compared"] += 1
            shutil.rmtree(cache, ignore_errors=True)
        return dict(found)

    def cuts(self, count: int) -> dict:
        """Cuts connections at random moments; no run may fail."""
        found, start = Counter(), self._proxy.cuts
        while self._proxy.cuts - start < count:
            address = f"{self._emulator.address}/cuts{found['runs compared']}"
            process = self._undisturbed.start(
                address, self._environment, self._machine()
            )
            while process.exitcode is None:
                process.join(self._rng.uniform(0.2, 3))
                if self._proxy.cuts - start < count:
                    self._proxy.cut()
            assert process.exitcode == 0, self._undisturbed.log()
            self._compare(address)
            found["runs compared"] += 1
            print(address, self._proxy.cuts - start, flush=True)
        return dict(found, connections=self._proxy.cuts - start)

    def _wait(self, process, cache: Path) -> None:
        """Waits until a random moment: one in five before the first new step."""
        if self._rng.random() < 0.2:
            process.join(self._rng.uniform(0, 0.5) * self._undisturbed.seconds)
            return
        before = _lines(cache)
        while process.exitcode is None and _lines(cache) <= before:
            process.join(0.1)
        process.join(self._rng.uniform(0, 0.2) * self._undisturbed.seconds)

    def _machine(self) -> Path:
        self._machines += 1
        return self._folder / f"{self._emulator.kind}{self._machines}"

    def _steps(self, address: str) -> list[int]:
        """The steps in a bucket, after a look at each of its files."""
        with using(self._emulator.environment, self._folder / "reader"):
            version = snapshots.newest(buckets.parse(address))
            if not version or not version.files:
                return []
            fetch.local_copy(address)  # compares every SHA-256
            shutil.rmtree(self._folder / "reader")
        names = (path.split("/") for path in version.files)
        return sorted({int(n[1]) for n in names if n[0] == "checkpoints"})

    def _compare(self, address: str) -> None:
        with using(self._emulator.environment, self._folder / "reader"):
            copy = fetch.local_copy(address)
            state = final_state(copy)
            assert state.keys() == self._undisturbed.state.keys()
            for key, value in self._undisturbed.state.items():
                np.testing.assert_array_equal(state[key], value, err_msg=key)
            np.testing.assert_array_equal(losses(copy), self._undisturbed.losses)
            assert not (copy / "damaged").exists(), "a kill left half a step"
            for name in ("model", "model_best"):
                model_folder.load_model(f"{address}/{name}")
            shutil.rmtree(self._folder / "reader")


def _lines(cache: Path) -> int:
    """The number of lines that the runs of a machine wrote."""
    files = cache.glob("styleprompter_jax/runs/*/metrics.jsonl")
    return sum(file.read_bytes().count(b"\n") for file in files)


def two_machines(kind: str, model: Path, folder: Path) -> None:
    """Trains with two processes, each with a cache of its own; continues on others."""
    with Emulator(kind) as emulator:
        for call, steps in enumerate(("1", "2")):
            command = [
                sys.executable, "train.py", "--config=configs/tiny.py:encoder",
                f"--config.init_from={model}", f"--config.total_steps={steps}",
                f"--workdir={emulator.address}/run", "--num_processes=2",
                f"--coordinator=localhost:{free_port()}",
            ]  # fmt: skip
            own = emulator.environment | {"JAX_PLATFORMS": "cpu"}
            own["XLA_FLAGS"] = "--xla_backend_optimization_level=0"
            processes = [
                subprocess.Popen(
                    [*command, f"--process_id={k}"],
                    cwd=Path(loop.__file__).parents[2],
                    env=os.environ | own | {"XDG_CACHE_HOME": f"{folder}/{call}{k}"},
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                )
                for k in range(2)
            ]
            for process in processes:
                output, _ = process.communicate(timeout=PATIENCE)
                assert process.returncode == 0, output
        with using(emulator.environment, folder / "reader"):
            run = fetch.local_copy(f"{emulator.address}/run")
            rows = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
            assert [row["step"] for row in rows if row["split"] == "train"] == [1, 2]
            model_folder.load_model(f"{emulator.address}/run/model")


def run(model, workdir, folder, environment, cache) -> None:
    """Runs the tiny training on one device, in its own process."""
    with (folder / "log").open("w") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    os.environ.update(environment, XDG_CACHE_HOME=str(cache))
    jax.config.update("jax_compilation_cache_dir", str(folder / "cache"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    loop.train(smallest(model), workdir, devices=jax.devices()[:1])


if __name__ == "__main__":
    sys.exit(main())
