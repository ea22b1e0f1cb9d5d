"""What a config may say, checked before anything is made or written."""

from styleprompter_jax.data.loader import CROPS
from styleprompter_jax.errors import StylePrompterError

POSITIVE = (
    "batch_size",
    "total_steps",
    "log_every",
    "eval_every",
    "checkpoint_every",
    "data.image_size",
)
CHOICES = {
    "stage": ("generator", "encoder", "smart"),
    "dtype": ("float32", "bfloat16"),
    "on_nan": ("stop", "skip"),
    "data.crop": CROPS,
    "data.on_bad": ("error", "skip"),
}
OPTIONAL = ("on_nan", "data.crop", "data.on_bad", "data.workers")
# Of the model, what counts from 0.
INDICES = ("refined_layers",)


def check_settings(config) -> None:
    """Raises a StylePrompterError for a value that no training can use.

    What depends on data, devices or the model to start from is checked where those
    are known.
    """
    for key in POSITIVE:
        if not _is_count(_get(config, key), least=1):
            _refuse(config, key, "a whole number of 1 or more")
    for key, choices in CHOICES.items():
        if _get(config, key, choices[0]) not in choices:
            names = ", ".join(f'"{choice}"' for choice in choices)
            _refuse(config, key, f"one of {names}")
    rate = _get(config, "learning_rate")
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not rate > 0:
        _refuse(config, "learning_rate", "a number above 0")
    if not _is_count(_get(config, "data.workers", 0), least=0):
        _refuse(config, "data.workers", "a whole number of 0 or more")
    for part, fields in config.model.items():
        for name, value in fields.items():
            least = 0 if name in INDICES else 1
            values = value if isinstance(value, list | tuple) else (value,)
            for one in values:
                if isinstance(one, int) and not _is_count(one, least):
                    _refuse(config, f"model.{part}.{name}", f"{least} or more")
    if config.stage == "generator":
        size = config.model.generator.image_size
        if size != config.data.image_size:
            raise StylePrompterError(
                f"config.data.image_size is {config.data.image_size}, and "
                f"config.model.generator.image_size is {size}: set both to one size."
            )


def _get(config, key: str, *default):
    """The value of "a.b"; a key that is in no config file has its default."""
    value = config
    for name in key.split("."):
        if name not in value:
            if key in OPTIONAL:
                return default[0]
            raise StylePrompterError(
                f"The config has no {key}: see docs/training.md and configs/."
            )
        value = value[name]
    return value


def _is_count(value, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _refuse(config, key: str, wanted: str):
    raise StylePrompterError(
        f"config.{key} is {_get(config, key)!r}: it must be {wanted}."
    )
