"""Published discriminators: converted beside their generators, and trained on."""

import jax
import numpy as np
import pytest
import recipe
from einops import rearrange
from published_trees import GENERATOR, VARIABLES, generator_state

from styleprompter_jax.app.convert import convert
from styleprompter_jax.configs import tiny
from styleprompter_jax.convert.model import build_model
from styleprompter_jax.convert.reading.files import read_file
from styleprompter_jax.convert.reading.torch_file import write_torch
from styleprompter_jax.convert.recognise import recognise
from styleprompter_jax.convert.table import read_table, write_table
from styleprompter_jax.convert.tables import discriminators
from styleprompter_jax.convert.tables.nvidia import module_arrays
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.models.discriminators.stylegan2 import (
    Discriminator,
    DiscriminatorConfig,
    EqualizedConv,
)
from styleprompter_jax.store import discriminator_files, model_folder
from styleprompter_jax.training import loop
from styleprompter_jax.training.objectives.adversarial import Adversarial
from styleprompter_jax.training.settings import check_settings

SMALL = DiscriminatorConfig(32, (8, 8, 6, 4), mbstd_group=4)
MEAN = VARIABLES["const"]["latent_avg"]


def drawn(config, seed=0):
    """Parameters from a seed."""
    rng = np.random.default_rng(seed)
    shapes = discriminator_files.discriminator_shapes(config)["params"]
    return jax.tree.map(lambda s: rng.standard_normal(s.shape, np.float32), shapes)


PARAMS = drawn(SMALL)
STATE = write_table(discriminators.rosinality_table(SMALL), PARAMS)


def assert_equal(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    jax.tree.map(np.testing.assert_array_equal, a, b)


def check_logits(config, params, case):
    """Of a fixture's images: of all, and of the first alone."""
    side, expected = config.image_size, recipe.arrays(case)
    images = recipe.normal(expected["image_seed"], 8, 3, side, side)
    images = rearrange(np.clip(0.5 * images, -1, 1), "b c h w -> b h w c")
    apply = jax.jit(Discriminator(config).apply)
    for name, batch in (("logits", images), ("logit_alone", images[:1])):
        found = apply({"params": params}, batch)
        assert recipe.relative_error(found, expected[name]) < 1e-4, name


def read(found):
    """The parameters that a found discriminator holds."""
    shapes = discriminator_files.discriminator_shapes(found.discriminator)
    wanted = {"discriminator": shapes["params"]}
    return read_table(found.table, found.arrays, wanted)["discriminator"]


@pytest.mark.slow
def test_rosinality():
    found = recognise({"d": recipe.state_dict("discriminator_64")}, "x.pt")
    assert found.what == "StyleGAN2 discriminator, 64 px"
    assert found.discriminator == DiscriminatorConfig(64)  # config F
    params = read(found)
    check_logits(found.discriminator, params, "discriminator_64")
    table = discriminators.rosinality_table(found.discriminator)
    assert recipe.same_layout(write_table(table, params), "discriminator_64")


def test_nvidia_beside_its_generator(tmp_path, caplog):
    caplog.set_level("INFO")
    convert([str(recipe.DATA / "nvidia_d_32.pkl")], tmp_path / "model")
    assert ", with its discriminator." in caplog.text
    assert "Left out: G, training_set_kwargs" in caplog.text
    config, params = discriminator_files.load_discriminator(tmp_path / "model")
    assert config == DiscriminatorConfig(32, (64, 64, 64, 32), 4, 256.0)
    check_logits(config, params, "nvidia_d_32")


def test_activations_are_clamped_as_in_the_generator():
    images = np.full((1, 2, 2, 3), 100, np.float32)
    largest = {}
    for activate in (True, False):
        layer = EqualizedConv(4, 1, activate=activate, clamp=2.0)
        found, _ = layer.init_with_output(jax.random.key(0), images)
        largest[activate] = np.abs(found).max()
    assert largest[True] == 2.0 < largest[False]  # of a skip connection


@pytest.mark.parametrize(
    "tree",
    [
        {"d": STATE},
        {"model": {"d": STATE, "d_optim": {"state": {}}}},
        {"d": {f"module.{key}": array for key, array in STATE.items()}},
        {f"d.{key}": array for key, array in STATE.items()},
    ],
)
def test_a_discriminator_under_any_key(tree):
    generator = {"g_ema": generator_state(), "latent_avg": MEAN, "g_optim": {}}
    name = next(iter(tree))
    both = generator | tree if isinstance(tree[name], dict) else generator | {"r": tree}
    found = recognise(both, "x.pt")
    assert found.what.endswith("with its discriminator")
    assert found.discriminator == SMALL
    (left_out,) = found.notes
    assert "g_optim" in left_out and " d," not in left_out
    built = build_model({"x.pt": found})
    assert built.config == GENERATOR
    assert_equal(built.discriminator.params, PARAMS)


def test_nvidias_keys_as_a_state_dict():
    tree = read_file(recipe.DATA / "nvidia_d_32.pkl")
    found = recognise({"D": module_arrays(tree["D"])[0]}, "x.pt")
    assert found.discriminator.conv_clamp is None
    assert_equal(read(found), read(recognise(tree["D"], "D.pkl")))


def test_files_of_their_own(tmp_path):
    write_torch(tmp_path / "g.pt", {"g_ema": generator_state(), "latent_avg": MEAN})
    write_torch(tmp_path / "d.pt", STATE)
    files = [str(tmp_path / name) for name in ("g.pt", "d.pt")]
    convert(files, tmp_path / "model")
    config, params = discriminator_files.load_discriminator(tmp_path / "model")
    assert config == SMALL
    assert_equal(params, PARAMS)
    with pytest.raises(StylePrompterError, match="the files hold no generator"):
        convert(files[1:], tmp_path / "alone")
    write_torch(tmp_path / "e.pt", {"d": STATE})
    with pytest.raises(StylePrompterError, match="both hold a discriminator"):
        convert([*files, str(tmp_path / "e.pt")], tmp_path / "alone")
    assert not (tmp_path / "alone").exists()


def test_what_does_not_fit_is_refused(tmp_path):
    generator = {"g_ema": generator_state(), "latent_avg": MEAN}

    def refused(state):
        write_torch(tmp_path / "x.pt", generator | {"d": state})
        with pytest.raises(StylePrompterError) as error:
            convert([str(tmp_path / "x.pt")], tmp_path / "model")
        assert not (tmp_path / "model").exists()
        return str(error.value)

    other = DiscriminatorConfig(16, (8, 8, 8))
    state = write_table(discriminators.rosinality_table(other), drawn(other))
    assert "a discriminator of 16 px, but the generator makes 32 px" in refused(state)
    state = STATE | {"convs.1.skip.1.bias": np.zeros(6, np.float32)}
    assert "unexpected (1):\n    d.convs.1.skip.1.bias" in refused(state)
    state = {k: v for k, v in STATE.items() if k != "final_linear.0.bias"}
    assert "missing (1):\n    d.final_linear.0.bias" in refused(state)


@pytest.mark.parametrize(
    ("attribute", "value", "why"),
    [
        ("c_dim", 3, "it is conditional"),
        ("b4.architecture", "orig", "its b4.architecture is 'orig'"),
        ("b32.conv0.activation", "relu", "its b32.conv0.activation is 'relu'"),
        ("b4.mbstd.num_channels", 2, "its b4.mbstd.num_channels is '2'"),
    ],
)
def test_of_an_unknown_one_the_generator_is_converted(attribute, value, why):
    tree = read_file(recipe.DATA / "nvidia_d_32.pkl")
    module = tree["D"]
    *path, name = attribute.split(".")
    for part in path:
        module = module.state["_modules"][part]
    module.state[name] = value
    found = recognise(tree, "x.pkl")
    assert found.discriminator is None and found.generator.image_size == 32
    assert found.notes[0].startswith(f"The discriminator is left out: {why}")
    assert "D, G" in found.notes[1]
    with pytest.raises(StylePrompterError, match=r"^x\.pkl: The discriminator is left"):
        recognise(tree["D"], "x.pkl")


def test_without_residual_blocks_the_generator_is_converted():
    state = {key: array for key, array in STATE.items() if ".skip." not in key}
    generator = {"g_ema": generator_state(), "latent_avg": MEAN}
    found = recognise(generator | {"d": state}, "x.pt")
    (note, left_out) = found.notes
    assert note == "The discriminator is left out: it has no residual blocks."
    assert "Left out: d " in left_out
    assert build_model({"x.pt": found}).config == GENERATOR


def start(folder, **model):
    """The config of a run that goes on from a model folder."""
    config = tiny.get_config("generator")
    config.init_from = str(folder)
    with config.unlocked():
        config.model = model
    return config


def test_training_goes_on_from_converted_networks(tmp_path):
    """What config.model does not say follows from them."""
    folder = tmp_path / "model"
    convert([str(recipe.DATA / "nvidia_d_32.pkl")], folder)
    config = start(folder)
    check_settings(config)
    objective = Adversarial(config)
    model_config, variables, _ = model_folder.load_model(folder)
    kept = discriminator_files.load_discriminator(folder)
    assert objective.generator_config == model_config.generator
    assert objective.generator_config.conv_clamp == 256
    assert objective.networks.discriminator == kept.config
    state = objective.init(jax.random.key(0))
    assert_equal(state["generator"], variables["params"]["generator"])
    assert_equal(state["discriminator"], kept.params)
    # And what it writes is gone on from in the same way.
    objective.export(state, tmp_path / "again")
    again = discriminator_files.load_discriminator(tmp_path / "again")
    assert again.config == kept.config
    assert_equal(again.params, kept.params)
    group = start(folder, discriminator=dict(mbstd_group=2))
    assert Adversarial(group).networks.discriminator.mbstd_group == 2
    for model, match in (
        (dict(generator=dict(w_dim=16)), "set the latter to"),
        (dict(discriminator=dict(channels=(8, 8, 8, 8))), "remove that key"),
    ):
        with pytest.raises(StylePrompterError, match=match):
            Adversarial(start(folder, **model))
    config.data.image_size = 64
    with pytest.raises(StylePrompterError, match=r"makes 32 px: use 32"):
        Adversarial(config)
    (folder / model_folder.DISCRIMINATOR).unlink()
    with pytest.raises(StylePrompterError, match="has no discriminator"):
        Adversarial(start(folder))


def test_a_start_whose_groups_do_not_divide_the_batch_is_refused(tmp_path):
    folder = tmp_path / "model"
    convert([str(recipe.DATA / "nvidia_d_32.pkl")], folder)
    config = start(folder)
    config.batch_size = 6
    with pytest.raises(StylePrompterError, match="mbstd_group is 4"):
        loop.train(config, tmp_path / "run", devices=jax.devices()[:1])
    assert not (tmp_path / "run").exists()


def test_files_of_before_tell_their_architecture(tmp_path):
    folder = tmp_path
    model_folder.save_arrays(folder / model_folder.DISCRIMINATOR, PARAMS)
    config, params = discriminator_files.load_discriminator(folder)
    assert config == SMALL
    assert_equal(params, PARAMS)
    bundled = model_folder.find_model("avatars64")
    config, _ = discriminator_files.load_discriminator(bundled)
    assert config == DiscriminatorConfig(64, (128, 128, 128, 64, 16))
    model_folder.save_arrays(folder / model_folder.DISCRIMINATOR, {"a": PARAMS})
    with pytest.raises(StylePrompterError, match="no array has the name of a"):
        discriminator_files.load_discriminator(folder)
