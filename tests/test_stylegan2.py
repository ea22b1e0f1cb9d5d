"""The generator against rosinality's StyleGAN2 in PyTorch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import quick
import recipe
from einops import rearrange, reduce

from styleprompter_jax.cli import main
from styleprompter_jax.convert.reading.torch_file import write_torch
from styleprompter_jax.convert.table import (
    merge_collections,
    read_table,
    split_collections,
    write_table,
)
from styleprompter_jax.convert.tables.stylegan2 import generator_table
from styleprompter_jax.models.generators.stylegan2 import Generator, GeneratorConfig
from styleprompter_jax.models.inverter import StylePrompter
from styleprompter_jax.store import model_folder

CONFIG = GeneratorConfig(image_size=64)
GENERATOR = Generator(CONFIG)


@pytest.fixture(scope="module")
def state():
    return recipe.state_dict("generator_64")


@pytest.fixture(scope="module")
def variables(state):
    like = jax.eval_shape(GENERATOR.init, jax.random.key(0), jnp.zeros((1, 512)))
    tree = read_table(generator_table(CONFIG), state, merge_collections(like))
    return split_collections(tree, like)


@pytest.fixture(scope="module")
def synthesize(variables):
    run = quick.jit(
        lambda v, w: GENERATOR.apply(v, w, method=lambda m, w: m.synthesis(w))
    )
    return lambda w_plus: rearrange(run(variables, w_plus), "b h w c -> b c h w")


def mapping(variables, z):
    return GENERATOR.apply(variables, z, method=lambda m, z: m.mapping(z))


def test_mapping(variables):
    expected = recipe.arrays("generator_64")
    w = mapping(variables, expected["z"])
    assert recipe.relative_error(w, expected["w"]) < 1e-5


def test_synthesis(synthesize):
    expected = recipe.arrays("generator_64")
    images = synthesize(expected["w_plus"])
    assert recipe.relative_error(images, expected["image"]) < 1e-4


def test_mixing_and_truncation(variables, synthesize):
    """Codes of z[0] up to layer 4, then of z[1], both drawn towards the mean."""
    expected = recipe.arrays("generator_64")
    mean = expected["truncation_latent"]
    w = mean + 0.7 * (mapping(variables, expected["z"]) - mean)
    first = np.arange(CONFIG.num_codes)[:, None] < 4
    w_plus = np.where(first, w[0], w[1])[None]
    both = np.concatenate([w_plus, w_plus])  # the batch that is compiled already
    assert recipe.relative_error(synthesize(both)[:1], expected["mixed"]) < 1e-4


def test_there_and_back(state, variables):
    back = write_table(generator_table(CONFIG), merge_collections(variables))
    assert recipe.same_layout(back, "generator_64")
    for key, array in state.items():
        np.testing.assert_array_equal(back[key], array, strict=True)


@pytest.mark.slow
def test_256_px_from_a_file(tmp_path):
    """The file that the command reads, without a mean code of its own."""
    state, expected = recipe.state_dict("generator_256"), recipe.arrays("generator_256")
    tree = {"g_ema": state, "latent_avg": expected["truncation_latent"]}
    write_torch(tmp_path / "x.pt", tree)
    main(["convert", str(tmp_path / "x.pt"), str(tmp_path / "model")])
    config, variables, _ = model_folder.load_model(tmp_path / "model")
    assert config.generator == GeneratorConfig(image_size=256)
    model = StylePrompter(config)
    run = quick.jit(lambda v, w: model.apply(v, w, method="synthesize"))
    images = rearrange(
        np.asarray(run(variables, expected["w_plus"])), "b h w c -> b c h w"
    )
    size = expected["crop"].shape[-1]
    assert recipe.relative_error(images[..., :size, :size], expected["crop"]) < 1e-4
    mean = reduce(images, "b c (h y) (w x) -> b c h w", "mean", y=4, x=4)
    assert recipe.relative_error(mean, expected["image"]) < 1e-4
