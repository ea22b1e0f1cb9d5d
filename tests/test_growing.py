"""A generator of 64 px that continues the training of the tiny one of 32 px."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from styleprompter_jax.configs import tiny
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.models.generators.stylegan2 import Generator
from styleprompter_jax.ops.fir import upsample2
from styleprompter_jax.store.model_folder import load_model, save_model
from styleprompter_jax.training import loop
from styleprompter_jax.training.objectives.adversarial import Adversarial


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A model folder of stage "generator", with noise that shows."""
    objective = Adversarial(tiny.get_config("generator"))
    state = objective.init(jax.random.key(1))
    state["ema"] = jax.tree_util.tree_map_with_path(
        lambda path, x: x + 0.1 if "noise_strength" in str(path) else x, state["ema"]
    )
    folder = tmp_path_factory.mktemp("growing") / "small"
    objective.export(state, folder)
    return folder


def larger(small, channels=(8, 8, 8, 8, 6)):
    config = tiny.get_config("generator")
    config.init_from = str(small)
    config.loss.noise_mode = "random"  # keeps the noise of the small one
    config.data.image_size = 64
    config.model.generator.update(image_size=64, channels=channels)
    config.model.discriminator.channels = channels
    return config


def test_the_first_picture_is_the_small_one_upsampled(small):
    objective = Adversarial(larger(small))
    state = objective.init(jax.random.key(2))
    model_config, variables, _ = load_model(small)
    z = jax.random.normal(jax.random.key(3), (2, 16))
    given = {kind: tree["generator"] for kind, tree in variables.items()}
    picture = jax.jit(Generator(model_config.generator).apply)(given, z)
    ours = {"params": state["ema"], "const": state["const"]}
    grown = jax.jit(objective.generator.apply)(ours, z)
    np.testing.assert_allclose(grown, upsample2(picture), atol=1e-5)
    assert float(jnp.std(picture)) > 0.1
    # Its discriminator goes on too, where the blocks are the same.
    fresh = Adversarial(larger("")).init(jax.random.key(2))["discriminator"]
    kept = [
        name
        for name in fresh
        if not np.array_equal(
            *(jax.tree.leaves(d[name])[-1] for d in (fresh, state["discriminator"]))
        )
    ]
    expected = {f"b{s}_{p}" for s in (8, 16, 32) for p in ("conv0", "conv1", "skip")}
    assert set(kept) == expected | {"b4_conv", "b4_fc", "b4_out"}


@pytest.mark.parametrize(("mode", "strength"), [("none", 0.0), ("random", 0.1)])
def test_training_without_noise_removes_that_of_the_start(small, mode, strength):
    config = tiny.get_config("generator")
    config.init_from, config.loss.noise_mode = str(small), mode
    state = Adversarial(config).init(jax.random.key(2))
    for name in ("generator", "ema"):  # the latter is what decodes and is exported
        leaves = jax.tree_util.tree_leaves_with_path(state[name])
        found = [float(x) for path, x in leaves if "noise_strength" in str(path)]
        assert len(found) == 7
        np.testing.assert_allclose(found, strength)


def test_it_keeps_blocks_as_far_as_they_are_the_same(small):
    state = Adversarial(larger(small, (8, 8, 6, 8, 8))).init(jax.random.key(2))
    given = load_model(small)[1]["params"]["generator"]["synthesis"]
    ours = state["generator"]["synthesis"]
    for block in ("b4", "b8"):
        jax.tree.map(np.testing.assert_array_equal, ours[block], given[block])
    for block in ("b16", "b32", "b64"):
        assert not np.any(ours[block]["torgb"]["kernel"])
        assert np.any(ours[block]["conv1"]["kernel"])


@pytest.mark.slow
def test_training_goes_on_from_it(small, tmp_path):
    config = larger(small)
    config.total_steps = config.eval_every = config.checkpoint_every = 1
    model = loop.train(config, tmp_path, devices=jax.devices()[:1])
    assert load_model(model)[0].generator.image_size == 64


def test_what_cannot_grow_is_refused(small, tmp_path):
    with pytest.raises(StylePrompterError, match=r"other channels at 4 px"):
        Adversarial(larger(small, (6, 8, 8, 8, 8)))
    config = larger(small)
    config.model.generator.w_dim = 8
    with pytest.raises(StylePrompterError, match="apart from image_size and channels"):
        Adversarial(config)
    config = tiny.get_config("generator")  # the same size: as strict as ever
    config.init_from = str(small)
    config.model.generator.channels = (8, 8, 8, 6)
    with pytest.raises(StylePrompterError, match="set the latter to"):
        Adversarial(config)
    model_config, variables, _ = load_model(small)
    alone = save_model(tmp_path / "alone", model_config, variables)
    with pytest.raises(StylePrompterError, match="discriminator"):
        Adversarial(larger(alone))
