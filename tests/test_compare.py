"""Comparisons of models and procedures on the same images."""

import dataclasses
import json
import tracemalloc

import numpy as np
import pytest
from conftest import TINY, random_directions, random_variables
from flax.traverse_util import flatten_dict

import styleprompter_jax as sp
from styleprompter_jax.app.compare import compare
from styleprompter_jax.app.decoding import Decoding
from styleprompter_jax.app.entry import Entry, warn_of_equals
from styleprompter_jax.app.evaluate import evaluate
from styleprompter_jax.app.invert import invert
from styleprompter_jax.app.judges import NEEDED
from styleprompter_jax.cli import main
from styleprompter_jax.cli.commands.compare import cell
from styleprompter_jax.editing.generator_change import GeneratorChange
from styleprompter_jax.editing.latents import Latents
from styleprompter_jax.evaluation.classifier import BUNDLED, load_classifier
from styleprompter_jax.evaluation.comparison import (
    RESAMPLES,
    Procedure,
    edits_of_each,
    interval,
    measure,
)
from styleprompter_jax.store.model_folder import bundled_for, save_model


def test_intervals():
    values = np.random.default_rng(0).normal(3, 1, 400)
    found = interval(values)
    assert found["mean"] == pytest.approx(values.mean())
    assert found["low"] < found["mean"] < found["high"]
    # That of a mean of 400 is about four standard errors wide.
    assert found["high"] - found["low"] == pytest.approx(4 / 20, rel=0.2)
    # Paired: two noisy values that differ by the same number everywhere.
    difference = interval((values + 0.01) - values)
    assert difference["low"] == pytest.approx(difference["high"])
    assert interval(values) == found != interval(values, seed=1)
    some = interval([1.0, np.nan, 3.0])
    assert some["mean"] == 2 and 1 <= some["low"] <= some["high"] <= 3
    assert interval([np.nan] * 3) == dict(mean=None, low=None, high=None)


@pytest.mark.parametrize("values", [[0.25], [np.nan, 0.25]])
def test_one_image_has_no_interval(values):
    found = interval(values)
    assert found == dict(mean=0.25, low=None, high=None)
    assert cell(found) == "0.25"


def test_intervals_of_many_images_need_little_memory():
    """The resamples are drawn in blocks, and are the same as if drawn at once."""
    values = np.random.default_rng(0).normal(3, 1, 1001)  # odd: no block is a round one
    tracemalloc.start()
    found = interval(values, seed=5)
    largest = tracemalloc.get_traced_memory()[1]
    interval(np.tile(values, 20), seed=5)
    assert tracemalloc.get_traced_memory()[1] < 100e6 > largest
    tracemalloc.stop()
    rows = np.random.default_rng(5).integers(0, 1001, (RESAMPLES, 1001))
    ends = np.quantile(values[rows].mean(1), [0.025, 0.975])
    assert [found["low"], found["high"]] == [*ends]


def test_entries():
    assert Entry.parse("a/b") == Entry("a/b", "a/b", Procedure())
    entry = Entry.parse("hf://u/m,optimize=20,tune=350,refine=no")
    assert (entry.name, entry.refine) == ("hf://u/m", False)
    assert entry.procedure == Procedure(optimize=20, tune=350)
    # A model without the refiner may stand beside others with options of the call.
    beside = Decoding(refiner={"beta": (1.0, 0.5)})
    assert entry.decoding(beside) == Decoding(refine=False)
    own, given = Entry.parse("m,iterations=2", 3), Entry.parse("m", 3)
    assert (own.procedure.iterations, given.procedure.iterations) == (2, 3)
    betas = [Entry.parse(f"m,beta={text}").beta for text in ("0.5", "1:0")]
    assert betas == [(0.5, 0.5), (1.0, 0.0)]
    for text, match in (
        ("m,tune=0", "tune of 'm,tune=0' is 0: it must be 1 or more"),
        ("m,tune=-1", "tune of 'm,tune=-1' is -1: it must be 1 or more"),
        ("m,tune=1.5", "whole number"),
        (f"m,tune={'9' * 5000}", "it must be at most 2147483647"),
        (",tune=1", "',tune=1' names no model"),
        ("", "'' names no model"),
        ("m,refine=maybe", "choose yes or no"),
        ("m,speed=3", "'speed=3' .* not an option"),
        ("m,tune=3,tune=4", "tune is given twice in 'm,tune=3,tune=4'"),
        ("m,beta=much", "a number, or two"),
        ("m,beta=1:2:3", "a number, or two"),
        ("m,beta=1,refine=no", "refine=no skips"),
        ("m,latents=", "is empty"),
        ("m,latents=x.npz,tune=3", "has latents and tune"),
    ):
        with pytest.raises(sp.StylePrompterError, match=match):
            Entry.parse(text)


def test_wrong_calls(tmp_path):
    for models, options, match in (
        (["m"], {"data": "avatars"}, "two or more different entries"),
        (["m", "m"], {"data": "avatars"}, "two or more different entries"),
        (["m", "n"], {}, "either inputs or data"),
        (["m", "n"], {"data": "avatars"}, "no model folder m"),
        (
            ["m", "n"],
            {"data": "avatars", "decoding": Decoding(noise_mode="random")},
            "cannot use random noise",
        ),
        (
            ["avatars64", "avatars64,beta=0.5"],
            {"data": "avatars", "decoding": Decoding(refine=False)},
            "has a beta, but --no-refine skips",
        ),
    ):
        with pytest.raises(sp.StylePrompterError, match=match):
            compare(models, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Three images, and their folder."""
    rng = np.random.default_rng(0)
    images = rng.uniform(-1, 1, (3, 32, 32, 3)).astype(np.float32)
    folder = tmp_path_factory.mktemp("images")
    sp.write_images(images, [folder / f"{k}.png" for k in range(3)])
    return sp.read_images([folder / f"{k}.png" for k in range(3)], 32), folder


def psnr_of(outputs, images):
    return 10 * np.log10(4 / np.mean((np.asarray(outputs) - images) ** 2, (1, 2, 3)))


def test_stored_latents(model, tiny_folder, images, tmp_path, capsys):
    """Codes and generators come from the file, in any order, and maps from images."""
    shown, folder = images
    key, kernel = next(
        (key, value)
        for key, value in flatten_dict(model.params["generator"], sep="/").items()
        if key.endswith("kernel") and "mapping" not in key
    )
    change = GeneratorChange({key: 0.3 * np.asarray(kernel)}, model.sha256)
    latents = model.encode(shown[[2, 0, 1]])
    moved = Latents(latents.w_plus * 0.9, latents.features)
    tuned = dataclasses.replace(moved, changes=np.array([None, change, change]))
    file = tmp_path / "latents.npz"
    tuned.save(file, names=["2", "0", "1"])
    options = dict(inputs=[folder], classifier=BUNDLED)
    options["decoding"] = Decoding(batch_size=2)
    found = evaluate(tiny_folder, tmp_path / "e", latents=file, **options).results
    expected = psnr_of(model.decode(tuned), shown[[2, 0, 1]])[[1, 2, 0]]
    rows = (tmp_path / "e" / "images.csv").read_text().splitlines()
    column = rows[0].split(",").index("refined_psnr")
    psnr = [float(row.split(",")[column]) for row in rows[1:]]
    np.testing.assert_allclose(psnr, expected, atol=1e-3)
    assert "time" not in found and "from a file" in found["skipped"]["time"]
    assert found["edits"]["refined"]["smile"]["count"] == 3
    entries = [f"{tiny_folder},latents={file}", str(tiny_folder)]
    compared = compare(entries, tmp_path / "c", **options)
    np.testing.assert_allclose(compared.values[entries[0]]["psnr"], expected, atol=1e-3)
    first, second = compared.results["models"]
    assert first["seconds"] is None and second["seconds"]["median"] > 0
    # What does not fit is said at once.
    tuned[:2].save(tmp_path / "two.npz", names=["2", "0"])
    other = dataclasses.replace(change, model="0" * 64)
    tuned.changed(other).save(tmp_path / "other.npz", names=["2", "0", "1"])
    for name, source, match in (
        ("two.npz", {"inputs": [folder]}, "has no latents of .*1.png"),
        ("other.npz", {"inputs": [folder]}, "another model|other weights"),
        ("latents.npz", {"data": "avatars"}, "give the images with --input"),
    ):
        with pytest.raises(sp.StylePrompterError, match=match):
            evaluate(tiny_folder, tmp_path / "x", latents=tmp_path / name, **source)
    call = ["evaluate", "--model", tiny_folder, "--input", folder, "--latents",
            tmp_path / "none.npz", "--output", tmp_path / "x"]  # fmt: skip
    assert main([*map(str, call)]) == 1
    assert "none.npz" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_a_classifier_of_one_attribute_knows_no_others():
    model = sp.load("cells64")
    judge = load_classifier(bundled_for("cells") / "classifier.safetensors")
    latents = model.encode(np.zeros((2, 64, 64, 3), np.float32))
    some = {"cell_platelet": model.directions["cell_platelet"]}
    found = edits_of_each(model, judge, latents, some)
    assert set(found) == {"flipped"} and found["flipped"].shape == (2,)


def test_betas(model, tiny_folder, images, tmp_path, caplog):
    shown, folder = images
    entries = [f"{tiny_folder},beta={text}" for text in ("0.5:0", "1")]
    options = dict(inputs=[folder], decoding=Decoding(batch_size=2))
    found = compare(entries, tmp_path / "c", **options)
    assert "the same options" not in caplog.text
    again = ["m,beta=1", "m", "m,refine=no", "m,refine=yes"]
    again = [Entry.parse(text) for text in again]
    known = dict[str, dict](m={})
    warn_of_equals(again, {"m": model}, Decoding(), known)
    first, second = caplog.messages[-2:]
    assert "'m,beta=1' and 'm' are the same" in first and "refine=yes" in second
    known["m"]["smile"] = None  # whose edits have the beta of their direction
    caplog.clear()
    warn_of_equals(again[:2], {"m": model}, Decoding(), known)
    assert not caplog.text
    for entry, beta in zip(entries, ((0.5, 0.0), (1.0, 1.0)), strict=True):
        outputs = model.invert(shown, beta=beta)[0]
        psnr = found.values[entry]["psnr"]
        np.testing.assert_allclose(psnr, psnr_of(outputs, shown), atol=1e-3)
    skipped = found.results["skipped"]
    assert skipped.keys() == {"edits", *NEEDED.values()}
    assert "needs a classifier" in skipped["edits"]


@pytest.mark.parametrize(
    ("option", "how", "match"),
    [
        # Before any result replaces an older one.
        (",beta=1e38", {}, "beta=1e38 gives images with NaN or infinity: choose"),
        (",iterations=2", {}, "iterations=2: This model's encoder sees an image once"),
        (",refine=no", {"count": 0}, "count is 0: it must be 1 or more"),
        (",refine=no", {"directions": ["smile"]}, "smile cannot .* --classifier"),
        (
            ",refine=no",
            {"directions": ["smile", "hat"], "classifier": BUNDLED},
            "hat cannot be measured, because the classifier knows only",
        ),
    ],
)
def test_what_cannot_be_compared(option, how, match, tiny_folder, images, tmp_path):
    models, output = [str(tiny_folder), f"{tiny_folder}{option}"], tmp_path / "out"
    with pytest.raises(sp.StylePrompterError, match=match):
        compare(models, output, inputs=[images[1]], **how)
    assert not output.exists()


def test_command(model, tiny_folder, images, tmp_path, capsys):
    """With SMART and without; what both have in common, and what differs."""
    shown, folder = images
    plain = f"{tiny_folder},refine=no"
    command = ["compare", "--models", str(tiny_folder), plain, "--input",
               str(folder), "--output", str(tmp_path / "out"),
               "--classifier", str(BUNDLED), "--batch-size", "2"]  # fmt: skip
    assert main(command) == 0
    table = capsys.readouterr().out
    assert "95 % intervals" in table and table.count(f"| {plain} |") == 2
    assert "\nSkipped:\n- lpips: needs a network" in table and "- edits" not in table
    found = json.loads((tmp_path / "out" / "metrics.json").read_text())
    first, second = found["models"]
    assert [first["title"], second["title"]] == [str(tiny_folder), plain]
    protocol = found["protocol"]
    assert protocol["images"]["count"] == 3 and protocol["compared_with"] in plain
    assert protocol["models"][plain]["refine"] is False
    assert first["metrics"].keys() >= {"psnr", "ssim", "codes", "flipped", "kept"}
    # The codes are the same, and so is their distance from w; the images are others.
    assert first["metrics"]["codes"] == second["metrics"]["codes"]
    assert found["differences"][plain]["codes"] == dict(mean=0, low=0, high=0)
    means = [row["metrics"]["psnr"]["mean"] for row in (first, second)]
    change = found["differences"][plain]["psnr"]["mean"]
    assert change == pytest.approx(means[1] - means[0], abs=1e-4) and change
    psnr = psnr_of(model.invert(shown)[0], shown)
    assert means[0] == pytest.approx(psnr.mean(), abs=1e-3)
    assert (tmp_path / "out" / "sheet.png").stat().st_size


def test_tunes_as_invert_does(tmp_path, monkeypatch):
    """It tunes to images of the generator's size, which the encoder does not read.

    Without edits, it does not keep the tuned generators.
    """
    config = dataclasses.replace(
        TINY,
        encoder=dataclasses.replace(TINY.encoder, num_tokens=10),
        refiner=None,
        generator=dataclasses.replace(
            TINY.generator, image_size=64, channels=(8, 8, 8, 8, 8)
        ),
    )
    folder = save_model(tmp_path / "m", config, random_variables(config), directions={})
    rng = np.random.default_rng(0)
    images = rng.uniform(-1, 1, (2, 64, 64, 3)).astype(np.float32)
    sp.write_images(images, [tmp_path / "in" / f"{k}.png" for k in range(2)])
    targets, tune = [], sp.StylePrompter.tune

    def tuned(model, images, *args, **options):
        targets.append(np.asarray(images))
        return tune(model, images, *args, **options)

    monkeypatch.setattr(sp.StylePrompter, "tune", tuned)
    found = invert(folder, [tmp_path / "in"], tmp_path / "out", tune=2)

    entries = [f"{folder},tune=2", f"{folder},latents={found.latents}"]
    compared = compare(entries, tmp_path / "c", inputs=[tmp_path / "in"])
    psnr, expected = (compared.values[entry]["psnr"] for entry in entries)
    np.testing.assert_allclose(psnr, expected, atol=1e-5)
    # After the two of each command come those that are timed.
    first, second, *timed = targets[2:]
    np.testing.assert_array_equal([first, second], targets[:2])
    np.testing.assert_array_equal(timed, [first, first, second])
    assert first.shape == (1, 64, 64, 3)


def test_stored_latents_have_the_maps_of_the_passes(model, images, monkeypatch):
    passes, encode = [], sp.StylePrompter.encode

    def counted(model, images, iterations=None):
        passes.append(iterations)
        return encode(model, images)

    shown, _ = images
    latents = model.encode(shown)
    monkeypatch.setattr(sp.StylePrompter, "encode", counted)
    batch = {"image": shown, "target": shown, "latents": latents}
    how = dict(shape=(32, 32), networks={}, show=1)
    measure(model, Procedure(iterations=2), [batch], **how)
    assert passes == [2]


def test_edits_are_judged_with_each_batch(model, images):
    """Tuned latents hold a generator each, so no more than a batch of them stay."""
    shown, judged = images[0][[0, 0, 0]], []
    batches = [{"image": part, "target": part} for part in (shown[:2], shown[2:])]

    def edits_of(latents):
        judged.append(latents)
        return {"flipped": np.arange(len(latents)) + 10 * len(judged)}

    how = dict(shape=(32, 32), networks={}, show=1, edits_of=edits_of)
    procedure = Procedure(tune=1)
    found = measure(model, procedure, batches, edited=3, **how)
    assert [len(latents) for latents in judged] == [2, 1]
    np.testing.assert_array_equal(found.edits["flipped"], [10, 11, 20])
    found = measure(model, Procedure(), batches, edited=1, **how)
    np.testing.assert_array_equal(found.edits["flipped"], [30])


def test_edits_of_models_with_other_directions(tiny_variables, images, tmp_path):
    """They have the common directions; without any, no difference is taken."""
    smile, other = random_directions().values()
    for name, own in {"a": "smile glasses", "b": "beard smile", "c": "beard"}.items():
        directions = {key: smile if key == "smile" else other for key in own.split()}
        save_model(tmp_path / name, TINY, tiny_variables, directions=directions)
    a, b, c = (str(tmp_path / name) for name in "abc")
    _, inputs = images
    options = dict(inputs=[inputs], classifier=BUNDLED, overwrite=True)
    for models, measured in (
        ([a, b], {a: ["smile"], b: ["smile"]}),
        ([a, c], {a: ["smile", "glasses"], c: ["beard"]}),
    ):
        found = compare(models, tmp_path / "out", **options)
        protocol = json.loads(found.metrics.read_text())["protocol"]
        recorded = {name: [*m["directions"]] for name, m in protocol["models"].items()}
        assert recorded == measured
        assert all("kept" in row["metrics"] for row in found.results["models"])
        differences = found.results["differences"][models[1]]
        if c in models:
            assert "psnr" in differences and not differences.keys() & {
                "kept",
                "flipped",
            }
        else:  # the same edit of the same model
            assert (
                differences["flipped"]
                == differences["kept"]
                == dict(mean=0, low=0, high=0)
            )
