"""Published weights under other keys, prefixes and names than their authors'."""

import dataclasses

import numpy as np
import pytest
import recipe
from hostile_pickles import NUMBERS
from published_trees import (
    FULL,
    GENERATOR,
    VARIABLES,
    checkpoint,
    generator_state,
    imagenet_state,
    part,
)
from weight_files import storage_id, tensor, torch_zip

from styleprompter_jax.convert.model import build_model
from styleprompter_jax.convert.reading.files import read_file
from styleprompter_jax.convert.recognise import recognise
from styleprompter_jax.convert.table import merge_collections
from styleprompter_jax.convert.tables.nvidia import module_arrays
from styleprompter_jax.core.errors import StylePrompterError

MEAN = VARIABLES["const"]["latent_avg"]


def build(*trees):
    """Recognises trees, and builds their model; returns it as one tree."""
    found = {f"{k}.pt": recognise(tree, f"{k}.pt") for k, tree in enumerate(trees)}
    config, variables, *_ = build_model(found)
    return [*found.values()], config, merge_collections(variables)


def assert_equal(a, b):
    assert a.keys() == b.keys()
    for key, value in a.items():
        if isinstance(value, dict):
            assert_equal(value, b[key])
        else:
            np.testing.assert_array_equal(value, b[key], err_msg=key)


@pytest.mark.parametrize(
    "path",
    [
        *("", "g", "g_ema", "G", "generator", "model", "params_ema", "netG", "weights"),
        *("state_dict", "model.g_ema", "a.b.c"),
    ],
)
@pytest.mark.parametrize("start", ["", "module.", "decoder.module.", "G.synthesis."])
def test_a_generator_under_any_key(path, start):
    tree = {start + key: array for key, array in generator_state().items()}
    tree["latent_avg"] = MEAN
    for key in reversed(path.split(".") if path else ()):
        tree = {key: tree, "iteration": 3, "optimizer": {"state": {0: {"step": 1}}}}
    (found,), config, variables = build(tree)
    assert config == GENERATOR
    assert_equal(variables, merge_collections(part(GENERATOR)))
    assert not path or found.notes[-1].startswith("Left out: iteration, optimizer")


def test_of_several_the_moving_average():
    state = generator_state()
    other = {key: array + 1 for key, array in state.items()}
    for pair in (
        {"g": other, "g_ema": state},
        {"params": other, "params_ema": state},
        {"model": {"G": other, "G_ema": state}},
    ):
        (found,), _, variables = build(pair | {"latent_avg": MEAN})
        assert_equal(variables, merge_collections(part(GENERATOR)))
        assert "Left out" in found.notes[-1]
    with pytest.raises(StylePrompterError, match=r"x\.pt: it holds several .* a and b"):
        recognise({"a": state, "b": other}, "x.pt")


def test_of_several_in_one_dict_the_moving_average():
    def flat(**networks):
        return {
            f"{start}.{key}": array
            for start, state in networks.items()
            for key, array in state.items()
        }

    state = generator_state()
    other = {key: array + 1 for key, array in state.items()}
    for pair in (flat(g=other, g_ema=state), flat(G_ema=state, G=other)):
        (found,), _, variables = build(pair | {"latent_avg": MEAN})
        assert_equal(variables, merge_collections(part(GENERATOR)))
        assert "Left out: g" in found.notes[-1].replace("G", "g")
    with pytest.raises(StylePrompterError, match=r"x\.pt: it holds several .* a and b"):
        recognise(flat(a=state, b=other), "x.pt")


def test_a_generator_of_before_noise_was_stored():
    state = {k: v for k, v in generator_state().items() if not k.startswith("noises.")}
    expected = merge_collections(part(GENERATOR))
    noise = []
    for _ in range(2):
        (found,), _, variables = build({"g_ema": state, "latent_avg": MEAN})
        assert found.notes == ("The file has no noise: it is drawn from a fixed seed.",)
        layers = [
            layer
            for block in variables["generator"]["synthesis"].values()
            for layer in block.values()
            if isinstance(layer, dict) and "noise_const" in layer
        ]
        noise.append([layer["noise_const"] for layer in layers])
        for block, own in variables["generator"]["synthesis"].items():
            for name, layer in own.items():
                if isinstance(layer, dict) and "noise_const" in layer:
                    there = expected["generator"]["synthesis"][block][name]
                    assert there["noise_const"].shape == layer["noise_const"].shape
                    layer["noise_const"] = there["noise_const"]
        assert_equal(variables, expected)
    assert len(noise[0]) == 7
    for a, b in zip(*noise, strict=True):
        np.testing.assert_array_equal(a, b)
    values = np.concatenate([array.ravel() for array in noise[0]])
    assert abs(values.mean()) < 0.1 and 0.9 < values.std() < 1.1
    # One layer's is damage.
    whole = generator_state()
    del whole["noises.noise_2"]
    with pytest.raises(StylePrompterError, match=r"missing \(1\):\n +noises\.noise_2"):
        build({"g_ema": whole, "latent_avg": MEAN})
    tree = checkpoint(FULL)
    for key in [key for key in tree["state_dict"] if ".noises." in key]:
        del tree["state_dict"][key]
    (found,), config, _ = build(tree)
    assert config == FULL and "no noise" in found.notes[-1]


@pytest.mark.parametrize("start", ["", "module.", "G."])
def test_the_keys_of_nvidia_as_a_state_dict(start):
    module = read_file(recipe.DATA / "nvidia_64.pkl")["G_ema"]
    _, config, expected = build({"G_ema": module})
    state = {start + key: array for key, array in module_arrays(module)[0].items()}
    for tree in (state, {"G_ema": state}, {"state_dict": state, "step": 1}):
        (found,), own, variables = build(tree)
        plain = dataclasses.replace(config.generator, conv_clamp=None)
        assert own == dataclasses.replace(config, generator=plain)
        assert "whether activations are clamped" in found.notes[0]
        assert_equal(variables, expected)
    state[f"{start}mapping.embed.weight"] = np.zeros((4, 4), np.float32)
    with pytest.raises(StylePrompterError, match=r"x\.pt: the generator is condition"):
        recognise(state, "x.pt")


@pytest.mark.parametrize(
    ("key", "start"), [("", "encoder."), ("model", "module."), ("a.b", "net.swin.")]
)
def test_a_transformer_under_any_prefix(key, start):
    generator = {"g_ema": generator_state(), "latent_avg": MEAN}
    tree = {start + name: array for name, array in imagenet_state().items()}
    tree["mask_token"] = np.zeros(8, np.float32)
    for name in reversed(key.split(".") if key else ()):
        tree = {name: tree}
    (found, _), config, variables = build(tree, generator)
    _, expected, values = build({"model": imagenet_state()}, generator)
    assert config == expected and found.is_start
    assert_equal(variables, values)
    assert "Left out: mask_token (not needed for images)." in found.notes


@pytest.mark.parametrize(
    "root", ["archive", "ckpt_2023-05-01_12:30:45", "C:\\runs\\net", "a b", "模型"]
)
def test_archives_are_called_as_their_files_were(root, tmp_path):
    """torch.save calls the folder in the archive as the file."""
    content = torch_zip({"w": tensor(storage_id(6), (2, 3), (3, 1))}, [NUMBERS], root)
    (tmp_path / "x.pt").write_bytes(content)
    found = read_file(tmp_path / "x.pt")
    np.testing.assert_array_equal(found["w"], NUMBERS.reshape(2, 3))
