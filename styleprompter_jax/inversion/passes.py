"""Codes by an encoder that goes in passes (ReStyle, Alaluf et al., ICCV 2021).

Each pass sees the image beside the image of the codes of the pass before, and adds to
these codes. The first pass begins with the mean code.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import flax.linen as nn
import jax.numpy as jnp

from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.programs import by_size
from styleprompter_jax.core.values import whole
from styleprompter_jax.editing.latents import Latents
from styleprompter_jax.inversion import calls
from styleprompter_jax.models.inverter import StylePrompterConfig

if TYPE_CHECKING:
    from styleprompter_jax.inversion.pipeline import StylePrompter

MOST = 1000  # passes


def check_iterations(config: StylePrompterConfig, iterations: int | None) -> int:
    """Returns the number of passes: the model's own for None, 1 without any."""
    own = calls.require(config, "encoder").passes
    if iterations is None:
        return own or 1
    if not own:
        raise StylePrompterError(
            "This model's encoder sees an image once, not in passes: leave out "
            "iterations (--iterations)."
        )
    return whole(iterations, "iterations (--iterations)", 1, MOST)


def encode_in_passes(
    model: "StylePrompter", images: Any, iterations: int | None = None
) -> list[Latents]:
    """Returns the latents after each pass; see `StylePrompter.passes`."""
    count = check_iterations(model.config, iterations)
    images = calls.check_images(model.config, images)
    asked, images = len(images), model.devices.split(images)
    batch, start = len(images), (model.module, model.variables, images)
    if not calls.require(model.config, "encoder").passes:
        return [model.devices.cut(_encode(batch, *start), asked)]
    n, w_dim = model.config.generator.num_codes, model.config.generator.w_dim
    first = jnp.broadcast_to(model.const["latent_avg"], (batch, n, w_dim))
    image = model.average_image  # in colours, even beside inputs that are not
    average = jnp.broadcast_to(image, (batch, *image.shape))
    before, shown = model.devices.split((first, average))
    found: list[Latents] = []
    for k in range(count):
        if k:
            shown = show(batch, model.module, model.variables, before)
        found.append(_encode(batch, *start, before, shown))
        before = found[-1].w_plus
    return [model.devices.cut(one, asked) for one in found]


@by_size(static_argnums=0)
def _encode(module: nn.Module, variables: Mapping, images: Any, *before: Any) -> Any:
    w_plus, features = module.apply(variables, images, *before, method="encode")
    return Latents(w_plus, tuple(map(jnp.float32, features)))


@by_size(static_argnums=0)
def show(module: nn.Module, variables: Mapping, w_plus: Any) -> Any:
    """Codes as the encoder sees them; see `models.inverter`."""
    return module.apply(variables, w_plus, method="show")
