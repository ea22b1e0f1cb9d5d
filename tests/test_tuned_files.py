"""Files of tuned generators: what they say, what is refused, and full disks."""

import logging
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import disk_full_after

import styleprompter_jax as sp
from styleprompter_jax.app import pictures, tuning
from styleprompter_jax.app.decoding import Decoding
from styleprompter_jax.app.edit import edit
from styleprompter_jax.app.invert import invert
from styleprompter_jax.core.progress import Progress
from styleprompter_jax.core.results import Results
from styleprompter_jax.core.safetensors_files import write_safetensors
from styleprompter_jax.editing.generator_change import GeneratorChange
from styleprompter_jax.editing.latents import Latents, concatenate

KEY = "synthesis/b4/const"


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """A folder of two images."""
    folder = tmp_path_factory.mktemp("images")
    shown = np.random.default_rng(0).uniform(-1, 1, (2, 32, 32, 3)).astype("f4")
    sp.write_images(shown, [folder / "a.png", folder / "b.png"])
    return folder


@pytest.fixture(scope="module")
def latents(model, images):
    return model.encode(sp.read_images([images / "a.png"], 32))


@pytest.fixture(scope="module")
def change(model):
    """Of the constant input, by a little."""
    const = model.params["generator"]["synthesis"]["b4"]["const"]
    return GeneratorChange({KEY: np.full(const.shape, 0.1, "f4")}, model.sha256)


@pytest.mark.parametrize(
    ("tuned", "refine", "said"),
    [
        (True, None, ""),
        (True, False, "were tuned with SMART, .* leave out --no-refine"),
        (False, None, "were tuned without SMART, .* add --no-refine"),
        (False, False, ""),
        (None, False, ""),  # of an older version
    ],
)
def test_tuned_with_smart_or_without(
    model, latents, change, tuned, refine, said, tmp_path, caplog
):
    """Decoded in the other way, it warns once and names the file and the option."""
    file = tmp_path / "latents.npz"
    latents.changed(replace(change, refined=tuned)).save(file)
    assert Latents.load(file).changes[0].refined is tuned
    with caplog.at_level(logging.WARNING):
        pictures.load_checked(file, model, Decoding(refine=refine))
    assert len(caplog.messages) == bool(said)
    if said:
        assert str(file) in caplog.text
        assert re.search(said, caplog.text)


def test_features_are_added_without_tuning_again(model, images, tmp_path, monkeypatch):
    titles = []

    class Seen(Progress):
        def __init__(self, *args, **options):
            titles.append(options["desc"])
            super().__init__(*args, **options)

    monkeypatch.setattr(tuning, "Progress", Seen)
    made = invert(model, [images], tmp_path / "out", tune=1)
    # The first step compiles for a while.
    assert titles == ["a, compiling the step", "b"]
    found = Latents.load(made.latents)
    assert {one.refined for one in found.changes} == {True}
    with pytest.raises(sp.StylePrompterError, match=r"--tune` call with --features"):
        model.decode(found)
    monkeypatch.setattr(sp.StylePrompter, "tune", None)
    made = invert(model, [images], tmp_path / "out", tune=1, features=True)
    model.decode(Latents.load(made.latents))


def test_without_smart(model, images, latents):
    shown = sp.read_images([images / "a.png"], 32)
    assert model.tune(shown, latents, 1, refine=False).change.refined is False


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.full((1, 4, 4, 8), 1e300), "is float64 instead of float32 or float16"),
        (np.ones((1, 4, 4, 8), np.int32), "is int32 instead of float32 or float16"),
        (np.full((1, 4, 4, 8), np.inf, "f4"), "not finite"),
        (np.full((1, 4, 4, 8), np.nan, "f2"), "not finite"),
        (np.full((1, 4, 4, 8), -3e38, "f4"), "beyond 1e"),
    ],
)
def test_numbers_that_no_change_has(array, said, tmp_path):
    file = tmp_path / "a.safetensors"
    metadata = {"kind": "change of a generator", "model": "0" * 64}
    write_safetensors(file, {KEY: array}, metadata)
    with pytest.raises(sp.StylePrompterError, match=rf"a\.safetensors.*{said}"):
        GeneratorChange.load(file)


def test_a_tuning_that_stops_before_its_first_step(
    model, images, latents, change, tmp_path
):
    """It changes nothing, and its files are as good as any, also beside others."""
    shown = sp.read_images([images / "a.png"], 32)
    near = model.tune(shown, latents, steps=3, stop=10.0).latents
    both = concatenate([latents.changed(change), near])
    for name, saved in (("near", near), ("both", both)):
        file = tmp_path / f"{name}.npz"
        saved.save(file, features=True)
        assert Latents.load(file) == saved
        made = edit(model, tmp_path / name, ["smile"], latents=file, strengths=[0.0])
        pixels = sp.read_images(made.files, 32)
        expected = np.clip(model.decode(saved), -1, 1)
        np.testing.assert_allclose(pixels, expected, atol=1.5 / 127.5)
    another = replace(near.changes[0], model="0" * 64)
    near.changed(another).save(file, features=True)
    with pytest.raises(sp.StylePrompterError, match=r"weights of .* have changed"):
        pictures.load_checked(file, model, Decoding())


def test_layers_that_no_tuning_changes(model, latents, change):
    mapping = model.params["generator"]["mapping"]
    name = next(iter(mapping))
    array = np.zeros(mapping[name]["kernel"].shape, "f4")
    odd = replace(change, deltas={f"mapping/{name}/kernel": array})
    with pytest.raises(sp.StylePrompterError, match="does not fit this model"):
        model.decode(latents.changed(odd))


def test_numbers_too_large_to_render(model, latents, change, tmp_path):
    """A file is refused before any work. The message does not blame the model alone."""
    large = {KEY: np.full_like(change.deltas[KEY], 3e38)}
    file = tmp_path / "latents.npz"
    wild = latents.changed(replace(change, deltas=large))
    wild.save(file, features=True)
    with pytest.raises(sp.StylePrompterError, match=r"latents\.safetensors cannot be"):
        edit(model, tmp_path / "out", ["smile"], latents=file, strengths=[0.0])
    with pytest.raises(sp.StylePrompterError, match="or the change of its generator"):
        sp.write_images(model.decode(wild), [tmp_path / "a.png"])


def test_a_missing_file(model, latents, change, tmp_path):
    file = tmp_path / "latents.npz"
    latents.changed(change).save(file)
    (tmp_path / "latents.safetensors").unlink()
    for read in (Latents.load, lambda f: pictures.load_checked(f, model, Decoding())):
        with pytest.raises(sp.StylePrompterError) as error:
            read(file)
        assert str(error.value) == (
            f"There is no file latents.safetensors beside {file}, which names it: copy "
            "the whole folder that `invert` wrote."
        )


def test_a_full_disk(change, tmp_path):
    large = replace(change, deltas={KEY: np.ones(2**16, "f4")})
    with disk_full_after(20_000), pytest.raises(sp.StylePrompterError) as error:
        large.save(tmp_path / "a.safetensors")
    assert str(error.value) == (
        f"{tmp_path / 'a.safetensors'} cannot be written (File too large): free space "
        "there and make the same call again, or choose another place."
    )


def test_a_place_where_nothing_can_be_created():
    """Also for the administrator, whom /proc tells that it can be written."""
    folder = Path("/proc/none/out")
    with pytest.raises(sp.StylePrompterError, match=r"/proc.*choose another --output"):
        Results(folder, [folder / "a.png"])
