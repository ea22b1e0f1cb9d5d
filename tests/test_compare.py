"""Comparisons of models and procedures on the same images."""

import json

import numpy as np
import pytest

import styleprompter_jax as sp
from styleprompter_jax.app.compare import Entry, compare
from styleprompter_jax.cli import main
from styleprompter_jax.evaluation.classifier import BUNDLED
from styleprompter_jax.evaluation.comparison import Procedure, interval


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


def test_entries():
    assert Entry.parse("a/b") == Entry("a/b", "a/b", Procedure())
    entry = Entry.parse("hf://u/m,optimize=20,tune=350,refine=no")
    assert (entry.name, entry.refine) == ("hf://u/m", False)
    assert entry.procedure == Procedure(optimize=20, tune=350)
    own, given = Entry.parse("m,iterations=2", 3), Entry.parse("m", 3)
    assert (own.procedure.iterations, given.procedure.iterations) == (2, 3)
    for text, match in (
        ("m,tune=0", "tune of 'm,tune=0' is 0: it must be 1 or more"),
        ("m,tune=-1", "whole number"),
        ("m,refine=maybe", "choose yes or no"),
        ("m,speed=3", "'speed=3' .* not an option"),
        ("m,tune=3,tune=4", "at most once"),
    ):
        with pytest.raises(sp.StylePrompterError, match=match):
            Entry.parse(text)


def test_wrong_calls(tmp_path):
    for models, options, match in (
        (["m"], {"data": "avatars"}, "two or more different entries"),
        (["m", "m"], {"data": "avatars"}, "two or more different entries"),
        (["m", "n"], {}, "either inputs or data"),
        (["m", "n"], {"data": "avatars"}, "no model folder m"),
    ):
        with pytest.raises(sp.StylePrompterError, match=match):
            compare(models, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_command(tiny_folder, tmp_path, capsys):
    """With SMART and without; what both have in common, and what differs."""
    rng = np.random.default_rng(0)
    images = rng.uniform(-1, 1, (3, 32, 32, 3)).astype(np.float32)
    sp.write_images(images, [tmp_path / "in" / f"{k}.png" for k in range(3)])
    plain = f"{tiny_folder},refine=no"
    command = ["compare", "--models", str(tiny_folder), plain, "--input",
               str(tmp_path / "in"), "--output", str(tmp_path / "out"),
               "--classifier", str(BUNDLED), "--batch-size", "2"]  # fmt: skip
    assert main(command) == 0
    table = capsys.readouterr().out
    assert "95 % intervals" in table and table.count(f"| {plain} |") == 2
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
    model = sp.load(tiny_folder)
    shown = sp.read_images(sorted((tmp_path / "in").glob("*")), 32)
    outputs = np.asarray(model.invert(shown)[0])
    psnr = 10 * np.log10(4 / np.mean((outputs - shown) ** 2, (1, 2, 3)))
    assert means[0] == pytest.approx(psnr.mean(), abs=1e-3)
    assert (tmp_path / "out" / "sheet.png").stat().st_size
