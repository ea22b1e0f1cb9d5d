"""`styleprompter convert`: from published files to model folders, and back."""

import dataclasses

import jax
import numpy as np
import pytest
import recipe
from conftest import TINY, random_variables
from einops import rearrange
from published_trees import (
    BASELINE,
    FULL,
    GENERATOR,
    VARIABLES,
    checkpoint,
    generator_state,
    imagenet_state,
    part,
)

import styleprompter_jax as sp
from styleprompter_jax.cli import main
from styleprompter_jax.convert.model import mean_code
from styleprompter_jax.convert.reading.torch_file import write_torch
from styleprompter_jax.convert.recognise import recognise, recognise_network
from styleprompter_jax.models.generators.stylegan2 import GeneratorConfig
from styleprompter_jax.models.refiners.smart import SmartConfig
from styleprompter_jax.store import model_folder


def convert(capsys, *args):
    """Runs the command: (exit code, stdout, stderr)."""
    code = main(["convert", *map(str, args)])
    return code, *capsys.readouterr()


def assert_equal(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.fixture
def run(tmp_path, capsys):
    """Writes trees to files, converts them, and returns the output and the model."""

    def convert_trees(*trees):
        files = [tmp_path / f"{k}.pt" for k in range(len(trees))]
        for file, tree in zip(files, trees, strict=True):
            write_torch(file, tree)
        code, out, err = convert(capsys, *files, tmp_path / "model")
        assert code == 0, err
        return out, model_folder.load_model(tmp_path / "model")

    return convert_trees


@pytest.fixture
def refuse(tmp_path, capsys):
    """Like `run`, for refused files: returns the message; no file may remain."""

    def convert_trees(*trees):
        files = [tmp_path / f"{k}.pt" for k in range(len(trees))]
        for file, tree in zip(files, trees, strict=True):
            write_torch(file, tree)
        before = sorted(tmp_path.iterdir())
        code, _, err = convert(capsys, *files, tmp_path / "model")
        assert code == 1 and "Traceback" not in err
        assert sorted(tmp_path.iterdir()) == before
        return err

    return convert_trees


@pytest.mark.parametrize("module", ["module.", ""])
@pytest.mark.parametrize(
    ("config", "what"),
    [
        (FULL, "official StylePrompter, full, 32 px, 8 codes, refined layer 4."),
        (BASELINE, "official StylePrompter, baseline, 32 px, 8 codes."),
    ],
)
def test_official_checkpoints(run, config, what, module):
    out, (found, variables, _) = run(checkpoint(config, module))
    assert what in out
    assert found == config
    assert_equal(variables, part(config))


@pytest.mark.parametrize("shape", [(16,), (1, 16), (8, 16), (1, 8, 16)])
def test_mean_code_of_any_shape(run, shape):
    tree = checkpoint(BASELINE)
    tree["latent_avg"] = np.broadcast_to(tree["latent_avg"], shape).copy()
    _, (_, variables, _) = run(tree)
    assert_equal(variables, part(BASELINE))


def test_a_mean_code_for_each_layer(run, tmp_path):
    tree = checkpoint(BASELINE)
    mean = np.random.default_rng(0).standard_normal((8, 16), np.float32)
    tree["latent_avg"] = mean
    _, (config, variables, _) = run(tree)
    np.testing.assert_array_equal(variables["const"]["latent_avg"], mean)
    model = sp.StylePrompter(config, variables)
    # A loaded model adds this mean, truncates towards it, saves it, and exports it.
    images = np.zeros((1, 32, 32, 3), np.float32)
    plain = sp.StylePrompter(config, part(BASELINE))
    added = np.asarray(model.encode(images).w_plus - plain.encode(images).w_plus)
    one = VARIABLES["const"]["latent_avg"]
    np.testing.assert_allclose(added[0], mean - one, atol=1e-5)
    z = np.ones((1, 16), np.float32)
    np.testing.assert_allclose(model.mapping(z, 0)[0], mean, atol=1e-6)
    w_plus = model.mapping(z, 0.5, 3)[0]
    np.testing.assert_allclose(w_plus[5], plain.mapping(z)[0], atol=1e-5)
    halfway = (mean[2] + np.asarray(plain.mapping(z)[0])) / 2
    np.testing.assert_allclose(w_plus[2], halfway, atol=1e-5)
    model.save(tmp_path / "copy")
    copy = sp.load(tmp_path / "copy")
    np.testing.assert_array_equal(copy.const["latent_avg"], mean)


def test_mean_codes_of_another_generator_are_refused(refuse):
    tree = checkpoint(BASELINE)
    tree["latent_avg"] = np.random.default_rng(0).standard_normal((7, 16), np.float32)
    assert "7 different rows" in refuse(tree)


@pytest.mark.parametrize("prefix", ["", "module."])
def test_generators_of_rosinality(run, prefix):
    state = {prefix + key: array for key, array in generator_state().items()}
    training = {"g": state, "d": {"a": np.zeros(1)}, "g_optim": {}}
    tree = training | {"g_ema": state, "latent_avg": VARIABLES["const"]["latent_avg"]}
    out, (config, variables, _) = run(tree)
    assert "StyleGAN2 generator in rosinality's layout, 32 px, 8 codes." in out
    assert "Left out: d, g, g_optim" in out
    assert config == GENERATOR
    assert_equal(variables, part(GENERATOR))


def test_a_bare_state_dict_gets_a_mean_code(run):
    out, (config, variables, _) = run(generator_state())
    assert "lacks latent_avg" in out and config == GENERATOR
    mean = variables["const"].pop("latent_avg")
    params = VARIABLES["params"]["generator"]
    np.testing.assert_array_equal(mean, mean_code(TINY.generator, params))
    # Against 20,000 samples of another seed: their own error is 0.02.
    z = np.random.default_rng(1).standard_normal((20_000, 16), np.float32)
    w = sp.StylePrompter(config, part(config)).mapping(z)
    np.testing.assert_allclose(mean, np.mean(w, 0), atol=0.05)


def test_decoders_of_other_encoders(run):
    state = {f"decoder.{key}": array for key, array in generator_state().items()}
    state["encoder.body.0.weight"] = np.zeros((3, 3), np.float32)
    mean = np.tile(VARIABLES["const"]["latent_avg"], (8, 1))
    out, (config, variables, _) = run({"state_dict": state, "latent_avg": mean})
    assert "pSp or e4e" in out and "encoder is left out" in out
    assert config == GENERATOR
    assert_equal(variables, part(GENERATOR))


def test_an_encoder_started_from_imagenet(run):
    out, (config, variables, _) = run(
        {"model": imagenet_state(), "epoch": 3}, {"g_ema": generator_state()}
    )
    assert "SwinV2 of ImageNet" in out and "is a start" in out
    # The head of the published size, codes as the generator reads them.
    assert config.encoder == dataclasses.replace(TINY.encoder, head_dim=1024)
    assert config.smart is None
    encoder, expected = variables["params"]["encoder"], VARIABLES["params"]["encoder"]
    for name, tree in expected.items():
        if name.startswith(("patch_embed", "layers")):
            assert_equal(encoder[name], tree)
    bound = np.sqrt(6 / (3 * 4**2 + 8))
    assert 0.8 * bound < np.abs(encoder["latent_tok"]).max() <= bound
    head = encoder["prediction_head"]["layers_1"]
    assert 0.015 < head["kernel"].std() < 0.025 and not head["bias"].any()


def test_a_start_whose_size_does_not_divide_the_generators(run):
    encoder = dataclasses.replace(TINY.encoder, image_size=48, window_size=6)
    generator = {"g_ema": generator_state()}
    out, (config, *_) = run({"model": imagenet_state(encoder)}, generator)
    assert config.encoder.image_size == 48
    assert "48 px, which does not divide the 32 px" in out and "init_trunk" in out


def test_other_transformers(refuse):
    state = imagenet_state()
    old = {k: v for k, v in state.items() if "logit_scale" not in k}
    assert "not a SwinV2" in refuse({"model": old})
    bare = {k: v for k, v in state.items() if "coords_table" not in k}
    (note,) = recognise({"model": bare}, "x.pt").notes
    assert "16 at 256 px is assumed" in note
    # Fine-tuned from another window: its positions are scaled in another way.
    other = {k: v * 2 if "coords_table" in k else v for k, v in state.items()}
    message = refuse({"model": other}, {"g_ema": generator_state()})
    assert "wrong value (3)" in message
    assert "no generator" in refuse({"model": state})


def test_nvidia(tmp_path, capsys):
    code, out, err = convert(capsys, recipe.DATA / "nvidia_64.pkl", tmp_path / "model")
    assert code == 0, err
    assert "of NVIDIA, 64 px, 10 codes, 2 mapping layers" in out
    model, expected = sp.load(tmp_path / "model"), recipe.arrays("nvidia_64")
    w = model.mapping(expected["z"])
    assert recipe.relative_error(w, expected["w"]) < 1e-5
    truncated = model.mapping(expected["z"], truncation_psi=0.6, truncation_cutoff=4)
    for key, image in (
        ("image_const", model.synthesize(w)),
        ("image_trunc_none", model.synthesize(truncated, noise_mode="none")),
        ("image_w_plus", model.synthesize(expected["w_plus"])),
    ):
        image = rearrange(np.asarray(image), "b h w c -> b c h w")
        assert recipe.relative_error(image, expected[key]) < 1e-4, key


def test_all_problems_of_a_file_in_one_message(refuse):
    tree = checkpoint(FULL)
    state = tree["state_dict"]
    state["decoder.module.generator.convs.2.conv.weight"][0, 0, 0] = np.nan
    state["encoder.module.latent_token"] = np.zeros((8, 8), np.float32)
    del state["encoder.module.layers.0.blocks.0.norm1.bias"]
    key = "decoder.module.smart_block.proj.weight"
    state[key] = state[key][:, :3]
    key = "decoder.module.generator.convs.0.conv.blur.kernel"
    state[key] = np.flip(np.arange(16, dtype=np.float32)).reshape(4, 4)
    message = refuse(tree)
    for text in (
        "0.pt does not fit the model; nothing was loaded",
        "missing (1):\n    encoder.module.layers.0.blocks.0.norm1.bias",
        "wrong shape (1):\n    decoder.module.smart_block.proj.weight is float32[8, 3]",
        "not finite (1):\n    decoder.module.generator.convs.2.conv.weight",
        "unexpected (1):\n    encoder.module.latent_token float32[8, 8]",
        "wrong value (1):\n    decoder.module.generator.convs.0",
    ):
        assert text in message


def test_wrong_files(refuse):
    tree = checkpoint(FULL)
    assert "no weights that this program knows" in refuse({"weights": [1, 2]})
    assert "a dict of epoch" in refuse({"epoch": 3})
    assert "both hold the encoder" in refuse(tree, tree)
    # A generator of another size than the encoder's tokens.
    state = tree["state_dict"]
    larger = {k: v for k, v in state.items() if "to_rgbs.2" not in k}
    larger = {k: v for k, v in larger.items() if "convs.4" not in k}
    larger = {k: v for k, v in larger.items() if "convs.5" not in k}
    assert "num_tokens" in refuse(tree | {"state_dict": larger})
    del state["decoder.module.generator.style.1.weight"]
    assert "style.1.weight" in refuse(tree)


def test_where_a_model_is_not_written(tmp_path, capsys, tiny_folder, monkeypatch):
    file = tmp_path / "x.pt"
    write_torch(file, checkpoint(FULL))
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "photo.png").write_text("")
    for folder in (tmp_path / "taken", file, tiny_folder):
        code, _, err = convert(capsys, file, folder)
        assert code == 1 and f"{folder} exists" in err
    before = sorted(tmp_path.rglob("*"))
    code, _, err = convert(capsys, file, file / "model")
    assert code == 1 and err.endswith(
        f"Error: {file} is a file: choose another place for the model.\n"
    )
    # No way out that would fail too.
    code, _, err = convert(capsys, file, file)
    assert code == 1 and "--overwrite" not in err
    # The disk is full halfway.
    monkeypatch.setattr(model_folder, "save_arrays", raise_os_error)
    code, _, err = convert(capsys, file, tmp_path / "model")
    assert code == 1 and "No space" in err
    assert sorted(tmp_path.rglob("*")) == before
    with pytest.raises(SystemExit) as error:
        main(["convert", str(file)])
    assert error.value.code == 2
    with pytest.raises(SystemExit) as error:
        main(["convert", str(file), "a", "--export", "b.pt"])
    assert error.value.code == 2


def raise_os_error(path, *_):
    path.write_bytes(b"the beginning")
    raise OSError("No space left on device")


def test_directions_join_a_model(tmp_path, capsys):
    folder = model_folder.save_model(tmp_path / "model", FULL, VARIABLES)
    vector = np.arange(16.0)
    np.save(tmp_path / "smile.npy", vector)
    write_torch(tmp_path / "age.pt", {"direction": np.tile(vector, (1, 8))})
    files = (tmp_path / "smile.npy", tmp_path / "age.pt")
    code, out, err = convert(capsys, *files, folder)
    assert code == 0 and "knows smile, age" in out, err
    directions = sp.load(folder).directions
    np.testing.assert_array_equal(directions["smile"].vector, vector)
    np.testing.assert_array_equal(directions["age"].vector, np.tile(vector, (8, 1)))
    assert "already" in convert(capsys, files[0], folder)[2]
    np.save(tmp_path / "smile.npy", -vector)
    assert convert(capsys, files[0], folder, "--overwrite")[0] == 0
    np.testing.assert_array_equal(sp.load(folder).directions["smile"].vector, -vector)
    np.savez(tmp_path / "twice.npz", smile=vector, names=np.array(["smile"]))
    both = convert(capsys, files[0], tmp_path / "twice.npz", folder, "--overwrite")
    assert both[0] == 1 and "already has a direction 'smile'" in both[2]
    assert "not a model folder" in convert(capsys, files[0], tmp_path / "gone")[2]
    np.save(tmp_path / "hat.npy", np.zeros(5))
    assert "[5]" in convert(capsys, tmp_path / "hat.npy", folder)[2]
    assert sp.load(folder).directions.keys() == {"smile", "age"}
    np.savez(tmp_path / "more.npz", pose=vector, hair=np.tile(vector, (8, 1)))
    code, out, err = convert(capsys, tmp_path / "more.npz", folder)
    assert code == 0 and "knows smile, age, hair, pose" in out, err
    np.savez(tmp_path / "wrong.npz", beard=vector, hat=np.zeros(5))
    assert (
        "wrong.npz, hat, holds [5]"
        in convert(capsys, tmp_path / "wrong.npz", folder)[2]
    )
    assert len(sp.load(folder).directions) == 4


def test_perceptual_networks(tmp_path, capsys):
    state = recipe.state_dict("lpips_squeeze")
    heads = {key: state.pop(key) for key in list(state) if key.startswith("lin")}
    write_torch(tmp_path / "squeezenet.pth", state | {"classifier.1.bias": np.ones(3)})
    write_torch(tmp_path / "squeeze.pth", heads)
    files = (tmp_path / "squeezenet.pth", tmp_path / "squeeze.pth")
    code, out, err = convert(capsys, *files, tmp_path / "lpips")
    assert code == 0 and "LPIPS on SqueezeNet" in out, err
    for file, match in zip(files, ("without its heads", "the heads"), strict=True):
        code, _, err = convert(capsys, file, tmp_path / "alone")
        assert code == 1 and match in err and str(file) in err
    assert not (tmp_path / "alone").exists()
    # Of the larger ones, the keys.
    for case, name in (("ir_se50", "arcface"), ("moco_resnet50", "moco")):
        keys = [row[0] for row in recipe.manifest(case)["tensors"]]
        network, _ = recognise_network({"x": {"state_dict": dict.fromkeys(keys)}})
        assert network == name


def test_what_cannot_be_exported(tmp_path, capsys):
    def refused(config):
        folder = model_folder.save_model(
            tmp_path / "m", config, random_variables(config)
        )
        code, _, err = convert(capsys, folder, "--export", tmp_path / "x.pt")
        assert code == 1 and str(folder) in err and not (tmp_path / "x.pt").exists()
        return err

    assert "encoder has image_size = 32" in refused(FULL)
    several = SmartConfig((2, 4), num_heads=4, ffn_dim=16)
    assert "layers 2, 4" in refused(dataclasses.replace(FULL, refiner=several))
    assert "channels = (8, 8, 8, 8)" in refused(GENERATOR)
    clamped = GeneratorConfig(8, z_dim=16, w_dim=16, mapping_layers=1, conv_clamp=256)
    clamped = dataclasses.replace(GENERATOR, generator=clamped)
    assert "conv_clamp = 256" in refused(clamped)


def test_a_damaged_discriminator_stops_only_what_needs_it(tmp_path, capsys):
    for config, said in ((FULL, "image_size = 32"), (GENERATOR, "discriminator.safet")):
        variables = random_variables(config)
        folder = model_folder.save_model(tmp_path / "m", config, variables)
        (folder / model_folder.DISCRIMINATOR).write_bytes(b"damaged")
        assert sp.load(folder).config == config
        code, _, err = convert(capsys, folder, "--export", tmp_path / "x.pt")
        assert code == 1 and said in err, err


def test_a_generator_there_and_back(tmp_path, capsys):
    generator = GeneratorConfig(8, z_dim=16, w_dim=16, mapping_layers=3)
    config = dataclasses.replace(GENERATOR, generator=generator)
    variables = random_variables(config)
    folder = model_folder.save_model(tmp_path / "model", config, variables)
    code, out, err = convert(capsys, folder, "--export", tmp_path / "x.pt")
    assert code == 0 and "rosinality" in out, err
    code, _, err = convert(capsys, tmp_path / "x.pt", tmp_path / "again")
    assert code == 0, err
    found, again, _ = model_folder.load_model(tmp_path / "again")
    assert found == config
    assert_equal(again, variables)
    assert "exists" in convert(capsys, folder, "--export", tmp_path / "x.pt")[2]
