"""Recognition of published weight files by their keys and shapes."""

import numpy as np
import pytest
import recipe
from published_trees import FULL, VARIABLES, checkpoint, generator_state

from styleprompter_jax.convert.model import build_model
from styleprompter_jax.convert.reading.files import Object, read_file
from styleprompter_jax.convert.recognise import recognise
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.models.generators.stylegan2 import default_channels


def test_options_of_a_checkpoint():
    tree = checkpoint(FULL)
    for wrap in (dict, lambda opts: Object("argparse.Namespace", opts)):
        opts = dict(type="full", output_size=32, refined_layer=5, tokens_num=8)
        found = recognise(tree | {"opts": wrap(opts)}, "x.pt")
        assert found.refiner.refined_layers == (5,)
        for option in (
            dict(type="baseline"),
            dict(output_size=64),
            dict(tokens_num=18),
            dict(start_from_latent_avg=False),
        ):
            (name,) = option
            with pytest.raises(StylePrompterError, match=rf"x\.pt.*{name}"):
                recognise(tree | {"opts": wrap(opts | option)}, "x.pt")
    (note,) = recognise(tree | {"optimizer": {}, "step": 3}, "x.pt").notes
    assert note == "Left out: optimizer, step (not needed for images)."


def test_what_is_said_of_a_generator():
    mean = VARIABLES["const"]["latent_avg"]
    assert not recognise(generator_state() | {"latent_avg": mean}, "x.pt").notes
    sizes = {"input.input": (1, 512, 4, 4), "style.1.weight": (512, 512)}
    first, *others = default_channels(64, 1)
    sizes["to_rgb1.conv.weight"] = (1, 3, first, 1, 1)
    for k, width in enumerate(others):
        sizes[f"to_rgbs.{k}.conv.weight"] = (1, 3, width, 1, 1)
    state = {key: np.zeros(size, np.float32) for key, size in sizes.items()}
    assert recognise(state, "x.pt").what.endswith("64 px, 10 codes, half width")


def nvidia_module(change):
    """NVIDIA's generator with attributes changed."""
    generator = read_file(recipe.DATA / "nvidia_64.pkl")["G_ema"]
    change(generator.state)
    return {"G_ema": generator}


def test_generators_of_nvidia_that_are_refused():
    def blocks(state):
        return state["_modules"]["synthesis"].state["_modules"]

    def rename_blocks(state):
        modules = blocks(state)
        for key in list(modules):
            modules[f"L_{key}"] = modules.pop(key)

    for change, match in (
        (lambda state: state.update(c_dim=10), "conditional"),
        (rename_blocks, "not a StyleGAN2"),
        (
            lambda state: blocks(state)["b4"].state.update(architecture="resnet"),
            "resnet",
        ),
        (
            lambda state: (
                blocks(state)["b8"]
                .state["_modules"]["conv1"]
                .state.update(activation="relu")
            ),
            "synthesis.b8.conv1.activation is 'relu', but only 'lrelu'",
        ),
        (
            lambda state: (
                blocks(state)["b16"]
                .state["_modules"]["torgb"]
                .state.update(conv_clamp=None)
            ),
            "synthesis.b16.torgb.conv_clamp is 'None', but only 256",
        ),
    ):
        with pytest.raises(StylePrompterError, match=rf"x\.pkl: .*{match}"):
            recognise(nvidia_module(change), "x.pkl")


def hostile_trees():
    """Yields trees that no network writes, but that a file may hold."""
    zero = np.zeros(1, np.float32)
    state = generator_state()
    layers = "encoder.module.layers.0.blocks"
    many = {f"to_rgbs.{k}.conv.weight": np.zeros((1, 3, 8, 1, 1)) for k in range(40)}
    generator = Object("Generator", None)
    yield {"state_dict": {1: zero}}
    yield {"state_dict": "input.input", "g_ema": None}
    yield {"g_ema": state, "latent_avg": [[1.0], [1.0, 2.0]]}
    yield {"g_ema": state, "latent_avg": np.zeros((0, 16), np.float32)}
    yield {"g_ema": state | {"input.input": [[1], [1, 2]]}}
    yield {"g_ema": state | {"conv1.conv.weight": np.zeros((0, 0))}}
    yield {"g_ema": state | many}
    yield {"g_ema": state | {"style.1.weight": np.zeros((16, 0), np.float32)}}
    for key, value in (
        (f"{layers}.999999999999.norm1.bias", zero),
        (f"{layers}.0.attn.relative_coords_table", np.zeros((1, 499, 499, 2))),
        (f"{layers}.1.attn_mask", np.zeros((10**6, 1, 1), bool)),
        ("encoder.module.patch_embed.proj.weight", np.zeros((8, 3, 0, 4))),
        ("encoder.module.patch_embed.proj.weight", zero),
        ("encoder.module.latent_tok", {}),
    ):
        tree = checkpoint(FULL)
        tree["state_dict"][key] = value
        yield tree
    yield checkpoint(FULL) | {"opts": dict(refined_layer="x")}
    yield checkpoint(FULL) | {"opts": dict(refined_layer=40)}
    yield checkpoint(FULL) | {"opts": dict(output_size=np.arange(4))}
    yield {"G_ema": generator}
    yield {"G_ema": Object("Generator", {"_modules": [1], "_parameters": None})}
    module = read_file(recipe.DATA / "nvidia_64.pkl")["G_ema"]
    synthesis = module.state["_modules"]["synthesis"].state["_modules"]
    synthesis["b4"].state["_modules"]["conv1"].state["conv_clamp"] = "256"
    yield {"G_ema": module}
    yield None
    yield [1, 2]


def test_hostile_trees():
    for k, tree in enumerate(hostile_trees()):
        with pytest.raises(StylePrompterError, match=r"x\.pt"):
            build_model({"x.pt": recognise(tree, "x.pt")})
            pytest.fail(f"tree {k} was taken")
