"""Training with two processes on one machine."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from styleprompter_jax.training import loop
from styleprompter_jax.training.run.checkpoint import saved_steps


def started(workdir, config, *options, devices=1):
    """Starts the two processes of a training."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        coordinator = f"localhost:{free.getsockname()[1]}"
    command = [sys.executable, "train.py", f"--config={config}", *options]
    command += [f"--workdir={workdir}", f"--coordinator={coordinator}"]
    flags = f"{os.environ['XLA_FLAGS']} --xla_backend_optimization_level=0"
    flags += f" --xla_force_host_platform_device_count={devices}"
    return [
        subprocess.Popen(
            [*command, "--num_processes=2", f"--process_id={k}"],
            cwd=Path(loop.__file__).parents[2],
            env=os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for k in range(2)
    ]


@pytest.mark.slow
def test_ctrl_c_in_one_process_saves_the_run(tmp_path):
    processes = started(
        tmp_path,
        "configs/tiny.py:generator",
        "--config.total_steps=100000",
        "--config.eval_every=100000",
        "--config.checkpoint_every=100000",
    )
    try:
        end = time.monotonic() + 600
        while not (tmp_path / "metrics.jsonl").exists():
            assert time.monotonic() < end
            assert all(process.poll() is None for process in processes)
            time.sleep(0.1)
        processes[1].send_signal(signal.SIGINT)
        for process in processes:
            output, _ = process.communicate(timeout=600)
            assert process.returncode == 1, output
    finally:
        for process in processes:
            process.kill()
    (step,) = saved_steps(tmp_path / "checkpoints")
    assert step > 0
