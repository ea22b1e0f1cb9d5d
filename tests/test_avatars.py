"""The bundled domain: seeds decide every pixel, labels tell the truth."""

import dataclasses
import hashlib
import multiprocessing
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.data import avatars, drawing
from styleprompter_jax.data.avatars import Face, render
from styleprompter_jax.data.sources import TfdsSource
from styleprompter_jax.data.tfds import tfds


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tfds")
    avatars.prepare("tiny", folder)
    return folder


def test_a_seed_gives_one_face_everywhere():
    # Written down once: a change here changes every data set that exists.
    assert Face.from_seed(7) == Face(
        smile=True,
        glasses=True,
        beard=False,
        hair="bald",
        hair_color="blond",
        skin_color="tan",
        background="sky",
        clothing="green",
        x=-1.8500173662320605,
        y=-0.2654172653504565,
        scale=0.9655884338859695,
        tilt=-4.092869866561349,
    )
    image = render(Face.from_seed(7), 64)
    assert image.shape == (64, 64, 3) and image.dtype == np.uint8
    np.testing.assert_array_equal(image, render(Face.from_seed(7), 64))


def test_attributes_are_independent():
    faces = [dataclasses.asdict(Face.from_seed(seed)) for seed in range(4000)]
    columns = [
        np.array([face[name] == value for face in faces], dtype=float)
        for name in ("smile", "glasses", "beard", *avatars.LABELS)
        for value in sorted({face[name] for face in faces})[:1]
    ]
    correlation = np.corrcoef(columns) - np.eye(len(columns))
    assert np.abs(correlation).max() < 0.06  # about four standard deviations


@pytest.mark.parametrize(
    ("change", "rows", "columns"),
    [
        ({"glasses": True}, slice(20, 38), slice(13, 51)),
        ({"smile": True}, slice(40, 52), slice(22, 42)),
        ({"beard": True}, slice(27, 59), slice(10, 54)),
    ],
)
def test_an_attribute_changes_its_place_and_nothing_else(change, rows, columns):
    plain = Face(
        **{"smile": False, "glasses": False, "beard": False, "hair": "short"},
        **{"hair_color": "black", "skin_color": "light", "background": "sky"},
        **{"clothing": "blue", "x": 0.0, "y": 0.0, "scale": 1.0, "tilt": 0.0},
    )
    before, after = render(plain), render(dataclasses.replace(plain, **change))
    difference = np.abs(before.astype(int) - after).max(-1)
    assert (difference[rows, columns] > 40).sum() > 30
    difference[rows, columns] = 0
    assert difference.max() <= 2


def test_every_label_shows():
    face = Face.from_seed(0)
    for name, values in avatars.LABELS.items():
        pictures = {
            render(dataclasses.replace(face, **{name: value})).tobytes()
            for value in values
        }
        assert len(pictures) == len(values), name


def test_records_hold_what_the_seed_draws(data_dir):
    builder = avatars.prepare("tiny", data_dir)
    sources = builder.as_data_source()
    seeds = {split: {r["seed"] for r in records} for split, records in sources.items()}
    assert seeds["train"] == set(range(48))
    assert len(set.union(*seeds.values())) == 48 + 16 + 16
    for record in sources["validation"]:
        face = Face.from_seed(record["seed"])
        np.testing.assert_array_equal(record["image"], render(face, 32))
        assert record["glasses"] == face.glasses
        assert builder.info.features["hair"].names[record["hair"]] == face.hair


def _digest(pngs):
    return [hashlib.sha256(png).hexdigest() for png in pngs]


def test_programs_of_their_own_draw_the_same_bytes_in_order(monkeypatch):
    faces = [Face.from_seed(seed) for seed in range(6)]
    alone = _digest(drawing.draw(faces, 32))
    monkeypatch.setattr(drawing, "FACES_A_PROGRAM", 3)
    monkeypatch.setattr(drawing, "cores", lambda: 2)
    assert _digest(drawing.draw(faces, 32)) == alone
    # A killed process, or one that cannot start, costs time but no face.
    pngs = drawing.draw(faces, 32)
    first, started = [next(pngs)], pngs.gi_frame.f_locals["programs"]
    started[1].kill()
    assert _digest(first + list(pngs)) == alone
    assert [program.poll() is not None for program in started] == [True] * 2
    monkeypatch.setattr(sys, "executable", "")
    assert _digest(drawing.draw(faces, 32)) == alone


def test_a_script_without_a_guard_draws_the_data_set(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from styleprompter_jax.data import drawing\n"
        "from styleprompter_jax.data.faces import Face\n"
        "drawing.FACES_A_PROGRAM, drawing.cores = 2, lambda: 2\n"
        "print(len(list(drawing.draw([Face.from_seed(k) for k in range(4)], 32))))\n"
    )
    env = os.environ | {"PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))}
    done = subprocess.run(
        [sys.executable, script], env=env, capture_output=True, text=True, check=True
    )
    assert done.stdout == "4\n"


def test_the_data_set_is_one_of_tfds(data_dir):
    assert tfds.builder("avatars", data_dir=data_dir).builder_config.name == "64"
    records = tfds.data_source("avatars/tiny", split="train[10:20]", data_dir=data_dir)
    assert [record["seed"] for record in records] == list(range(10, 20))


def _prepare(data_dir, train=5):
    config = avatars.AvatarsConfig("few", size=32, train=train, validation=1, test=1)
    return avatars.prepare(config, data_dir)


def test_a_killed_preparation_is_not_taken_for_a_data_set(tmp_path):
    process = multiprocessing.get_context("spawn").Process(
        target=_prepare, args=(tmp_path, 100_000)
    )
    process.start()
    deadline = time.monotonic() + 60
    while not list(tmp_path.rglob("incomplete*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert list(tmp_path.rglob("incomplete*"))
    assert len(_prepare(tmp_path).as_data_source("train")) == 5


def test_a_damaged_data_set_is_named(tmp_path):
    builder = avatars.prepare("tiny", tmp_path)
    (records,) = builder.data_path.glob("*train*")
    os.truncate(records, os.path.getsize(records) // 2)
    with pytest.raises(StylePrompterError, match=r"the file is damaged; make or copy"):
        _ = TfdsSource("avatars/tiny", "train", str(tmp_path))[0]
    records.unlink()
    with pytest.raises(StylePrompterError, match=r"avatars/tiny/1\.0\.0.*delete"):
        avatars.prepare("tiny", tmp_path)
    with pytest.raises(StylePrompterError, match="64, 128, 256, tiny"):
        avatars.prepare("65", tmp_path)
