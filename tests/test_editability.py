"""The classifier of attributes, and its verdicts on edits."""

import dataclasses
import runpy
import sys
from functools import partial

import jax
import numpy as np
import pytest
from conftest import random_directions

from styleprompter_jax.cli import train_classifier
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.data import avatars
from styleprompter_jax.evaluation import classifier as classifiers
from styleprompter_jax.evaluation.classifier import Classifier, load_classifier
from styleprompter_jax.evaluation.editability import agreement, editability
from styleprompter_jax.images.files import to_float, write_image
from styleprompter_jax.inversion.pipeline import load


def test_the_bundled_classifier_knows_the_avatars():
    faces = [avatars.Face.from_seed(2_000_000 + k) for k in range(40)]
    labels = [dataclasses.asdict(face) for face in faces]
    labels = {name: np.array([row[name] for row in labels]) for name in labels[0]}
    labels = avatars.as_seen(labels)
    classifier = load_classifier()
    found = classifier.verdicts(to_float(np.stack([*map(avatars.render, faces)])))
    assert set(found) <= set(labels) and len(found) == 8
    assert all(np.mean(found[name] == labels[name]) >= 0.95 for name in found)
    # A bald face without a beard shows no colour of hair.
    assert "" in labels["hair_color"]


@pytest.fixture(scope="module")
def faces():
    """The first of the test split, as they are drawn: (200, 64, 64, 3)."""
    faces = [avatars.Face.from_seed(2_000_000 + k) for k in range(200)]
    return to_float(np.stack([*map(avatars.render, faces)]))


@pytest.mark.slow
@pytest.mark.usefixtures("optimized")
@pytest.mark.parametrize("refine", [False, True])
def test_edits_of_the_bundled_model(faces, refine):
    """They flip their attribute in 80 %, and keep each other attribute in 85 %."""
    model, classifier = load("avatars64"), load_classifier()
    names = [f"hair_color_{value}" for value in avatars.HAIR_COLOR]
    names += ["smile", "glasses", "beard"]
    directions = {name: model.directions[name] for name in names}
    latents = model.encode(faces)
    found = editability(model, classifier, latents, directions, refine=refine)
    assert min(edit["flipped"] for edit in found.values()) >= 0.8
    kept = {(a, b): share for a, e in found.items() for b, share in e["kept"].items()}
    assert min(kept.values()) >= 0.85, min(kept.items(), key=lambda item: item[1])
    inversions = model.decode(latents, refine=refine)
    psnr = 10 * np.log10(4 / np.mean((inversions - faces) ** 2, (1, 2, 3))).mean()
    assert psnr >= (31.5 if refine else 26.5)


@pytest.mark.slow
def test_learns_what_labels_say_and_is_kept(tmp_path):
    rng = np.random.default_rng(0)
    light = rng.random(128) < 0.5
    sign = np.where(rng.random(128) < 0.5, "plus", "minus")
    images = np.where(light, 0.6, -0.6)[:, None, None, None]
    images = images + 0.1 * rng.standard_normal((128, 64, 64, 3))
    images = images.astype(np.float32)
    images[:, :8, :, 0] = 0
    images[:, 16:48, 16:48, 1] = np.where(sign == "plus", 1, -1)[:, None, None]
    attributes = {"light": light, "sign": sign}
    trained = classifiers.train(images, attributes, steps=50)
    trained.save(tmp_path / "a.safetensors")
    found = load_classifier(tmp_path / "a.safetensors").verdicts(images)
    for name, labels in attributes.items():
        assert np.mean(found[name] == labels) > 0.95, name

    with pytest.raises(StylePrompterError, match="'light' has only one value"):
        classifiers.train(images, {"light": np.ones(128, bool)})
    with pytest.raises(StylePrompterError, match="is not a classifier"):
        load_classifier(classifiers.BUNDLED.with_name("directions.safetensors"))
    write_image(np.zeros((8, 8, 3)), tmp_path / "photo.png")
    with pytest.raises(StylePrompterError, match="is an image, not a classifier"):
        load_classifier(tmp_path / "photo.png")


def test_training_one_names_its_file(tmp_path, capsys):
    """It never writes over the bundled one, nor over any other file."""
    before = classifiers.BUNDLED.read_bytes()
    with pytest.raises(SystemExit) as caught:
        train_classifier.main([])
    assert caught.value.code == 2 and "--output" in capsys.readouterr().err
    for path in (classifiers.BUNDLED, tmp_path):
        assert train_classifier.main(["--output", str(path)]) == 1
        assert "exists: choose another" in capsys.readouterr().err
    assert train_classifier.main(["--output", str(tmp_path / "no/j.safetensors")]) == 1
    assert "There is no folder" in capsys.readouterr().err
    assert classifiers.BUNDLED.read_bytes() == before


def test_attributes_of_one_value_are_left_out(tmp_path, monkeypatch, capsys):
    images = np.zeros((2, 64, 64, 3), np.float32)
    labels = {"hat": np.array([True, True]), "smile": np.array([True, False])}
    monkeypatch.setattr(classifiers, "read_split", lambda *_: (images, labels))
    monkeypatch.setattr(classifiers, "train", partial(classifiers.train, steps=1))
    file = tmp_path / "judge.safetensors"
    assert train_classifier.main(["--output", str(file)]) == 0
    assert load_classifier(file).values == {"smile": (False, True)}
    out, err = capsys.readouterr()
    assert "'hat' has only one value in the split 'train'" in err
    assert out.startswith("smile: right on")
    del labels["smile"]
    assert train_classifier.main(["--output", str(tmp_path / "no.safetensors")]) == 1
    assert "have only one value: choose other images" in capsys.readouterr().err


def test_a_table_is_refused():
    """It has no splits; `directions --method labels` reads tables."""
    with pytest.raises(StylePrompterError, match=r"labels\.csv is a table"):
        classifiers.read_split("labels.csv", "train", None)


NEW = {
    "evaluation.ceiling": "cli.ceiling",
    "evaluation.classifier": "cli.train_classifier",
}


@pytest.mark.parametrize("name", NEW)
def test_programs_run_under_their_first_names(name, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["program", "--help"])
    monkeypatch.delitem(sys.modules, f"styleprompter_jax.{name}", raising=False)
    monkeypatch.delitem(sys.modules, f"styleprompter_jax.{NEW[name]}", raising=False)
    with pytest.raises(SystemExit) as caught:
        runpy.run_module(f"styleprompter_jax.{name}", run_name="__main__")
    assert not caught.value.code and "usage: program" in capsys.readouterr().out


def test_editability_counts_verdicts(tiny_folder):
    model = load(tiny_folder)
    values = {"smile": (False, True), "hat": ("", "a", "b"), "skin": ("c", "d")}
    sample = np.zeros((1, 64, 64, 3), np.float32)
    params = classifiers.Network(7).init(jax.random.key(1), sample)["params"]
    params["output"]["kernel"] *= 5
    classifier = Classifier(values, params)
    smile, hat = random_directions().values()
    directions = {"smile": smile, "hat_b": hat, "unknown": smile}
    images = np.random.default_rng(2).uniform(-1, 1, (8, 32, 32, 3))
    latents = model.encode(images.astype(np.float32))
    result = editability(
        model,
        classifier,
        latents,
        directions,
        strengths={"smile": 2.0},
        beta=(0.5, 1.0),
        batch_size=4,
    )
    assert set(result) == {"smile", "hat_b"}
    assert result["smile"]["strength"] == 2.0
    assert result["hat_b"]["strength"] == hat.strength

    before = [classifier.verdicts(model.decode(latents[k])) for k in range(8)]
    flipped, skin, hats = [], [], []
    for k, old in enumerate(before):
        forth = -2.0 if old["smile"][0] else 2.0
        edited = latents[k].edit(smile, forth)
        new = classifier.verdicts(model.decode(edited, beta=(0.5, 1.0)))
        flipped.append(new["smile"][0] != old["smile"][0])
        skin.append(new["skin"][0] == old["skin"][0])
        if old["hat"][0] and new["hat"][0]:
            hats.append(new["hat"][0] == old["hat"][0])
    found = result["smile"]
    assert found["count"] == 8
    assert found["flipped"] == np.mean(flipped)
    assert found["kept"]["skin"] == np.mean(skin)
    assert found["kept"]["hat"] == (np.mean(hats) if hats else None)

    edited = [k for k, old in enumerate(before) if old["hat"][0] == "a"]
    flipped = [
        classifier.verdicts(model.decode(latents[k].edit(hat), beta=(0.5, 1.0)))["hat"]
        == "b"
        for k in edited
    ]
    assert result["hat_b"]["count"] == len(edited)
    assert result["hat_b"]["flipped"] == (np.mean(flipped) if edited else None)


def test_unknown_labels_do_not_count():
    classifier = load_classifier()
    images = np.zeros((3, 64, 64, 3), np.float32)
    (skin,) = {*classifier.verdicts(images)["skin"]}
    other = next(value for value in classifier.values["skin"] if value != skin)
    smile = classifier.verdicts(images)["smile"]
    labels = {"skin": [skin, "", other], "hair": ["?"] * 3, "smile": smile, "age": [1]}
    labels = {name: np.array(of_name) for name, of_name in labels.items()}
    found = agreement(classifier, [images[:2], images[2:]], labels)
    assert found == {"skin": 0.5, "smile": 1.0}
