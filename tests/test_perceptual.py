"""The fixed perceptual networks: parity with the published code, and their folders."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import quick
import recipe
from einops import rearrange

from styleprompter_jax import networks
from styleprompter_jax.convert.perceptual import read_network, recognise
from styleprompter_jax.perceptual import lpips
from styleprompter_jax.perceptual.arcface import ArcFace
from styleprompter_jax.perceptual.layers import cosine_distance, unit
from styleprompter_jax.perceptual.moco import MoCo

TRUNKS = ("alex", "vgg", "squeeze")


def load(name, case):
    """Parameters from the recipe of a published file, in which others are not found."""
    state = recipe.state_dict(case)
    assert recognise(state) == name
    return read_network(name, state)


def image_pair(expected, size):
    """The fixture's x and y as one batch of four."""
    shape = (2, 3, size, size)
    x = np.clip(0.5 * recipe.normal(expected["x_seed"], *shape), -1, 1)
    y = np.clip(x + 0.3 * recipe.normal(expected["noise_seed"], *shape), -1, 1)
    return rearrange(np.concatenate([x, y]), "b c h w -> b h w c")


def halves(features):
    """Features of x and of y."""
    return (jax.tree.map(lambda f: f[s], features) for s in (slice(2), slice(2, 4)))


@pytest.mark.parametrize("trunk", TRUNKS)
def test_lpips(trunk):
    case = f"lpips_{trunk}"
    expected = recipe.arrays(case)
    params = load(case, case)
    module = networks.NETWORKS[case].module
    run = quick.jit(lambda params, x: module.apply({"params": params}, x))
    x, y = halves(run(params, image_pair(expected, 64)))
    terms = [lpips.distance([a], [b]) for a, b in zip(x, y, strict=True)]
    assert recipe.relative_error(np.stack(terms), expected["terms"]) < 1e-5
    assert recipe.relative_error(lpips.distance(x, y), expected["per_image"]) < 1e-5


@pytest.mark.slow
def test_arcface():
    expected = recipe.arrays("id_loss")
    params = load("arcface", "ir_se50")

    @quick.jit
    def run(params, images):
        return [
            ArcFace(multi_level).apply({"params": params}, images)
            for multi_level in (False, True)
        ]

    single, multi = run(params, image_pair(expected, 256))
    x, y = halves(single)
    assert recipe.relative_error(x, expected["embedding_x"]) < 1e-5
    assert recipe.relative_error(y, expected["embedding_y"]) < 1e-5
    loss = jnp.mean(cosine_distance(x, y))
    assert recipe.relative_error(loss, expected["id_loss"]) < 1e-5
    terms = [jnp.mean(cosine_distance(*halves(level))) for level in multi]
    assert recipe.relative_error(np.stack(terms), expected["multi_terms"]) < 1e-5
    loss = jnp.mean(cosine_distance(*halves(multi)))
    assert recipe.relative_error(loss, expected["multi_loss"]) < 1e-5


@pytest.mark.slow
def test_moco():
    expected = recipe.arrays("moco_loss")
    params = load("moco", "moco_resnet50")
    run = quick.jit(lambda params, x: MoCo().apply({"params": params}, x))
    x, y = halves(run(params, image_pair(expected, 256)))
    assert recipe.relative_error(x, expected["features_x"]) < 1e-5
    assert recipe.relative_error(y, expected["features_y"]) < 1e-5
    # Theirs is 1 - a number near 1: seven digits of that one.
    loss = jnp.mean(cosine_distance(x, y))
    assert abs(loss - expected["loss"]) < 2e-7
