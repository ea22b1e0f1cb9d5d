"""Stage "generator" with augmentations that follow the discriminator."""

import json
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from step_as_it_was import AsItWas

from configs import tiny
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.training import loop
from styleprompter_jax.training.objectives import augmentation
from styleprompter_jax.training.objectives.adversarial import Adversarial
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


@pytest.mark.parametrize("path", [0.0, 2.0])
def test_off_it_is_the_step_as_it_was(path):
    """The same program, so the same bits everywhere."""
    config = smallest(path_length_weight=path)
    config.loss.blur_images = 100
    texts = []
    for kind in (Adversarial, AsItWas):
        objective = kind(config)
        state = jax.eval_shape(objective.init, jax.random.key(0))
        batch = {"image": jax.ShapeDtypeStruct((8, 8, 8, 3), jnp.float32)}
        step = compiled(objective, (True, path > 0))
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
    assert (np.argmin(errors, 0) == 0).all()
    assert np.mean(errors[0]) < 0.3


@pytest.mark.slow
def test_any_number_of_devices_and_a_resumed_run_have_the_same_p(tmp_path):
    """p is part of what is saved, and logged with r_t."""
    config = smallest(augment="adaptive", augment_p=0.5, augment_images=400)
    config.update(total_steps=8, eval_every=8, checkpoint_every=4)

    def rows(name, devices, **changes):
        own = config.copy_and_resolve_references()
        own.update(changes)
        loop.train(own, tmp_path / name, devices=jax.devices()[:devices])
        lines = (tmp_path / name / "metrics.jsonl").read_text().splitlines()
        found = [json.loads(line) for line in lines]
        return {
            key: [row[key] for row in found if row["split"] == "train"]
            for key in ("augment_p", "augment_r_t", "loss")
        }

    one, two = rows("one", 1), rows("two", 2)
    assert one["augment_p"] == two["augment_p"]
    assert one["augment_r_t"] == two["augment_r_t"]
    np.testing.assert_allclose(two["loss"], one["loss"], rtol=1e-4)
    assert one["augment_p"][2] == 0.5 and one["augment_p"][3] in (
        np.float32(0.58),
        np.float32(0.42),
    )
    rows("parts", 1, total_steps=4)
    assert rows("parts", 1) == one


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


def frozen(folder, blocks):
    config = smallest()
    config.init_from = str(folder)
    config.optimizer.frozen_blocks = blocks
    return config


@pytest.mark.slow
def test_frozen_blocks_stay_as_they_are(tmp_path):
    first = Adversarial(smallest())
    state = first.init(jax.random.key(0))
    first.export(state, tmp_path / "start")
    objective = Adversarial(frozen(tmp_path / "start", 1))
    before = jax.tree.map(np.array, objective.init(jax.random.key(0)))
    batch = {"image": jnp.asarray(np.stack([picture()] * 8))}
    state = objective.init(jax.random.key(0))
    state, _ = compiled(objective)(state, batch, jax.random.key(1))
    for name, layer in state["discriminator"].items():
        stays = name in ("from_rgb", "b8_conv0", "b8_conv1", "b8_skip")
        same = np.array_equal(layer["kernel"], before["discriminator"][name]["kernel"])
        assert same == stays, name
    with pytest.raises(StylePrompterError, match="has 1 blocks"):
        Adversarial(frozen(tmp_path / "start", 2))
    nothing = frozen("", 1)
    nothing.init_from = ""
    with pytest.raises(StylePrompterError, match="starts from nothing"):
        Adversarial(nothing)
