"""Encoders in passes, and those of oblong pictures, at work."""

import json

import numpy as np
import pytest
from conftest import TINY, random_variables

import styleprompter_jax as sp
from styleprompter_jax.cli import main
from styleprompter_jax.convert.model import build_model
from styleprompter_jax.convert.recognise import recognise
from styleprompter_jax.convert.table import merge_collections, prefixed, write_table
from styleprompter_jax.convert.tables.stylegan2 import generator_table
from styleprompter_jax.images.files import read_image, write_image
from styleprompter_jax.models.encoders.psp import PspConfig
from styleprompter_jax.models.inverter import StylePrompterConfig
from styleprompter_jax.ops.framing import framed

WIDTHS, BLOCKS = (4, 8, 12, 16), (1, 1, 1, 1)


def model_of(kind, channels=3, **fields):
    encoder = PspConfig(kind, 32, channels, 8, 16, WIDTHS, BLOCKS, **fields)
    config = StylePrompterConfig(encoder, None, TINY.generator)
    return sp.StylePrompter(config, random_variables(config))


@pytest.fixture(scope="module")
def restyle():
    return model_of("ResNetProgressiveBackboneEncoder", 6, passes=3)


@pytest.fixture(scope="module")
def cars():
    return model_of("Encoder4Editing", image_height=24)


def pictures(folder, height, width, count=2):
    rng = np.random.default_rng(0)
    for k in range(count):
        pixels = rng.integers(0, 256, (height, width, 3), np.uint8)
        write_image(pixels, folder / f"{k}.png")
    return folder


def call(command, folder, *more):
    model, inputs, output = (str(folder / name) for name in ("model", "in", command))
    return main([command, "--model", model, "--input", inputs, "--output", output,
                 *map(str, more)])  # fmt: skip


@pytest.mark.slow
def test_each_pass_adds_to_the_one_before(restyle):
    images = np.random.default_rng(0).uniform(-1, 1, (2, 32, 32, 3)).astype(np.float32)
    passes = restyle.passes(images)
    assert len(passes) == 3
    codes = np.tile(restyle.const["latent_avg"], (2, 8, 1))
    variables = {"params": restyle.params["encoder"], "const": restyle.const["encoder"]}
    for k, latents in enumerate(passes):
        shown = np.asarray(restyle.synthesize(codes))
        if k == 0:
            np.testing.assert_allclose(restyle.average_image, shown[0], atol=1e-5)
        added, _ = restyle.encoder.apply(variables, np.concatenate([images, shown], -1))
        codes = codes + np.asarray(added)
        np.testing.assert_allclose(latents.w_plus, codes, atol=1e-4)
    np.testing.assert_array_equal(restyle.encode(images).w_plus, passes[2].w_plus)
    np.testing.assert_array_equal(restyle.encode(images, 2).w_plus, passes[1].w_plus)


def test_passes_that_there_are_not(restyle, cars):
    with pytest.raises(sp.StylePrompterError, match="not in passes"):
        cars.encode(np.zeros((1, 24, 32, 3), np.float32), iterations=2)
    for wrong in (0, 1.5, 10**6):
        with pytest.raises(sp.StylePrompterError, match="iterations"):
            restyle.encode(np.zeros((1, 32, 32, 3), np.float32), wrong)
    with pytest.raises(sp.StylePrompterError, match="more than 3 channels"):
        PspConfig("BackboneEncoder", passes=5)


@pytest.mark.slow
def test_commands_in_passes(restyle, tmp_path, capsys):
    restyle.save(tmp_path / "model")
    pictures(tmp_path / "in", 32, 32)
    assert call("invert", tmp_path, "--iterations", 2) == 0, capsys.readouterr().err
    found = sp.Latents.load(tmp_path / "invert" / "latents.npz")
    images = sp.read_images(sorted((tmp_path / "in").iterdir()), 32)
    np.testing.assert_array_equal(found.w_plus, restyle.encode(images, 2).w_plus)
    # The sheet has the input and each pass.
    table = read_image(tmp_path / "invert" / "sheet.png")
    assert table.shape[1] == 6 + 3 * (128 + 6)
    assert call("evaluate", tmp_path, "--iterations", 2) == 0, capsys.readouterr().err
    measured = json.loads((tmp_path / "evaluate" / "metrics.json").read_text())
    assert measured["protocol"]["decoding"]["iterations"] == 2
    made = restyle.decode(restyle.encode(images, 2))
    psnr = 10 * np.log10(4 / np.mean((np.asarray(made) - images) ** 2, (1, 2, 3)))
    assert measured["unquantised"]["w_plus"]["psnr"] == pytest.approx(psnr.mean(), 1e-4)


@pytest.mark.slow
def test_commands_of_cars_show_their_rows(cars, tmp_path, capsys):
    assert cars.image_size == (24, 32)
    cars.save(tmp_path / "model")
    pictures(tmp_path / "in", 48, 64)
    np.save(tmp_path / "smile.npy", np.ones(16, np.float32))
    assert call("invert", tmp_path) == 0, capsys.readouterr().err
    images = sp.read_images(sorted((tmp_path / "in").iterdir()), cars.image_size)
    made, latents = cars.invert(images)
    kept = sp.Latents.load(tmp_path / "invert" / "latents.npz")
    np.testing.assert_array_equal(kept.w_plus, latents.w_plus)
    rows = np.asarray(made)[:, 4:28]
    np.testing.assert_array_equal(cars.shown(made), rows)
    written = sp.read_images(sorted((tmp_path / "invert").glob("[01].png")), (24, 32))
    np.testing.assert_allclose(written, rows.clip(-1, 1), atol=1 / 127)
    assert read_image(tmp_path / "invert" / "0.png").shape == (24, 32, 3)
    direction = ["--direction", tmp_path / "smile.npy", "--strength", 1]
    assert call("edit", tmp_path, *direction) == 0, capsys.readouterr().err
    assert read_image(tmp_path / "edit" / "0_smile_+1.png").shape == (24, 32, 3)
    assert call("evaluate", tmp_path) == 0, capsys.readouterr().err
    measured = json.loads((tmp_path / "evaluate" / "metrics.json").read_text())
    mse = np.mean((rows - images) ** 2)
    assert measured["unquantised"]["w_plus"]["mse"] == pytest.approx(mse, 1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["restyle", "cars"])
def test_directions_and_mixes(kind, request, tmp_path, capsys):
    """Of each method that needs no labels of another data set."""
    model, (height, width) = request.getfixturevalue(kind), (32, 32)
    if kind == "cars":
        height = 24
    folder = tmp_path / "model"
    model.save(folder)
    images = pictures(tmp_path / "in", height, width, count=8)
    names = [f"in/{k}.png" for k in range(8)]
    rows = [f"{name},{k % 2}" for k, name in enumerate(names)]
    (tmp_path / "labels.csv").write_text("\n".join(["image,red", *rows]))
    edits = [f"redder,{a},{b}" for a, b in zip(names[::2], names[1::2], strict=True)]
    table = "\n".join(["direction,before,after", *edits])
    (tmp_path / "pairs.csv").write_text(table)
    for method, *options in (
        ("sefa", "--components", 1),
        ("pca", "--components", 1, "--count", 20),
        ("labels", "--data", tmp_path / "labels.csv"),
        ("pairs", "--data", tmp_path / "pairs.csv", "--steps", 2, "--rank", 2),
    ):
        call = ["directions", "--model", folder, "--method", method, *options]
        assert main([*map(str, call)]) == 0, capsys.readouterr().err
    found = sp.load(folder).directions
    assert {"sefa_0", "pca_0", "red", "redder"} <= found.keys()
    call = ["mix", "--model", folder, "--source", images / "0.png", "--mode", "replace"]
    call += ["--reference", images / "1.png", "--output", tmp_path / "mixes"]
    assert main([*map(str, call)]) == 0, capsys.readouterr().err
    # With all codes of the reference, the mix is the reference's inversion.
    mix = next((tmp_path / "mixes").glob("*8*.png"))
    reference = sp.read_images([images / "1.png"], model.image_size)
    expected = model.shown(model.invert(reference)[0])
    pixels = sp.read_images([mix], (height, width))
    np.testing.assert_allclose(pixels, expected.clip(-1, 1), atol=1 / 127)


def test_a_square_for_cars(cars, tmp_path, capsys):
    cars.save(tmp_path / "model")
    pictures(tmp_path / "in", 40, 40)
    assert call("invert", tmp_path) == 1
    assert "40 x 40 pixels, but this model reads images of 32 x 24" in (
        capsys.readouterr().err
    )
    assert not (tmp_path / "invert").exists()
    with pytest.raises(sp.StylePrompterError, match=r"reads \(b, 24, 32, 3\)"):
        cars.encode(np.zeros((1, 32, 32, 3), np.float32))


def test_inputs_of_other_kinds(tmp_path, capsys):
    sketches = model_of("GradualStyleEncoder", 1)
    sketches.save(tmp_path / "model")
    pictures(tmp_path / "in", 32, 32)
    assert call("invert", tmp_path) == 1
    assert "0.png is an image in colours" in capsys.readouterr().err
    assert call("invert", tmp_path, "--input-kind", "picture") == 1
    assert "input_kind is 'picture', but this model reads 1" in capsys.readouterr().err
    assert call("evaluate", tmp_path) == 1
    assert "cannot be compared with images" in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {"model", "in"}


def test_passes_over_drawings():
    """An image of the codes has colours, also beside a drawing."""
    drawings = np.zeros((2, 32, 32, 1), np.float32)
    model = model_of("ResNetProgressiveBackboneEncoder", 4, passes=1)
    assert model.config.input_shape == (32, 32, 1)
    assert model.encode(drawings).w_plus.shape == (2, 8, 16)


def test_the_middle_of_a_square():
    rows = np.arange(512).repeat(512).reshape(1, 512, 512, 1)
    car = framed(rows, 192, 256)
    assert car.shape == (1, 384, 512, 1) and (car[0, 0, 0], car[0, -1, 0]) == (64, 447)
    assert framed(rows, 256, 256).shape == rows.shape


def test_imagenet_resnet34_starts_an_encoder():
    rng, state = np.random.default_rng(0), {"fc.weight": np.zeros((9, 512), np.float32)}
    shapes = {"conv1.weight": (64, 3, 7, 7)}
    places = [(s, k) for s, n in enumerate((3, 4, 6, 3)) for k in range(n)]
    for s, k in places:
        name, width = f"layer{s + 1}.{k}", 64 << s
        before = 64 << max(s - 1, 0) if k == 0 else width
        shapes[f"{name}.conv1.weight"] = (width, before, 3, 3)
        shapes[f"{name}.conv2.weight"] = (width, width, 3, 3)
        if s and not k:
            shapes[f"{name}.downsample.0.weight"] = (width, before, 1, 1)
    for key, shape in shapes.items():
        state[key] = rng.standard_normal(shape, np.float32)
        norm = key.removesuffix(".weight")
        norm = norm.replace("conv", "bn").replace("downsample.0", "downsample.1")
        for leaf in ("weight", "bias", "running_mean", "running_var"):
            state[f"{norm}.{leaf}"] = np.ones(shape[0], np.float32)
        state[f"{norm}.num_batches_tracked"] = np.int64(3)
    variables = merge_collections(random_variables(TINY))
    table = prefixed(generator_table(TINY.generator), "generator/")
    generator = {"generator": variables["generator"]}
    files = {
        "resnet34.pth": recognise(state, "resnet34.pth"),
        "g.pt": recognise({"g_ema": write_table(table, generator)}, "g.pt"),
    }
    config, made, notes, *_ = build_model(files)
    assert config.encoder.encoder_type == "ResNetBackboneEncoder"
    assert (config.encoder.num_styles, config.encoder.w_dim) == (8, 16)
    encoder = made["params"]["encoder"]
    for i, (s, k) in enumerate(places):
        kernel = state[f"layer{s + 1}.{k}.conv2.weight"].transpose(2, 3, 1, 0)
        np.testing.assert_array_equal(encoder[f"body_{i}"]["conv2"]["kernel"], kernel)
    assert encoder["conv1"]["kernel"].shape == (7, 7, 6, 64)
    assert "start for training" in notes[0]
