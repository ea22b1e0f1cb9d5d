"""`styleprompter directions` from end to end, on a tiny model."""

import dataclasses

import numpy as np
import pytest

import styleprompter_jax as sp
from styleprompter_jax.app.directions import METHODS
from styleprompter_jax.cli import main
from styleprompter_jax.data.avatars import prepare
from styleprompter_jax.store.model_folder import save_model


def run(capsys, *args):
    """Runs a command: (exit code, stdout, stderr)."""
    code = main([str(arg) for arg in args])
    return code, *capsys.readouterr()


def test_directions_without_labels(tmp_path, capsys, tiny_folder):
    call = ("directions", "--model", tiny_folder, "--count", 500, "--components", 2)
    options = ("--method", "sefa", "--layers", "2-4", "--output", tmp_path / "copy")
    code, out, _ = run(capsys, *call, *options)
    assert code == 0 and "2 directions" in out and "sefa_2-4_0, sefa_2-4_1" in out
    assert (tmp_path / "copy" / "directions.png").exists()
    # Into that copy, orthogonal to its directions.
    call = (*call[:2], tmp_path / "copy", *call[3:], "--method", "pca")
    options = ("--orthogonal-to", "smile", "sefa_2-4_0", "--seed", 1)
    assert run(capsys, *call, *options)[0] == 0
    model = sp.load(tmp_path / "copy")
    assert {"smile", "hat", "sefa_2-4_0", "pca_0", "pca_1"} <= model.directions.keys()
    sefa, pca = model.directions["sefa_2-4_0"], model.directions["pca_0"]
    assert sefa.layers == (2, 3, 4) and sefa.range == (-3, 3) and "SeFa" in sefa.origin
    assert "seed 1" in pca.origin and "orthogonal to smile" in pca.origin
    assert np.abs(pca.vector @ model.directions["smile"].vector).max() < 1e-4
    assert (
        np.abs(pca.vector[3] @ sefa.vector) < 1e-4 < np.abs(pca.vector[5] @ sefa.vector)
    )
    # Their strength, its range, and the weights of SMART.
    edits = ("--strength", 3, "--beta", 0.3, 0.2)
    assert run(capsys, *call, "--method", "sefa", *edits)[0] == 0
    strong = sp.load(tmp_path / "copy").directions["sefa_0"]
    assert strong.strength == 3 and strong.range == (-4.5, 4.5)
    assert strong.beta == (0.3, 0.2) and sefa.strength == 2 and sefa.beta == (1, 1)
    w = np.asarray(model.mapping(np.random.default_rng(2).standard_normal((4000, 16))))
    unit = sefa.vector / np.linalg.norm(sefa.vector)
    assert np.std(w @ unit) == pytest.approx(np.linalg.norm(sefa.vector), rel=0.15)
    for wrong, match in (
        (("--orthogonal-to", "hut"), "no direction 'hut'"),
        (("--layers", "0-8"), "(--layers) is 8"),
        (("--components", 17), "17 directions"),
        (("--strength", 0), "--strength is 0"),
    ):
        code, _, err = run(capsys, *call, *wrong)
        assert code == 1 and match in err


@pytest.mark.parametrize("method", METHODS)
def test_options_that_the_refiner_does_not_have(tmp_path, capsys, tiny_folder, method):
    model = sp.load(tiny_folder)
    config = dataclasses.replace(model.config, refiner=None)
    params = {k: v for k, v in model.params.items() if k != "smart"}
    bare, variables = tmp_path / "bare", {"params": params, "const": model.const}
    save_model(bare, config, variables, directions=model.directions)
    for folder, options, match in (
        (tiny_folder, ("--refiner", "betta=0.5"), "no option betta: this model's"),
        (tiny_folder, ("--refiner", "beta=0.5"), "beta is two numbers"),
        (bare, ("--beta", 1, 1), "no refiner, so its directions have no beta"),
    ):
        call = ("directions", "--method", method, "--model", folder, *options)
        code, _, err = run(capsys, *call, "--output", tmp_path / "copy")
        assert code == 1 and match in err
    assert not (tmp_path / "copy").exists()


@pytest.mark.slow
def test_directions_from_labels(tmp_path, capsys, tiny_folder):
    prepare("tiny", str(tmp_path / "data"))
    call = ("directions", "--model", tiny_folder, "--method", "labels",
            "--data", "avatars/tiny", "--data-dir", tmp_path / "data",
            "--batch-size", 4, "--count", 42)  # fmt: skip
    code, out, _ = run(capsys, *call, "--output", tmp_path / "copy")
    assert code == 0 and "hair_color_blond" in out
    model = sp.load(tmp_path / "copy")
    known = {"glasses", "beard", "hair_bob", "skin_dark", "background_sky"}
    assert known <= model.directions.keys() and "hat" in model.directions
    # Found anew, in place of the tiny model's own.
    assert model.directions["smile"].vector.shape == (8, 16)
    assert "42 images" in model.directions["smile"].origin
    assert (tmp_path / "copy" / "directions.png").exists()
    model_bytes = (tmp_path / "copy" / "model.safetensors").read_bytes()
    assert model_bytes == (tiny_folder / "model.safetensors").read_bytes()
    # Into the model itself.
    call = (*call[:2], tmp_path / "copy", *call[3:-1], 40)
    assert run(capsys, *call)[0] == 0
    assert "40" in sp.load(tmp_path / "copy").directions["smile"].origin
    code, _, err = run(capsys, *call, "--output", tmp_path / "data")
    assert code == 1 and "exists" in err


def test_an_option_of_another_method_is_refused(capsys):
    for method, option in (
        ("classifier", "--latents"),
        ("pairs", "--classifier"),
        ("labels", "--steps"),
        ("sefa", "--attributes"),
        ("sefa", "--data"),
        ("pca", "--rank"),
        ("labels", "--components"),
    ):
        with pytest.raises(SystemExit) as caught:
            run(capsys, "directions", "--model", "m", "--method", method, option, 1)
        assert caught.value.code == 2
        assert f"{option} is for --method " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("call", "told"),
    [
        ("evaluate --model m --input x --split train", "--split is for --data"),
        ("compare --models m --input x --data-dir d", "--data-dir is for --data"),
        ("directions --model m --method labels --data a.csv --data-dir d", "a table"),
        ("train --config c --workdir w --process_id 1", "is for --coordinator"),
    ],
)
def test_an_option_that_would_be_ignored_is_refused(capsys, call, told):
    command, *options = call.split()
    if command in ("invert", "edit", "mix"):
        source = "--source" if command == "mix" else "--input"
        options += ["--model", "m", source, "x", "--output", "o"]
    with pytest.raises(SystemExit) as caught:
        main([command, *options])
    assert caught.value.code == 2 and told in capsys.readouterr().err
