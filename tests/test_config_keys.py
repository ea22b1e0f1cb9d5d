"""The values of some keys, and the keys that a stage reads, needs or ignores."""

from functools import partial

import jax
import jax.numpy as jnp
import pytest
from ml_collections import ConfigDict

from styleprompter_jax.configs import tiny
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.training.objectives.adversarial import Adversarial
from styleprompter_jax.training.objectives.inversion import Inversion
from styleprompter_jax.training.run import parallel
from styleprompter_jax.training.settings import check_settings
from styleprompter_jax.training.stage_keys import needed_keys
from styleprompter_jax.training.start import describe_start


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
        ("smart", "optimizer.beta2", 1.0, "beta2 is 1.0: .* from 0 to less than 1"),
        ("generator", "model.discriminator.mbstd_group", "4", "must be a whole number"),
    ],
)
def test_values_that_no_training_can_use(stage, key, value, message):
    with pytest.raises(StylePrompterError, match=message):
        check_settings(changed(stage, key, value))


def whole(stage):
    """The tiny config of a stage, with the parts that its start has."""
    config = tiny.get_config(stage)
    given = dict(encoder=("generator",), smart=("generator", "encoder"))
    with config.unlocked():
        for part in given.get(stage, ()):
            config.model[part] = tiny.get_config(part).model[part]
    return config


class Read(ConfigDict):
    """Keys, and the names of those that code reads without .get()."""

    def __getattr__(self, name):
        NAMES.add(name)
        return super().__getattr__(name)


NAMES = set()


def traced(config):
    """Traces the first step of a run, which has the lazy regularisers too."""
    if config.stage == "generator":
        objective = Adversarial(config)
    else:
        objective = Inversion(config, describe_start(config))
    mesh = parallel.make_mesh(jax.devices()[:1])
    step = parallel.map_step(
        partial(objective.step, variant=objective.variant(0)), mesh
    )
    rng, size = jax.eval_shape(lambda: jax.random.key(0)), config.data.image_size
    batch = {"image": jax.ShapeDtypeStruct((8, size, size, 3), jnp.float32)}
    jax.eval_shape(step, jax.eval_shape(objective.init, rng), batch, rng)


@pytest.mark.parametrize("stage", ["generator", "encoder", "smart"])
def test_the_needed_keys_are_those_that_the_code_reads(stage):
    config = whole(stage)
    switches = dict(path_length_weight=2.0, blur_images=9, augment="adaptive")
    with config.unlocked():
        if stage == "generator":
            config.loss.update(switches)
        else:
            config.optimizer.name = "adamw"
        for group in ("loss", "optimizer"):
            config[group] = Read(config[group])
    NAMES.clear()
    traced(config)
    needed = {key.partition(".")[2] for key in needed_keys(config)}
    assert NAMES - switches.keys() == needed


@pytest.mark.parametrize(
    ("stage", "key"),
    [
        ("generator", "loss.r1_every"),
        ("encoder", "optimizer.schedule"),
        ("smart", "optimizer.name"),
    ],
)
def test_a_missing_key_is_named(stage, key):
    with pytest.raises(StylePrompterError, match=f"The config has no {key}: see"):
        check_settings(changed(stage, key, None))


@pytest.mark.parametrize(
    ("stage", "keys"),
    [
        ("generator", ("loss.path_length_weight", "loss.path_length_every")),
        ("generator", ("loss.blur_images", "loss.blur_sigma")),
        ("encoder", ("optimizer.clip_norm", "optimizer.warmup_steps")),
    ],
)
def test_a_missing_switch_is_off(stage, keys):
    config = whole(stage)
    with config.unlocked():
        for key in keys:
            group, name = key.split(".")
            del config[group][name]
    check_settings(config)
    traced(config)


@pytest.mark.parametrize(
    ("stage", "key", "value", "message"),
    [
        ("encoder", "optimizer.weight_decay", 0.1, '0 unless .*"adamw"'),
        ("generator", "optimizer.weight_decay", 0.1, "'generator' does not read it"),
    ],
)
def test_a_key_that_would_change_nothing_is_refused(stage, key, value, message):
    with pytest.raises(StylePrompterError, match=message):
        check_settings(changed(stage, key, value))
