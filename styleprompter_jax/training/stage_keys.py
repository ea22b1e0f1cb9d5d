"""The keys of a config that a stage needs, and those that only some stages read."""

from typing import Any

from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.values import shown
from styleprompter_jax.losses import CODES, CROPPED, PERCEPTUAL, RECONSTRUCTION

# Losses of codes: only stage "encoder" trains what makes the codes.
OF_CODES = (*CODES, "discriminator")
# The weights of the stages that invert.
WEIGHTS = (
    *RECONSTRUCTION,
    *OF_CODES,
    *PERCEPTUAL,
    *(f"{name}_crop" for name in CROPPED),
)

_ENCODER = (
    *(f"loss.{name}" for name in OF_CODES),
    *("loss.delta_start", "loss.delta_every", "loss.pool_size"),
    "optimizer.discriminator_rate",
)
_ENCODER_AND_REFINER = (
    *(f"loss.{name}" for name in WEIGHTS if name not in OF_CODES),
    *(f"loss.{name}_weights" for name in PERCEPTUAL),
    *("data.input", "data.input_path", "data.image_height", "data.factors"),
    *("optimizer.name", "optimizer.weight_decay", "optimizer.centralize_logit_scale"),
    *("optimizer.schedule", "optimizer.warmup_steps"),
    *("optimizer.clip_norm", "optimizer.accumulate"),
)
_GENERATOR = (
    *("loss.style_mixing", "loss.noise_mode"),
    *("loss.path_length_weight", "loss.path_length_every"),
    *("loss.blur_sigma", "loss.blur_images"),
    *("loss.augment", "loss.augment_p", "loss.augment_target", "loss.augment_images"),
    "optimizer.frozen_blocks",
)
_GENERATOR_AND_ENCODER = ("loss.r1_gamma", "loss.r1_every")
# Keys that have no default, of all stages and of each stage.
_NEEDED = ("optimizer.beta1", "optimizer.beta2", "optimizer.eps")
_NEEDED_TO_INVERT = ("optimizer.name", "optimizer.schedule")
_NEEDED_TO_GENERATE = (
    *("loss.r1_gamma", "loss.r1_every", "loss.style_mixing", "loss.noise_mode"),
    "optimizer.ema_images",
)
# Values that ask for nothing.
_IDLE = (None, False, 0, "", "none")


def needed_keys(config: Any) -> list[str]:
    """Returns the keys without a default that a run of this config reads."""
    loss, optimizer = config.loss, config.optimizer
    augment = loss.get("augment", "none")
    if config.stage != "generator":
        keys: tuple[str, ...] = _NEEDED_TO_INVERT
        more = {"optimizer.weight_decay": optimizer.get("name") == "adamw"}
    else:
        keys = _NEEDED_TO_GENERATE
        more = {
            "loss.path_length_every": loss.get("path_length_weight"),
            "loss.blur_sigma": loss.get("blur_images"),
            "loss.augment_p": augment != "none",
            "loss.augment_target": augment == "adaptive",
            "loss.augment_images": augment == "adaptive",
        }
    return [*_NEEDED, *keys, *(key for key, used in more.items() if used)]


def check_stage_keys(config: Any) -> None:
    """Refuses a key that asks for something which config.stage does not do."""
    unread: dict[str, tuple[str, ...]] = {
        "generator": (*_ENCODER, *_ENCODER_AND_REFINER),
        "encoder": _GENERATOR,
    }
    refiner = (*_GENERATOR, *_ENCODER, *_GENERATOR_AND_ENCODER)
    for key in unread.get(config.stage, refiner):
        group, name = key.split(".")
        value = config[group].get(name)
        if value not in _IDLE:
            raise StylePrompterError(
                f"config.{key} is {shown(value)}, but stage {config.stage!r} does not "
                "read it: remove it."
            )
