"""Validation in training: metrics as those of `evaluate`, and images with faults."""

import dataclasses

import jax
import numpy as np
import pytest
from conftest import TINY, random_variables

import styleprompter_jax as sp
from styleprompter_jax.configs import tiny
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.evaluation.evaluate import evaluate
from styleprompter_jax.images.files import write_image
from styleprompter_jax.training import loop
from styleprompter_jax.training.objectives.inversion import Inversion
from styleprompter_jax.training.run.checkpoint import saved_steps
from styleprompter_jax.training.start import Start


def test_metrics_are_those_of_evaluate():
    # The generator's images are twice as large as the encoder's.
    config = dataclasses.replace(
        TINY,
        encoder=dataclasses.replace(TINY.encoder, num_tokens=10),
        generator=dataclasses.replace(TINY.generator, image_size=64, channels=[8] * 5),
    )
    variables = random_variables(config)
    images = np.random.default_rng(0).uniform(-1, 1, (4, 32, 32, 3)).astype(np.float32)
    objective = Inversion(tiny.get_config("smart"), Start(config, variables, {}, {}))
    params = variables["params"]
    state = {
        "trained": params["smart"],
        "frozen": {part: params[part] for part in ("encoder", "generator")},
        "const": variables["const"],
    }
    _, scores = jax.jit(objective._outputs)(state, {"image": images})
    expected = evaluate(sp.StylePrompter(config, variables), [images], size=32)
    for name in ("w_plus", "refined"):
        for metric in ("mse", "psnr", "ssim", "ms_ssim"):
            found = float(np.mean(scores[f"{metric}_{name}"]))
            assert found == pytest.approx(expected[name][metric], rel=1e-4), metric


@pytest.mark.slow
@pytest.mark.parametrize("full", [False, True])
def test_an_image_that_cannot_be_read_loses_no_step(
    full, tiny_folder, tmp_path, monkeypatch
):
    def save(*_):
        raise StylePrompterError("The disk is full.")

    for k in range(9):
        image = np.full((32, 32, 3), 20 * k, np.uint8)
        write_image(image, tmp_path / str(k // 8) / f"{k}.png")
    bad, run = tmp_path / "1" / "8.png", tmp_path / "run"
    bad.write_bytes(bad.read_bytes()[:-30])
    config = tiny.get_config("encoder")
    config.init_from, config.total_steps = str(tiny_folder), 4
    config.data.update(name="folder", path=str(tmp_path), train_split="0")
    config.data.eval_split = "1"
    config.eval_every, config.checkpoint_every = 2, 4
    if full:
        monkeypatch.setattr(loop.Checkpoints, "save", save)
    with pytest.raises(StylePrompterError, match=r"8\.png cannot be read"):
        loop.train(config, run, devices=jax.devices()[:1])
    assert saved_steps(run / "checkpoints") == ([] if full else [2])
