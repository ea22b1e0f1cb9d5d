"""The bundled model of blood cells, judged on images that its own generator draws."""

import jax
import numpy as np
import pytest

import styleprompter_jax as sp
from styleprompter_jax.app.judges import classifier_of
from styleprompter_jax.app.push import _notice
from styleprompter_jax.data.cells import CLASSES
from styleprompter_jax.evaluation.classifier import load_classifier
from styleprompter_jax.evaluation.editability import editability
from styleprompter_jax.store import model_folder

COUNT = 48


@pytest.fixture(scope="module")
def model():
    return sp.load("cells64")


@pytest.fixture(scope="module")
def judge():
    return load_classifier(classifier_of(None, "cells/64"))


@pytest.fixture(scope="module")
def images(model):
    z = jax.random.normal(jax.random.key(0), (COUNT, model.config.generator.z_dim))
    return np.asarray(model.synthesize(model.mapping(z, truncation_psi=0.9)))


def test_the_folder_is_small_and_says_where_it_comes_from():
    folder = model_folder.bundled_for("cells")
    assert sum(path.stat().st_size for path in folder.iterdir()) < 14e6
    notice = (folder / "NOTICE").read_text(encoding="utf-8")
    assert "10.17632/snkd93bnjr.1" in notice and "for diagnosis" in notice
    assert "Draftbit" in notice  # its training began with avatars64


def test_a_training_that_used_it_names_what_it_used(tmp_path):
    """The photographs by the dataset or the start, the avatars by the trunk."""
    for record, used in (
        ({"data": {"name": "cells/64"}}, ("snkd93bnjr", "Draftbit")),
        ({"data": {"name": "folder"}, "init_from": "cells64"}, ("snkd93bnjr",)),
        ({"data": {"name": "folder"}, "init_trunk": "avatars64"}, ("Draftbit",)),
        ({"data": {"name": "folder"}}, ()),
    ):
        text = _notice(tmp_path, record)
        assert all(part in text for part in used) and bool(text) == bool(used)


@pytest.mark.slow
def test_it_inverts_and_refines(model, images):
    latents = model.encode(images)

    def psnr(shown):
        errors = np.square(np.asarray(shown) - images).mean(axis=(1, 2, 3))
        return (10 * np.log10(4 / errors)).mean()

    w_plus = psnr(model.decode(latents, refine=False))
    assert w_plus > 19 and psnr(model.decode(latents)) > w_plus + 3


@pytest.mark.slow
def test_edits_reach_each_class(model, judge, images):
    seen = judge.verdicts(images)["cell"]
    assert len(set(seen)) == len(CLASSES)  # the generator draws all of them
    assert set(model.directions) == {f"cell_{name}" for name in CLASSES}
    latents = model.encode(images)
    for refine in (False, True):
        result = editability(model, judge, latents, model.directions, refine=refine)
        assert min(edit["flipped"] for edit in result.values()) >= 0.7
