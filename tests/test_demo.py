"""The demonstration, from tiny configs to its sheet and table."""

import dataclasses

import numpy as np
import pytest
from conftest import TINY
from PIL import Image

from styleprompter_jax import demo
from styleprompter_jax.configs import tiny
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.images.sheets import sheet
from styleprompter_jax.inversion.pipeline import load


def tiny_config(stage, data_dir):
    """Trains the architecture of TINY, so that both models share compiled programs."""
    config = tiny.get_config(stage)
    config.total_steps = config.eval_every = config.checkpoint_every = 2
    config.data.path = str(data_dir)
    fields = dataclasses.asdict(getattr(TINY, stage))
    known_by_the_trainer = ("image_size", "num_tokens", "w_dim")
    config.model[stage] = {
        key: value for key, value in fields.items() if key not in known_by_the_trainer
    }
    return config


@pytest.mark.slow
def test_trains_inverts_edits_and_shows(tiny_folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(demo, "SECONDS", dict.fromkeys(demo.SECONDS, 1e9))
    stages = ("encoder", "smart")
    configs = {stage: tiny_config(stage, tmp_path / "data") for stage in stages}
    # An earlier run does not matter, whatever its config.
    (tmp_path / "encoder").mkdir()
    (tmp_path / "encoder" / "config.json").write_text('{"stage": "generator"}')

    demo.run(tmp_path, configs, tiny_folder)
    text = (tmp_path / "table.md").read_text()
    assert text.count("| trained here |") == text.count("| tiny |") == 2
    assert "2 steps of the encoder and 2 of SMART" in text
    printed = capsys.readouterr().out
    assert text in printed
    assert f"Sheet: {tmp_path / 'sheet.png'}" in printed
    with Image.open(tmp_path / "sheet.png") as image:
        assert image.width > 4 * 128  # input, W+, refined, and the edit "smile"
        assert image.height > 2 * 128


def test_an_edit_gives_what_a_face_lacks_and_takes_what_it_has(tiny_folder):
    model = load(tiny_folder)
    images = np.random.default_rng(0).random((2, 32, 32, 3), np.float32)
    batch = {"image": images, "smile": np.array([True, False])}
    models = {"a": model, "b": model}
    found = demo.make_sheet(models, model.directions, batch, [1, 0])

    latents = model.encode(images)
    edited = latents.edit(model.directions["smile"], np.array([-3.0, 3.0]))
    decoded = (
        model.decode(latents, refine=False),
        model.decode(latents),
        model.decode(edited),
    )
    first, second = zip(images, *map(np.asarray, decoded), strict=True)
    rows, row_titles = [second, second, first, first], ["a", "b", "a", "b"]
    expected = sheet(rows, ["input", "W+", "refined", "± smile"], row_titles)
    np.testing.assert_array_equal(found, expected)


def test_table():
    result = {"mse": 0.01234, "psnr": 20.256, "ssim": 0.8765}
    table = demo.make_table({"a": {"w_plus": result, "refined": result}})
    assert table.splitlines()[2:] == [
        "| a | W+ | 0.0123 | 20.26 | 0.876 |",
        "| a | W+ and SMART | 0.0123 | 20.26 | 0.876 |",
    ]


def test_an_error_is_one_sentence(monkeypatch, capsys):
    def fail(*_):
        raise StylePrompterError("The dataset is missing.")

    monkeypatch.setattr(demo, "run", fail)
    assert demo.main() == 1
    assert capsys.readouterr().err == "Error: The dataset is missing.\n"


@pytest.mark.parametrize("stage", demo.STEPS)
def test_the_configs_fit_into_minutes(stage):
    config = demo.quickstart_config(stage)
    assert config.stage == stage
    assert config.optimizer.warmup_steps < config.total_steps == config.eval_every
