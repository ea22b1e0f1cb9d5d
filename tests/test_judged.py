"""Directions fitted to the verdicts of a classifier."""

import shutil

import jax
import numpy as np
import pytest

from styleprompter_jax.cli import main
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.data import avatars
from styleprompter_jax.evaluation.classifier import Classifier, _shapes
from styleprompter_jax.images.files import write_image
from styleprompter_jax.inversion.pipeline import load
from styleprompter_jax.search.judged import _goals, fit_to_classifier
from styleprompter_jax.store.model_folder import BUNDLED, load_directions

KINDS = "oak", "elm", ""


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    means = rng.uniform(-0.8, 0.8, (40, 1, 1, 3))
    noise = rng.uniform(-0.2, 0.2, (40, 32, 32, 3))
    return (means + noise).astype(np.float32)


@pytest.fixture(scope="module")
def classifier(images):
    """It sees an oak where an image is light, and an elm where it is dark."""
    params = jax.tree.map(
        lambda a: np.ones(a.shape) / np.prod(a.shape[:-1]) * (a.ndim > 1),
        _shapes(5)["params"],
    )
    params["Conv_0"]["bias"] += 1  # no unit is negative
    params["output"]["kernel"] *= np.array([0, 0, 20, -20, 0])
    known = Classifier({"lit": (False, True), "tree": KINDS}, params)
    oak, elm = np.log(known.probabilities(images)["tree"][:, :2]).T
    params["output"]["bias"] = np.array([0, 0, 0, np.median(oak - elm), -100])
    return Classifier(known.values, params)


def test_edits_lead_to_the_verdict(tiny_folder, images, classifier):
    """In nine of ten images, with SMART and without it."""
    model = load(tiny_folder)
    assert 15 <= np.sum(classifier.verdicts(images)["tree"] == "oak") <= 25
    found = fit_to_classifier(
        model, images, classifier, ["tree"], steps=30, learning_rate=0.3, keep=0
    )
    assert found.keys() == {"tree_oak", "tree_elm"}
    latents = model.encode(images)
    for name, direction in found.items():
        assert direction.beta == (0.5, 0.5) and direction.response is None
        edited = latents.edit(direction, 1.0)
        for refine in (False, True):
            made = model.decode(edited, refine=refine, beta=(0.5, 0.5))
            seen = classifier.verdicts(made)["tree"] == name.removeprefix("tree_")
            assert seen.mean() >= 0.9, (name, refine)


def test_the_edits_of_a_direction():
    """A switch goes both ways; an attribute that is not visible stays."""
    values = {"lit": (False, True), "tree": KINDS}
    verdicts = {
        "lit": np.array([True, False, True, False]),
        "tree": np.array(["oak", "elm", "", "elm"]),
    }
    lit, oak, elm = _goals(values, verdicts, [])
    assert (lit.name, lit.columns) == ("lit", (0, 2))
    assert lit.rows.tolist() == [0, 1, 2, 3] and lit.wanted.tolist() == [0, 1, 0, 1]
    assert lit.sign.tolist() == [-1, 1, -1, 1]
    scores = np.array([[3.0], [0.0], [5.0], [2.0]])
    np.testing.assert_array_equal(lit.change(scores), np.full((4, 1), 3.0))
    assert (oak.name, oak.columns, oak.rows.tolist()) == ("tree_oak", (2, 5), [1, 3])
    assert (elm.name, elm.rows.tolist()) == ("tree_elm", [0])
    for wanted, changed, match in (
        (["leaf"], {}, "does not know 'leaf': it knows lit, tree"),
        (["lit"], {"lit": np.array([True, True])}, "sees lit False in none of 2 im"),
        ([], {"tree": np.array(["oak", "", "oak", ""])}, "sees tree 'elm' in none"),
        (["one"], {"one": np.array(["a"] * 4)}, "only one visible value of one"),
    ):
        values = values | {"one": ("a", "")}
        with pytest.raises(StylePrompterError, match=match):
            list(_goals(values, verdicts | changed, wanted))


def test_command(tiny_folder, tmp_path, capsys, monkeypatch):
    """Without a step: the difference of the mean codes, of images in a table."""
    table = tmp_path / "faces.csv"
    names = [f"{k}.png" for k in range(40)]
    for k, name in enumerate(names):
        write_image(avatars.render(avatars.Face.from_seed(k)), tmp_path / name)
    table.write_text("\n".join(["image,any", *(f"{name},1" for name in names)]))
    command = ["directions", "--method=classifier", f"--model={tiny_folder}",
               f"--output={tmp_path / 'out'}", "--steps=0", "--strength=2",
               "--beta", "0.3", "0.2", "--attributes", "glasses",
               "--layers", "0-2"]  # fmt: skip
    (tmp_path / "cells").mkdir()
    shutil.copy(table, tmp_path / "cells/faces.csv")
    monkeypatch.chdir(tmp_path)
    for data in (table, "cells/faces.csv"):
        assert main([*command, f"--data={data}"]) == 1
        assert "no bundled classifier" in capsys.readouterr().err
    bundled = f"{BUNDLED}/avatars64/classifier.safetensors"
    assert main([*command, f"--data={table}", "--classifier", bundled]) == 0
    glasses = load_directions(tmp_path / "out")["glasses"]
    assert glasses.strength == 2 and glasses.range == (-3, 3)
    assert glasses.beta == pytest.approx((0.3, 0.2)) and glasses.response is None
    assert glasses.layers == (0, 1, 2) and not glasses.vector[3:].any()
    assert glasses.vector[:3].any() and "classifier of 40 images" in glasses.origin
