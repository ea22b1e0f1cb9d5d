"""Stages "encoder" and "smart" with perceptual losses."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from test_training import final_state

from styleprompter_jax import losses
from styleprompter_jax.configs import tiny
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.store import network_folder
from styleprompter_jax.store.model_folder import load_model
from styleprompter_jax.training import loop


@pytest.fixture(scope="module")
def lpips_folder(tmp_path_factory):
    """The smallest network, SqueezeNet's LPIPS, with random weights."""
    rng = np.random.default_rng(0)

    def draw(leaf):
        scale = np.sqrt(2 / np.prod(leaf.shape[:-1]), dtype=np.float32)
        return np.abs(scale * rng.standard_normal(leaf.shape, np.float32))

    shapes = network_folder.NETWORKS["lpips_squeeze"].shapes()["params"]
    folder = tmp_path_factory.mktemp("networks") / "lpips"
    return network_folder.save_network(
        folder, "lpips_squeeze", jax.tree.map(draw, shapes)
    )


def tiny_config(start, **loss):
    config = tiny.get_config("encoder")
    config.init_from = str(start)
    config.optimizer.name = "ranger"
    config.loss.update(loss)
    return config


@pytest.mark.slow
def test_a_run_with_a_network(tiny_folder, lpips_folder, tmp_path):
    """Ranger's slow weights, gradients half summed, averages: all that is resumed."""
    config = tiny_config(tiny_folder, lpips=0.6, lpips_weights=str(lpips_folder))
    with config.unlocked():
        config.optimizer.update(accumulate=2, ema_images=32.0)
    device = jax.devices()[:1]
    for config.total_steps in (3, 4):
        folder = loop.train(config, tmp_path / "parts", devices=device)
    loop.train(config, tmp_path / "whole", devices=device)
    parts, whole = (lines(tmp_path / run) for run in ("parts", "whole"))
    for split in ("train", "validation"):
        a, b = ([r for r in rows if r["split"] == split] for rows in (parts, whole))
        keys = [k for k in b[-1] if k not in ("images_per_sec", "seconds_per_step")]
        assert [a[-1][k] for k in keys] == [b[-1][k] for k in keys]
    assert b[-1]["step"] == 4 and b[-1]["lpips_w_plus"] > 0
    assert 0 < b[-1]["ms_ssim_w_plus"] < 1

    found, state = (
        load_model(folder)[1]["params"]["encoder"],
        final_state(folder.parent),
    )
    for path, leaf in jax.tree_util.tree_flatten_with_path(found)[0]:
        np.testing.assert_array_equal(
            state[f"['ema']{jax.tree_util.keystr(path)}"], leaf
        )
    assert any(
        np.any(leaf != state[key.replace("['ema']", "['trained']")])
        for key, leaf in state.items()
        if key.startswith("['ema']")
    )


def lines(workdir):
    return [json.loads(x) for x in (workdir / "metrics.jsonl").read_text().splitlines()]


def test_no_gradient_through_the_target():
    weights = np.random.default_rng(0).standard_normal((3, 8)).astype(np.float32)
    images = np.random.default_rng(1).standard_normal((2, 3)).astype(np.float32)

    def loss(output, target):
        return losses.distances("id", lambda x: x @ weights, output, target).sum()

    output, target = jax.grad(loss, (0, 1))(images, images + 1)
    assert np.abs(output).min() > 0 and np.abs(target).max() == 0


def test_the_hardest_pixels_alone_count():
    rng = np.random.default_rng(0)
    output, target = rng.standard_normal((2, 3, 10, 6, 3)).astype(np.float32)
    worst = np.sort(((output - target) ** 2).mean(-1).reshape(3, -1))[:, -6:]
    found, gradient = jax.value_and_grad(losses.hardest)(output, target, 0.1)
    assert found == pytest.approx(worst.mean(), rel=1e-5)
    assert np.all((gradient != 0).any(-1).sum((1, 2)) == 6)


def test_all_that_is_missing_in_one_message(tiny_folder, lpips_folder, tmp_path):
    config = tiny_config(
        tiny_folder,
        lpips=0.6,
        lpips_weights=str(lpips_folder / "none"),
        id=0.1,
        id_weights="",
        moco=0.1,
        moco_weights=str(lpips_folder),
    )
    config.init_from = str(lpips_folder / "no_model")
    config.data.update(name="folder", path=str(tmp_path))
    config.data.update(train_split="none", eval_split="none")
    with pytest.raises(StylePrompterError) as error:
        loop.train(config, tmp_path / "run")
    first, second, third, fourth, fifth = str(error.value).splitlines()
    assert f"{lpips_folder / 'none'}" in first and "styleprompter convert" in first
    assert "config.loss.id_weights is empty" in second
    assert "LPIPS on SqueezeNet, but must contain MoCo" in third
    assert "no_model" in fourth and f"{tmp_path / 'none'}" in fifth
    with config.unlocked():
        del config.loss["lpips"]
        config.loss.update(lpips_crop=0.5, lpips_weights="")
    with pytest.raises(StylePrompterError, match="lpips_crop is 0"):
        loop.train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_new_loss_is_one_row(tiny_folder, tmp_path):
    """One that this package does not know is trained on, and evaluation reports it."""
    script = Path(__file__).with_name("new_loss.py")
    done = subprocess.run(
        [sys.executable, script, tiny_folder, tmp_path],
        env=os.environ | {"PYTHONPATH": str(script.parents[1])},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
