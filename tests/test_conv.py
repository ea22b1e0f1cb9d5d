"""The convolutional refiner: what it computes, its options, and a run of training."""

import dataclasses
import json

import jax
import numpy as np
import pytest
import quick

import styleprompter_jax as sp
from styleprompter_jax.configs import tiny
from styleprompter_jax.models.refiners.conv import ConvBlock, ConvConfig, ConvRefiner
from styleprompter_jax.models.refiners.smart import SmartBlock
from styleprompter_jax.store.model_folder import load_model
from styleprompter_jax.training.loop import train
from styleprompter_jax.training.parts import part_config
from styleprompter_jax.training.settings import check_settings


@pytest.fixture(scope="module")
def block():
    """A compiled block; parameters of which none is zero; a map and two features."""
    draw = np.random.default_rng(0).standard_normal
    x = draw((2, 4, 4, 6), np.float32)
    features = [draw((2, s, s, 3), np.float32) for s in (2, 8)]
    module = ConvBlock(ConvConfig(width=5))
    like = jax.eval_shape(module.init, jax.random.key(0), x, features)
    params = jax.tree.map(lambda a: draw(a.shape, np.float32), like)
    return quick.jit(module.apply), params, x, features


def convolved(x, layer):
    """A convolution with stride 1 and zeros outside, cell by cell."""
    kernel, (b, h, w, _) = layer["kernel"], x.shape
    side = len(kernel)
    padded = np.pad(x, ((0, 0), *[(side // 2, side // 2)] * 2, (0, 0)))
    out = np.zeros((b, h, w, kernel.shape[-1]))
    for i, j in np.ndindex(h, w):
        out[:, i, j] = np.einsum(
            "byxc,yxcd->bd", padded[:, i : i + side, j : j + side], kernel
        )
    return out + layer["bias"]


def test_against_a_loop(block):
    run, variables, x, features = block
    params = jax.tree.map(np.float64, variables["params"])
    coarse, fine = params["feature_conv_0"], params["feature_conv_1"]
    y = convolved(x, params["input_conv"])
    for i, j in np.ndindex(4, 4):
        y[:, i, j] += features[0][:, i // 2, j // 2] @ coarse["kernel"][0, 0]
        cells = features[1][:, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
        y[:, i, j] += np.einsum("byxc,yxcd->bd", cells, fine["kernel"])
    y += coarse["bias"] + fine["bias"]
    for name in ("conv", "output_conv"):
        y = convolved(np.where(y > 0, y, 0.2 * y), params[name])
    residual, gate = np.split(y, 2, axis=-1)
    for beta in ((1.0, 1.0), (0.5, 0.0), (0.0, 0.3)):
        expected = x + beta[0] * residual + beta[1] * gate * x
        found = run(variables, x, features, beta)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-3)
    np.testing.assert_array_equal(run(variables, x, features, (0.0, 0.0)), x)
    # One beta for each image.
    each = run(variables, x, features, (np.float32([1, 0]), np.float32([1, 0])))
    np.testing.assert_array_equal(each[1], x[1])
    assert np.abs(each[0] - x[0]).max() > 1


def test_wrong_configs(block):
    _, _, x, _ = block
    for fields, match in (
        (dict(refined_layers=(4, 4)), "names a layer twice"),
        (dict(width=0), "width is 0"),
    ):
        with pytest.raises(sp.StylePrompterError, match=match):
            ConvConfig(**fields)
    refiner = ConvRefiner(ConvConfig(width=5))
    maps = [np.zeros((2, 6, 6, 3), np.float32)]
    with pytest.raises(sp.StylePrompterError, match="multiple of the other"):
        jax.eval_shape(lambda: refiner.init(jax.random.key(0), 4, x, maps))


def test_same_budget_as_smart():
    """Both configs, on the bundled model: within 5 % of each other."""
    bundled, count = load_model("avatars64")[0], {}
    maps = [jax.ShapeDtypeStruct((1, *s), "f4") for s in bundled.encoder.feature_shapes]
    for name in ("avatars_smart", "avatars_conv"):
        config = sp.get_config(name)
        check_settings(config)
        refiner = part_config(config, "refiner")
        assert refiner.refined_layers == (4, 6)
        for side, channels in ((16, 128), (32, 64)):
            block = {"smart": SmartBlock, "conv": ConvBlock}[refiner.type](refiner)
            x = jax.ShapeDtypeStruct((1, side, side, channels), "f4")
            fresh = jax.eval_shape(block.init, jax.random.key(0), x, maps)
            sizes = [a.size for a in jax.tree.leaves(fresh)]
            count[refiner.type] = count.get(refiner.type, 0) + sum(sizes)
    assert count == dict(smart=264_384, conv=266_400)


@pytest.mark.slow
def test_a_run(tiny_folder, tmp_path):
    """It trains, saves and loads; with weights of 0, it leaves W+ as it is."""
    config = tiny.get_config("conv")
    config.init_from, config.total_steps = str(tiny_folder), 2
    config.eval_every = config.checkpoint_every = 2
    folder = train(config, tmp_path / "run", devices=jax.devices()[:1])
    fields = json.loads((folder / "config.json").read_text())
    assert fields["refiner"] == dict(type="conv", refined_layers=[4], width=8)
    model = sp.load(folder)
    y, latents = model.invert(np.zeros((2, 32, 32, 3), np.float32))
    plain = np.asarray(model.decode(latents, refine=False))
    none = model.decode(latents, beta=(0, 0))  # another program: other rounding
    np.testing.assert_allclose(none, plain, atol=1e-5)
    assert np.abs(y - plain).max() > 0  # the first steps changed something
    moved = dataclasses.replace(latents, features=tuple(-f for f in latents.features))
    assert np.abs(model.decode(moved) - y).max() > 0
    for wrong in (dict(beta=1.0), dict(gain=1.0), dict(beta=(1, 1, 1))):
        with pytest.raises(sp.StylePrompterError, match=r"beta|gain"):
            model.decode(latents, **wrong)
    config.stage = "smart"
    again = "of the type .smart. into config.model"
    with pytest.raises(sp.StylePrompterError, match=f"to .refiner. .* {again}"):
        train(config, tmp_path / "other")
