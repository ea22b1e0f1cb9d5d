"""Checks of a config, before the training makes or writes anything."""

import dataclasses
import difflib
import math
from collections.abc import Callable, Iterable
from typing import Any

from ml_collections import ConfigDict

from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.values import LARGEST, shown
from styleprompter_jax.data.inputs import NAMES as INPUTS
from styleprompter_jax.data.inputs import PAIRED
from styleprompter_jax.data.loader import CROPS
from styleprompter_jax.losses import PERCEPTUAL
from styleprompter_jax.models.discriminators.stylegan2 import DiscriminatorConfig
from styleprompter_jax.models.generators.stylegan2 import NOISE_MODES
from styleprompter_jax.models.inverter import StylePrompterConfig
from styleprompter_jax.models.registry import KINDS, types
from styleprompter_jax.training.parts import kind_of, named_part, part_fields
from styleprompter_jax.training.stage_keys import (
    OF_CODES,
    WEIGHTS,
    check_stage_keys,
    needed_keys,
)

# The least value of each whole number.
COUNTS = {
    "seed": 0,
    "batch_size": 1,
    "total_steps": 1,
    "log_every": 1,
    "eval_every": 1,
    "checkpoint_every": 1,
    "data.image_size": 1,
    "data.image_height": 1,
    "data.workers": 0,
    "optimizer.warmup_steps": 0,
    "optimizer.accumulate": 1,
    "loss.r1_every": 1,
    "loss.delta_start": 0,
    "loss.delta_every": 1,
    "loss.pool_size": 0,
    "loss.path_length_every": 1,
    "loss.augment_images": 1,
    "optimizer.frozen_blocks": 0,
}
ADVERSARIAL = ("r1_gamma", "path_length_weight", "blur_sigma", "blur_images")
NOT_NEGATIVE = (
    "optimizer.eps",
    "optimizer.weight_decay",
    "optimizer.clip_norm",
    "optimizer.ema_images",
    "optimizer.discriminator_rate",
    *(f"loss.{name}" for name in (*WEIGHTS, *ADVERSARIAL)),
)
RATES = ("optimizer.beta1", "optimizer.beta2")
SHARES = (
    "loss.style_mixing",
    "loss.augment_p",
    "loss.augment_target",
)
TEXTS = (
    "init_from",
    "init_trunk",
    "data.name",
    "data.path",
    "data.input_path",
    "data.train_split",
    "data.eval_split",
    *(f"loss.{name}_weights" for name in PERCEPTUAL),
)
FLAGS = (
    "init_encoder",
    "frozen_deterministic",
    "data.flip",
    "optimizer.centralize_logit_scale",
)
CHOICES = {
    "dtype": ("float32", "bfloat16"),
    "on_nan": ("stop", "skip"),
    "optimizer.name": ("adam", "adamw", "ranger"),
    "optimizer.schedule": ("constant", "cosine"),
    "data.crop": CROPS,
    "data.on_bad": ("error", "skip"),
    "data.input": ("", *INPUTS),
    "loss.noise_mode": NOISE_MODES,
    "loss.augment": ("none", "fixed", "adaptive"),
}
REQUIRED = (
    "stage",
    "seed",
    "batch_size",
    "total_steps",
    "learning_rate",
    "log_every",
    "eval_every",
    "checkpoint_every",
    "dtype",
    "init_from",
    "model",
    "data.name",
    "data.image_size",
    "data.train_split",
    "data.eval_split",
    "data.flip",
    "loss",
    "optimizer",
)
NUMBERS = ("data.factors",)  # tuples of whole numbers of 1 or more
_RATE = "a number from 0 to less than 1"
# All keys of a config except those of config.model.
KNOWN = {*COUNTS, *NOT_NEGATIVE, *RATES, *SHARES, *TEXTS, *FLAGS, *CHOICES, *NUMBERS}
KNOWN |= {"data", *REQUIRED}


def check_settings(config: Any) -> None:
    """Raises a StylePrompterError for settings that no training can use.

    Later checks cover the settings that depend on data, devices or the model to start
    from.
    """
    if not isinstance(config, ConfigDict):
        raise StylePrompterError(
            f"The config is {shown(config)}: give an ml_collections.ConfigDict, as "
            "get_config() of a file in configs/ returns it."
        )
    _check_keys(config)
    _check_present(config, REQUIRED)
    stages = ("generator", "encoder", *types("refiner"), "refiner")
    for key, choices in {"stage": stages, **CHOICES}.items():
        if _get(config, key) not in (None, *choices):
            raise _wrong(config, key, f"one of {_quoted(choices)}")
    _check_present(config, needed_keys(config))
    for key, least in COUNTS.items():
        value = _get(config, key)
        if value is not None and not _is_count(value, least):
            raise _wrong(config, key, f"a whole number from {least} to {LARGEST}")
    for key in NOT_NEGATIVE:
        if not _is_number(_get(config, key, 0), lambda value: value >= 0):
            raise _wrong(config, key, "a number of 0 or more")
    for key in RATES:
        if not _is_number(_get(config, key, 0), _is_rate):
            raise _wrong(config, key, _RATE)
    for key in SHARES:
        if not _is_number(_get(config, key, 0), lambda value: 0 <= value <= 1):
            raise _wrong(config, key, "a number from 0 to 1")
    for key in TEXTS:
        if not isinstance(_get(config, key, ""), str):
            raise _wrong(config, key, "text")
    for key in NUMBERS:
        values = _get(config, key, (1,))
        several = isinstance(values, list | tuple) and len(values) > 0
        if not several or not all(_is_count(value, 1) for value in values):
            raise _wrong(config, key, "several whole numbers from 1 on, as in (4, 8)")
    for key in FLAGS:
        if _get(config, key, False) not in (False, True):
            raise _wrong(config, key, "True or False")
    if not _is_number(config.learning_rate, lambda value: value > 0):
        raise _wrong(config, "learning_rate", "a number above 0")
    is_new = config.stage == "encoder" and not config.get("init_encoder")
    if config.get("init_trunk") and not is_new:
        raise StylePrompterError(
            'config.init_trunk is set, but only a new encoder of stage "encoder" '
            "starts from it: empty it, or set config.init_encoder to false."
        )
    if config.get("init_encoder") and config.stage != "encoder":
        raise _wrong(config, "init_encoder", 'False outside of stage "encoder"')
    check_stage_keys(config)
    if config.optimizer.get("weight_decay") and config.optimizer.name != "adamw":
        raise _wrong(
            config, "optimizer.weight_decay", '0 unless the optimizer is "adamw"'
        )
    _check_weights(config)
    _check_crops(config)
    known = (*KINDS, "discriminator", *types("refiner"))
    for name, fields in config.model.items():
        if name not in known:
            raise _unknown(f"model.{name}", known)
        _check_part(config, name, fields)
    _check_kinds(config)
    if config.stage == "generator":
        size = _get(config, "model.generator.image_size", config.data.image_size)
        if size != config.data.image_size:
            raise StylePrompterError(
                f"config.data.image_size is {config.data.image_size}, but "
                f"config.model.generator.image_size is {size}: set both to one size."
            )


def _check_keys(config: Any) -> None:
    """Refuses unknown keys, such as loss.lpisp."""
    for key, value in config.items():
        if key != "model" and isinstance(value, ConfigDict):
            for name in value:
                _check_known(f"{key}.{name}", KNOWN)
        else:
            _check_known(key, KNOWN)
    for key in ("data", "loss", "optimizer", "model"):
        if not isinstance(config.get(key), ConfigDict | None):
            raise _wrong(config, key, "a ConfigDict of its own keys")


def _check_present(config: Any, keys: Iterable[str]) -> None:
    for key in keys:
        if _get(config, key) is None:
            raise StylePrompterError(
                f"The config has no {key}: see docs/training.md and configs/."
            )


def _check_known(key: str, known: Any) -> None:
    if key not in known:
        group = key.rpartition(".")[0]
        alike = sorted(k for k in known if k.rpartition(".")[0] == group)
        raise _unknown(key, [name.rpartition(".")[2] for name in alike])


def _check_weights(config: Any) -> None:
    """Refuses a loss whose weights are all 0, because it has no gradient."""
    if config.stage == "generator":
        return
    # The encoder makes the codes, and stage "refiner" does not train it.
    names = [n for n in WEIGHTS if n not in OF_CODES or config.stage == "encoder"]
    if not any(config.loss.get(name) for name in names):
        raise StylePrompterError(
            f"config.loss gives every loss of stage {config.stage!r} the weight 0: set "
            f"one of {', '.join(names)}."
        )


def _check_crops(config: Any) -> None:
    """Refuses random crops of images that belong to others or are not square."""
    data = config.data
    for key, fixed in (
        ("input", data.get("input") in PAIRED),
        ("image_height", data.get("image_height")),
    ):
        if fixed and data.get("crop") == "random":
            raise StylePrompterError(
                f"config.data.{key} is {data[key]!r}, which does not allow random "
                'crops: set config.data.crop to "center".'
            )


def _check_part(config: Any, name: str, fields: Any) -> None:
    if name == "discriminator":
        kind: Any = DiscriminatorConfig
        values = dict(fields)
        derived, rates, variants = ("image_size",), (), ()
    else:
        kind, values = named_part(name, fields)
        derived, rates, variants = kind.derived, kind.rates, tuple(kind.variants)
    known = [f.name for f in dataclasses.fields(kind) if f.name not in derived]
    known += ["variant"] if variants else []
    for field, value in values.items():
        key = f"model.{name}.{field}"
        if field in derived:
            raise StylePrompterError(
                f"config.{key} cannot be set: it follows from config.data.image_size "
                "and the generator; remove it."
            )
        if field not in known:
            raise _unknown(key, known)
        if field == "variant" and value not in variants:
            raise _wrong(config, key, f"one of {_quoted(variants)}")
        several = value if isinstance(value, list | tuple) else (value,)
        if field in rates and not all(_is_number(x, _is_rate) for x in several):
            raise _wrong(config, key, _RATE)
        if field != "variant":
            kind.check(field, value)


def _check_kinds(config: Any) -> None:
    """Refuses two parts of one kind, and a stage that the config has no part for."""
    named: dict[str, str] = {}
    for name in config.model:
        if other := named.get(kind_of(name)):
            raise StylePrompterError(
                f"config.model has {other} and {name}, but a model has one "
                f"{kind_of(name)}: remove one of them."
            )
        named[kind_of(name)] = name
    trained = part_fields(config, kind_of(config.stage))[0].type
    if config.stage in types("refiner") and config.stage != trained:
        raise StylePrompterError(
            f"config.stage is {config.stage!r}, but the refiner of config.model has "
            f'the type {trained!r}: set the stage to "refiner" to train that one, or '
            f"put a refiner of the type {config.stage!r} into config.model instead."
        )


def _quoted(names: Any) -> str:
    return ", ".join(f'"{name}"' for name in names)


def check_groups(config: DiscriminatorConfig, local_batch_size: int) -> None:
    """Refuses a device's batch that the discriminator's groups do not divide."""
    group = config.mbstd_group
    if local_batch_size % min(group, local_batch_size):
        raise StylePrompterError(
            f"The discriminator's mbstd_group is {group}, which does not divide the "
            f"{local_batch_size} images of a device: change "
            "config.model.discriminator.mbstd_group or config.batch_size."
        )


def check_deltas(config: Any, model: StylePrompterConfig) -> None:
    """Refuses to train deltas that the encoder does not have."""
    encoder = model.encoder
    if config.stage != "encoder" or encoder is None or encoder.has_deltas:
        return
    for key, off in (("delta", 0), ("delta_start", None)):
        if config.loss.get(key, off) != off:
            raise StylePrompterError(
                f"config.loss.{key} is {config.loss[key]}, but the encoder makes each "
                "code by itself, not as w and a delta: set config.model.encoder "
                "to type psp and encoder_type Encoder4Editing, or remove the key."
            )


def check_sizes(config: Any, model: StylePrompterConfig) -> None:
    """Refuses image sizes that do not fit the encoder or the generator."""
    size, height = config.data.image_size, config.data.get("image_height")
    rows, columns, channels = model.input_shape
    if model.encoder is not None and (height or size) * columns != rows * size:
        raise StylePrompterError(
            f"config.data.image_height is {height}, but the encoder reads images of "
            f"{columns} x {rows}: set it to the encoder's, config.model.encoder."
            "image_height, or remove both."
        )
    if channels != 3 and not config.data.get("input"):
        raise StylePrompterError(
            f"config.data.input is empty, but the encoder reads {channels} channels, "
            "which no image has: set it to the kind of the encoder's input, or "
            "config.model.encoder.input_channels to 3 (6 for one in passes)."
        )
    for part, at_fault, others in (
        ("encoder", model.encoder is not None and model.encoder.image_size != size, ""),
        ("generator", model.generator.image_size % size != 0, " or a divisor of it"),
    ):
        if at_fault:
            raise StylePrompterError(
                f"config.data.image_size is {size}, but the {part} of "
                f"{config.init_from} has {getattr(model, part).image_size} px: use "
                f"{getattr(model, part).image_size}{others}."
            )


def _get(config: Any, key: str, default: Any = None) -> Any:
    """Returns the value of "a.b"; the default if it is missing or None."""
    for name in key.split("."):
        config = config.get(name)
        if config is None:
            return default
    return config


def _is_count(value: Any, least: int) -> bool:
    whole = isinstance(value, int) and not isinstance(value, bool)
    return whole and least <= value <= LARGEST


def _is_number(value: Any, is_right: Callable) -> bool:
    number = isinstance(value, int | float)
    return number and math.isfinite(value) and is_right(value)


def _is_rate(value: float) -> bool:
    return 0 <= value < 1


def _wrong(config: Any, key: str, wanted: str) -> StylePrompterError:
    return StylePrompterError(
        f"config.{key} is {shown(_get(config, key))}: it must be {wanted}."
    )


def _unknown(key: str, known: Any) -> StylePrompterError:
    names = ", ".join(known)
    close = difflib.get_close_matches(key.split(".")[-1], known, n=1)
    hint = (
        f"did you mean {close[0]}?"
        if close
        else f"remove it, or choose one of {names}."
    )
    return StylePrompterError(f"config.{key} is not known: {hint}")
