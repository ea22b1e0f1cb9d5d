"""Configs and calls: those of configs/ fit, and wrong ones change nothing."""

import functools
import importlib
import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from configs import avatars_generator, own_images_smart, tiny
from styleprompter_jax.errors import StylePrompterError
from styleprompter_jax.training import loop
from styleprompter_jax.training.optimizers import make_optimizer
from styleprompter_jax.training.settings import check_settings, check_sizes
from styleprompter_jax.training.start import describe_start

ROOT = Path(loop.__file__).parents[2]


def test_configs_fit_their_models():
    for file in sorted((ROOT / "configs").glob("*_*.py")):
        config = importlib.import_module(f"configs.{file.stem}").get_config()
        check_settings(config)
        if config.stage != "generator":
            make_optimizer(config)
    sharpen = avatars_generator.get_config("sharpen")
    check_settings(sharpen)
    assert sharpen.model == avatars_generator.get_config().model
    with pytest.raises(StylePrompterError, match="only :sharpen"):
        avatars_generator.get_config("polish")
    config = own_images_smart.get_config()
    config.data.image_size = config.model.generator.image_size = 64
    config.model.encoder.update(variant="base", patch_size=2, window_size=8)
    config.model.smart.refined_layers = (4, 6, 8)
    model = describe_start(config).config
    assert model.encoder.depths == (2, 2, 18, 2) and model.encoder.num_tokens == 10
    check_sizes(config, model)


@pytest.mark.parametrize(
    ("stage", "changes", "message"),
    [
        ("generator", {"batch_size": 6, "devices": 4}, "multiple of 4"),
        ("generator", {"batch_size": 0}, "batch_size is 0"),
        ("generator", {"total_steps": -1}, "total_steps is -1"),
        ("generator", {"learning_rate": float("nan")}, "learning_rate"),
        ("generator", {"on_nan": "hope"}, '"stop", "skip"'),
        ("generator", {"dtype": "float16"}, "dtype"),
        ("generator", {"data.image_size": 64}, "one size"),
        ("generator", {"data.workers": -1}, "workers"),
        ("generator", {"data.crop": "left"}, '"center", "random"'),
        ("generator", {"data.train_split": "half"}, "no split 'half'"),
        ("generator", {"data.eval_split": "half"}, "no split 'half'"),
        ("generator", {"data.name": "folder"}, "config.data.path is empty"),
        ("generator", {"loss.r1_every": 0}, "r1_every"),
        ("generator", {"model.generator.w_dim": 0}, "w_dim is 0"),
        ("generator", {"model.generator.channels": (8, 8)}, "2 channels"),
        ("generator", {"model.discriminator.mbstd_group": 3}, "mbstd_group"),
        ("encoder", {"init_from": "no/such/model"}, "no/such/model"),
        ("encoder", {"data.image_size": 48}, "use 32"),
        ("encoder", {"model.encoder.window_sise": 4}, "did you mean window_size"),
        ("encoder", {"model.encoder.num_tokens": 9}, "follows from"),
        ("encoder", {"model.encoder.variant": "huge"}, '"tiny", "small", "base"'),
        ("encoder", {"optimizer.accumulate": 0}, "accumulate is 0"),
        ("encoder", {"optimizer.ema_images": -1.0}, "ema_images is -1.0"),
        ("encoder", {"model.encoder.num_heads": (3, 2)}, "num_heads"),
        ("encoder", {"model.encoder.drop_path": 1.5}, "drop_path"),
        ("smart", {"model.smart.refined_layers": (9,)}, "layers 1 to 7"),
        ("smart", {"model.smart.num_heads": 3}, "3 heads"),
    ],
)
def test_wrong_configs_make_nothing(stage, changes, message, tiny_folder, tmp_path):
    config = tiny.get_config(stage)
    config.init_from = "" if stage == "generator" else str(tiny_folder)
    devices = jax.devices()[: changes.get("devices", 1)]
    with config.unlocked():
        for key, value in changes.items():
            *parents, name = key.split(".")
            functools.reduce(getattr, parents, config)[name] = value
    with pytest.raises(StylePrompterError, match=message):
        loop.train(config, tmp_path / "run", devices=devices)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config=configs/tiny.py", "--config.loss.l3=1"], "--config.loss.l3=1"),
        (["--config=configs/tiny.py", "--config.batchsize=1"], "mean batch_size?"),
        (["--config=configs/tiny.py", "--config.data.flip=perhaps"], "data.flip"),
        (["--config=configs/tiny.py", "--config.batch_size=x"], "batch_size"),
        (["--config=configs/tiny.py:decoder"], "decoder"),
        (["--config=configs/none.py"], "configs/none.py"),
    ],
)
def test_wrong_calls_are_answered_in_one_line(arguments, message, tmp_path):
    assert_refused(arguments, message, tmp_path, os.environ)


def test_a_device_that_is_not_there(tmp_path):
    environment = os.environ | {"JAX_PLATFORMS": "tpu_of_the_future"}
    assert_refused(
        ["--config=configs/tiny.py"], "tpu_of_the_future", tmp_path, environment
    )


def assert_refused(arguments, message, tmp_path, environment):
    command = [sys.executable, "train.py", f"--workdir={tmp_path / 'run'}", *arguments]
    result = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith("Error: ") and message in line
    assert not (tmp_path / "run").exists()
