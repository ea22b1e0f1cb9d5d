"""Stored latents, found by the images that they belong to."""

import json

import jax
import numpy as np
import pytest
from test_restyle import model_of, pictures

import styleprompter_jax as sp
from styleprompter_jax.app.compare import compare
from styleprompter_jax.app.compared import Compared
from styleprompter_jax.app.decoding import Decoding
from styleprompter_jax.app.evaluate import evaluate
from styleprompter_jax.app.invert import invert
from styleprompter_jax.app.pictures import load_checked
from styleprompter_jax.app.stored import stored_latents
from styleprompter_jax.editing.latents import load_named
from styleprompter_jax.images.inputs import InputReader


def test_latents_of_another_image_of_the_same_name(model, tmp_path):
    """The names depend on the given folder: both `0` and `x/0` may be `0`."""
    shown = np.random.default_rng(0).uniform(-1, 1, (2, 32, 32, 3))
    paths = [tmp_path / "in" / "0.png", tmp_path / "in" / "x" / "0.png"]
    sp.write_images(shown, paths)
    made = invert(model, [tmp_path / "in"], tmp_path / "out")
    given = [tmp_path / "in", tmp_path / "in" / "x"]
    all_images, below = (
        Compared([one], tmp_path / "e", InputReader((32, 32, 3)), (32, 32))
        for one in given
    )
    assert len(stored_latents(made.latents, model, all_images)) == 2
    with pytest.raises(
        sp.StylePrompterError, match=r"'0' .* not of .*x.0\.png, but of"
    ):
        stored_latents(made.latents, model, below)
    # Files of older versions have only names.
    latents, names = load_named(made.latents)
    latents.save(made.latents, names=names)
    assert len(stored_latents(made.latents, model, below)) == 1
    arrays = dict(np.load(made.latents)) | {"image_sha256": np.zeros(2)}
    np.savez(made.latents, **arrays)
    with pytest.raises(sp.StylePrompterError, match="one text for each image"):
        stored_latents(made.latents, model, below)


def test_latents_of_another_generator(model, tmp_path, caplog):
    """A warning: codes also suit generators that were trained from their own."""
    sp.write_images(np.zeros((1, 32, 32, 3)), [tmp_path / "in" / "0.png"])
    made = invert(model, [tmp_path / "in"], tmp_path / "out")
    params = dict(model.params)
    for part, warns in (("encoder", False), ("generator", True)):
        other = params | {part: jax.tree.map(lambda x: x + 1, params[part])}
        changed = sp.StylePrompter(model.config, {**model.variables, "params": other})
        load_checked(made.latents, changed, Decoding())
        assert ("made with another generator" in caplog.text) == warns
    caplog.clear()
    latents, names = load_named(made.latents)
    latents.save(made.latents, names=names)  # as an older version
    load_checked(made.latents, changed, Decoding())
    assert not caplog.text


def test_passes_where_nothing_is_encoded(tmp_path):
    """ReStyle without a refiner: no option says what no result depends on."""
    restyle = model_of("ResNetProgressiveBackboneEncoder", 6, passes=3)
    restyle.save(tmp_path / "m")
    inputs = [pictures(tmp_path / "in", 32, 32, 1)]
    codes = sp.Latents(np.zeros((1, 8, 16), np.float32))
    stored = tmp_path / "latents.npz"
    codes.save(stored, names=["0"])
    own = f"{tmp_path / 'm'},latents={stored}"
    out, options = tmp_path / "out", dict(decoding=Decoding(iterations=2))
    for call in (
        lambda: evaluate(tmp_path / "m", out, inputs=inputs, latents=stored, **options),
        lambda: compare([own, f"{own},refine=no"], out, inputs=inputs, **options),
    ):
        with pytest.raises(sp.StylePrompterError, match="codes come from files of lat"):
            call()
    assert not out.exists()
    made = evaluate(tmp_path / "m", out, inputs=inputs, latents=stored)
    protocol = json.loads(made.metrics.read_text())["protocol"]
    assert "iterations" not in protocol["decoding"]
    encoded = str(tmp_path / "m")
    made = compare([own, encoded], tmp_path / "c", inputs=inputs, **options)
    models = json.loads(made.metrics.read_text())["protocol"]["models"]
    assert [models[name]["iterations"] for name in (own, encoded)] == [None, 2]
