"""The values of config.model, and the keys that a stage reads, needs or ignores."""

import pytest

from styleprompter_jax.configs import tiny
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.training.settings import check_settings


def changed(stage, key, value):
    """The tiny config of a stage, with another value of one key."""
    config = tiny.get_config(stage)
    *parents, name = key.split(".")
    with config.unlocked(), config.ignore_type():
        group = config
        for parent in parents:
            group = group[parent]
        group[name] = value
    return config


@pytest.mark.parametrize(
    ("stage", "key"),
    [
        ("smart", "model.smart.dropout"),
        ("encoder", "model.encoder.drop_path"),
        ("psp", "model.encoder.passes"),
    ],
)
def test_zeros_that_a_part_allows(stage, key):
    check_settings(changed(stage, key, 0))


@pytest.mark.parametrize(
    ("stage", "key", "value", "message"),
    [
        ("smart", "model.smart.dropout", "0.1", "'0.1': it must be a number from 0"),
        ("smart", "model.smart.dropout", 1, "from 0 to less than 1"),
        ("psp", "model.encoder.passes", -1, "passes is -1, but must be .* from 0"),
        ("generator", "model.discriminator.mbstd_group", "4", "must be a whole number"),
    ],
)
def test_values_that_a_part_refuses(stage, key, value, message):
    with pytest.raises(StylePrompterError, match=message):
        check_settings(changed(stage, key, value))
