"""Pivotal tuning: a generator fitted to images, which their latents carry on."""

from dataclasses import replace

import jax
import numpy as np
import pytest
import recipe
import tuning_case
from conftest import TINY, random_variables
from flax.traverse_util import flatten_dict, unflatten_dict
from quick import float64

import styleprompter_jax as sp
from styleprompter_jax.app.decoding import Decoding
from styleprompter_jax.app.edit import edit
from styleprompter_jax.app.invert import invert
from styleprompter_jax.app.mix import mix
from styleprompter_jax.cli import main
from styleprompter_jax.convert.tables.perceptual import read_network
from styleprompter_jax.editing.generator_change import GeneratorChange
from styleprompter_jax.editing.latents import Latents, concatenate, load_named
from styleprompter_jax.inversion import tune as tuning
from styleprompter_jax.models.generators.stylegan2 import GeneratorConfig
from styleprompter_jax.models.inverter import StylePrompter, StylePrompterConfig
from styleprompter_jax.models.perceptual.lpips import Lpips
from styleprompter_jax.ops import descent

STEPS, FAST = 6, {"learning_rate": 0.02}


@pytest.fixture(scope="module")
def images():
    """Two, of colours that the model does not show."""
    rng = np.random.default_rng(0)
    return np.tanh(rng.normal(size=(2, 1, 1, 3)) + np.zeros((2, 32, 32, 3))).astype(
        "f4"
    )


@pytest.fixture(scope="module")
def latents(model, images):
    return model.encode(images)


@pytest.fixture(scope="module")
def tuned(model, images, latents):
    """Of the first image."""
    return model.tune(images[:1], latents[0], STEPS, **FAST)


def error(outputs, images):
    return float(np.mean((np.asarray(outputs) - images) ** 2))


def test_steps_are_those_of_pytorch():
    """In float64: loss and distance of two steps, and all that they changed."""
    calculated, given = recipe.arrays("torch_tuning"), tuning_case.inputs()
    sizes = (tuning_case.Z_DIM, tuning_case.W_DIM, tuning_case.LAYERS)
    config = GeneratorConfig(tuning_case.SIZE, tuning_case.CHANNELS, *sizes)
    noise = {f"{k}/noise_const": n for k, n in tuning_case.noises().items()}
    variables = {
        "params": {"generator": unflatten_dict(tuning_case.parameters(), sep="/")},
        "const": {
            "generator": {"synthesis": unflatten_dict(noise, sep="/")},
            "latent_avg": given["latent_avg"],
        },
    }
    weights = read_network("lpips_alex", recipe.state_dict("lpips_alex"))
    weights = {"params": jax.tree.map(np.float64, weights)}
    module = StylePrompter(StylePrompterConfig(None, None, config))
    how = tuning._How(module, False, "const", Lpips("alex"))
    keys = calculated["keys"]
    deltas = {key: np.zeros(tuning_case.shapes()[key]) for key in keys}
    layers = config.layer_keys(variables["params"]["generator"])
    assert {key for layer in layers for key in layer} == deltas.keys()
    pivot = Latents(given["w_plus"])
    with float64():
        state = descent.start(jax.tree.map(jax.numpy.asarray, deltas))
        for k, rate in enumerate(tuning_case.RATES):
            losses = 1.0, tuning_case.LOCALITY
            inputs = pivot, given["images"], {}, losses, rate, given["z"][k]
            deltas, state, *numbers = tuning._step(
                2, how, variables, weights, {}, deltas, state, *inputs
            )
            for name, found in zip(("loss", "distance"), numbers, strict=True):
                assert found.dtype == np.float64
                np.testing.assert_allclose(found, calculated[name][k], 1e-10)
    for key, expected in zip(keys, calculated["changes"], strict=True):
        found = tuning_case.summary(key, deltas[key])
        np.testing.assert_allclose(found, expected, 1e-10, 1e-12, err_msg=key)


def test_rates_rise_and_fall():
    rates = list(descent.held_rates(2.0, 100))
    assert rates[0] == 0.2 and set(rates[9:71]) == {2.0}
    assert rates[-1] == pytest.approx(2 / 30) and len(rates) == 100


def test_comes_closer_and_leaves_the_model_alone(model, images, latents, tuned):
    first = images[:1]
    before = np.asarray(model.decode(latents[0]))
    after = model.decode(tuned.latents)
    assert error(after, first) < 0.9 * error(before, first)
    np.testing.assert_array_equal(model.decode(latents[0]), before)
    # It decodes as a model does, whatever the latents.
    np.testing.assert_array_equal(tuned.decode(latents[0]), after)
    np.testing.assert_array_equal(tuned.decode(tuned.latents), after)
    for key, delta in tuned.change.deltas.items():
        was, became = (
            flatten_dict(m.params["generator"], sep="/")[key] for m in (model, tuned)
        )
        np.testing.assert_array_equal(became, was + delta)
    np.testing.assert_array_equal(tuned.latents.w_plus, latents[0].w_plus)
    again = model.tune(first, latents[0], STEPS, **FAST)
    assert again.latents == tuned.latents and again.change == tuned.change
    # No noise that is not there, nothing of what only `mapping` reads.
    assert all(key.startswith("synthesis/") for key in tuned.change.deltas)


def test_edits_carry_it(model, latents, tuned):
    """Whatever becomes of latents, each image keeps its own generator."""
    direction = model.directions["smile"]
    edited = tuned.latents.edit(direction, 0.5)
    expected = np.asarray(tuned.decode(latents[0].edit(direction, 0.5)))
    np.testing.assert_array_equal(model.decode(edited), expected)
    plain = latents[1].edit(direction, 0.5)
    both = concatenate([plain.changed(None), edited])
    made = model.decode(both[[1, 0, 1]])
    np.testing.assert_allclose(made[0], expected[0], atol=1e-5)
    np.testing.assert_allclose(made[1], model.decode(plain)[0], atol=1e-5)
    np.testing.assert_array_equal(made[0], made[2])
    # Codes are fitted for the generator that they go with.
    four = tuned.latents[[0] * 4]
    shown = np.repeat(model.decode(tuned.latents), 4, 0)
    fitted = model.optimize(shown, four, 1, learning_rate=1e-6)
    assert fitted.changes is four.changes
    np.testing.assert_allclose(fitted.w_plus, four.w_plus, atol=1e-5)


def test_together_and_on(model, images, latents):
    """One generator for two images, which take turns; tuned on from where it was."""

    def errors(latents):
        outputs = (model.decode(one) for one in latents)
        return [error(*pair) for pair in zip(outputs, images[:, None], strict=True)]

    together = model.tune(images, latents, STEPS, batch_size=1, **FAST)
    ((rows, change),) = together.latents.by_change()
    assert rows.tolist() == [0, 1] and change is together.change
    before, after = errors(latents), errors(together.latents)
    assert sum(after) < sum(before)
    on = together.tune(images, latents, STEPS, batch_size=1, **FAST)
    assert sum(errors(on.latents)) < sum(after) and on.model is model
    alone = concatenate([latents[0].changed(change), latents[1].changed(on.change)])
    with pytest.raises(sp.StylePrompterError, match="one at a time"):
        model.tune(images, alone, 1)


def test_options(model, images, latents, tuned):
    first = images[:1], latents[0]
    some, held = tuning._start(model, latents[0], [0, 2])
    assert {key.split("/")[1] for key in some} == {"b4", "b8"}
    assert "synthesis/b8/torgb/kernel" not in some and not held
    seen = []
    model.tune(*first, 2, **FAST, told=lambda *numbers: seen.append(numbers))
    assert [k for k, _ in seen] == [1, 2] and seen[1][1] < seen[0][1]
    # It ends before the first step where all is near enough, as there is none at all.
    near = model.tune(*first, STEPS, stop=9.0)
    assert not near.change.deltas
    np.testing.assert_array_equal(near.decode(latents[0]), model.decode(latents[0]))
    half = tuned.change.rounded("float16")
    kept = latents[0].changed(half)
    np.testing.assert_allclose(
        model.decode(kept), model.decode(tuned.latents), atol=2e-3
    )


def test_other_layers_keep_their_change(model, images, tuned):
    """Tuned further in some layers: the others neither change nor get lost."""
    on = model.tune(images[:1], tuned.latents, 2, layers=[0], **FAST)
    _, held = tuning._start(model, tuned.latents, [0])
    assert held and on.change.deltas.keys() == tuned.change.deltas.keys()
    for key, delta in tuned.change.deltas.items():
        same = np.array_equal(on.change.deltas[key], delta)
        assert same is (key in held), key
    # The steps saw the whole change: they go on from where the first tuning ended.
    before, after = (error(model.decode(m.latents), images[:1]) for m in (tuned, on))
    assert after < before


def test_a_tuned_model_fits_codes_and_takes_its_files(model, images, tuned, tmp_path):
    shown, start = images[:1], tuned.latents
    fitted = tuned.optimize(shown, start, 1)
    assert fitted == model.optimize(shown, start, 1)
    assert tuned.optimize(shown, start.changed(None), 1) == fitted
    assert fitted.changes[0] is tuned.change
    file = tmp_path / "latents.npz"
    start.save(file, features=True, dtype="float16")
    edited, mixed = tmp_path / "edited", tmp_path / "mixed"
    made = edit(tuned, edited, ["smile"], latents=file, strengths=[0.0])
    sp.write_images(shown, [tmp_path / "b.png"])
    how = dict(mode="interpolate", alphas=[0.0], latents=file)
    made.files.extend(mix(tuned, [], [tmp_path / "b.png"], mixed, **how).files)
    expected = np.clip(np.asarray(tuned.decode(start)), -1, 1)
    for pixels in sp.read_images(made.files, 32):
        np.testing.assert_allclose(pixels, expected[0], atol=1.5 / 127.5)


def test_several_generators_count_their_steps_together(model, images, latents, tuned):
    both = concatenate([tuned.latents, latents[1]])
    seen = []
    model.optimize(images, both, 3, told=seen.append)
    assert seen == [1, 2, 3]


def test_wrong_calls(model, images, latents, tuned):
    first = images[:1], latents[0]
    for call, match in (
        (lambda: model.tune(*first, 0), "steps is 0: it must be 1 or more"),
        (lambda: model.tune(*first, -1), "1 or more"),
        (lambda: model.tune(images, latents[0], 1), "2 images but the latents of 1"),
        (lambda: model.tune(images[:1, :16], latents[0], 1), "this model makes"),
        (lambda: model.tune(*first, 1, noise_mode="random"), "random noise"),
        (lambda: model.tune(*first, 1, layers=[8]), r"layers \(--layers\) is 8"),
        (lambda: model.tune(*first, 1, layers=[]), "layers is empty: give one"),
        (lambda: model.tune(*first, 1, learning_rate=0), "must be more than 0"),
        (lambda: model.tune(*first, 1, told=5), "told is 5: give a function"),
        (lambda: model.tune(*first, STEPS, learning_rate=1e30), "diverged"),
        (lambda: model.decode(latents.changed(3)), "change of a generator is 3"),
        (lambda: model.decode(replace(latents, changes=np.full(3, None))), "2 codes"),
        (
            lambda: model.optimize(
                images, replace(latents, changes=np.full(1, None)), 1
            ),
            "2 codes, but a map or changes of the shape",
        ),
    ):
        with pytest.raises(sp.StylePrompterError, match=match):
            call()


def test_of_another_model_or_of_other_weights(model, tmp_path, latents, tuned):
    another = sp.StylePrompter(TINY, random_variables(TINY, seed=1))
    with pytest.raises(sp.StylePrompterError, match=r"another model, .*tiny"):
        another.decode(tuned.latents)
    changed = jax.tree.map(np.array, model.variables)
    changed["params"]["smart"]["layer_4"]["proj"]["bias"] += 1e-3
    same = sp.StylePrompter(TINY, changed, source=model.source)
    with pytest.raises(sp.StylePrompterError, match="tiny have changed since"):
        same.decode(tuned.latents)
    odd = GeneratorChange({"synthesis/b4/const": np.zeros(3)}, model.sha256)
    with pytest.raises(sp.StylePrompterError, match="does not fit this model"):
        model.decode(latents.changed(odd))


def test_in_files(model, tmp_path, latents, tuned):
    file = tmp_path / "anna.npz"
    tuned.latents.save(file, features=True)
    assert {path.name for path in tmp_path.iterdir()} == {
        "anna.npz", "anna.safetensors"
    }  # fmt: skip
    found = Latents.load(file)
    assert found == tuned.latents
    np.testing.assert_array_equal(model.decode(found), model.decode(tuned.latents))
    both = concatenate([latents[1].changed(None), tuned.latents])
    both.save(tmp_path / "both.npz", features=True, dtype="float16")
    there = Latents.load(tmp_path / "both.npz")
    assert there.changes[0] is None
    assert there.changes[1].deltas["synthesis/b4/const"].dtype == np.float16
    # The file beside it is another, or gone, or lies elsewhere, or is none of these.
    change = tmp_path / "anna.safetensors"
    tuned.change.rounded("float16").save(change)
    with pytest.raises(sp.StylePrompterError, match=r"anna.* was replaced"):
        Latents.load(file)
    change.unlink()
    with pytest.raises(sp.StylePrompterError, match=r"There is no file .*anna"):
        Latents.load(file)
    np.savez(file, w_plus=latents.w_plus[:1], generators=[["../x", "0" * 64]])
    with pytest.raises(sp.StylePrompterError, match="not the name of a file beside"):
        Latents.load(file)
    (tmp_path / "m.safetensors").write_bytes(b"no")
    with pytest.raises(sp.StylePrompterError, match=r"m\.safetensors"):
        GeneratorChange.load(tmp_path / "m.safetensors")


def test_command(tiny_folder, model, images, tmp_path, capsys, monkeypatch):
    """Interrupted, it goes on with the next picture, and ends as if it had not been."""
    inputs, out, whole = (tmp_path / name for name in ("in", "out", "whole"))
    sp.write_images(images, [inputs / "a.png", inputs / "b.png"])
    command = ["invert", f"--model={tiny_folder}", f"--input={inputs}", "--features"]
    command += ["--tune", "2", "--half"]
    assert main([*command, f"--output={whole}"]) == 0
    calls, tune = [], sp.StylePrompter.tune

    def interrupted(*args, **options):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return tune(*args, **options)

    monkeypatch.setattr(sp.StylePrompter, "tune", interrupted)
    main([*command, f"--output={out}"])
    names = {path.name for path in out.iterdir()}
    assert names == {".styleprompter", "a.safetensors"}
    assert main([*command, f"--output={out}"]) == 0
    assert len(calls) == 3  # of two pictures, one interrupted
    for file in sorted(whole.iterdir()):
        if file.suffix in (".png", ".safetensors"):
            assert (out / file.name).read_bytes() == file.read_bytes(), file
    found, names = load_named(out / "latents.npz")
    assert names == ["a", "b"] and found == Latents.load(whole / "latents.npz")
    pixels = sp.read_images([out / "a.png", out / "b.png"], 32)
    shown = np.clip(model.decode(found), -1, 1)
    np.testing.assert_allclose(shown, pixels, atol=1 / 127)
    assert main([*command[:-1], f"--output={out}"]) == 0  # another precision, anew
    assert len(calls) == 5

    # What follows takes it.
    made = edit(
        model, tmp_path / "edits", ["smile"], latents=out / "latents.npz",
        strengths=[0.0], animate=None,
    )  # fmt: skip
    for file in made.files:
        name = file.name.removesuffix("_smile_+0.png")
        shown, again = sp.read_images([out / f"{name}.png", file], 32)
        np.testing.assert_allclose(again, shown, atol=1.5 / 127.5)
    mixed = ["mix", f"--model={tiny_folder}", f"--latents={out / 'latents.npz'}",
             f"--reference={inputs / 'b.png'}", f"--output={tmp_path / 'mixed'}",
             "--mode=interpolate", "--alpha", "0"]  # fmt: skip
    assert main(mixed) == 0
    files = out / "a.png", tmp_path / "mixed" / "a_b_interpolate_0.png"
    np.testing.assert_allclose(*sp.read_images(files, 32), atol=1.5 / 127.5)
    capsys.readouterr()


def test_command_together(tiny_folder, images, tmp_path, capsys):
    sp.write_images(images, [tmp_path / "in" / "a.png", tmp_path / "in" / "b.png"])
    made = invert(
        tiny_folder,
        [tmp_path / "in"],
        tmp_path / "out",
        tune=2,
        together=True,
        decoding=Decoding(batch_size=1),
    )
    assert [path.name for path in made.changes] == ["generator.safetensors"]
    found = Latents.load(made.latents)
    assert found.changes[0] is found.changes[1]
    with pytest.raises(SystemExit, match="2"):
        main(["invert", "--model=m", "--input=x", "--output=y", "--together"])
