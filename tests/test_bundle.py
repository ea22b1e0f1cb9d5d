"""Model folders: written models load again, and damaged folders are refused."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest
import safetensors.numpy
from conftest import TINY, random_directions, random_variables

from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.safetensors_files import read_safetensors
from styleprompter_jax.editing.directions import Direction, Response
from styleprompter_jax.evaluation import classifier
from styleprompter_jax.store import model_folder
from styleprompter_jax.store.array_files import save_arrays


@pytest.fixture
def folder(tmp_path, tiny_folder):
    """A copy to be damaged."""
    return shutil.copytree(tiny_folder, tmp_path / "model")


def assert_equal(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_round_trip(tiny_folder, tiny_variables):
    config, variables, directions = model_folder.load_model(tiny_folder)
    assert config == TINY
    assert_equal(variables, tiny_variables)
    expected = random_directions()
    assert directions.keys() == expected.keys()
    for name, direction in directions.items():
        for field in dataclasses.fields(direction):
            a, b = (getattr(d, field.name) for d in (direction, expected[name]))
            np.testing.assert_array_equal(a, b)
    keys = model_folder.load_arrays(tiny_folder / model_folder.MODEL)
    assert keys.keys() == {"encoder", "smart", "generator", "latent_avg"}
    assert "noise_const" in keys["generator"]["synthesis"]["b4"]["conv1"]


def test_half_precision(tmp_path, tiny_folder, tiny_variables):
    path = model_folder.save_model(
        tmp_path / "half", TINY, tiny_variables, dtype="float16"
    )
    _, variables, directions = model_folder.load_model(path)
    assert directions == {}
    halved = jax.tree.map(lambda a: a.astype(np.float16), tiny_variables)
    assert_equal(variables, jax.tree.map(lambda a: a.astype(np.float32), halved))
    size = (path / model_folder.MODEL).stat().st_size
    assert size < 0.8 * (tiny_folder / model_folder.MODEL).stat().st_size
    tiny_variables = jax.tree.map(lambda a: a * 1e6, tiny_variables)
    with pytest.raises(StylePrompterError, match="float16"):
        model_folder.save_model(tmp_path / "big", TINY, tiny_variables, dtype="float16")
    assert not (tmp_path / "big").exists()


def test_reading_starts_no_device(tiny_folder):
    """The driver of a cluster leaves its machine's devices to the workers."""
    program = (
        "import sys; from styleprompter_jax.store import model_folder\n"
        "model_folder.load_model(sys.argv[1])"
    )
    environment = os.environ | {"JAX_PLATFORMS": "tpu_of_the_future"}
    command = [sys.executable, "-c", program, tiny_folder]
    subprocess.run(command, env=environment, check=True)


def test_a_model_may_lack_parts(tmp_path):
    for missing in (dict(refiner=None), dict(refiner=None, encoder=None)):
        config = dataclasses.replace(TINY, **missing)
        variables = random_variables(config)
        path = model_folder.save_model(tmp_path / "model", config, variables)
        assert model_folder.load_model(path)[0] == config
        assert_equal(model_folder.load_model(path)[1], variables)


def test_every_problem_in_one_report(folder):
    arrays = read_safetensors(folder / model_folder.MODEL).arrays
    arrays["encoder/extra/kernel"] = arrays.pop("encoder/latent_tok")
    arrays["latent_avg"] = arrays["latent_avg"][:-1]
    kernel = "generator/synthesis/b8/conv0/kernel"
    arrays[kernel] = np.full_like(arrays[kernel], np.inf)
    noise = "generator/synthesis/b8/conv0/noise_const"
    arrays[noise] = arrays[noise].astype(np.int32)
    model_folder.save_arrays(folder / model_folder.MODEL, arrays)
    change_config(folder, lambda config: config.pop("sha256"))
    with pytest.raises(StylePrompterError) as error:
        model_folder.load_model(folder)
    text = str(error.value)
    assert str(folder / model_folder.MODEL) in text
    for line in (
        "missing (1):\n    encoder/latent_tok [8, 8]",
        "unexpected (1):\n    encoder/extra/kernel",
        "latent_avg is [15], but must be [16]",
        f"not finite (1):\n    {kernel}",
        f"not floating point (1):\n    {noise}",
    ):
        assert line in text


def change_config(folder, change):
    config = json.loads((folder / model_folder.CONFIG).read_text())
    change(config)
    (folder / model_folder.CONFIG).write_text(json.dumps(config))


def test_damaged_files(folder):
    whole = (folder / model_folder.MODEL).read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    for damaged, match in (
        (bytes(flipped), r"model.safetensors is damaged or was replaced"),
        (whole[:-100], r"model.safetensors cannot be read"),
        (b"", r"model.safetensors cannot be read"),
    ):
        (folder / model_folder.MODEL).write_bytes(damaged)
        with pytest.raises(StylePrompterError, match=match):
            model_folder.load_model(folder)
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
    (folder / model_folder.MODEL).write_bytes(pointer)
    with pytest.raises(StylePrompterError, match="fetch it with `git lfs pull`"):
        model_folder.load_model(folder)
    (folder / model_folder.MODEL).unlink()
    with pytest.raises(StylePrompterError, match=r"not contain model.safe.*: name a m"):
        model_folder.load_model(folder)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda c: c.update(colour=1), "unknown key 'colour'"),
        (lambda c: c["encoder"].update(depth=1), "unknown key 'depth'"),
        (lambda c: c["generator"].update(image_size=33), "33"),
        (lambda c: c["generator"].update(channels=8), "does not describe a model"),
        (lambda c: c.update(generator=None), "does not describe a model"),
        (
            lambda c: c.update(encoder={"type": "psp", "num_styles": 8, "w_dim": 16}),
            "SMART reads feature maps, but an encoder of type 'psp' makes none: leave",
        ),
        (lambda c: c.update(version=3), "version 3"),
        (lambda c: c.pop("version"), "not a model configuration"),
    ],
)
def test_wrong_configs(folder, change, match):
    change_config(folder, change)
    with pytest.raises(StylePrompterError, match=rf"config\.json.*{match}"):
        model_folder.load_model(folder)


def test_which_model_a_name_means(tmp_path, tiny_folder, monkeypatch):
    monkeypatch.setattr(model_folder, "BUNDLED", tiny_folder.parent)
    monkeypatch.chdir(tmp_path)
    assert model_folder.find_model("tiny") == tiny_folder
    shutil.copytree(tiny_folder, "tiny")
    assert model_folder.find_model("tiny").absolute() == tmp_path / "tiny"
    with pytest.raises(StylePrompterError, match=r"folder gone: .*bundled .*\(tiny"):
        model_folder.find_model("gone")
    with pytest.raises(StylePrompterError, match=r"x/tiny"):
        model_folder.find_model("x/tiny")
    (tmp_path / "empty").mkdir()
    with pytest.raises(StylePrompterError, match=r"empty is not a model folder"):
        model_folder.find_model("empty")


def test_replacing_a_folder(folder, tiny_variables):
    (folder / "notes.txt").write_text("mine")
    model_folder.save_arrays(
        folder / model_folder.DISCRIMINATOR, {"a": {"b": np.zeros(2)}}
    )
    doubled = jax.tree.map(lambda a: 2 * a, tiny_variables)
    model_folder.save_model(folder, TINY, doubled)
    assert_equal(model_folder.load_model(folder)[1], doubled)
    names = {path.name for path in folder.iterdir()}
    assert names == {"config.json", "model.safetensors", "notes.txt"}
    assert list(folder.parent.iterdir()) == [folder]


def test_directions_stay_where_a_run_writes_its_model_again(folder, tiny_variables):
    before = (folder / model_folder.DIRECTIONS).read_bytes()
    model_folder.save_model(folder, TINY, tiny_variables, keep_directions=True)
    assert (folder / model_folder.DIRECTIONS).read_bytes() == before
    model_folder.save_model(folder, TINY, tiny_variables)
    assert not (folder / model_folder.DIRECTIONS).exists()


def test_equal_arrays_make_equal_files(tmp_path):
    """safetensors writes its metadata in an order of chance."""
    metadata = {f"key \u00e9 {k}": '\n"\x01\x7f\u2028' for k in range(8)}
    for k in range(4):
        save_arrays(tmp_path / str(k), {"a": np.ones(3, np.float32)}, metadata)
    assert len({(tmp_path / str(k)).read_bytes() for k in range(4)}) == 1
    found = read_safetensors(tmp_path / "0").metadata
    assert metadata.items() <= found.items()


def test_nothing_is_written_for_a_bad_model(tmp_path, tiny_variables):
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "photo.png").write_text("")
    with pytest.raises(StylePrompterError, match="not a model folder"):
        model_folder.save_model(taken, TINY, tiny_variables)
    broken = jax.tree.map(lambda a: a * np.float32(np.nan), tiny_variables)
    with pytest.raises(StylePrompterError, match="not finite"):
        model_folder.save_model(tmp_path / "new", TINY, broken)
    with pytest.raises(StylePrompterError, match="float32"):
        model_folder.save_model(tmp_path / "new", TINY, tiny_variables, dtype="int8")
    assert list(tmp_path.rglob("*")) == [taken, taken / "photo.png"]


def test_damaged_directions(folder):
    model_folder.save_arrays(folder / model_folder.DIRECTIONS, {"smile": np.zeros(16)})
    with pytest.raises(StylePrompterError, match=r"directions\.safetensors"):
        model_folder.load_model(folder)


def test_directions_of_before_they_had_a_strength(tmp_path):
    fields = {"range": [-1.5, 1.5], "layers": None, "origin": "a test"}
    metadata = {"directions": json.dumps({"smile": fields})}
    arrays = {"smile": np.ones(16)}
    model_folder.save_arrays(tmp_path / model_folder.DIRECTIONS, arrays, metadata)
    smile = model_folder.load_directions(tmp_path)["smile"]
    assert smile.range == (-1.5, 1.5) and smile.origin == "a test"
    assert smile.strength == 1 and smile.beta == (1, 1)


def test_directions_keep_what_they_answer_to(tmp_path):
    rng = np.random.default_rng(0)
    response = Response(
        rng.standard_normal((2, 8, 16)), np.ones(2), rng.standard_normal((2, 8, 16))
    )
    smile = Direction(np.ones(16), strength=2, response=response)
    model_folder.save_directions(
        tmp_path, {"smile": smile, "hat": Direction(np.ones(16))}
    )
    found = model_folder.load_directions(tmp_path)
    assert found["hat"].response is None and found["smile"].strength == 2
    codes = rng.standard_normal((3, 8, 16))
    np.testing.assert_array_equal(found["smile"].step(codes), smile.step(codes))
    model_folder.save_directions(tmp_path, {"smile": smile}, "float16")
    halved = model_folder.load_directions(tmp_path)["smile"]
    np.testing.assert_allclose(halved.step(codes), smile.step(codes), atol=0.1)
    model_folder.save_arrays(
        tmp_path / model_folder.DIRECTIONS,
        {"smile": np.ones(16), "smile:reads": response.reads},
        {"directions": json.dumps({"smile": {}})},
    )
    with pytest.raises(StylePrompterError, match="smile:offsets"):
        model_folder.load_directions(tmp_path)


def test_arrays_are_nested_by_their_keys(tmp_path):
    path = tmp_path / "x.safetensors"
    safetensors.numpy.save_file({"a": np.ones(3), "a/b": np.ones(3)}, path)
    with pytest.raises(StylePrompterError, match=r"x\.safetensors uses the name of"):
        model_folder.load_arrays(path)
    tree = {"a": {"b": np.arange(3.0), "c": np.float32(1)}, "d": np.ones((2, 1))}
    model_folder.save_arrays(tmp_path / "x.safetensors", tree)
    assert_equal(model_folder.load_arrays(tmp_path / "x.safetensors"), tree)
    with pytest.raises(StylePrompterError, match="cannot be written"):
        model_folder.save_arrays(tmp_path / "gone" / "x.safetensors", tree)


@pytest.mark.parametrize("name", [*model_folder.PARTS, "classifier.safetensors"])
def test_a_flipped_bit_is_never_read_as_good(name, folder):
    """Of any file of a model, and of a classifier."""
    shutil.copy(classifier.BUNDLED, folder)
    save_arrays(folder / model_folder.DISCRIMINATOR, {"a": {"b": np.zeros(2)}})
    file = folder / name

    def read():
        model_folder.load_model(folder)
        model_folder.load_arrays(folder / model_folder.DISCRIMINATOR)
        classifier.load_classifier(folder / "classifier.safetensors")

    read()
    whole, rng = file.read_bytes(), np.random.default_rng(0)
    for place, bit in zip(
        rng.integers(len(whole), size=30), rng.integers(8, size=30), strict=True
    ):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << bit
        if name == model_folder.CONFIG and damaged.split() == whole.split():
            continue  # one blank for another
        file.write_bytes(damaged)
        with pytest.raises(StylePrompterError, match=str(folder)):
            read()
    file.write_bytes(whole)
    read()


def test_a_config_changed_by_hand(folder):
    """It is refused, until the sum is removed that tells damage."""
    change_config(folder, lambda config: config["encoder"].update(drop_path=0.5))
    with pytest.raises(StylePrompterError, match=r"config\.json has changed since"):
        model_folder.load_model(folder)
    change_config(folder, lambda config: config.pop("sha256"))
    assert model_folder.load_model(folder)[0].encoder.drop_path == 0.5


def test_what_other_programs_left(folder):
    """Folders without sums load; weights beyond float32, and links to nothing, not."""
    arrays = read_safetensors(folder / model_folder.MODEL).arrays
    safetensors.numpy.save_file(arrays, folder / model_folder.MODEL, {"format": "pt"})
    change_config(folder, lambda config: config.pop("sha256"))
    (folder / model_folder.DIRECTIONS).unlink()
    assert model_folder.load_model(folder)[2] == {}
    for target in ("gone", model_folder.DIRECTIONS):  # of a link, and of a loop
        (folder / model_folder.DIRECTIONS).symlink_to(folder / target)
        with pytest.raises(StylePrompterError, match=r"directions\.safetensors"):
            model_folder.load_model(folder)
        (folder / model_folder.DIRECTIONS).unlink()
    large = arrays | {"latent_avg": np.full(16, 1e300)}
    safetensors.numpy.save_file(large, folder / model_folder.MODEL)
    with pytest.raises(StylePrompterError, match=r"not finite \(1\):\n +latent_avg"):
        model_folder.load_model(folder)
    (folder / model_folder.MODEL).unlink()
    os.mkfifo(folder / model_folder.MODEL)
    with pytest.raises(StylePrompterError, match="is a folder or device"):
        model_folder.load_model(folder)


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {"directions": "[]"},
        {"directions": '{"smile": []}'},
        {"directions": '{"smile": {"layers": 3}}'},
        {"directions": '{"smile": {"layers": [1e999]}}'},
        {"directions": '{"smile": {"range": [NaN, 1]}}'},
        {"directions": '{"smile": {"range": "ab"}}'},
        {"directions": '{"smile": {"strength": {}}}'},
        {"directions": '{"smile": {"colour": 1}}'},
        {"directions": '{"hat": {}}'},
        {"directions": "[" * 50_000},
    ],
    ids=str,
)
def test_directions_of_others(metadata, tmp_path):
    arrays = {"smile": np.ones(16, np.float32)}
    path = tmp_path / model_folder.DIRECTIONS
    safetensors.numpy.save_file(arrays, path, metadata)
    with pytest.raises(StylePrompterError, match=r"directions\.safetensors") as error:
        model_folder.load_directions(tmp_path)
    assert str(error.value).isprintable()
    safetensors.numpy.save_file(
        arrays, path, {"values": metadata.get("directions", "")}
    )
    with pytest.raises(StylePrompterError, match=r"directions\.safetensors"):
        classifier.load_classifier(path)


def test_classifiers_that_are_none(tmp_path):
    """NaN, infinity as float32, other shapes and lies about values: before any work."""
    path = tmp_path / "a.safetensors"
    arrays, metadata = read_safetensors(classifier.BUNDLED)
    values = {"values": metadata["values"]}
    bias = "output/bias"
    nan = np.full_like(arrays[bias], np.nan)
    for change, own, words in (
        ({bias: nan}, values, "not finite"),
        ({bias: np.full(len(nan), 1e300)}, values, "not finite"),
        ({bias: nan[1:]}, values, "wrong shape"),
        ({bias: np.zeros(len(nan), np.int32)}, values, "not floating point"),
        ({"more": nan}, values, "unexpected"),
        ({}, {}, "not a classifier"),
        ({}, {"values": "[]"}, "not a classifier"),
        ({}, {"values": "{}"}, "not a classifier"),
        ({}, {"values": '{"smile": 3}'}, "not a classifier"),
        ({}, {"values": '{"smile": [true]}'}, "not a classifier"),
        ({}, {"values": '{"smile": [0, 1]}'}, "not a classifier"),
        ({}, {"values": '{"smile": [false, true]}'}, "wrong shape"),
    ):
        safetensors.numpy.save_file(arrays | change, path, own)
        with pytest.raises(StylePrompterError, match=words) as error:
            classifier.load_classifier(path)
        assert str(error.value).startswith(str(path))
