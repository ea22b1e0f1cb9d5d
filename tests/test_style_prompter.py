"""The whole path against a published checkpoint, and the config."""

import json
import shutil

import jax
import numpy as np
import pytest
import quick
import recipe
from conftest import PUBLISHED
from einops import rearrange, reduce

from styleprompter_jax.cli import main
from styleprompter_jax.convert.reading.files import read_file
from styleprompter_jax.convert.reading.torch_file import write_torch
from styleprompter_jax.convert.table import merge_collections, write_table
from styleprompter_jax.convert.tables.style_prompter import checkpoint_table
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.models.encoders.swin import SwinConfig
from styleprompter_jax.models.generators.stylegan2 import GeneratorConfig
from styleprompter_jax.models.inverter import StylePrompterConfig
from styleprompter_jax.models.refiners.smart import SmartConfig
from styleprompter_jax.store import model_folder


def half(images):
    """Returns the fixture's form of an image: means of 2x2 pixels, NCHW."""
    return reduce(np.asarray(images), "b (h y) (w x) c -> b c h w", "mean", y=2, x=2)


@pytest.mark.slow
def test_published_checkpoint(published):
    model, variables = published
    expected = recipe.arrays("styleprompter_256")
    images = recipe.normal(expected["images_seed"], 1, 3, 256, 256)
    images = rearrange(images, "b c h w -> b h w c")
    encode = quick.jit(lambda v, x: model.apply(v, x, method="encode"))
    codes, features = encode(variables, images)
    assert recipe.relative_error(codes, expected["codes"]) < 1e-4

    # Both in one program; beta is data.
    @quick.jit
    def decode(variables, codes, features, beta):
        refined = model.apply(variables, codes, features, beta=beta, method="decode")
        return refined, model.apply(
            variables, codes, features, refine=False, method="decode"
        )

    edit = recipe.normal(expected["edit_seed"], *codes.shape)
    refined, plain = decode(variables, codes, features, (1.0, 1.0))
    weighed, _ = decode(variables, codes, features, (0.6, 0.3))
    edited, _ = decode(variables, codes + 0.5 * edit, features, (1.0, 1.0))
    for key, image in (
        ("refined", refined),
        ("baseline", plain),
        ("refined_beta", weighed),
        ("edited", edited),
    ):
        assert recipe.relative_error(half(image), expected[key]) < 1e-4, key
    size = expected["refined_crop"].shape[-1]
    crop = rearrange(np.asarray(refined)[:, :size, :size], "b h w c -> b c h w")
    assert recipe.relative_error(crop, expected["refined_crop"]) < 1e-4


@pytest.mark.slow
def test_export_is_exact(tmp_path, published_folder):
    """Every tensor comes back exactly, with the other keys of a strict load."""
    file, again = tmp_path / "official.pt", tmp_path / "again"
    assert main(["convert", str(published_folder), "--export", str(file)]) == 0
    tree = read_file(file)
    opts = recipe.manifest("styleprompter_256")["opts"]
    assert opts.items() <= tree["opts"].items()
    state = tree["state_dict"] | {"latent_avg": tree["latent_avg"]}
    assert recipe.same_layout(state, "styleprompter_256")
    for key, array in recipe.state_dict("styleprompter_256").items():
        assert state[key].tobytes() == array.tobytes(), key
    # Tables, by their definition.
    encoder, generator = "encoder.module.layers.", "decoder.module.generator."
    coordinates = state[f"{encoder}0.blocks.0.attn.relative_coords_table"][0]
    np.testing.assert_array_equal(coordinates[15, 15], [0, 0])
    t = 8 * (np.array([3, -15]) / 15)
    t = np.sign(t) * np.log2(np.abs(t) + 1) / 3
    np.testing.assert_allclose(coordinates[18, 0], t, rtol=1e-6)
    index = state[f"{encoder}0.blocks.0.attn.relative_position_index"]
    assert index[16 * 4 + 7, 16 * 1 + 9] == (3 + 15) * 31 + (-2 + 15)
    # The last window of the shifted map: its quarters come from four corners.
    mask = state[f"{encoder}0.blocks.1.attn_mask"]
    assert not mask[0].any() and np.unique(mask).tolist() == [-100, 0]
    y, x = np.divmod(np.arange(256), 16)
    quarter = 2 * (y // 8) + x // 8
    np.testing.assert_array_equal(mask[-1] == 0, quarter[:, None] == quarter[None])
    blur = np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 16
    for key in ("convs.0.conv.blur.kernel", "to_rgbs.5.upsample.kernel"):
        np.testing.assert_array_equal(state[generator + key], blur)
    # And the other way round.
    assert main(["convert", str(file), str(again)]) == 0
    assert (again / "model.safetensors").read_bytes() == (
        published_folder / "model.safetensors"
    ).read_bytes()


@pytest.mark.slow
def test_1024_px(tmp_path, capsys):
    """The published size, by shapes and the number of parameters."""
    config = StylePrompterConfig(SwinConfig(), SmartConfig(), GeneratorConfig())
    rng = np.random.default_rng(0)
    tree = jax.tree.map(
        lambda leaf: np.full(leaf.shape, rng.random(), np.float32),
        merge_collections(model_folder.model_shapes(config)),
    )
    latent_avg = tree.pop("latent_avg")
    state = write_table(checkpoint_table(config), tree)
    assert state["encoder.module.latent_tok"].shape == (18, 96)
    shapes = {
        key.removeprefix("decoder.module.generator."): array.shape
        for key, array in state.items()
    }
    assert shapes["convs.15.conv.weight"] == (1, 32, 32, 3, 3)
    assert shapes["noises.noise_16"] == (1, 1, 1024, 1024)
    file, folder = tmp_path / "official.pt", tmp_path / "model"
    write_torch(file, {"state_dict": state, "latent_avg": latent_avg})
    assert main(["convert", str(file), str(folder)]) == 0
    assert "full, 1024 px, 18 codes, refined layer 4" in capsys.readouterr().out
    found, variables, _ = model_folder.load_model(folder)
    assert found == config
    count = {
        part: sum(x.size for x in jax.tree.leaves(tree))
        for part, tree in variables["params"].items()
    }
    assert count["generator"] == 30_370_060
    assert count["encoder"] + count["smart"] == sum(
        array.size
        for key, array in state.items()
        if key.startswith(("encoder", "decoder.module.smart"))
        and "relative" not in key
        and "mask" not in key
    )
    shutil.rmtree(folder)


def test_config_there_and_back():
    for config in (
        PUBLISHED,
        StylePrompterConfig(None, None, GeneratorConfig(image_size=64)),
        StylePrompterConfig(
            None, SmartConfig((4, 6), attention="softmax"), GeneratorConfig(64)
        ),
    ):
        text = json.dumps(config.to_dict())
        assert StylePrompterConfig.from_dict(json.loads(text)) == config


def test_wrong_configs():
    values = PUBLISHED.to_dict()
    with pytest.raises(StylePrompterError, match="unknown key 'decoder'"):
        StylePrompterConfig.from_dict(values | {"decoder": {}})
    with pytest.raises(StylePrompterError, match="unknown key 'heads'"):
        StylePrompterConfig.from_dict(values | {"refiner": {"heads": 4}})
    with pytest.raises(StylePrompterError, match="num_tokens"):
        StylePrompterConfig(SwinConfig(), None, GeneratorConfig(image_size=64))
