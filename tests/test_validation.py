"""Validation in training gives the metrics of `evaluate`, at every size."""

import dataclasses

import jax
import numpy as np
import pytest
from conftest import TINY, random_variables

import styleprompter_jax as sp
from styleprompter_jax.configs import tiny
from styleprompter_jax.evaluation.evaluate import evaluate
from styleprompter_jax.training.objectives.inversion import Inversion
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
