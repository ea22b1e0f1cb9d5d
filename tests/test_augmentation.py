"""Stage "generator" with augmentations that follow the discriminator."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from step_as_it_was import AsItWas

from styleprompter_jax.configs import tiny
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.models.discriminators.stylegan2 import DiscriminatorConfig
from styleprompter_jax.models.inverter import StylePrompterConfig
from styleprompter_jax.store.discriminator_files import (
    KeptDiscriminator,
    discriminator_shapes,
)
from styleprompter_jax.store.model_folder import model_shapes, save_model
from styleprompter_jax.training.objectives import augmentation
from styleprompter_jax.training.objectives.adversarial import Adversarial
from styleprompter_jax.training.parts import part_config
from styleprompter_jax.training.run import parallel
from styleprompter_jax.training.run import workdir as folders


def config_with(**loss):
    config = tiny.get_config("generator")
    config.loss.update(loss)
    return config


def smallest(**loss):
    """Of 8 px, which compiles in seconds, with R1 in every step."""
    config = config_with(r1_every=1, blur_images=0, **loss)
    config.data.image_size = 8
    config.model.generator.update(image_size=8, channels=(8, 8), mapping_layers=1)
    config.model.discriminator.channels = (8, 8)
    return config


def compiled(objective, variant=(True, False), devices=1):
    mesh = parallel.make_mesh(jax.devices()[:devices])
    return parallel.map_step(partial(objective.step, variant=variant), mesh)


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """A model folder as training begins: equalised weights, drawn without a compile."""
    rng = np.random.default_rng(0)

    def drawn(path, leaf):
        key = jax.tree_util.keystr(path)
        if key.endswith("['bias']"):
            return np.full(leaf.shape, "affine" in key, np.float32)
        if key.endswith("['noise_strength']"):
            return np.zeros(leaf.shape, np.float32)
        scale = 100 if "mapping" in key else 1  # its learning rate is a hundredth
        return scale * rng.standard_normal(leaf.shape, np.float32)

    config = smallest()
    generator = part_config(config, "generator")
    model = StylePrompterConfig(None, None, generator)
    reader = DiscriminatorConfig(8, (8, 8), mbstd_group=1)
    variables, params = jax.tree_util.tree_map_with_path(
        drawn, (model_shapes(model), discriminator_shapes(reader)["params"])
    )
    return save_model(
        tmp_path_factory.mktemp("start") / "model",
        model,
        variables,
        discriminator=KeptDiscriminator(reader, params),
    )


def test_off_it_is_the_step_as_it_was():
    """The same program, so the same bits everywhere."""
    config = smallest(path_length_weight=2.0)
    config.loss.blur_images = 100
    texts = []
    for kind in (Adversarial, AsItWas):
        objective = kind(config)
        state = jax.eval_shape(objective.init, jax.random.key(0))
        batch = {"image": jax.ShapeDtypeStruct((8, 8, 8, 3), jnp.float32)}
        step = compiled(objective, (True, True))
        texts.append(step.lower(state, batch, jax.random.key(0)).as_text())
    assert texts[0] == texts[1]
    assert "augment" not in state


def test_p_follows_the_signs_of_real_images():
    loss = smallest(augment="adaptive", augment_p=0.1, augment_images=160).loss
    state = augmentation.beginning(loss)
    found = []
    signs = [1, 1, 1, 0.5, 1, 0, 1, 0, -1, -1, -1, -1, *[-1] * 8]
    for step, sign in enumerate(signs):
        state = augmentation.followed(state, jnp.float32(sign), step, 8, loss)
        found.append((float(state["p"]), float(state["r_t"])))
    p, r_t = np.array(found).T
    # 4 batches of 8 images are a fifth of 160.
    np.testing.assert_allclose(p[[2, 3, 6, 7, 11]], [0.1, 0.3, 0.3, 0.1, 0], atol=1e-6)
    np.testing.assert_allclose(r_t[[2, 3, 7, 11]], [0, 0.875, 0.5, -1])
    loss.augment_target = 0.0
    state = augmentation.beginning(loss)
    for step in range(40):
        state = augmentation.followed(state, jnp.float32(1), step, 8, loss)
    assert state["p"] == 1
    loss.augment = "fixed"
    state = augmentation.beginning(loss)
    for step in range(8):
        state = augmentation.followed(state, jnp.float32(1), step, 8, loss)
    assert state["p"] == np.float32(0.1) and state["r_t"] == 1


def picture():
    """Eight pixels a side: red above, dark blue below."""
    image = np.full((8, 8, 3), -0.8, np.float32)
    image[:4, :, 0], image[4:, :, 2] = 0.8, -0.2
    return image


@pytest.mark.slow
def test_samples_of_a_trained_generator_are_not_augmented():
    """Though all that the discriminator saw was turned, zoomed, in other colours."""
    config = smallest(augment="fixed", augment_p=0.5, r1_gamma=0.1)
    config.learning_rate = 5e-3
    objective = Adversarial(config)
    step, key = compiled(objective), jax.random.key(0)
    state = objective.init(key)
    batch = {"image": jnp.asarray(np.stack([picture()] * 8))}
    for k in range(600):
        state, metrics = step(state, batch, jax.random.fold_in(key, k))
    assert metrics["augment_p"] == 0.5
    z = jax.random.normal(jax.random.key(1), (64, 16))
    samples = np.asarray(jax.jit(objective._render)(state, z, 1.0))
    # The picture is nearer than itself turned, negated or in other colours.
    real = picture()
    others = [real[::-1], np.rot90(real), np.rot90(real, 3), -real, real[..., ::-1]]
    errors = [np.abs(samples - x).mean((1, 2, 3)) for x in (real, *others)]
    assert (np.argmin(errors, 0) == 0).mean() > 0.9
    assert np.mean(errors[0]) < 0.4


@pytest.mark.slow
def test_any_number_of_devices_has_the_same_p_and_frozen_blocks_stay(start):
    """p is part of the state, which checkpoints hold, and goes on from it."""
    config = smallest(augment="adaptive", augment_p=0.5, augment_images=400)
    config.optimizer.frozen_blocks = 1
    config.init_from = str(start)
    objective, rng = Adversarial(config), np.random.default_rng(0)
    images = rng.uniform(-1, 1, (8, 8, 8, 8, 3)).astype(np.float32)

    def run(devices, state=None, begin=0):
        mesh = parallel.make_mesh(jax.devices()[:devices])
        step, rows, kept = compiled(objective, devices=devices), [], None
        state = parallel.replicate(state or objective.init(jax.random.key(0)), mesh)
        for k in range(begin, 8):
            batch = parallel.shard_batch({"image": images[k]}, mesh)
            key = jax.random.fold_in(jax.random.key(1), k)
            state, metrics = step(state, batch, key)
            names = ("augment_p", "augment_r_t", "loss")
            rows.append([float(metrics[name]) for name in names])
            kept = jax.tree.map(np.array, state) if k == 3 else kept
        return np.array(rows), kept, state

    (one, middle, state), (two, _, _) = run(1), run(2)
    np.testing.assert_array_equal(two[:, :2], one[:, :2])
    np.testing.assert_allclose(two[:, 2], one[:, 2], rtol=1e-4)
    # 4 batches of 8 images are 0.08 of 400.
    assert one[2, 0] == 0.5 and abs(abs(one[3, 0] - 0.5) - 0.08) < 1e-6
    np.testing.assert_array_equal(run(1, middle, 4)[0], one[4:])
    before = objective.networks.given.discriminator
    for name, layer in state["discriminator"].items():
        stays = name in ("from_rgb", "b8_conv0", "b8_conv1", "b8_skip")
        same = np.array_equal(layer["kernel"], before[name]["kernel"])
        assert same == stays, name


def test_runs_of_before_go_on(tmp_path):
    """Their configs have no key of augmentations."""
    there = folders.plain(config_with())
    for key in ("augment", "augment_p", "augment_target", "augment_images"):
        del there["loss"][key]
    del there["optimizer"]["frozen_blocks"]
    folders.check_same(tmp_path, there, folders.plain(config_with()))
    with pytest.raises(StylePrompterError, match=r"loss\.augment: 'none' there"):
        folders.check_same(
            tmp_path, there, folders.plain(config_with(augment="adaptive"))
        )
    old = config_with()
    with old.unlocked():
        for key in ("augment", "augment_p", "augment_target", "augment_images"):
            del old.loss[key]
        del old.optimizer["frozen_blocks"]
    assert not Adversarial(old)._augments


def test_blocks_that_cannot_be_frozen(start):
    config = smallest()
    config.init_from, config.optimizer.frozen_blocks = str(start), 2
    with pytest.raises(StylePrompterError, match="has 1 blocks"):
        Adversarial(config)
    config.init_from = ""
    with pytest.raises(StylePrompterError, match="starts from nothing"):
        Adversarial(config)
