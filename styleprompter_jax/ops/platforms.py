"""Forms of an operation for different platforms, of which a program has one."""

import contextlib
import contextvars
from collections.abc import Callable, Iterator
from typing import Any

from jax import lax

_known: contextvars.ContextVar[str | None] = contextvars.ContextVar(
    "platform", default=None
)


@contextlib.contextmanager
def traced_for(platform: str) -> Iterator[None]:
    """Says that all code traced in the block is for one platform.

    `by_platform` then traces and differentiates one form instead of all, which saves a
    third of the tracing time of a generator's step. Enter the block within the traced
    function: JAX keeps traces, and does not know this setting.

    Args:
        platform: "cpu" or "tpu". Others do not matter, because a "gpu" is either
            "cuda" or "rocm".
    """
    token = _known.set(platform if platform in ("cpu", "tpu") else None)
    try:
        yield
    finally:
        _known.reset(token)


def by_platform(*args: Any, default: Callable, **forms: Callable) -> Any:
    """Calls the form for the platform of the program.

    Args:
        args: arguments of the forms.
        default: the form for other platforms.
        forms: other forms, by "cpu", "tpu", "cuda" or "rocm".
    """
    if (known := _known.get()) is not None:
        return forms.get(known, default)(*args)
    return lax.platform_dependent(*args, default=default, **forms)
