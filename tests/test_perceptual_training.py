"""Stages "encoder" and "smart" with perceptual losses, and the published training."""

import json

import jax
import numpy as np
import pytest
import recipe
from conftest import PUBLISHED
from einops import rearrange

from configs import ffhq_encoder, ffhq_smart, tiny
from styleprompter_jax import networks
from styleprompter_jax.bundle import load_model, save_model
from styleprompter_jax.convert.perceptual import read_network
from styleprompter_jax.errors import StylePrompterError
from styleprompter_jax.training import loop, losses, parallel
from styleprompter_jax.training.inversion import Inversion

pytestmark = pytest.mark.usefixtures("quick_compile")

STEPS = 4
RECIPES = {"train_baseline": ffhq_encoder, "train_full": ffhq_smart}


@pytest.fixture(scope="module")
def weights(tmp_path_factory, published):
    """Folders of the whole model and of the networks, with the fixtures' weights."""
    root = tmp_path_factory.mktemp("weights")
    _, variables = published
    save_model(root / "model", PUBLISHED, variables)
    for name, case in (("lpips_alex", "lpips_alex"), ("arcface", "ir_se50")):
        params = read_network(name, recipe.state_dict(case))
        networks.save_network(root / name, name, params)
    return root


@pytest.mark.slow
@pytest.mark.parametrize("case", RECIPES)
def test_published_training(case, weights):
    """Losses and gradients of the first steps, as the published code has them."""
    expected = recipe.arrays(case)
    config = RECIPES[case].get_config()
    config.batch_size = 1
    config.learning_rate = float(expected["lr"])
    config.optimizer.centralize_logit_scale = True
    config.init_from = str(weights / "model")
    config.loss.lpips_weights = str(weights / "lpips_alex")
    config.loss.id_weights = str(weights / "arcface")
    if case == "train_baseline":
        config.model.encoder.drop_path = 0.0
    else:
        config.model.smart.dropout = 0.0

    objective = Inversion(config)
    state = objective.init(jax.random.key(0))
    trained = load_model(config.init_from)[1]["params"][objective.part]
    state |= {"trained": trained, "opt": objective.optimizer.init(trained)}
    mesh = parallel.make_mesh(jax.devices()[:1])
    step = parallel.map_step(objective.step, mesh)
    state = parallel.replicate(state, mesh)
    for t in range(STEPS):
        noise = recipe.normal(expected["image_seed"] + t, 1, 3, 256, 256)
        images = rearrange(np.clip(0.5 * noise, -1, 1), "b c h w -> b h w c")
        state, metrics = step(state, {"image": images}, jax.random.key(0))
        for key in ("loss", "loss_l2", "loss_lpips", "loss_id", "grad_norm"):
            np.testing.assert_allclose(
                metrics[key], expected[key][t], rtol=1e-3, err_msg=f"{key}, step {t}"
            )


@pytest.fixture(scope="module")
def lpips_folder(tmp_path_factory):
    """The smallest network, SqueezeNet's LPIPS, with random weights."""
    rng = np.random.default_rng(0)

    def draw(leaf):
        scale = np.sqrt(2 / np.prod(leaf.shape[:-1]), dtype=np.float32)
        return np.abs(scale * rng.standard_normal(leaf.shape, np.float32))

    shapes = networks.NETWORKS["lpips_squeeze"].shapes()["params"]
    folder = tmp_path_factory.mktemp("networks") / "lpips"
    return networks.save_network(folder, "lpips_squeeze", jax.tree.map(draw, shapes))


def tiny_config(start, **loss):
    config = tiny.get_config("encoder")
    config.init_from = str(start)
    config.optimizer.name = "ranger"
    config.loss.update(loss)
    return config


@pytest.mark.slow
def test_a_run_with_a_network(tiny_folder, lpips_folder, tmp_path):
    """Ranger's slow weights and the network are part of what a run resumes."""
    config = tiny_config(tiny_folder, lpips=0.6, lpips_weights=str(lpips_folder))
    device = jax.devices()[:1]
    for config.total_steps in (2, 4):
        folder = loop.train(config, tmp_path / "parts", devices=device)
    loop.train(config, tmp_path / "whole", devices=device)
    parts, whole = (
        [
            [row["loss"], row["loss_lpips"]]
            for row in map(json.loads, (run / "metrics.jsonl").open())
            if row["split"] == "train"
        ]
        for run in (tmp_path / "parts", tmp_path / "whole")
    )
    assert parts == whole and np.min(whole) > 0 and len(whole) == 4
    assert load_model(folder)[0].encoder is not None


def test_no_gradient_through_the_target():
    weights = np.random.default_rng(0).standard_normal((3, 8)).astype(np.float32)
    images = np.random.default_rng(1).standard_normal((2, 3)).astype(np.float32)

    def loss(output, target):
        return losses.perceptual("id", lambda x: x @ weights, output, target)

    output, target = jax.grad(loss, (0, 1))(images, images + 1)
    assert np.abs(output).min() > 0 and np.abs(target).max() == 0


def test_all_missing_networks_in_one_message(tiny_folder, lpips_folder, tmp_path):
    config = tiny_config(
        tiny_folder,
        lpips=0.6,
        lpips_weights=str(lpips_folder / "none"),
        id=0.1,
        id_weights="",
        moco=0.1,
        moco_weights=str(lpips_folder),
    )
    with pytest.raises(StylePrompterError) as error:
        loop.train(config, tmp_path / "run")
    first, second, third = str(error.value).splitlines()
    assert f"{lpips_folder / 'none'}" in first and "styleprompter convert" in first
    assert "config.loss.id_weights is empty" in second
    assert "LPIPS on SqueezeNet, where MoCo" in third
    assert not (tmp_path / "run").exists()
