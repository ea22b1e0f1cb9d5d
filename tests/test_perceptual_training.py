"""Stages "encoder" and "smart" with perceptual losses, and the published training."""

import jax
import numpy as np
import pytest
import recipe
from conftest import PUBLISHED
from einops import rearrange

from configs import ffhq_encoder, ffhq_smart
from styleprompter_jax import networks
from styleprompter_jax.bundle import load_model, save_model
from styleprompter_jax.convert.perceptual import read_network
from styleprompter_jax.training import parallel
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
