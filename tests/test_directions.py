"""Directions: reading them from files, and finding them from labels."""

import dataclasses
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from styleprompter_jax.cli import main
from styleprompter_jax.convert.directions import find_direction, read_direction
from styleprompter_jax.convert.reading.torch_file import write_torch
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.editing.directions import (
    Direction,
    Response,
    combine,
    directions_from_labels,
)
from styleprompter_jax.store import model_folder

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
    check("two.npz", r"holds 2 directions, a, b")
    np.save(tmp_path / "large.npy", np.full(W_DIM, 1e300))
    check("large.npy", "infinity")
    np.save(tmp_path / "flags.npy", np.ones(W_DIM, bool))
    check("flags.npy", "bool")
    (tmp_path / "text.npy").write_text("hello")
    check("text.npy", "")
    check("gone.npy", "")


def convert(folder, *files, capsys):
    """Converts files; returns exit code, output, and the directions of the model."""
    code = main(["convert", *map(str, files), str(folder)])
    out, err = capsys.readouterr()
    return code, out + err, model_folder.load_directions(folder)


def test_several_directions_of_a_file(tmp_path, tiny_folder, capsys):
    """As others keep them: SeFa's factors, GANSpace's components, names beside."""
    rng = np.random.default_rng(0)
    n, w_dim, model = 8, 16, shutil.copytree(tiny_folder, tmp_path / "model")
    vectors = rng.standard_normal((16, w_dim)).astype(np.float32)
    lengths = np.arange(1, 17, dtype=np.float32)
    write_torch(tmp_path / "factor.pt", {"ckpt": "550000.pt", "eigvec": vectors.T})
    components = {"comp": vectors[:, None], "mean": vectors[:1], "std": lengths}
    write_torch(tmp_path / "pca.pt", components)
    np.savez(
        tmp_path / "space.npz",
        act_comp=vectors[:, None] * 9,
        act_mean=vectors[:1],
        act_stdev=lengths * 9,
        lat_comp=vectors[:, None],
        lat_mean=vectors[:1],
        lat_stdev=lengths,
        var_ratio=lengths,
        random_stdevs=lengths,
    )
    scaled = vectors * lengths[:, None]
    for file, rows in (
        ("factor.pt", vectors),
        ("pca.pt", scaled),
        ("space.npz", scaled),
    ):
        code, said, found = convert(model, tmp_path / file, capsys=capsys)
        assert code == 0 and "Only the first 10 of its 16 components are taken." in said
        stem = file.partition(".")[0]
        assert [k for k in found if k.startswith(stem)] == [
            f"{stem}_{k}" for k in range(10)
        ]
        for k in range(10):
            np.testing.assert_allclose(found[f"{stem}_{k}"].vector, rows[k], rtol=1e-6)
        with pytest.raises(StylePrompterError, match=rf"{file} holds 10 .*convert "):
            read_direction(tmp_path / file, n, w_dim)
    codes = rng.standard_normal((3, n, w_dim)).astype(np.float32)
    np.save(tmp_path / "batched.npy", codes)
    np.savez(tmp_path / "named.npz", direction=codes, names=["a", "b", "c"])
    np.savez(tmp_path / "one.npz", direction=vectors[0], names=["smile2"])
    files = [tmp_path / f"{name}" for name in ("batched.npy", "named.npz", "one.npz")]
    code, said, found = convert(model, *files, capsys=capsys)
    assert code == 0, said
    for k, name in enumerate("abc"):
        np.testing.assert_array_equal(found[name].vector, codes[k])
        np.testing.assert_array_equal(found[f"batched_{k}"].vector, codes[k])
    np.testing.assert_array_equal(found["smile2"].vector, vectors[0])
    # The message names files of other kinds or models, and the model stays the same.
    before = model_folder.load_directions(model).keys()
    write_torch(tmp_path / "other.pt", {"ckpt": "x.pt", "eigvec": np.eye(5)})
    write_torch(tmp_path / "unknown.pt", {"ckpt": "x.pt", "loss": [1.0]})
    np.save(tmp_path / "codes.npy", np.zeros((14, w_dim)))
    np.save(tmp_path / "many.npy", np.zeros((101, n, w_dim)))
    np.savez(tmp_path / "slash.npz", **{"x/age": vectors[0], "x/pose": vectors[1]})
    for name, words in (
        ("other.pt", "other.pt holds [5, 1, 5]"),
        ("unknown.pt", "no weights that this program knows"),
        ("codes.npy", "codes.npy holds [14, 16]"),
        ("many.npy", "many.npy holds 101 directions"),
        ("slash.npz", "slash.npz: 'x/age' cannot be the name"),
    ):
        code, said, found = convert(model, tmp_path / name, capsys=capsys)
        assert code == 1 and words in said and "remove" not in said, said
        assert found.keys() == before


@pytest.mark.parametrize(
    "array",
    [
        FLAT[:W_DIM].reshape(W_DIM, 1),
        FLAT[:W_DIM].astype(">f4"),
        np.asfortranarray(FLAT.reshape(N, W_DIM)),
        FLAT.reshape(1, N, W_DIM),
        FLAT[:W_DIM].reshape(1, 1, W_DIM),
        FLAT.astype(np.float16),
        FLAT.astype(np.int64),
    ],
    ids=lambda array: f"{array.dtype}{array.shape}",
)
def test_arrays_as_others_save_them(array, tmp_path):
    np.save(tmp_path / "smile.npy", array)
    found = read_direction(tmp_path / "smile.npy", N, W_DIM).vector
    np.testing.assert_array_equal(found.ravel(), array.ravel())


def test_names_of_the_model():
    smile = Direction(FLAT[:W_DIM])
    assert find_direction("smile", {"smile": smile}, N, W_DIM) == ("smile", smile)
    with pytest.raises(StylePrompterError, match=r"no direction 'smil'.*are: smile"):
        find_direction("smil", {"smile": smile}, N, W_DIM)


def test_a_weight_without_together():
    known = {"smile": Direction(np.ones(4))}
    with pytest.raises(StylePrompterError, match="only --together takes: give --dir"):
        find_direction("smile:1", known, 3, 4)


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
    on_device = low.step(jnp.asarray(codes))
    assert isinstance(step, np.ndarray) and isinstance(on_device, jax.Array)
    np.testing.assert_allclose(step, on_device, rtol=1e-4, atol=1e-4)
    read = codes.reshape(5, -1) @ reads.reshape(r, -1).T - response.offsets
    expected = FLAT[:W_DIM] + (read @ writes.reshape(r, -1)).reshape(codes.shape)
    np.testing.assert_allclose(step[:, :2], expected[:, :2], rtol=1e-4, atol=1e-4)
    assert not step[:, 2:].any()
    # Together they have the sum of their effects.
    other = Response(writes, response.offsets + 1, reads)
    twice = dataclasses.replace(low, layers=None, response=other)
    plain = Direction(FLAT.reshape(N, W_DIM))
    for layers in (None, [1, 3]):
        weighted = [(low, 2.0), (twice, -0.5), (plain, 0.1)]
        both = combine(weighted, N, layers).step(codes)
        parts = sum(weight * d.step(codes, layers) for d, weight in weighted)
        np.testing.assert_allclose(both, parts, rtol=1e-4, atol=1e-4)
    with pytest.raises(StylePrompterError, match=r"\[2, 4, 6\], \[3\]"):
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
        ({"smile": np.ones(8, bool)}, "'smile' must be on in some"),
        ({"hair": np.full(8, "red")}, "'hair' has fewer than two"),
        ({"smile": np.ones(7, bool)}, r"'smile' have the shape \[7\]"),
        (
            {k: np.arange(8) < 4 for k in ("smile", "beard")},
            "not separate smile, beard",
        ),
    ],
)
def test_labels_that_say_nothing(labels, match):
    with pytest.raises(StylePrompterError, match=match):
        directions_from_labels(np.zeros((8, N, W_DIM)), labels)


def ganspace_edit(**changes):
    """A pickle of one edit, as GANSpace's program saves it."""
    rng = np.random.default_rng(5)
    vector = rng.standard_normal((1, 16), np.float32)
    return {
        "name": "Light direction",
        "sigma_range": -2.5,
        "component_index": 15,
        "act_comp": vector,
        "lat_comp": vector,
        "latent_space": "W",
        "act_stdev": 1.0,
        "lat_stdev": 0.5,
        "model_name": "StyleGAN2",
        "output_class": "ffhq",
        "decomposition": {"name": "ipca", "layer": "style", "class_name": "ffhq"},
        "edit_type": "latent",
        "edit_start": 2,
        "edit_end": 5,
    } | changes


def test_an_edit_of_ganspace(tmp_path, tiny_folder, capsys):
    """It changes the codes that it says, in the sense of its name."""
    model = shutil.copytree(tiny_folder, tmp_path / "model")
    write_torch(tmp_path / "light.pkl", ganspace_edit())
    code, said, found = convert(model, tmp_path / "light.pkl", capsys=capsys)
    assert code == 0, said
    for text in ("'Light direction'", "layer 'style'", "codes 2 to 4", "-2.5 standard"):
        assert text in said
    light = found["Light_direction"]
    np.testing.assert_allclose(light.vector, -0.5 * ganspace_edit()["lat_comp"][0])
    assert light.layers == (2, 3, 4) and light.strength == 2.5
    # Up to the last code of the model; and what is none of W, or of a larger model.
    write_torch(tmp_path / "long.pkl", ganspace_edit(name="long", edit_end=18))
    assert convert(model, tmp_path / "long.pkl", capsys=capsys)[0] == 0
    assert model_folder.load_directions(model)["long"].layers == (2, 3, 4, 5, 6, 7)
    space = {
        f"{part}_{kind}": np.ones((3, 1, 16) if kind == "comp" else 3, np.float32)
        for part in ("act", "lat")
        for kind in ("comp", "stdev")
    }
    for name, tree, words in (
        ("z", ganspace_edit(latent_space="Z"), "components of Z"),
        ("maps", ganspace_edit(edit_type="activation"), "changes 'activation'"),
        ("large", ganspace_edit(edit_start=12, edit_end=18), "codes 12 to 17"),
        ("wide", ganspace_edit(lat_comp=np.ones((1, 5))), "holds [1, 5]"),
        ("gaussian", space, "components of Z"),
        ("wrong", ganspace_edit(edit_end="5"), "no weights that this program knows"),
    ):
        before = model_folder.load_directions(model).keys()
        write_torch(tmp_path / f"{name}.pkl", tree)
        code, said, found = convert(model, tmp_path / f"{name}.pkl", capsys=capsys)
        assert code == 1 and words in said, said
        assert found.keys() == before


def test_boundaries_are_told_as_such(tmp_path, tiny_folder, capsys):
    model = shutil.copytree(tiny_folder, tmp_path / "model")
    vector = np.random.default_rng(6).standard_normal((1, 16))
    np.save(tmp_path / "smile_w_boundary.npy", vector / np.linalg.norm(vector))
    np.save(tmp_path / "other.npy", vector)
    for name, told in (("smile_w_boundary", True), ("other", False)):
        code, said, found = convert(model, tmp_path / f"{name}.npy", capsys=capsys)
        assert code == 0 and name in found
        assert ("InterFaceGAN" in said) == told
