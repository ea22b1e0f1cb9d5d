"""A run checks the owner of its workdir, and the images, before it writes anything."""

import json
import logging
import shutil

import jax
import numpy as np
import pytest
from test_checkpoint import replicated

from styleprompter_jax.cli import main
from styleprompter_jax.configs import tiny
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.data.sources import make_source
from styleprompter_jax.images.files import write_image
from styleprompter_jax.training import loop
from styleprompter_jax.training.run import checkpoint
from styleprompter_jax.training.run import workdir as folders


def config_with(**changes):
    config = tiny.get_config("generator")
    config.update(changes)
    return config


def save_step(workdir, config, step=1):
    settings = folders.plain(config)
    with checkpoint.Checkpoints(workdir / "checkpoints", settings) as checkpoints:
        checkpoints.save(step, replicated(step), {"next_index": step})


def files(folder):
    return {p: p.stat().st_mtime_ns for p in folder.rglob("*")}


def test_a_refused_config_is_not_written(tmp_path):
    """Without config.json, which may be removed: every step holds the config too."""
    save_step(tmp_path, config_with())
    before = files(tmp_path)
    wrong = config_with(learning_rate=2.0)
    other = config_with()
    other.model.generator.channels = other.model.discriminator.channels = (4, 8, 8, 8)
    for config, message in ((wrong, r"learning_rate: 0\.002"), (other, "channels")):
        with pytest.raises(StylePrompterError, match=rf"another config.*{message}"):
            loop.train(config, tmp_path, devices=jax.devices()[:1])
    assert files(tmp_path) == before
    right = folders.plain(config_with(total_steps=99))
    assert folders.check_config(tmp_path, right)["total_steps"] == 8


def test_a_wrong_config_beside_the_steps_does_not_lock_them(tmp_path, caplog):
    """As a refused command left it, before it was checked first; or damaged."""
    save_step(tmp_path, config_with())
    caplog.clear()
    right = folders.plain(config_with())
    wrong = json.dumps(folders.plain(config_with(learning_rate=2.0)))
    for text in (wrong, "{", ""):
        (tmp_path / "config.json").write_text(text)
        assert folders.check_config(tmp_path, right) == right
        folders.write_config(tmp_path, right)
        assert json.loads((tmp_path / "config.json").read_text()) == right
    assert not caplog.text
    free = folders.plain(config_with(total_steps=99))
    folders.write_config(tmp_path, free)  # the same run: its file stays
    assert json.loads((tmp_path / "config.json").read_text()) == right


def test_the_config_of_an_older_step_where_the_newest_is_damaged(tmp_path):
    for step in (1, 2):
        save_step(tmp_path, config_with(seed=step), step)
    folder = tmp_path / "checkpoints"
    assert checkpoint.saved_config(folder)["seed"] == 2
    record = folder / "2" / "record" / "metadata"
    record.write_text(record.read_text().replace('"seed": 2', '"seed": 3'))
    assert checkpoint.saved_config(folder)["seed"] == 1
    assert checkpoint.saved_config(tmp_path / "none") is None


@pytest.fixture
def pictures(tmp_path):
    for k in range(6):
        pixels = np.full((8, 8, 3), k, np.uint8)
        write_image(pixels, tmp_path / "pictures" / "sub" / f"{k}.png")
    return tmp_path / "pictures"


def prints(path, split="", **changes):
    data = config_with().data
    data.update(name="folder", path=str(path), **changes)
    source = make_source(data, split)
    return {"training": source.fingerprint()}


def test_pictures_are_the_same_wherever_they_lie(pictures, tmp_path):
    shutil.copytree(pictures, tmp_path / "moved")
    for split in ("", "sub", "[2:]", "sub[:50%]"):
        assert prints(pictures, split) == prints(tmp_path / "moved", split)
    assert prints(pictures, on_bad="skip") == prints(pictures)
    assert prints(pictures, "[1:]") != prints(pictures, "[:5]")
    with pytest.raises(StylePrompterError, match="is an address"):
        prints("az://bucket/pictures")
    with pytest.raises(StylePrompterError, match="~nobody-here"):
        prints("~nobody-here/pictures")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("add", "there are 7 now, but were 6"),
        ("rename", "number is the same, but the names differ"),
        ("replace", "the names are the same, but the contents differ"),
    ],
)
def test_changed_pictures_are_refused_in_words(change, message, pictures, tmp_path):
    config = folders.plain(config_with())
    run, began = tmp_path / "run", prints(pictures)
    folders.write_data(run, began)
    folders.check_data(run, began, config, config)
    if change == "add":
        shutil.copy(pictures / "sub" / "0.png", pictures / "new.png")
    elif change == "rename":
        (pictures / "sub" / "0.png").rename(pictures / "sub" / "9.png")
    else:
        write_image(np.zeros((9, 9, 3), np.uint8), pictures / "sub" / "0.png")
    now = prints(pictures)
    folders.check_data(run, now, config, config)  # no step depends on them yet
    save_step(run, config_with())
    with pytest.raises(StylePrompterError, match=rf"{message}\. Restore .*data\.json"):
        folders.check_data(run, now, config, config)
    (run / "data.json").unlink()
    folders.check_data(run, now, config, config)
    folders.write_data(run, now)
    folders.check_data(run, now, config, config)


def test_a_run_that_does_not_say_what_its_pictures_were(pictures, tmp_path, caplog):
    save_step(tmp_path, config_with())
    old, new = (folders.plain(config_with()) for _ in range(2))
    new["data"]["path"] = "elsewhere"
    with caplog.at_level(logging.WARNING):
        folders.check_data(tmp_path, prints(pictures), old, old)
        assert not caplog.text
        folders.check_data(tmp_path, prints(pictures), old, new)
    assert "make sure that elsewhere holds those of TFDS's own folder" in caplog.text
    (tmp_path / "data.json").write_text("[]")
    with pytest.raises(StylePrompterError, match=r"data\.json.*remove it"):
        folders.check_data(tmp_path, prints(pictures), old, old)


@pytest.mark.parametrize("place", ["az://bucket/run", "s3://b/r", "~nobody-here/run"])
def test_a_workdir_that_is_not_of_this_machine(place, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["train", "--config=tiny", f"--workdir={place}"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"Error: {place} ")
    with pytest.raises(StylePrompterError):
        loop.train(config_with(), place)
    assert not [*tmp_path.iterdir()]
