"""What a config may say, checked before anything is made or written."""

import dataclasses
import difflib
import math

from styleprompter_jax.data.loader import CROPS
from styleprompter_jax.errors import StylePrompterError
from styleprompter_jax.models.discriminator import DiscriminatorConfig
from styleprompter_jax.models.smart import SmartConfig
from styleprompter_jax.models.style_prompter import StylePrompterConfig
from styleprompter_jax.models.stylegan2 import NOISE_MODES, GeneratorConfig
from styleprompter_jax.models.swin import VARIANTS, SwinConfig

# The least that a whole number may be.
COUNTS = {
    "batch_size": 1,
    "total_steps": 1,
    "log_every": 1,
    "eval_every": 1,
    "checkpoint_every": 1,
    "data.image_size": 1,
    "data.workers": 0,
    "optimizer.warmup_steps": 0,
    "optimizer.accumulate": 1,
    "loss.r1_every": 1,
    "loss.path_length_every": 1,
}
NOT_NEGATIVE = ("optimizer.clip_norm", "optimizer.ema_images")
CHOICES = {
    "stage": ("generator", "encoder", "smart"),
    "dtype": ("float32", "bfloat16"),
    "on_nan": ("stop", "skip"),
    "data.crop": CROPS,
    "data.on_bad": ("error", "skip"),
    "loss.noise_mode": NOISE_MODES,
    "model.encoder.variant": tuple(VARIANTS),
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
# What config.model may hold, and which fields are not free but follow from others.
# The encoder also takes "variant", of which other fields are changes.
PARTS = {
    "generator": (GeneratorConfig, ()),
    "discriminator": (DiscriminatorConfig, ("image_size",)),
    "encoder": (SwinConfig, ("image_size", "num_tokens", "w_dim")),
    "smart": (SmartConfig, ()),
}
RATES = ("dropout", "drop_path")


def check_settings(config) -> None:
    """Raises a StylePrompterError for what no training can use.

    What depends on data, devices or the model to start from is checked where those
    are known.
    """
    for key in REQUIRED:
        if _get(config, key) is None:
            raise StylePrompterError(
                f"The config has no {key}: see docs/training.md and configs/."
            )
    for key, choices in CHOICES.items():
        if _get(config, key) not in (None, *choices):
            names = ", ".join(f'"{choice}"' for choice in choices)
            raise _wrong(config, key, f"one of {names}")
    for key, least in COUNTS.items():
        value = _get(config, key)
        if value is not None and not _is_count(value, least):
            raise _wrong(config, key, f"a whole number of {least} or more")
    for key in NOT_NEGATIVE:
        value = _get(config, key)
        if value is not None and not 0 <= value < math.inf:
            raise _wrong(config, key, "a number of 0 or more")
    rate = config.learning_rate
    if not isinstance(rate, int | float) or not 0 < rate < math.inf:
        raise _wrong(config, "learning_rate", "a number above 0")
    for part, fields in config.model.items():
        if part not in PARTS:
            raise _unknown(f"model.{part}", PARTS)
        _check_part(config, part, fields)
    if config.stage == "generator":
        size = _get(config, "model.generator.image_size")
        if size != config.data.image_size:
            raise StylePrompterError(
                f"config.data.image_size is {config.data.image_size}, and "
                f"config.model.generator.image_size is {size}: set both to one size."
            )


def _check_part(config, part: str, fields) -> None:
    kind, derived = PARTS[part]
    known = [f.name for f in dataclasses.fields(kind) if f.name not in derived]
    known += ["variant"] if part == "encoder" else []
    for name, value in fields.items():
        key = f"model.{part}.{name}"
        if name in derived:
            raise StylePrompterError(
                f"config.{key} is not free: it follows from config.data.image_size and "
                "the generator; remove it."
            )
        if name not in known:
            raise _unknown(key, known)
        for one in value if isinstance(value, list | tuple) else (value,):
            if isinstance(one, bool):
                continue
            if isinstance(one, int) and one < 1:
                raise _wrong(config, key, "1 or more")
            if name in RATES and not 0 <= one < 1:
                raise _wrong(config, key, "from 0 to less than 1")


def check_groups(config, local_batch_size: int) -> None:
    """Refuses a batch of one device that does not divide into the discriminator's."""
    if config.stage == "generator":
        group = config.model.discriminator.get("mbstd_group", 4)
        if local_batch_size % min(group, local_batch_size):
            raise StylePrompterError(
                f"config.model.discriminator.mbstd_group is {group}, which does not "
                f"divide the {local_batch_size} images of a device: change it or "
                "config.batch_size."
            )


def check_sizes(config, model: StylePrompterConfig) -> None:
    """Refuses pictures of a size that encoder and generator cannot be trained with."""
    size = config.data.image_size
    for part, at_fault in (
        ("encoder", model.encoder.image_size != size),
        ("generator", model.generator.image_size % size != 0),
    ):
        if at_fault:
            raise StylePrompterError(
                f"config.data.image_size is {size}, and the {part} of "
                f"{config.init_from} has {getattr(model, part).image_size} px: use "
                f"{getattr(model, part).image_size}."
            )


def _get(config, key: str):
    """The value of "a.b"; None where there is none."""
    for name in key.split("."):
        config = config.get(name)
        if config is None:
            return None
    return config


def _is_count(value, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _wrong(config, key: str, wanted: str) -> StylePrompterError:
    return StylePrompterError(
        f"config.{key} is {_get(config, key)!r}: it must be {wanted}."
    )


def _unknown(key: str, known) -> StylePrompterError:
    names = ", ".join(known)
    close = difflib.get_close_matches(key.split(".")[-1], known, n=1)
    hint = f"did you mean {close[0]}?" if close else f"there are {names}."
    return StylePrompterError(f"config.{key} is not known: {hint}")
