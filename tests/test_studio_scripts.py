"""The studio's "Code": run to the letter, it makes the pixels that the studio shows."""

import itertools
import shlex

import numpy as np
import pytest
from studio_user import png

from styleprompter_jax.cli import main
from styleprompter_jax.images.files import read_image

BETA = {"options": {"beta": [0.75, 0.5]}}
PLAIN = {"refine": False}
SMILE = {"edits": {"smile": 0.5}}


@pytest.fixture
def photos(user, tmp_path, monkeypatch):
    """Latents of the photographs photo_1.png and so on, which lie here."""
    monkeypatch.chdir(tmp_path)
    for k in range(3):
        (tmp_path / f"photo_{k + 1}.png").write_bytes(png(seed=k))
    return [user.latents(png(seed=k)) for k in range(3)]


def run_python(user, recipe):
    """Runs the Python of a recipe, and checks the image that it writes."""
    script = user.post("/api/script", recipe)["python"]
    exec(compile(script, "script", "exec"), {})
    shown = user.pixels("/api/decode", {"recipe": recipe})
    np.testing.assert_array_equal(read_image("result.png"), shown)


def run_command(user, recipe, folder):
    """Runs the commands of a recipe, checks their image, and returns them."""
    text = user.post("/api/script", recipe)["command"]
    for line in text.replace("\\\n", "").splitlines():
        assert main([*shlex.split(line)[1:], "--overwrite"]) == 0
    if text:
        edited = "*smile*" if "edits" in recipe else "photo*"
        (made,) = (folder / "results").glob(f"{edited}.png")
        shown = user.pixels("/api/decode", {"recipe": recipe})
        np.testing.assert_array_equal(read_image(made), shown)
        made.unlink()
    return text


def mixed(latents, other, layers):
    return {"latents": latents, "mix": {"latents": other, "layers": layers}}


@pytest.mark.parametrize("inner_is_own", [True, False])
def test_python_of_mixes_of_mixes(user, photos, inner_is_own):
    first = mixed(photos[0], photos[1], [0, 1, 2])
    made = user.post("/api/mix", first)["latents"]
    pair = (made, photos[2]) if inner_is_own else (photos[2], made)
    recipe = mixed(*pair, [3, 4])
    run_python(user, recipe)
    again = user.post("/api/mix", recipe)["latents"]
    run_python(user, mixed(again, made, [5, 6]))


def finish(user, kind, latents, look, steps=2):
    start = {"recipe": {"latents": latents} | look, "steps": steps}
    job = user.post(f"/api/jobs/{kind}", start)["job"]
    return user.wait(job)[-1]["latents"]


WAYS = [{}, PLAIN, BETA]


@pytest.mark.parametrize("kind", ["fit", "tune"])
def test_commands_fit_with_the_options_of_the_job(user, photos, kind, tmp_path):
    """The job's options and those of the result may differ."""
    for before, after in itertools.product(WAYS, WAYS):
        latents = finish(user, kind, photos[0], before)
        text = run_command(user, {"latents": latents} | after, tmp_path)
        # No command shows other latents without an edit.
        assert bool(text) == (before == after)
        assert run_command(user, {"latents": latents} | after | SMILE, tmp_path)


def test_commands_of_several_fits(user, photos, tmp_path):
    once = finish(user, "fit", photos[0], BETA)
    twice = finish(user, "fit", once, BETA)
    assert not run_command(user, {"latents": twice} | BETA, tmp_path)
    run_python(user, {"latents": twice} | BETA)
    for ways, expected in (((BETA, BETA), True), ((BETA, PLAIN), False)):
        fitted = finish(user, "fit", photos[0], ways[0])
        tuned = finish(user, "tune", fitted, ways[1])
        recipe = {"latents": tuned} | ways[1]
        assert bool(run_command(user, recipe, tmp_path)) == expected


def test_commands_take_every_number(user, photos, tmp_path):
    for strength in (-1e-05, 1e-05, -0.5, 1e9):
        recipe = {"latents": photos[0], "edits": {"smile": strength}}
        recipe |= {"options": {"beta": [-1e-05, 1e-07]}}
        assert run_command(user, recipe, tmp_path)
        recipe["edits"]["hat"] = -2e-05
        assert run_command(user, recipe, tmp_path)
