"""Devices of a CPU, in processes of their own: JAX must not have started."""

import os
import subprocess
import sys

import jax
import pytest

from styleprompter_jax.core.cpu_devices import _best, use_cpu_devices

CODE = """
import os, sys
from styleprompter_jax.core.cpu_devices import use_cpu_devices
os.sched_getaffinity = lambda _: range(4)
made = use_cpu_devices(64, 8)
import jax
print(made, jax.device_count(), "terminate_timeout" in os.environ.get("XLA_FLAGS", ""))
print(use_cpu_devices(64, 8))
"""
NEW = jax.__version_info__ >= (0, 10)


@pytest.mark.parametrize(
    ("image_size", "batch_size", "group", "cores", "count"),
    [
        (64, 16, 1, 2, 2),
        (128, 16, 1, 8, 4),  # at least four images for each
        (64, 12, 1, 8, 3),
        (64, 10, 1, 4, 2),
        (64, 7, 1, 4, 1),
        (64, 4, 1, 8, 1),
        (256, 16, 1, 8, 1),
        (64, 20, 4, 2, 1),  # ten images are no groups of four
        (64, 16, 8, 4, 2),
    ],
)
def test_the_number_of_devices(image_size, batch_size, group, cores, count):
    assert _best(image_size, batch_size, group, cores) == count


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, "2 2 True" if NEW else "1 1 False"),
        ({"JAX_NUM_CPU_DEVICES": "3"}, "1 3 False"),
        ({"XLA_FLAGS": "--xla_force_host_platform_device_count=3"}, "1 3 False"),
    ],
)
def test_a_process_splits_the_cpu_once(variables, expected):
    names = ("XLA_FLAGS", "JAX_NUM_CPU_DEVICES")
    kept = {k: v for k, v in os.environ.items() if k not in names}
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        env=kept | {"JAX_PLATFORMS": "cpu"} | variables,
        capture_output=True,
        text=True,
        check=True,
    )
    first, again = done.stdout.splitlines()
    # XLA_FLAGS may also have the option of `core.xnnpack`.
    assert first == expected
    assert again == "1"


def test_a_process_in_which_jax_runs_keeps_its_devices():
    before = jax.devices()
    assert use_cpu_devices(64, 16) == 1
    assert jax.devices() == before
