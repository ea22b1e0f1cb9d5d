"""An optimiser that treats the layers of each code separately.

An encoder may stack the arrays of the layers of several codes along a first axis, to
compute them at once.  This optimiser treats each of them as an array of its own: it
centres gradients, keeps moments and counts steps for each.  While a code does not
train, its layers and their optimiser state do not change; later they begin at step 0.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

_OTHERS = "others"  # the layers that all codes share


def by_layer(
    optimizer: optax.GradientTransformation, codes: Mapping[str, np.ndarray]
) -> optax.GradientTransformationExtraArgs:
    """Applies ``optimizer`` to each code's layers, and once to all other layers.

    Args:
        optimizer: an optimiser whose state consists of arrays.
        codes: the codes of each layer, from `EncoderBase.codes_of_layers`.

    Returns:
        A transformation of an encoder's parameters.  Its update takes ``deltas``, the
        number of codes after the first that train; None means all.
    """

    def groups(tree: Any) -> dict[str, Any]:
        named = {name: tree[name] for name in codes if name in tree}
        return named | {_OTHERS: {k: v for k, v in tree.items() if k not in codes}}

    def mapped(name: str, function: Any) -> Any:
        return jax.vmap(function) if name != _OTHERS and codes[name].ndim else function

    def init(params: Any) -> Any:
        return {
            name: mapped(name, optimizer.init)(group)
            for name, group in groups(params).items()
        }

    def update(
        gradients: Any,
        state: Any,
        params: Any = None,
        *,
        deltas: jax.Array | None = None,
        **_: Any,
    ) -> tuple[Any, Any]:
        updates, after = {}, {}
        given = groups(params)
        for name, group in groups(gradients).items():
            step = mapped(name, optimizer.update)
            moved, new = step(group, state[name], given[name])
            if deltas is not None and name != _OTHERS:
                trains = jnp.asarray(codes[name] <= deltas)
                moved = _where(trains, moved, jax.tree.map(jnp.zeros_like, moved))
                new = _where(trains, new, state[name])
            updates[name], after[name] = moved, new
        return updates.pop(_OTHERS) | updates, after

    return optax.GradientTransformationExtraArgs(init, update)


def _where(trains: jax.Array, new: Any, old: Any) -> Any:
    """Returns the new tree where ``trains`` is true, and the old tree elsewhere."""

    def choose(a: Any, b: Any) -> Any:
        # The learning rate depends on the steps of the run.
        if isinstance(a, optax.ScaleByScheduleState):
            return a
        axes = tuple(range(trains.ndim, a.ndim))
        return jnp.where(jnp.expand_dims(trains, axes), a, b)

    return jax.tree.map(
        choose, new, old, is_leaf=lambda x: isinstance(x, optax.ScaleByScheduleState)
    )
