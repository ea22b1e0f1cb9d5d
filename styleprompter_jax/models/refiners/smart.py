"""SMART: refines a generator's map with the encoder's maps (arXiv 2307.16151, 3.3).

Each cell of the generator's map attends to the cells of every encoder map that cover
it, or that it covers. A small MLP follows.

Axes: b batch, h w space, c channels, k cells of the coarser of two maps, p queries
and j keys inside one of those, e heads, d channels of one head.
"""

import dataclasses
import functools
import math
import operator
from collections.abc import Callable, Sequence
from typing import Annotated, Any, ClassVar, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange

from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.fields import Between
from styleprompter_jax.models.refiners.layers import LayerRefiner
from styleprompter_jax.models.registry import Layers, RefinerBase
from styleprompter_jax.ops import product
from styleprompter_jax.ops.windows import coarser, window_partition, window_reverse

_kernel_init = nn.initializers.xavier_uniform()


@dataclasses.dataclass(frozen=True)
class SmartConfig(RefinerBase):
    """Architecture of SMART.

    Attributes:
        refined_layers: layers of the generator whose maps are refined.  Layer l has
            2**((l + 4) // 2) cells a side; the paper's F_5 is layer 4, at 16x16.
        num_heads: attention heads.
        ffn_dim: hidden width of the MLP.
        dropout: rate of the three dropouts.
        attention: "linear" uses q.k itself as weight, as published; "softmax" uses the
            softmax of q.k / sqrt(d) over all keys of a query.
    """

    type = "smart"
    # The weights of the retrieved values and of the MLP; see `SmartBlock`.
    options: ClassVar = {"beta": (1.0, 1.0)}
    edit_options: ClassVar = {"beta": (0.5, 0.5)}
    title = "SMART"
    rates = ("dropout",)

    refined_layers: Layers = (4,)
    num_heads: Annotated[int, Between(1, 1024)] = 4
    ffn_dim: Annotated[int, Between(1, 2**16)] = 1024
    dropout: Annotated[float, Between(0, 1)] = 0.1
    attention: Literal["linear", "softmax"] = "linear"


def retrieve(
    query: jax.Array,
    keys_values: Sequence[jax.Array],
    num_heads: int,
    attention: str = "linear",
) -> jax.Array:
    """Computes local attention of a map to other maps.

    The cells of the coarser of two maps are their *grid*: a query sees the keys in the
    same cell of the grid. That is one key of a coarser map, or a square of keys of a
    finer map. The pattern is regular, so the function needs no gather and repeats no
    key.

    Args:
        query: (b, h, h, c).
        keys_values: maps (b, s, s, 2c), with keys in the first half of the channels.
        num_heads: number of heads e; the channels are (e d).
        attention: see ``SmartConfig``.

    Returns:
        (b, h, h, c), the weighted sums of values.
    """
    size = query.shape[1]
    query = _heads(query, num_heads)
    blocks, weights, values = [], [], []  # block: queries a side of a grid cell
    for kv in keys_values:
        side = kv.shape[1]
        grid = coarser(size, side, SmartConfig.title)
        k, v = jnp.split(window_partition(kv, side // grid), 2, axis=-1)
        q = window_partition(query, size // grid)
        blocks.append(size // grid)
        weights.append(jnp.einsum("bkped,bkjed->bkpje", q, _heads(k, num_heads)))
        values.append(_heads(v, num_heads))
    # NOTE(reference): the published code has neither softmax nor 1/sqrt(d).
    if attention == "softmax":
        # The softmax needs all keys of a query: join the scores of all maps.
        scores = [
            window_reverse(w, block, size)
            for w, block in zip(weights, blocks, strict=True)
        ]
        ends = np.cumsum([s.shape[3] for s in scores])[:-1]
        joined = jnp.concatenate(scores, axis=3) / math.sqrt(query.shape[-1])
        shares = jnp.split(nn.softmax(joined, axis=3), ends, axis=3)
        weights = [
            window_partition(s, block) for s, block in zip(shares, blocks, strict=True)
        ]
    parts = [
        window_reverse(jnp.einsum("bkpje,bkjed->bkped", w, v), block, size)
        for w, v, block in zip(weights, values, blocks, strict=True)
    ]
    retrieved = functools.reduce(operator.add, parts)
    return rearrange(retrieved, "b h w e d -> b h w (e d)")


def _heads(x: jax.Array, num_heads: int) -> jax.Array:
    return rearrange(x, "... (e d) -> ... e d", e=num_heads)


class SmartBlock(nn.Module):
    """Refines the map of one layer.

    The output projections start at zero, so that training starts from the image without
    SMART. The published code starts them at random.
    """

    config: SmartConfig
    dtype: Any = None

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        features: Sequence[jax.Array],
        beta: Any = (1.0, 1.0),
        deterministic: bool = True,
    ) -> jax.Array:
        """Refines a map.

        Args:
            x: the generator's map (b, h, h, c).
            features: the encoder's maps (b, s, s, c_i); the larger of s and h must be a
                multiple of the smaller.
            beta: weights of the retrieved values and of the MLP, each a number or (b,);
                (0, 0) leaves x plus the bias of ``proj``.
            deterministic: True uses no dropout; False needs the RNG stream "dropout".

        Returns:
            (b, h, h, c).
        """
        cfg = self.config
        channels = x.shape[-1]
        if channels % cfg.num_heads:
            raise StylePrompterError(
                f"SMART: {channels} channels do not divide into {cfg.num_heads} heads: "
                "change num_heads."
            )
        beta_1, beta_2 = (jnp.reshape(y, (-1, 1, 1, 1)).astype(x.dtype) for y in beta)
        zeros = nn.initializers.zeros

        def dense(width: int, name: str, init: Callable = _kernel_init) -> nn.Dense:
            return nn.Dense(
                width,
                kernel_init=init,
                dtype=self.dtype,
                dot_general=product.dot_general,
                name=name,
            )

        def drop(y: jax.Array) -> jax.Array:
            return nn.Dropout(cfg.dropout)(y, deterministic=deterministic)

        query = dense(channels, "query_proj")(x)
        keys_values = [
            dense(2 * channels, f"input_proj_{i}")(feature)
            for i, feature in enumerate(features)
        ]
        retrieved = retrieve(query, keys_values, cfg.num_heads, cfg.attention)
        x = x + drop(dense(channels, "proj", zeros)(beta_1 * retrieved))
        y = drop(nn.relu(dense(cfg.ffn_dim, "linear1")(x)))
        return x + beta_2 * drop(dense(channels, "linear2", zeros)(y))


class Smart(LayerRefiner):
    """One `SmartBlock` for each refined layer of the generator."""

    block = SmartBlock
