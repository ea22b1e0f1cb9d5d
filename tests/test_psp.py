"""The encoders of pSp, e4e and ReStyle: parity, conversion, refused files."""

import dataclasses
import functools
import json

import jax
import numpy as np
import pytest
import recipe
from conftest import TINY, random_variables
from einops import rearrange, reduce

import styleprompter_jax as sp
from styleprompter_jax.app.invert import _steps
from styleprompter_jax.cli import main
from styleprompter_jax.convert.export import export_model
from styleprompter_jax.convert.model import build_model
from styleprompter_jax.convert.origin import origin_of
from styleprompter_jax.convert.reading.torch_file import write_torch
from styleprompter_jax.convert.recognise import recognise
from styleprompter_jax.convert.table import merge_collections, prefixed, write_table
from styleprompter_jax.convert.tables.psp import encoder_table
from styleprompter_jax.convert.tables.stylegan2 import generator_table
from styleprompter_jax.editing.directions import Direction
from styleprompter_jax.images.files import write_image
from styleprompter_jax.models.encoders.psp import PspConfig
from styleprompter_jax.models.generators.stylegan2 import (
    GeneratorConfig,
    default_channels,
)
from styleprompter_jax.models.inverter import StylePrompterConfig
from styleprompter_jax.ops.upsample_aligned import upsample_aligned
from styleprompter_jax.store.model_folder import model_shapes, save_model

PSP, E4E = "GradualStyleEncoder", "Encoder4Editing"
INTO_W = "BackboneEncoderUsingLastLayerIntoW"
BACKBONE, PROGRESSIVE = "BackboneEncoder", "ProgressiveBackboneEncoder"
# The description of each, the size of its images, and its passes.
FACES = "faces, 32 px, 8 codes"
KINDS = {
    PSP: (f"pSp, {FACES}", 32, 0),
    E4E: (f"e4e, {FACES}", 32, 0),
    INTO_W: (f"pSp into W, {FACES}", 256, 0),
    f"{INTO_W}Plus": (f"pSp into W+ by one layer, {FACES}", 256, 0),
    BACKBONE: (f"ReStyle over pSp, {FACES}, 3 passes", 32, 3),
    PROGRESSIVE: (f"ReStyle over e4e, {FACES}, 5 passes", 32, 5),
    f"ResNet{PSP}": (f"ReStyle over pSp with ResNet-34, {FACES}, 1 pass", 32, 1),
    f"ResNet{BACKBONE}": (f"pSp of one map with ResNet-34, {FACES}", 32, 0),
    f"ResNet{PROGRESSIVE}": (
        f"ReStyle over e4e with ResNet-34, {FACES}, 5 passes", 32, 5
    ),
}  # fmt: skip


def config_of(kind=E4E, channels=3, **fields):
    _, size, passes = KINDS[kind]
    channels = 6 if passes else channels
    widths = (4, 8, 12, 16), (1, 2, 1, 1)
    fields = dict(passes=passes) | fields
    encoder = PspConfig(kind, size, channels, 8, 16, *widths, **fields)
    return StylePrompterConfig(encoder, None, TINY.generator)


def checkpoint(config, variables, **opts):
    """Returns the tree that torch.save would write for a model, as published."""
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
    if config.encoder.passes not in (0, 5):  # 5 is what is meant without
        own["n_iters_per_batch"] = config.encoder.passes
    state = write_table(table, tree)
    return {"state_dict": state, "latent_avg": mean, "opts": own | opts}


@functools.cache
def zeros(config):
    return jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), model_shapes(config))


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
    channels = config.encoder.input_channels
    assert convert(tmp_path, checkpoint(config, variables, input_nc=channels)) == 0
    assert f"{KINDS[kind][0]}." in capsys.readouterr().out
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
    """Yields (a change of the file, the words of its error message)."""
    key = "encoder.styles.5.convs.2.weight"
    yield lambda: state.pop(key), rf"missing \(1\):\n +{key}"
    yield (
        lambda: state.update({key: state[key][:-1]}),
        rf"wrong shape \(1\):\n +{key} is float32\[15, 16",
    )
    yield lambda: state[key].fill(np.nan), rf"not finite \(1\):\n +{key}"
    yield (
        lambda: state.update({"encoder.styles.8.convs.0.bias": state[key]}),
        r"\(9, 16\), but the generator reads \(8, 16\)",
    )
    yield lambda: state.update({"encoder.x": state[key]}), r"unexpected \(1\)"
    yield lambda: state.pop("decoder.conv1.activate.bias"), r"missing \(1\)"
    yield lambda: opts.update(stylegan_size=1024), "stylegan_size = '1024'"
    yield lambda: opts.update(output_size=64), "output_size"
    yield lambda: opts.update(input_nc=19), "input_nc"
    yield lambda: opts.update(start_from_latent_avg="no"), "start_from_latent_avg"
    yield lambda: opts.update(encoder_type=INTO_W), "encoder_type"
    yield lambda: opts.update(encoder_type=BACKBONE), "encoder_type"
    yield lambda: opts.update(encoder_type=f"ResNet{PSP}"), "encoder_type"
    yield lambda: opts.update(learn_in_w=True), "learn_in_w"
    yield lambda: opts.update(n_styles=18), "n_styles"
    yield lambda: opts.update(n_iters_per_batch=5), "3 channels, which sees no inv"
    yield lambda: opts.update(n_iters_per_batch="many"), "n_iters_per_batch = 'many'"
    yield (
        lambda: [state.pop(k) for k in [*state] if k.startswith("encoder.")],
        "it holds a generator and no such encoder",
    )


@pytest.mark.parametrize("k", range(18))
def test_what_does_not_fit_is_refused(k, e4e):
    tree = checkpoint(*e4e)
    tree["state_dict"] = {key: x.copy() for key, x in tree["state_dict"].items()}
    change, match = list(damage(tree["state_dict"], tree["opts"]))[k]
    change()
    with pytest.raises(sp.StylePrompterError, match=match):
        build_model({"x.pt": recognise(tree, "x.pt")})


def recognised(config, without=(), **opts):
    tree = checkpoint(config, zeros(config), **opts)
    for key in without:
        del tree["opts"][key]
    return recognise(tree, "x.pt")


def test_of_other_encoders_the_generator_alone():
    found = recognised(config_of(), encoder_type="TransformerEncoder")
    assert found.encoder is None and found.generator == TINY.generator
    assert "The encoder is left out" in found.notes[0]
    assert recognised(config_of(), encoder_type=["x"]).encoder is None


def test_six_channels_without_passes_are_refused():
    """They are an image and its inversion: of pSp and e4e there are none."""
    for kind in (PSP, E4E, INTO_W):
        with pytest.raises(sp.StylePrompterError, match="number of passes"):
            recognised(config_of(kind, 6))
    assert recognised(config_of(PSP, 6), n_iters_per_batch=2).encoder.passes == 2


@pytest.mark.parametrize("kind", KINDS)
def test_known_by_keys(kind):
    """Without their name in the options; pSp's keys and e4e's are the same."""
    config = config_of(kind)
    other = {"stylegan_size": 32} if config.encoder.form.adds else {"output_size": 32}
    told = recognised(config, ["encoder_type"], **other).encoder
    found = recognised(config, ["encoder_type"])
    untold = found.encoder
    # Of one map pSp's have no option that e4e's have not.
    assert (told == config.encoder) == (kind not in (BACKBONE, f"ResNet{BACKBONE}"))
    assert (untold is not None) == (kind in (INTO_W, f"{INTO_W}Plus", f"ResNet{PSP}"))
    said = any("name no encoder_type: add it" in note for note in found.notes)
    assert said == (untold is None)


def test_sketches_are_of_psp_by_their_channels():
    config = config_of(PSP, 1)
    assert recognised(config, ["encoder_type"]).encoder == config.encoder


def test_sheets_and_tables_name_the_space_of_the_codes(tmp_path, capsys):
    for kind, space in ((INTO_W, "W"), (PSP, "W+")):
        config = config_of(kind)
        config = dataclasses.replace(
            config, encoder=dataclasses.replace(config.encoder, image_size=32)
        )
        save_model(tmp_path / space, config, random_variables(config))
        model = sp.load(tmp_path / space)
        images = np.random.default_rng(0).uniform(-1, 1, (1, 32, 32, 3))
        latents = model.encode(images.astype(np.float32))
        assert [*_steps(model, [latents], latents)] == [space]
        fitted = latents.edit(np.ones(16), 1.0, [0])
        assert [*_steps(model, [latents], fitted)] == ["W+"]
    sp.write_images(images, [tmp_path / "a.png"])
    call = ["evaluate", "--model", str(tmp_path / "W"), "--input", f"{tmp_path}/a.png"]
    assert main([*call, "--output", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert "| W, " in printed and "W+" not in printed


@pytest.mark.parametrize("alias", ["SingleStyleCodeEncoder"])
def test_names_of_e4e(alias):
    config = config_of(INTO_W)
    assert recognised(config, encoder_type=alias).encoder == config.encoder


@pytest.mark.parametrize(
    ("channels", "data"),
    [
        (1, "celebs_sketch_to_face"),
        (19, "celebs_seg_to_face"),
        (6, "celebs_seg_to_face"),
    ],
)
def test_what_this_package_trained_comes_back_from_an_export(channels, data):
    """One mean in W, the dataset of the channels; six are not taken for passes."""
    reader = PspConfig(INTO_W, input_channels=channels, num_styles=8, image_height=256)
    config = StylePrompterConfig(reader, None, GeneratorConfig(32))
    _, tree = export_model(config, zeros(config))
    assert tree["latent_avg"].shape == (1, 512)
    assert tree["opts"]["dataset_type"] == data
    square = dataclasses.replace(reader, image_height=None)
    assert recognise(tree, "x.pt").encoder == square


def test_a_checkpoint_without_a_mean_is_exported_without_one():
    reader = PspConfig(INTO_W, num_styles=8)
    config = StylePrompterConfig(reader, None, GeneratorConfig(32))
    origin = origin_of({}, None, {}, {})
    assert "latent_avg" not in export_model(config, zeros(config), None, origin)[1]


@pytest.mark.parametrize(
    ("kind", "fields", "said"),
    [
        (E4E, {"input_channels": 4}, "input_channels = 4"),
        (E4E, {"input_channels": 6, "passes": 5}, "input_channels = 6"),
        (PROGRESSIVE, {"input_channels": 4, "passes": 5}, "input_channels = 4"),
        (INTO_W, {"input_channels": 6, "passes": 5}, "passes = 5"),
        (PSP, {"image_height": 128}, "image_height = 128"),
        (PSP, {"mapping_layers": 2}, "generator has mapping_layers = 2"),
        (PSP, {"channels": default_channels(64, 1)}, "generator has channels = "),
    ],
)
def test_what_the_published_code_cannot_build(kind, fields, said):
    own = {key: fields[key] for key in {"mapping_layers", "channels"} & fields.keys()}
    fields = {key: value for key, value in fields.items() if key not in own}
    reader = PspConfig(kind, num_styles=10, **fields)
    config = StylePrompterConfig(reader, None, GeneratorConfig(64, **own))
    with pytest.raises(sp.StylePrompterError, match=said):
        export_model(config, {"const": {"latent_avg": np.zeros(512, np.float32)}})


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
    assert "no refiner" in capsys.readouterr().err
    images = np.zeros((1, 32, 32, 3), np.float32)
    with pytest.raises(sp.StylePrompterError, match="no refiner"):
        model.invert(images, refine=True)


def test_a_picture_for_a_model_of_sketches(e4e):
    config = config_of(PSP, channels=1)
    model = sp.StylePrompter(config, zeros(config))
    with pytest.raises(sp.StylePrompterError, match=r"reads \(b, 32, 32, 1\): give"):
        model.encode(np.zeros((1, 32, 32, 3), np.float32))


@pytest.mark.slow
@pytest.mark.parametrize(
    "case", ["psp_256", "psp_sketch_256", "psp_w_256", "e4e_256", "e4e_cars_512"]
)
def test_parity(case):
    """Against the published code, codes and images."""
    model, images, expected = published(case)
    made, latents = model.invert(images)
    codes = latents.w_plus
    if expected["codes"].ndim == 2:
        np.testing.assert_array_equal(codes, np.repeat(codes[:, :1], 14, 1))
        codes = codes[:, 0]
    assert recipe.relative_error(codes, expected["codes"]) < 1e-5
    assert recipe.relative_error(pooled(made), expected["image"]) < 1e-5
    corner = rearrange(np.asarray(made)[:, :32, :32], "b h w c -> b c h w")
    assert recipe.relative_error(corner, expected["crop"]) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("case", ["restyle_psp_256", "restyle_e4e_256"])
def test_parity_of_every_pass(case):
    model, images, expected = published(case)
    average = pooled(model.average_image[None])
    assert recipe.relative_error(average, expected["average"]) < 1e-5
    passes = model.passes(images)
    assert len(passes) == len(expected["codes"]) == 5
    # The codes of a pass show the image of the one before, which it has read.
    codes = np.stack([latents.w_plus for latents in passes])
    assert recipe.relative_error(codes, expected["codes"]) < 1e-5
    made = pooled(model.decode(passes[-1]))
    assert recipe.relative_error(made, expected["images"][-1]) < 1e-5


def published(case):
    """A fixture's model, its image as the encoder reads it, the expected results."""
    expected, recorded = recipe.arrays(case), recipe.manifest(case)
    state, (codes, _) = recipe.state_dict(case), recorded["latent_avg_in_file"]
    mean = np.tile(state.pop("latent_avg"), (codes, 1))
    tree = {"state_dict": state, "opts": recorded["opts"], "latent_avg": mean}
    config, variables, *_ = build_model({"x.pt": recognise(tree, "x.pt")})
    height, width, channels = config.input_shape
    images = recipe.normal(expected["image_seed"], 1, channels, height, width)
    images = rearrange(np.clip(0.5 * images, -1, 1), "b c h w -> b h w c")
    return sp.StylePrompter(config, variables), images, expected


def pooled(images):
    """(b, s, s, 3) to (b, 3, 64, 64)."""
    p = images.shape[1] // 64
    images = np.asarray(images)
    return reduce(images, "b (h p) (w q) c -> b c h w", "mean", p=p, q=p)
