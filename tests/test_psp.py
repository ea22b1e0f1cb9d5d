"""The encoders of pSp and e4e: parity, conversion, and use without a refiner."""

import json

import jax
import numpy as np
import pytest
import recipe
from conftest import TINY, random_variables
from einops import rearrange, reduce

import styleprompter_jax as sp
from styleprompter_jax.cli import main
from styleprompter_jax.convert.model import build_model
from styleprompter_jax.convert.reading.torch_file import write_torch
from styleprompter_jax.convert.recognise import recognise
from styleprompter_jax.convert.table import merge_collections, prefixed, write_table
from styleprompter_jax.convert.tables.psp import encoder_table
from styleprompter_jax.convert.tables.stylegan2 import generator_table
from styleprompter_jax.editing.directions import Direction
from styleprompter_jax.images.files import write_image
from styleprompter_jax.models.encoders.psp import PspConfig
from styleprompter_jax.models.inverter import StylePrompterConfig
from styleprompter_jax.ops.upsample_aligned import upsample_aligned

PSP, E4E = "GradualStyleEncoder", "Encoder4Editing"
INTO_W = "BackboneEncoderUsingLastLayerIntoW"
KINDS = {
    PSP: ("pSp, faces, 32 px, 8 codes.", 32),
    E4E: ("e4e, faces, 32 px, 8 codes.", 32),
    INTO_W: ("pSp into W, faces, 32 px, 8 codes.", 256),
    f"{INTO_W}Plus": ("pSp into W+ by one layer, faces, 32 px, 8 codes.", 256),
}


def config_of(kind=E4E, channels=3):
    size = KINDS[kind][1]
    encoder = PspConfig(kind, size, channels, 8, 16, (4, 8, 12, 16), (1, 2, 1, 1))
    return StylePrompterConfig(encoder, None, TINY.generator)


def checkpoint(config, variables, **opts):
    """What torch.save would hold of a model in the published layout."""
    table = (
        *prefixed(encoder_table(config.encoder), "encoder/", "encoder."),
        *prefixed(generator_table(config.generator), "generator/", "decoder."),
    )
    tree = merge_collections(variables)
    mean = np.tile(tree.pop("latent_avg"), (8, 1))
    own = dict(
        encoder_type=config.encoder.encoder_type,
        dataset_type="ffhq_encode",
        start_from_latent_avg=True,
    )
    state = write_table(table, tree)
    return {"state_dict": state, "latent_avg": mean, "opts": own | opts}


@pytest.fixture(scope="module")
def e4e():
    config = config_of()
    return config, random_variables(config)


def convert(tmp_path, tree):
    write_torch(tmp_path / "x.pt", tree)
    return main(["convert", str(tmp_path / "x.pt"), str(tmp_path / "model")])


@pytest.mark.parametrize("kind", KINDS)
def test_converted_whole(kind, tmp_path, capsys):
    config = config_of(kind)
    variables = random_variables(config)
    assert convert(tmp_path, checkpoint(config, variables, input_nc=3)) == 0
    assert KINDS[kind][0] in capsys.readouterr().out
    model = sp.load(tmp_path / "model")
    assert model.config == config
    assert jax.tree.structure(model.variables) == jax.tree.structure(variables)
    jax.tree.map(np.testing.assert_array_equal, model.variables, variables)


def test_the_codes_of_each_style_are_those_of_its_own_arrays(e4e):
    """Stacked as one computation, and cut up as the file has them."""
    config, variables = e4e
    state = checkpoint(config, variables)["state_dict"]
    kernel = variables["params"]["encoder"]["middle"]["conv_1"]["kernel"]
    for k, style in enumerate(range(3, 7)):
        np.testing.assert_array_equal(
            rearrange(state[f"encoder.styles.{style}.convs.2.weight"],
                      "o i h w -> h w i o"),
            kernel[k],
        )  # fmt: skip


def test_codes_of_e4e_and_psp(e4e):
    config, variables = e4e
    images = np.random.default_rng(0).standard_normal((2, 32, 32, 3), np.float32)

    def codes(kind=E4E, **fields):
        fields = config.encoder.to_dict() | {"encoder_type": kind} | fields
        del fields["type"]
        own = StylePrompterConfig(PspConfig(**fields), None, config.generator)
        return np.asarray(sp.StylePrompter(own, variables).encode(images).w_plus)

    mean = variables["const"]["latent_avg"]
    plain = codes(PSP) - mean
    np.testing.assert_allclose(codes()[:, 0] - mean, plain[:, 0], atol=1e-5)
    np.testing.assert_allclose(
        codes()[:, 1:] - mean, plain[:, 1:] + plain[:, :1], atol=1e-5
    )
    free = codes(PSP, start_from_latent_avg=False)
    np.testing.assert_allclose(free, plain, atol=1e-5)


def test_corners_stay():
    x = np.arange(6, dtype=np.float32).reshape(1, 2, 3, 1)
    y = np.asarray(upsample_aligned(x, (3, 5)))[0, :, :, 0]
    np.testing.assert_allclose(y[1], [1.5, 2, 2.5, 3, 3.5], atol=1e-6)
    np.testing.assert_allclose(y[:, 0], [0, 1.5, 3], atol=1e-6)


def damage(state, opts):
    """(what is changed, what the message says of it)."""
    key = "encoder.styles.5.convs.2.weight"
    yield lambda: state.pop(key), rf"missing \(1\):\n +{key}"
    yield (
        lambda: state.update({key: state[key][:-1]}),
        rf"wrong shape \(1\):\n +{key} is float32\[15, 16",
    )
    yield lambda: state[key].fill(np.nan), rf"not finite \(1\):\n +{key}"
    yield (
        lambda: state.update({"encoder.styles.8.convs.0.bias": state[key]}),
        r"\(9, 16\), the generator reads \(8, 16\)",
    )
    yield lambda: state.update({"encoder.x": state[key]}), r"unexpected \(1\)"
    yield lambda: state.pop("decoder.conv1.activate.bias"), r"missing \(1\)"
    yield lambda: opts.update(stylegan_size=1024), "stylegan_size = '1024'"
    yield lambda: opts.update(output_size=64), "output_size"
    yield lambda: opts.update(input_nc=19), "input_nc"
    yield lambda: opts.update(start_from_latent_avg="no"), "start_from_latent_avg"
    yield lambda: opts.update(encoder_type=INTO_W), "encoder_type"


@pytest.mark.parametrize("k", range(11))
def test_what_does_not_fit_is_refused(k, e4e):
    tree = checkpoint(*e4e)
    tree["state_dict"] = {key: x.copy() for key, x in tree["state_dict"].items()}
    change, match = list(damage(tree["state_dict"], tree["opts"]))[k]
    change()
    with pytest.raises(sp.StylePrompterError, match=match):
        build_model({"x.pt": recognise(tree, "x.pt")})


@pytest.mark.parametrize(
    "opts",
    [{"dataset_type": "cars_encode"}, {"encoder_type": "ResNetBackboneEncoder"}],
)
def test_of_other_encoders_the_generator_alone(opts, e4e):
    found = recognise(checkpoint(*e4e, **opts), "x.pt")
    assert found.encoder is None and found.generator == TINY.generator
    assert "The encoder is left out" in found.notes[0]


def test_of_passes_the_generator_alone():
    config = config_of(PSP, channels=6)
    images = jax.ShapeDtypeStruct((1, 32, 32, 6), np.float32)
    module = sp.models.inverter.StylePrompter(config)
    shapes = jax.eval_shape(module.init, jax.random.key(0), images)
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
    assert recognise(checkpoint(config, zeros), "x.pt").encoder is None


@pytest.mark.slow
def test_commands_need_no_option(e4e, tmp_path, capsys):
    """A model without a refiner decodes W+ alone, unless one is asked for."""
    config, variables = e4e
    smile = {"smile": Direction(np.ones(16), strength=2)}
    model = sp.StylePrompter(config, variables, smile)
    model.save(tmp_path / "model")
    pixels = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    for k, picture in enumerate(pixels):
        write_image(picture, tmp_path / "in" / f"{k}.png")
    call = ["--model", str(tmp_path / "model"), "--input", str(tmp_path / "in")]
    for name, *more in (
        ("invert", "--optimize", "1"),
        ("edit", "--direction", "smile"),
        ("evaluate",),
    ):
        out = ["--output", str(tmp_path / name)]
        assert main([name, *call, *out, *more]) == 0, capsys.readouterr().err
    measured = json.loads((tmp_path / "evaluate" / "metrics.json").read_text())
    assert measured["unquantised"].keys() == {"w_plus"}
    assert measured["protocol"]["decoding"]["refine"] is False
    out = ["--output", str(tmp_path / "none")]
    assert main(["invert", *call, *out, "--beta", "1", "1"]) == 1
    assert "no SMART" in capsys.readouterr().err
    images = np.zeros((1, 32, 32, 3), np.float32)
    with pytest.raises(sp.StylePrompterError, match="no SMART"):
        model.invert(images, refine=True)


def test_a_picture_for_a_model_of_sketches(e4e):
    config = config_of(PSP, channels=1)
    module = sp.models.inverter.StylePrompter(config)
    images = jax.ShapeDtypeStruct((1, 32, 32, 1), np.float32)
    shapes = jax.eval_shape(module.init, jax.random.key(0), images)
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
    model = sp.StylePrompter(config, zeros)
    with pytest.raises(sp.StylePrompterError, match=r"reads \(b, 32, 32, 1\): give"):
        model.encode(np.zeros((1, 32, 32, 3), np.float32))


@pytest.mark.slow
@pytest.mark.parametrize("case", ["psp_256", "psp_sketch_256", "psp_w_256", "e4e_256"])
def test_parity(case):
    """Against the published code, codes and images."""
    expected, opts = recipe.arrays(case), recipe.manifest(case)["opts"]
    state = recipe.state_dict(case)
    mean = np.tile(state.pop("latent_avg"), (14, 1))
    tree = {"state_dict": state, "opts": opts, "latent_avg": mean}
    found = recognise(tree, "x.pt")
    config, variables, _ = build_model({"x.pt": found})
    model = sp.StylePrompter(config, variables)
    channels = config.encoder.input_channels
    images = recipe.normal(expected["image_seed"], 1, channels, 256, 256)
    images = rearrange(np.clip(0.5 * images, -1, 1), "b c h w -> b h w c")
    made, latents = model.invert(images)
    made = rearrange(np.asarray(made), "b h w c -> b c h w")
    codes = latents.w_plus
    if expected["codes"].ndim == 2:
        np.testing.assert_array_equal(codes, np.repeat(codes[:, :1], 14, 1))
        codes = codes[:, 0]
    assert recipe.relative_error(codes, expected["codes"]) < 1e-5
    pooled = reduce(made, "b c (h i) (w j) -> b c h w", "mean", i=4, j=4)
    assert recipe.relative_error(pooled, expected["image"]) < 1e-5
    assert recipe.relative_error(made[..., :32, :32], expected["crop"]) < 1e-5
