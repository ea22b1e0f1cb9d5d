"""Encoder inputs that are not the image itself: drawn ones, and files in a folder."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from styleprompter_jax.configs import avatars_restyle, tiny
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.data.inputs import DRAWN, Inputs, downsample, mask, sketch
from styleprompter_jax.data.loader import eval_batches, train_iterator
from styleprompter_jax.data.sources import make_source
from styleprompter_jax.images.files import write_image
from styleprompter_jax.training.objectives.inversion import Inversion
from styleprompter_jax.training.run import parallel
from styleprompter_jax.training.settings import check_settings, check_sizes
from styleprompter_jax.training.start import describe_start

RNG = np.random.default_rng(0)
CHANNELS = {"downsample": 3, "grey": 3, "mask": 3, "sketch": 1}


def data_of(root, **changes):
    fields = dict(name="folder", path=str(root / "images"), image_size=32)
    return ConfigDict(fields | changes)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Images whose left half is red, and labels: 1 there, else 0."""
    root = tmp_path_factory.mktemp("inputs")
    labels = np.zeros((32, 32), np.uint8)
    labels[:, :16] = 1
    for k in range(4):
        image = np.full((32, 32, 3), 40 * k, np.uint8)
        image[:, :16, 0] = 255
        write_image(image, root / "images" / "a" / f"{k}.png")
        write_image(labels[..., None].repeat(3, -1), root / "labels" / "a" / f"{k}.png")
    return root


def test_drawn_inputs():
    image = RNG.integers(0, 256, (32, 32, 3), np.uint8)
    np.testing.assert_array_equal(downsample(image, RNG, (1,)), image)
    flat = downsample(image, RNG, (32,))
    assert np.ptp(flat.astype(int), (0, 1)).max() <= 1
    holes = (mask(image, RNG) != image).any(-1)
    rows, columns = holes.any(1).sum(), holes.any(0).sum()
    assert 7 <= rows <= 16 and 7 <= columns <= 16
    step = np.full((32, 32, 3), 200, np.uint8)
    step[:, 16:] = 80
    drawn = sketch(step, RNG)[..., 0]
    assert drawn.shape == (32, 32) and (drawn[:, :10] == 255).all()
    assert drawn[:, 16].max() < 250 and (drawn[:, 24:] == 255).all()


@pytest.mark.parametrize("name", DRAWN)
def test_batches_of_drawn_inputs(name, folder):
    data = data_of(folder, input=name)
    inputs = Inputs(data, (32, 32, CHANNELS[name]))
    source = make_source(data, "", inputs=inputs)
    arguments = dict(batch_size=4, image_size=32, inputs=inputs)
    first, again = (next(iter(eval_batches(source, **arguments))) for _ in "12")
    assert first["image"].shape == (4, 32, 32, 3)
    assert first["input"].shape == (4, 32, 32, CHANNELS[name])
    np.testing.assert_array_equal(first["input"], again["input"])
    with train_iterator(source, flip=True, seed=0, **arguments) as batches:
        batch, other = next(batches), next(batches)
    assert batch["input"].shape == first["input"].shape
    if name == "mask":
        assert (batch["input"] != other["input"]).any()
    low = 0 if name == "sketch" else -1
    assert low <= batch["input"].min() and batch["input"].max() <= 1


def test_labels_are_flipped_with_their_images(folder):
    data = data_of(folder, input="labels", input_path=str(folder / "labels"))
    inputs = Inputs(data, (32, 32, 19))
    source = make_source(data, "", inputs=inputs)
    iterator = train_iterator(
        source, batch_size=4, image_size=32, flip=True, seed=0, inputs=inputs
    )
    sides = set()
    with iterator as batches:
        for _, batch in zip(range(4), batches, strict=False):
            red = batch["image"][..., 0] > batch["image"][..., 1]
            np.testing.assert_array_equal(batch["input"][..., 1] == 1, red)
            sides |= set(red[:, 0, 0].tolist())
    assert sides == {True, False}
    before = source.fingerprint()
    write_image(np.zeros((32, 32, 3), np.uint8), folder / "labels" / "a" / "0.png")
    assert source.fingerprint() != before
    (folder / "labels" / "a" / "1.png").rename(folder / "labels" / "a" / "9.png")
    with pytest.raises(StylePrompterError, match="no file with the name a/1"):
        make_source(data, "", inputs=inputs)


@pytest.mark.slow
@pytest.mark.parametrize(("channels", "height"), [(1, 32), (3, 16)])
def test_steps_see_their_inputs(channels, height):
    """Steps of ReStyle on sketches and on oblong images, traced."""
    config = tiny.get_config("psp")
    config.model.encoder.update(
        avatars_restyle.get_config("e4e").model.encoder, widths=(4, 8, 12, 16)
    )
    config.model.encoder.update(blocks=(1, 1, 1, 1), passes=2)
    config.model.encoder.input_channels = channels + 3
    config.loss.update(l2_crop=1.0, w_norm=0.1)
    batch = {"image": jnp.zeros((8, height, 32, 3))}
    if channels == 1:
        config.data.input = "sketch"
        batch["input"] = jnp.zeros((8, height, 32, 1))
    else:
        config.data.image_height = config.model.encoder.image_height = height
        config.loss.structure = 0.0  # it needs 11 rows at every scale
    check_settings(config)
    objective = Inversion(config, describe_start(config))
    check_sizes(config, objective.model_config)
    state = jax.eval_shape(objective.init, jax.random.key(0))
    if channels == 1:
        step = parallel.map_step(objective.step, parallel.make_mesh())
        after, metrics = jax.eval_shape(step, state, batch, jax.random.key(0))
        assert jax.tree.structure(after) == jax.tree.structure(state)
        assert {"loss", "loss_l2_crop", "loss_w_norm", "grad_norm"} <= metrics.keys()
    outputs, scores = jax.eval_shape(objective._outputs, state, batch)
    assert outputs["w_plus"].shape == (8, height, 32, 3)
    assert scores["mse_w_plus"].shape == (8,)
