"""Saved steps: found damaged, never restored as wrong numbers, never half."""

import logging
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import disk_full_after

from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.training.run import checkpoint, parallel
from styleprompter_jax.training.run.checkpoint import Checkpoints

# Reads that are still under way when Orbax meets damage find their event loop closed.
ORBAX_GIVES_UP = "ignore::pytest.PytestUnraisableExceptionWarning"


def make_state(seed, size=64):
    params = {
        "w": jax.random.normal(jax.random.key(seed), (size, 24)),
        "half": jnp.full(7, seed, jnp.bfloat16),
    }
    return {"trained": params, "opt": optax.adam(1e-3).init(params)}


def replicated(seed, devices=1):
    mesh = parallel.make_mesh(jax.devices()[:devices])
    return parallel.replicate(make_state(seed), mesh)


def save_steps(folder, *steps):
    with Checkpoints(folder, {"stage": "encoder"}) as checkpoints:
        for step in steps:
            checkpoints.save(step, replicated(step), {"next_index": 10 * step})


def restore(folder, devices=1):
    with Checkpoints(folder, {"stage": "encoder"}) as checkpoints:
        saved = checkpoints.restore(replicated(0, devices))
    if saved is not None:
        mesh = parallel.make_mesh(jax.devices()[:devices])
        return saved[0], parallel.replicate(saved[1], mesh), saved[2]


def assert_is_step(saved, step):
    found, state, record = saved
    assert found == step and record["position"] == {"next_index": 10 * step}
    jax.tree.map(np.testing.assert_array_equal, state, make_state(step))


@pytest.mark.parametrize("devices", [1, 2, 8])
def test_a_step_comes_back_on_any_number_of_devices(devices, tmp_path):
    save_steps(tmp_path / "c", 1, 2, 3)
    saved = restore(tmp_path / "c", devices)
    assert_is_step(saved, 3)
    like = replicated(0, devices)
    assert jax.tree.structure(saved[1]) == jax.tree.structure(like)
    for a, b in zip(jax.tree.leaves(saved[1]), jax.tree.leaves(like), strict=True):
        assert a.sharding == b.sharding and a.dtype == b.dtype
    assert saved[2]["config"] == {"stage": "encoder"}
    assert saved[2]["revision"]
    assert sorted(p.name for p in (tmp_path / "c").iterdir()) == ["2", "3"]


def test_nothing_saved(tmp_path):
    assert restore(tmp_path / "c") is None


@pytest.mark.filterwarnings(ORBAX_GIVES_UP)
def test_no_flipped_bit_is_restored(tmp_path, caplog):
    """One bit of any file of the newest step: found, or without effect."""
    save_steps(tmp_path / "whole", 1, 2)
    files = [p for p in sorted((tmp_path / "whole" / "2").rglob("*")) if p.is_file()]
    rng = np.random.default_rng(0)
    sizes = np.array([p.stat().st_size for p in files], float)
    found = 0
    # One in every file, and the rest where most bytes are.
    chosen = [*files, *rng.choice(files, 10, p=sizes / sizes.sum())]
    for k, file in enumerate(chosen):
        folder = tmp_path / str(k) / "c"
        shutil.copytree(tmp_path / "whole", folder)
        file = folder / file.relative_to(tmp_path / "whole")
        content = bytearray(file.read_bytes())
        if not content:
            continue
        content[rng.integers(len(content))] ^= 1 << rng.integers(8)
        file.write_bytes(content)
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            saved = restore(folder)
        assert_is_step(saved, saved[0])
        if saved[0] == 1:
            found += 1
            assert "continues from step 1" in caplog.text
            assert (folder.parent / "damaged" / "2").is_dir()
            save_steps(folder, 2)
            assert_is_step(restore(folder), 2)
    assert found >= 10


@pytest.mark.filterwarnings(ORBAX_GIVES_UP)
@pytest.mark.parametrize("damage", ["empty", "no record", "no arrays", "cut off"])
def test_falls_back_from_a_step_that_is_not_whole(damage, tmp_path):
    save_steps(tmp_path / "c", 1, 2)
    step = tmp_path / "c" / "2"
    if damage == "empty":
        shutil.rmtree(step)
        step.mkdir()
    elif damage == "cut off":
        file = max((step / "state" / "d").iterdir(), key=lambda p: p.stat().st_size)
        file.write_bytes(file.read_bytes()[:-9])
    else:
        shutil.rmtree(step / {"no record": "record", "no arrays": "state"}[damage])
    assert_is_step(restore(tmp_path / "c"), 1)


@pytest.mark.filterwarnings(ORBAX_GIVES_UP)
def test_no_whole_step_is_an_error_and_moves_nothing(tmp_path):
    save_steps(tmp_path / "c", 1, 2)
    for step in "12":
        shutil.rmtree(tmp_path / "c" / step / "state")
    with pytest.raises(StylePrompterError, match=r"step 2: .*step 1: .*--workdir"):
        restore(tmp_path / "c")
    assert {p.name for p in (tmp_path / "c").iterdir()} == {"1", "2"}


def test_a_state_that_is_not_finite_is_not_saved(tmp_path):
    save_steps(tmp_path / "c", 1)
    state = replicated(2)
    state["trained"]["half"] = state["trained"]["half"].at[3].set(jnp.inf)
    with (
        Checkpoints(tmp_path / "c", {}) as checkpoints,
        pytest.raises(StylePrompterError, match=r"'half'.*Step 1 is saved"),
    ):
        checkpoints.save(2, state, {})
    assert_is_step(restore(tmp_path / "c"), 1)


def test_a_full_disk_is_one_sentence_and_keeps_the_step_before(tmp_path):
    save_steps(tmp_path / "c", 1)
    rng = np.random.default_rng(0)
    large = {"w": jnp.asarray(rng.standard_normal((1000, 1000), np.float32))}
    with (
        Checkpoints(tmp_path / "c", {}) as checkpoints,
        disk_full_after(100_000),
        pytest.raises(StylePrompterError, match=r"cannot be written.*Step 1 is"),
    ):
        checkpoints.save(2, large, {})
        checkpoints.wait()
    assert_is_step(restore(tmp_path / "c"), 1)
    save_steps(tmp_path / "c", 2)  # where there is room again
    assert_is_step(restore(tmp_path / "c"), 2)


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StylePrompterError, match="cannot be used for checkpoints"):
        Checkpoints(tmp_path / "file" / "c", {})


@pytest.mark.slow
@pytest.mark.parametrize("delay", [0.0, 0.02, 0.1])
def test_killed_while_saving(delay, tmp_path):
    script = f"""
        import os, signal, sys, time
        import numpy as np
        from styleprompter_jax.training.run.checkpoint import Checkpoints
        rng = np.random.default_rng(0)
        state = {{"w": rng.standard_normal((2000, 1000), np.float32)}}
        checkpoints = Checkpoints({str(tmp_path / "c")!r}, {{}})
        checkpoints.save(1, state, {{"next_index": 10}})
        checkpoints.wait()
        checkpoints.save(2, state, {{"next_index": 20}})
        time.sleep({delay})
        os.kill(os.getpid(), signal.SIGKILL)
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    root = Path(checkpoint.__file__).parents[2]
    result = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert result.returncode == -signal.SIGKILL, result.stderr
    with Checkpoints(tmp_path / "c", {}) as checkpoints:
        step, state, record = checkpoints.restore({"w": jnp.zeros((2000, 1000))})
    assert record["position"] == {"next_index": 10 * step}
    expected = np.random.default_rng(0).standard_normal((2000, 1000), np.float32)
    np.testing.assert_array_equal(state["w"], expected)


def test_the_revision_is_the_commit_or_the_version(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "ROOT", tmp_path)
    assert checkpoint.revision() == checkpoint.__version__
    (tmp_path / ".git").mkdir()  # a checkout that git cannot read
    assert checkpoint.revision() == checkpoint.__version__
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(tmp_path)]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-qm", "a", "--allow-empty"], check=True)
    head = subprocess.run(
        [*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True
    )
    assert checkpoint.revision() == head.stdout.strip()
    monkeypatch.setenv("PATH", "")
    assert checkpoint.revision() == checkpoint.__version__
