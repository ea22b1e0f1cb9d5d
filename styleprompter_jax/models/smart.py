"""SMART: refines maps of the generator by local cross-attention (paper, section 3.3).

Each cell of a generator map asks the encoder's feature maps what the codes have lost
at its place.  It sees only the cells that cover it: one cell of a map that is not
finer, a block of a map that is.

Axes: b batch, h w cells of the generator's map, y x cells of the coarser of two maps,
q queries and k keys inside such a cell, e heads, d channels of one head, c channels.
"""

import dataclasses
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from einops import rearrange

from styleprompter_jax.errors import StylePrompterError

ATTENTION = ("linear", "softmax")


@dataclasses.dataclass(frozen=True)
class SmartConfig:
    """Where and how SMART refines.

    Attributes:
      refined_layers: layers l of the generator, each with a block of its own; layer l
        is a map of 2^((l + 4) // 2) px, for even l before its block's RGB layer
        reads it and for odd l after.
      num_heads: attention heads.
      ffn_dim: hidden width of the feed-forward part.
      dropout: rate in training.
      attention: "linear" (no softmax and no scale, what published weights expect) or
        "softmax" (of q.k / sqrt d).
    """

    refined_layers: tuple[int, ...] = (4,)
    num_heads: int = 4
    ffn_dim: int = 1024
    dropout: float = 0.1
    attention: str = "linear"

    def __post_init__(self):
        object.__setattr__(self, "refined_layers", tuple(self.refined_layers))
        if self.attention not in ATTENTION:
            raise StylePrompterError(
                f"SmartConfig: attention {self.attention!r} is none of "
                f"{', '.join(ATTENTION)}."
            )


class SmartBlock(nn.Module):
    """Refines one map of the generator.

    NOTE(reference): no LayerNorm, and in "linear" attention neither softmax nor
    1/sqrt(d).  We differ at the start of a training only: ``proj`` and ``linear2``
    begin at zero, so that the first image is the unrefined one.
    """

    config: SmartConfig
    dtype: Any = None

    @nn.compact
    def __call__(self, x, features, beta=(1.0, 1.0), deterministic: bool = True):
        """Refines a map.

        Args:
          x: (b, h, w, c), c a multiple of num_heads.
          features: encoder maps (b, s, s, c_i); s divides h or h divides s.
          beta: weights of retrieval and feed-forward part, each () or (b,).
          deterministic: no dropout; else it needs the RNG "dropout".

        Returns:
          (b, h, w, c).  beta (0, 0) gives x plus the bias of ``proj``.
        """
        cfg, channels = self.config, x.shape[-1]
        dense = dict(dtype=self.dtype)
        zero = dict(kernel_init=nn.initializers.zeros, **dense)
        drop = nn.Dropout(cfg.dropout, deterministic=deterministic)
        b1, b2 = (
            jnp.asarray(b, x.dtype).reshape(-1, 1, 1, 1) for b in (beta[0], beta[1])
        )

        q = nn.Dense(channels, name="query_proj", **dense)(x)
        keys, values = [], []
        for i, feature in enumerate(features):
            kv = nn.Dense(2 * channels, name=f"input_proj_{i}", **dense)(feature)
            key, value = jnp.split(kv, 2, axis=-1)
            keys.append(key)
            values.append(value)
        attend = linear_attention if cfg.attention == "linear" else softmax_attention
        y = attend(q, keys, values, cfg.num_heads)
        x = x + drop(nn.Dense(channels, name="proj", **zero)(b1 * y))

        y = drop(nn.relu(nn.Dense(cfg.ffn_dim, name="linear1", **dense)(x)))
        return x + b2 * drop(nn.Dense(channels, name="linear2", **zero)(y))


class Smart(nn.Module):
    """One `SmartBlock` for each refined layer, named ``layer_{l}``."""

    config: SmartConfig
    dtype: Any = None

    def setup(self):
        self.layer = {
            str(layer): SmartBlock(self.config, self.dtype)
            for layer in self.config.refined_layers
        }

    def __call__(self, layer, x, features, beta=(1.0, 1.0), deterministic=True):
        """Refines the map of one layer; arguments as `SmartBlock`."""
        return self.layer[str(layer)](x, features, beta, deterministic)


def linear_attention(q, keys, values, num_heads: int):
    """sum_j (q . k_j) v_j over the cells that cover each query, head by head.

    q (b, h, w, c); keys and values, one of each a map, (b, s, s, c) -> (b, h, w, c).
    """
    result = 0
    for key, value in zip(keys, values, strict=True):
        q_cells, k_cells, v_cells = _cells(q, key, value, num_heads)
        logits = _logits(q_cells, k_cells)
        result += _gather(logits, v_cells, q.shape[1])
    return result


def softmax_attention(q, keys, values, num_heads: int):
    """As `linear_attention`, with softmax(q . k_j / sqrt d) over all maps' cells."""
    scale = (q.shape[-1] // num_heads) ** -0.5
    size = q.shape[1]
    cells = [_cells(q, *kv, num_heads) for kv in zip(keys, values, strict=True)]
    logits = [_logits(qc, kc) * scale for qc, kc, _ in cells]
    # Per query and on the generator's grid, where the maps' cells meet.
    flat = [_to_grid(x, size) for x in logits]
    weights = nn.softmax(jnp.concatenate(flat, axis=-1), axis=-1)
    result, start = 0, 0
    for x, (_, _, v_cells) in zip(flat, cells, strict=True):
        part = weights[..., start : start + x.shape[-1]]
        start += x.shape[-1]
        grid = v_cells.shape[1]
        part = rearrange(part, "b (y p) (x r) e k -> b y x (p r) k e", y=grid, x=grid)
        result += _gather(part, v_cells, size)
    return result


def _cells(q, key, value, num_heads: int):
    """Cells of the coarser grid: q (b y x q e d), key and value (b y x k e d).

    One of q and k is 1: either several queries share a key, or one has several.
    """
    grid = min(q.shape[1], key.shape[1])
    pattern = "b (y p) (x r) (e d) -> b y x (p r) e d"
    return [rearrange(a, pattern, y=grid, x=grid, e=num_heads) for a in (q, key, value)]


def _logits(q, k):
    """(b y x q e d), (b y x k e d) -> (b y x q k e).

    As a product and a sum, since the matrices of a matmul would be a few cells small.
    """
    return jnp.sum(q[:, :, :, :, None] * k[:, :, :, None], axis=-1)


def _gather(weights, values, size: int):
    """(b y x q k e), (b y x k e d) -> (b, size, size, c)."""
    y = jnp.sum(weights[..., None] * values[:, :, :, None], axis=4)
    p = size // y.shape[1]
    return rearrange(y, "b y x (p r) e d -> b (y p) (x r) (e d)", p=p)


def _to_grid(logits, size: int):
    """(b y x q k e) -> (b, size, size, e, k)."""
    p = size // logits.shape[1]
    return rearrange(logits, "b y x (p r) k e -> b (y p) (x r) e k", p=p)
