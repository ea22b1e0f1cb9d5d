"""JAX before 0.8.2 on CPUs: no stale copies of weights, or no training."""

import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from styleprompter_jax.configs import tiny
from styleprompter_jax.core import xnnpack
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.training.loop import train
from styleprompter_jax.training.run import parallel

FLAG = "--xla_cpu_use_xnnpack"


@pytest.fixture
def old_jax(monkeypatch):
    """As if JAX were one before 0.8.2."""
    monkeypatch.setattr(xnnpack, "_has_stale_copies", lambda: True)
    monkeypatch.setattr(xnnpack, "_late", False)
    monkeypatch.setenv("XLA_FLAGS", "")
    return monkeypatch


@pytest.fixture
def not_started(old_jax):
    old_jax.setattr("jax._src.xla_bridge.backends_are_initialized", lambda: False)


# Which shapes XNNPACK takes depends on the CPU.
@pytest.mark.parametrize("shape", [(64, 512, 1024), (512, 512, 512)])
def test_products_are_those_of_the_weights_as_they_are(shape):
    m, k, n = shape
    rng = np.random.default_rng(0)
    x = rng.standard_normal((m, k)).astype(np.float32)
    w = rng.standard_normal((k, n)).astype(np.float32)

    def step(w, x, rng):
        y = x @ w
        return w + y.mean(0), y

    mesh = parallel.make_mesh(jax.devices()[:1])
    update, apply = parallel.map_step(step, mesh), jax.jit(jnp.matmul)
    trained = parallel.replicate(w + 0, mesh)
    for _ in range(3):
        expected = x @ np.array(trained)
        np.testing.assert_allclose(apply(x, trained), expected, atol=0.1)
        trained, y = update(trained, x, jax.random.key(0))
        np.testing.assert_allclose(y, expected, atol=0.1)


@pytest.mark.usefixtures("not_started")
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", f"{FLAG}=false"),
        ("--xla_dump_to=d", f"--xla_dump_to=d {FLAG}=false"),
        (f"{FLAG}=False --xla_dump_to=d", f"{FLAG}=False --xla_dump_to=d"),
        (f"{FLAG}=0", f"{FLAG}=0"),
        ("no_such_file", "no_such_file"),
        (f"{FLAG}", f"{FLAG}"),
        (f"{FLAG}=false {FLAG}=true", f"{FLAG}=false {FLAG}=true"),
    ],
)
def test_the_switch_comes_after_what_the_user_set(before, after, monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", before)
    xnnpack.switch_off()
    assert os.environ["XLA_FLAGS"] == after
    if after.lower().startswith("no") or after.endswith(("true", "xnnpack")):
        with pytest.raises(StylePrompterError, match=f"{FLAG}=false in XLA_FLAGS"):
            xnnpack.check_off("cpu")
        xnnpack.check_off("gpu")
    else:
        xnnpack.check_off("cpu")


@pytest.mark.usefixtures("not_started")
def test_a_file_of_flags_is_read(tmp_path, monkeypatch):
    (tmp_path / "flags").write_text(f"--xla_dump_to=d\n{FLAG}=false\n")
    monkeypatch.setenv("XLA_FLAGS", str(tmp_path / "flags"))
    xnnpack.switch_off()
    xnnpack.check_off("cpu")


def test_too_late(old_jax, tmp_path):
    assert len(jax.devices("cpu")) > 0  # JAX runs
    with pytest.warns(RuntimeWarning, match="restart Python"):
        xnnpack.switch_off()
    assert not os.environ["XLA_FLAGS"]
    # Too late to set it by hand, too.
    old_jax.setenv("XLA_FLAGS", f"{FLAG}=false")
    with pytest.raises(StylePrompterError, match="restart Python"):
        train(tiny.get_config("generator"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_newer_ones_are_left_alone(old_jax):
    old_jax.setattr(xnnpack, "_has_stale_copies", lambda: False)
    xnnpack.switch_off()
    xnnpack.check_off("cpu")
    assert not os.environ["XLA_FLAGS"]
