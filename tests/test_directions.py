"""Directions: reading them from files, and finding them from labels."""

import dataclasses

import numpy as np
import pytest

from styleprompter_jax.convert.directions import find_direction, read_direction
from styleprompter_jax.convert.torch_file import write_torch
from styleprompter_jax.editing.directions import (
    Direction,
    Response,
    combine,
    directions_from_labels,
)
from styleprompter_jax.errors import StylePrompterError

N, W_DIM = 4, 6
FLAT = np.arange(N * W_DIM, dtype=np.float64)


@pytest.mark.parametrize("shape", [(W_DIM,), (1, W_DIM), (N, W_DIM), (1, N * W_DIM)])
@pytest.mark.parametrize("suffix", ["npy", "npz", "pt"])
def test_files_of_every_layout(tmp_path, shape, suffix):
    array = FLAT[: np.prod(shape)].reshape(shape)
    path = tmp_path / f"smile.{suffix}"
    {"npy": np.save, "npz": np.savez, "pt": write_torch}[suffix](path, array)
    name, direction = find_direction(path, {}, N, W_DIM)
    assert name == "smile" and direction.vector.dtype == np.float32
    expected = (W_DIM,) if array.size == W_DIM else (N, W_DIM)
    assert direction.vector.shape == expected
    np.testing.assert_array_equal(direction.vector.ravel(), array.ravel())


def test_bad_files_are_named(tmp_path):
    def check(name, match):
        with pytest.raises(StylePrompterError, match=rf"{name}.*{match}"):
            read_direction(tmp_path / name, N, W_DIM)

    np.save(tmp_path / "shape.npy", np.zeros(5))
    check("shape.npy", r"\[5\].*\[6\], \[4, 6\] or \[1, 24\]")
    np.save(tmp_path / "nan.npy", np.full(W_DIM, np.nan))
    check("nan.npy", "NaN")
    np.save(tmp_path / "pickle.npy", np.array([{}], object), allow_pickle=True)
    check("pickle.npy", "cannot be read")
    np.savez(tmp_path / "two.npz", a=FLAT, b=FLAT)
    check("two.npz", "one array")
    np.save(tmp_path / "flags.npy", np.ones(W_DIM, bool))
    check("flags.npy", "bool")
    (tmp_path / "text.npy").write_text("hello")
    check("text.npy", "")
    check("gone.npy", "")


def test_names_of_the_model():
    smile = Direction(FLAT[:W_DIM])
    assert find_direction("smile", {"smile": smile}, N, W_DIM) == ("smile", smile)
    with pytest.raises(StylePrompterError, match=r"no direction 'smil'.*knows smile"):
        find_direction("smil", {"smile": smile}, N, W_DIM)


def test_several_at_once():
    low = Direction(FLAT[:W_DIM], layers=(0, 1), range=(-1, 3), beta=(0.5, 1))
    each = Direction(FLAT.reshape(N, W_DIM), range=(-2, 2), strength=2, beta=(0.7, 0.2))
    both = combine([(low, 2.0), (each, -0.5)], N)
    assert both.range == (-0.5, 1.5) and both.strength == 0.5
    assert both.beta == (0.5, 0.2)
    backwards = combine([(low, -1.0), (each, 0.0)], N)
    assert backwards.range == (-3, 1) and backwards.beta == (0.5, 1)
    np.testing.assert_allclose(both.vector[1], 2 * FLAT[:W_DIM] - each.vector[1] / 2)
    np.testing.assert_allclose(both.vector[3], -each.vector[3] / 2)
    # Layers of the edit take the place of the direction's own.
    both = combine([(low, 1.0), (each, 1.0)], N, layers=[3])
    assert not both.vector[:3].any()
    np.testing.assert_allclose(both.vector[3], low.vector + each.vector[3])


def test_edits_that_depend_on_the_codes():
    rng = np.random.default_rng(0)
    codes, r = rng.standard_normal((5, N, W_DIM)), 2
    reads, writes = rng.standard_normal((2, r, N, W_DIM))
    response = Response(reads, rng.standard_normal(r), writes)
    low = Direction(FLAT[:W_DIM], layers=(0, 1), response=response)
    step = low.step(codes)
    read = codes.reshape(5, -1) @ reads.reshape(r, -1).T - response.offsets
    expected = FLAT[:W_DIM] + (read @ writes.reshape(r, -1)).reshape(codes.shape)
    np.testing.assert_allclose(step[:, :2], expected[:, :2], rtol=1e-4, atol=1e-4)
    assert not step[:, 2:].any()
    # Together they do what each does alone.
    other = Response(writes, response.offsets + 1, reads)
    twice = dataclasses.replace(low, layers=None, response=other)
    plain = Direction(FLAT.reshape(N, W_DIM))
    for layers in (None, [1, 3]):
        weighted = [(low, 2.0), (twice, -0.5), (plain, 0.1)]
        both = combine(weighted, N, layers).step(codes)
        parts = sum(weight * d.step(codes, layers) for d, weight in weighted)
        np.testing.assert_allclose(both, parts, rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match=r"\[2, 4, 6\], \[3\]"):
        Response(reads, np.zeros(3), writes)


def test_confounded_attributes_are_told_apart():
    rng = np.random.default_rng(0)
    m = 2000
    glasses = rng.random(m) < 0.4
    # Most who wear glasses have a beard, and hardly anybody else.
    beard = rng.random(m) < np.where(glasses, 0.85, 0.1)
    colors = np.array(["black", "blond", "red"])
    # Beards are mostly red; hair that nobody sees has no colour.
    weights = np.where(beard[:, None], [0.1, 0.1, 0.8], [0.5, 0.4, 0.1])
    color = (rng.random((m, 1)) > weights.cumsum(1)).sum(1)
    unseen = rng.random(m) < 0.1
    truth = {k: rng.standard_normal((N, W_DIM)) for k in ("glasses", "beard")}
    of_color = rng.standard_normal((3, N, W_DIM))
    codes = (
        glasses[:, None, None] * truth["glasses"]
        + beard[:, None, None] * truth["beard"]
        + np.where(unseen[:, None, None], 0, of_color[color])
        + 0.5 * rng.standard_normal((m, N, W_DIM))
    )
    labels = {
        "glasses": glasses,
        "beard": beard.astype(np.uint8),
        "hair": np.where(unseen, "", colors[color]),
    }
    found = directions_from_labels(codes, labels)
    assert list(found) == ["glasses", "beard", "hair_black", "hair_blond", "hair_red"]
    truth |= {
        f"hair_{name}": of_color[k] - np.delete(of_color, k, 0).mean(0)
        for k, name in enumerate(colors)
    }
    for name, direction in found.items():
        assert direction.vector.shape == (N, W_DIM)
        assert np.abs(direction.vector - truth[name]).max() < 0.2, name
    # The plain difference of means would take part of the beard for glasses.
    naive = codes[glasses].mean(0) - codes[~glasses].mean(0)
    assert np.abs(naive - truth["glasses"]).max() > 0.5


@pytest.mark.parametrize(
    ("labels", "match"),
    [
        ({"smile": np.ones(8, bool)}, "'smile' is not on in some"),
        ({"hair": np.full(8, "red")}, "'hair' has fewer than two"),
        ({"smile": np.ones(7, bool)}, r"'smile' are \[7\]"),
        ({k: np.arange(8) < 4 for k in ("smile", "beard")}, "smile, beard apart"),
    ],
)
def test_labels_that_say_nothing(labels, match):
    with pytest.raises(StylePrompterError, match=match):
        directions_from_labels(np.zeros((8, N, W_DIM)), labels)
