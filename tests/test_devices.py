"""Commands on all devices of a host: the same results as on one."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

import styleprompter_jax as sp
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.inversion import passes, rendering
from styleprompter_jax.inversion.devices import Devices, of_this_host

PROGRAM = """
import sys
from styleprompter_jax.cli import main
model, images, out = sys.argv[1:]
common = ["--model", model, "--input", images, "--batch-size", "2"]
for command, *more in (
    ["invert", "--features"],
    ["edit", "--direction", "smile"],
    ["evaluate", "--size", "32"],
):
    assert not main([command, *common, "--output", f"{out}/{command}", *more])
"""
COLLECTIVES = "all-gather|all-reduce|all-to-all|collective-permute|reduce-scatter"


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """A folder of 18 images: on 8 devices, a whole batch of 16 and a part of one."""
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    pixels = np.tanh(rng.standard_normal((18, 32, 32, 3)))
    sp.write_images(pixels, [folder / f"{k}.png" for k in range(len(pixels))])
    return folder


@pytest.mark.slow
def test_eight_devices_give_the_bits_of_one(tiny_folder, images, tmp_path):
    for count in (1, 8):
        flags = os.environ["XLA_FLAGS"]
        flags += f" --xla_force_host_platform_device_count={count}"
        subprocess.run(
            [sys.executable, "-c", PROGRAM, tiny_folder, images, tmp_path / f"{count}"],
            env=os.environ | {"XLA_FLAGS": flags},
            cwd=Path(__file__).parents[1],
            check=True,
            capture_output=True,
        )
    one, eight = tmp_path / "1", tmp_path / "8"
    files = sorted(path.relative_to(one) for path in one.rglob("*.*"))
    assert len(files) > 60
    for file in files:
        if file.suffix == ".npz":
            with np.load(one / file) as a, np.load(eight / file) as b:
                assert a.files == b.files and len(a.files) == 7
                for name in a.files:
                    np.testing.assert_array_equal(a[name], b[name])
        elif file.suffix in (".png", ".csv"):
            assert (one / file).read_bytes() == (eight / file).read_bytes(), file
    a, b = (
        json.loads((at / "evaluate/metrics.json").read_text())["unquantised"]
        for at in (one, eight)
    )
    for part in ("w_plus", "refined"):
        # A distance between sets adds over batches, which are others here.
        sets = [each[part].pop("frechet_layout") for each in (a, b)]
        assert sets[0] == pytest.approx(sets[1], rel=1e-6)
    assert a == b


def test_each_device_works_on_its_own_rows(tiny_folder):
    """The compiled programs exchange nothing between devices."""
    model = sp.load(tiny_folder, devices=jax.local_devices())
    assert model.devices.count == 8
    x = model.devices.split(np.zeros((8, 32, 32, 3), np.float32))
    how = rendering.How(model.module, True, "const")
    options = {"beta": (np.float32(1), np.float32(1))}

    def compiled(function, static, *args):
        program = jax.jit(function._function, static_argnums=0)
        program = program.lower(static, model.variables, *args).compile()
        assert not re.search(COLLECTIVES, program.as_text())
        return program(model.variables, *args)

    latents = compiled(passes._encode, model.module, x)
    made = compiled(rendering._render, how, {}, latents, options, {})
    assert made.addressable_shards[0].data.shape == (1, 32, 32, 3)


def test_rows_that_the_devices_do_not_divide():
    devices = Devices(jax.local_devices()[:4])
    rows, number = devices.split((np.arange(6.0), np.float32(3)))
    np.testing.assert_array_equal(rows, [0, 1, 2, 3, 4, 5, 5, 5])
    assert number == 3
    np.testing.assert_array_equal(devices.cut(rows, 6), np.arange(6))
    assert Devices().split(rows) is rows and Devices().count == 1


def test_which_devices_a_command_uses():
    assert of_this_host() is None  # conftest.py chose one
    with jax.default_device(None):
        assert len(of_this_host()) == 8


def test_devices_that_are_none(tiny_folder):
    for wrong in ([], "cpu", [3]):
        with pytest.raises(StylePrompterError, match="give a list of jax"):
            sp.load(tiny_folder, devices=wrong)
