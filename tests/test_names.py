"""Names of directions: one check, at each way in."""

import json

import numpy as np
import pytest
import safetensors.numpy
from PIL import Image

import styleprompter_jax as sp
from styleprompter_jax.cli import main
from styleprompter_jax.convert.reading.torch_file import write_torch
from styleprompter_jax.core.names import check_name
from styleprompter_jax.data.pairs import read_pairs
from styleprompter_jax.editing.directions import directions_from_labels
from styleprompter_jax.store.model_folder import DIRECTIONS

BAD = [
    *("a:b", "a/b", "a\\b", "", " a", "a\t", "a\nb", "a\0b", "\ud800", "-a", "a" * 101),
    *("é" * 51, "__metadata__"),
]


@pytest.mark.parametrize("name", [*BAD, None, 7])
def test_what_is_no_name(name):
    with pytest.raises(sp.StylePrompterError, match=r"^here: .* rename it\.$"):
        check_name(name, "here")


@pytest.mark.parametrize("name", ["hair_color_red", "5 o'clock", "é", "笑", "a" * 100])
def test_names(name):
    assert check_name(name) == name


@pytest.mark.parametrize("name", BAD)
def test_a_model_is_not_saved_with_it(name, tiny_folder, tmp_path):
    model = sp.load(tiny_folder)
    model.directions[name] = model.directions["smile"]
    with pytest.raises(sp.StylePrompterError, match=r"was not written: .* rename it"):
        model.save(tmp_path / "copy")
    assert not list(tmp_path.iterdir())


def refused(capsys, *args):
    assert main([str(arg) for arg in args]) == 1
    error = capsys.readouterr().err
    assert "cannot be the name of a direction" in error, error
    return error


@pytest.fixture
def copy(tiny_folder, tmp_path):
    sp.load(tiny_folder).save(tmp_path / "model")
    return tmp_path / "model"


def test_files_and_keys_are_not_kept_under_it(copy, tmp_path, capsys):
    before = (copy / DIRECTIONS).read_bytes()
    vector = np.ones(16, np.float32)
    np.save(tmp_path / "a:b.npy", vector)
    np.savez(tmp_path / "keys.npz", **{"a/b": vector, "c": vector})
    write_torch(tmp_path / "keys.pt", {" a": vector, "c": vector})
    safetensors.numpy.save_file({"": vector, "c": vector}, tmp_path / "k.safetensors")
    for file in ("a:b.npy", "keys.npz", "keys.pt", "k.safetensors"):
        assert file in refused(capsys, "convert", tmp_path / file, copy)
    assert (copy / DIRECTIONS).read_bytes() == before


def test_two_arrays_of_a_file_do_not_take_one_name(copy, tmp_path, capsys):
    before = (copy / DIRECTIONS).read_bytes()
    vector = np.ones(16, np.float32)
    pair = np.stack([vector, 2 * vector])
    np.savez(tmp_path / "a.npz", a=pair[:, None], a_0=vector)
    write_torch(tmp_path / "p.pt", {"names": ["p", "p"], "d": pair})
    write_torch(tmp_path / "k.pt", {1: vector, "1": vector})
    for file, name in (("a.npz", "a_0"), ("p.pt", "p"), ("k.pt", "1")):
        assert main(["convert", str(tmp_path / file), str(copy)]) == 1
        error = capsys.readouterr().err
        assert f"{file} holds two directions '{name}': rename one" in error, error
    assert (copy / DIRECTIONS).read_bytes() == before


def test_results_are_not_called_so(tiny_folder, tmp_path, capsys):
    Image.new("RGB", (32, 32)).save(tmp_path / "face.png")
    call = ("--input", tmp_path / "face.png", "--output", tmp_path / "out")
    np.save(tmp_path / "a:b.npy", np.ones(16, np.float32))
    edit = ("edit", "--model", tiny_folder, *call, "--direction")
    assert "a:b.npy" in refused(capsys, *edit, tmp_path / "a:b.npy")
    # A model that another program, or an older version, called them so in.
    folder = tmp_path / "old"
    sp.load(tiny_folder).save(folder)
    vector = np.ones(16, np.float32)
    metadata = {"directions": json.dumps({"a/b": {}, "c": {}})}
    safetensors.numpy.save_file(
        {"a/b": vector, "c": vector}, folder / DIRECTIONS, metadata
    )
    assert sp.load(folder).directions.keys() == {"a/b", "c"}
    refused(capsys, "edit", "--model", folder, *call, "--direction", "a/b")
    refused(capsys, "directions", "--model", folder, "--method", "pca")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("header", ["a:b", "__metadata__", "a/b"])
def test_headers_are_known_before_pictures_are_read(header, copy, tmp_path, capsys):
    call = ("directions", "--model", copy, "--method", "labels", "--data")
    table = tmp_path / "labels.csv"
    table.write_text(f"name,{header},hat\nno.png,1,0\nnone.png,0,1\n")
    assert "labels.csv" in refused(capsys, *call, table)
    table.write_text(f"name,hat\nno.png,{header}/\nnone.png,red\n")
    assert "labels.csv" in refused(capsys, *call, table)
    table.write_text(f"name,{header},hat\nno.png,1,0\nnone.png,0,1\n")
    main([*map(str, call), str(table), "--attributes", "hat"])  # which leaves it out
    assert "no.png, and 1 more" in capsys.readouterr().err
    table.write_text(f"direction,before,after\n{header},no.png,none.png\n")
    with pytest.raises(sp.StylePrompterError, match=r"labels\.csv.*rename it"):
        next(read_pairs(str(table), (), None, 32))


def test_attributes_do_not_take_each_others_names():
    labels = {
        "hair": np.array(["red", "blond", "red", "red"]),
        "hair_red": np.array([True, False, False, True]),
    }
    with pytest.raises(sp.StylePrompterError, match="Two attributes"):
        directions_from_labels(np.eye(4).reshape(4, 2, 2), labels)
