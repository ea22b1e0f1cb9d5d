"""StylePrompter in JAX: inverts images into StyleGAN2, and edits them.

import styleprompter_jax as sp

model = sp.load("avatars64")
y, latents = model.invert(sp.read_images(paths, model.image_size))
"""

import importlib
from typing import Any

from styleprompter_jax import moved
from styleprompter_jax.core import xnnpack
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.version import __version__

moved.redirect()
xnnpack.switch_off()  # it must run before JAX starts

_LAZY = {
    "load": "inversion.pipeline",
    "StylePrompter": "inversion.pipeline",
    "Latents": "editing.latents",
    "read_images": "images.files",
    "write_images": "images.files",
    "sheet": "images.sheets",
    "train": "training.loop",
    "get_config": "training.config",
}

__all__ = ["StylePrompterError", "__version__", *_LAZY]


def __getattr__(name: str) -> Any:
    # The import of JAX takes a second, and `styleprompter --help` does not need JAX.
    if name in _LAZY:
        return getattr(importlib.import_module(f"{__name__}.{_LAZY[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return __all__
