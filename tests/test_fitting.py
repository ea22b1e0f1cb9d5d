"""Directions fitted to pairs of images."""

import numpy as np
import pytest
from PIL import Image

from styleprompter_jax.app import directions
from styleprompter_jax.cli import main
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.data import avatars
from styleprompter_jax.inversion.pipeline import load
from styleprompter_jax.search import pairs
from styleprompter_jax.search.pairs import _changed, _regressed, fit_direction
from styleprompter_jax.store.model_folder import load_directions


def test_leads_from_before_to_after(tiny_folder):
    """With images of the model itself, the fit finds the edit again, in its layers."""
    model = load(tiny_folder)
    rng = np.random.default_rng(0)
    before = rng.uniform(-1, 1, (6, 32, 32, 3)).astype(np.float32)
    latents = model.encode(before)
    true = 0.5 * rng.standard_normal((8, 16)).astype(np.float32)
    true[4:] = 0
    edited = latents.edit(true, 1.0)
    after = np.asarray(model.decode(edited, refine=False))

    def error(direction):
        moved = latents.edit(direction, direction.strength)
        return np.mean((model.decode(moved, refine=False) - after) ** 2)

    options = dict(both_ways=False, batch_size=4, layers=range(4), learning_rate=0.05)
    start, found, again = (
        fit_direction(model, before, after, steps=steps, **options)
        for steps in (0, 30, 30)
    )
    np.testing.assert_array_equal(found.vector, again.vector)
    assert error(found) < 0.7 * error(start)
    assert found.layers == (0, 1, 2, 3) and not found.vector[4:].any()
    with pytest.raises(StylePrompterError, match="6 images before and 5 after"):
        fit_direction(model, before, after[:5])


@pytest.mark.usefixtures("optimized")
def test_what_a_pair_shares_is_kept(tiny_folder):
    """Of two equal images nothing is to change, however poor the inversion."""
    images = np.random.default_rng(0).uniform(-1, 1, (4, 32, 32, 3)).astype(np.float32)
    found = fit_direction(load(tiny_folder), images, images, beta=(1, 1), steps=3)
    np.testing.assert_allclose(found.vector, 0, atol=1e-6)
    other = images.copy()
    other[0, 5, 7, 1] += 0.2
    other[1, 9, 9] += 0.05
    changed = np.zeros((4, 32, 32, 1), bool)
    changed[0, 4:7, 6:9] = True
    np.testing.assert_array_equal(_changed(images, other), changed)


def test_inversions_are_made_once(tiny_folder, monkeypatch):
    """Once for each pair where there is room, else at each step; edits are the same."""
    images = np.random.default_rng(0).uniform(-1, 1, (2, 4, 32, 32, 3))
    model, made, found = load(tiny_folder), [], []
    invert = pairs._inverted
    monkeypatch.setattr(pairs, "_inverted", lambda *a: made.append(1) or invert(*a))
    for room in (pairs.KEPT, 0):
        monkeypatch.setattr(pairs, "KEPT", room)
        made.clear()
        options = dict(steps=3, learning_rate=1e-3)
        found.append(fit_direction(model, *np.float32(images), **options).vector)
        # Of two edits: one batch of pairs, or three steps.
        assert len(made) == (2 if room else 6)
    np.testing.assert_allclose(*found, atol=1e-6)


def test_edits_that_depend_on_the_image():
    """A change that is linear in the codes is found from pairs, whatever its mean."""
    rng = np.random.default_rng(0)
    codes = 3 + rng.standard_normal((400, 4, 6))
    reads, writes = rng.standard_normal((2, 2, 4, 6))
    read = np.einsum("rnw,bnw->br", reads, codes)
    change = 1 + np.einsum("br,rnw->bnw", read, writes)
    vector, response = _regressed(codes, change, 3)
    found = vector + response(codes)
    np.testing.assert_allclose(found, change, atol=1e-2)
    assert np.std(response.read(codes), 0) == pytest.approx(1, abs=1e-3)
    # Nothing but the mean where there are too few pairs, or none is asked for.
    for rows, rank in ((slice(9), 3), (slice(None), 0)):
        vector, response = _regressed(codes[rows], change[rows], rank)
        assert len(response.offsets) == 0
        np.testing.assert_allclose(vector, change[rows].mean(0), rtol=1e-5)


def test_command(tiny_folder, tmp_path, capsys, monkeypatch):
    """From avatars that are drawn; a CSV that does not do."""
    command = ["directions", f"--model={tiny_folder}", "--method=pairs", "--count=2"]
    drawn = tmp_path / "drawn"
    assert main([*command, f"--output={drawn}", "--attributes", "smile"]) == 0
    found = load_directions(drawn)
    assert found.keys() == {"smile", "hat"}
    assert found["smile"].origin == "2 pairs of avatars, seed 0"
    assert found["smile"].beta == (0.5, 0.5)

    table = tmp_path / "pairs.csv"
    late = tmp_path / "late.csv"
    for file, name in ((table, "none.png"), (late, "bad.png")):
        rows = f"hat,a.png,a.png\nscarf,a.png,{name}\n"
        file.write_text(f"direction,before,after\n{rows}")
    Image.new("RGB", (32, 32)).save(tmp_path / "a.png")
    (tmp_path / "bad.png").write_text("")
    monkeypatch.setattr(directions, "fit_direction", None)  # all is known before that
    for argv, message in (
        ([f"--data={table}"], "none.png, which does not exist"),
        ([f"--data={late}"], "bad.png cannot be read"),
        ([f"--data={table}", "--attributes", "wig"], "no direction 'wig'"),
        (["--data=celeb_a"], "direction,before,after"),
        (["--attributes", "horns"], "no attribute 'horns'"),
    ):
        assert main([*command, f"--output={tmp_path / 'no'}", *argv]) == 1
        assert message in capsys.readouterr().err
    assert not (tmp_path / "no").exists()


def test_pairs_of_avatars_differ_in_one_attribute():
    (name, pairs, both_ways), *others = avatars.pairs("glasses", 3)
    assert (name, both_ways, others) == ("glasses", True, [])
    for before, after in pairs:
        assert (before.glasses, after.glasses) == (False, True)
        assert before.smile == after.smile and before.x == after.x
    colors = {name: pairs for name, pairs, _ in avatars.pairs("hair_color", 4)}
    assert colors.keys() == {f"hair_color_{value}" for value in avatars.HAIR_COLOR}
    for before, after in colors["hair_color_red"]:
        assert before.hair_color != "red" == after.hair_color
        assert before.hair != "bald" or before.beard
