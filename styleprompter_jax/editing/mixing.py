"""Style mixing: combines the codes of two images.

It has the three modes of StylePrompter (arXiv 2307.16151; its published
`style_mixing.py`).
Axes: ``b`` batch, ``n`` codes, ``w_dim`` channels of a code.
"""

from collections.abc import Sequence
from typing import TypeVar

import jax
import numpy as np

from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.values import reals
from styleprompter_jax.editing.directions import check_layers

MODES = ("replace", "exchange", "interpolate")
Codes = TypeVar("Codes", jax.Array, np.ndarray)


def mixes(
    mode: str,
    num_codes: int,
    layers: Sequence[int] | None = None,
    alphas: Sequence[float] | None = None,
) -> dict[str, np.ndarray]:
    """Returns the mixes of a mode: the share of the reference in each code.

    "replace" takes a growing number of first codes from the reference: none, the first,
    the first two, ..., all n. "exchange" takes one code at a time. "interpolate" moves
    all codes from the source to the reference.

    NOTE(reference): in the published code, "replace" ends at n - 1 codes, and alpha is
    the share of the source.

    Args:
        mode: one of `MODES`.
        num_codes: n.
        layers: indices of the codes that may come from the reference; "replace" then
            adds them in this order. By default all.
        alphas: shares of the reference for "interpolate"; by default 0, 0.1, ..., 1.

    Returns:
        float32 (n,) by a short name: the share of the reference in each code.

    Raises:
        StylePrompterError: for an unknown mode or layer, shares for another mode than
            "interpolate", or two shares that would have the same name.
    """
    if mode not in MODES:
        raise StylePrompterError(
            f"mode is {mode!r}: it must be one of {', '.join(MODES)}."
        )
    if alphas is not None and mode != "interpolate":
        raise StylePrompterError(
            f"Shares are for mode interpolate, not for {mode}: leave out alphas "
            "(--alpha)."
        )
    chosen = check_layers(layers, num_codes)
    layers = list(range(num_codes)) if chosen is None else chosen

    def share(chosen: Sequence[int], alpha: float | np.floating = 1.0) -> np.ndarray:
        return np.isin(np.arange(num_codes), chosen).astype(np.float32) * alpha

    if mode == "replace":
        counts = range(len(layers) + 1)
        return {f"replace_{k}": share(layers[:k]) for k in counts}
    if mode == "exchange":
        return {f"exchange_{layer}": share([layer]) for layer in layers}
    given = np.linspace(0, 1, 11) if alphas is None else alphas
    shares = reals(given, "alphas (--alpha)")
    found = {f"interpolate_{a:g}": share(layers, np.float32(a)) for a in shares}
    if len(found) < len(shares):
        raise StylePrompterError(
            "Two shares would have the same name: give shares that differ in their "
            "first six digits."
        )
    return found


def mix(source: Codes, reference: Codes, share: np.ndarray | Sequence[float]) -> Codes:
    """Interpolates between the codes of source and reference.

    Args:
        source: (b, n, w_dim).
        reference: (b, n, w_dim).
        share: (n,), the share of the reference; see `mixes`.

    Returns:
        (b, n, w_dim).
    """
    share = np.asarray(share, np.float32)[:, None]
    return source * (1 - share) + reference * share
