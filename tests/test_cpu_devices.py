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
# Both calls stop after they have shared the batch.
TWICE = """
import os
os.sched_getaffinity = lambda _: range(4)
import styleprompter_jax as sp
config = sp.get_config("tiny:generator")
config.data.name, config.data.path = "folder", "no/such/folder"
for config.batch_size in (16, 10):
    try:
        sp.train(config, os.environ.get("WORKDIR", "run"))
    except sp.StylePrompterError as error:
        print(error)
import jax
print(jax.device_count())
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


def run(code, variables, **options):
    """What a process of its own prints."""
    names = ("XLA_FLAGS", "JAX_NUM_CPU_DEVICES")
    kept = {k: v for k, v in os.environ.items() if k not in names}
    return subprocess.run(
        [sys.executable, "-c", code],
        env=kept | {"JAX_PLATFORMS": "cpu"} | variables,
        capture_output=True,
        text=True,
        check=True,
        **options,
    ).stdout


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, "2 2 True" if NEW else "1 1 False"),
        ({"JAX_NUM_CPU_DEVICES": "3"}, "1 3 False"),
        ({"XLA_FLAGS": "--xla_force_host_platform_device_count=3"}, "1 3 False"),
    ],
)
def test_a_process_splits_the_cpu_once(variables, expected):
    first, again = run(CODE, variables).splitlines()
    # XLA_FLAGS may also have the option of `core.xnnpack`.
    assert first == expected
    assert again == "1"


@pytest.mark.skipif(not NEW, reason="no split")
def test_a_second_training_does_not_depend_on_the_split_of_the_first(tmp_path):
    done = run(TWICE, {}, cwd=tmp_path)
    *errors, count = done.splitlines()
    assert count == "4" and len(errors) == 2
    assert all("there is no folder no/such/folder" in error for error in errors)


@pytest.mark.skipif(not NEW, reason="no split")
def test_a_run_in_a_bucket_splits_the_cpu():
    """The place of a bucket asks JAX for the number of processes."""
    pytest.importorskip("s3fs")
    nowhere = {"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "WORKDIR": "s3://faces/run"}
    keys = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
    *errors, count = run(TWICE, nowhere | keys).splitlines()
    assert count == "4" and "check the network" in errors[0]


def test_a_process_in_which_jax_runs_keeps_its_devices():
    before = jax.devices()
    assert use_cpu_devices(64, 16) == 1
    assert jax.devices() == before
