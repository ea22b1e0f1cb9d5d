"""The layers of SwinV2 with latent tokens; see `swin`.

Axes: b batch, h w space, c channels, k windows of one image, p (and q) cells of one
window, n (and m) latent tokens, e heads, d channels of one head.
"""

import functools
import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange, repeat

from styleprompter_jax.ops import product, windows
from styleprompter_jax.ops.attention import attend, logits, normalize

Dense = functools.partial(
    nn.Dense,
    kernel_init=nn.initializers.truncated_normal(0.02),
    dot_general=product.dot_general,
)
LayerNorm = functools.partial(nn.LayerNorm, epsilon=1e-5)
_SHIFT_MASK = -100.0  # added between cells that only the shift made neighbours


def gelu(x: jax.Array) -> jax.Array:
    """Applies the exact GELU, in at least float32.

    It uses erf. JAX's own GELU uses erfc, and the many branches of erfc cost XLA:CPU as
    much time as the next matrix product.
    """
    x32 = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    return (0.5 * x32 * (1 + jax.lax.erf(x32 * math.sqrt(0.5)))).astype(x.dtype)


class WindowAttention(nn.Module):
    """Cosine attention inside windows, together with the image's latent tokens.

    In a window, cells and tokens attend to cells and tokens. Only pairs of cells have a
    position bias and a shift mask. All windows of an image get the same tokens, so
    their queries, keys and values are computed once.
    """

    num_heads: int
    window: int
    dtype: Any = None

    @nn.compact
    def __call__(
        self, x: jax.Array, num_tokens: int, regions: np.ndarray | None = None
    ) -> jax.Array:
        """Attends within each window, and from and to the tokens.

        Args:
            x: (b, s, c), the cells of all windows, then the tokens: s = k p + n.
            num_tokens: n.
            regions: (k, p) of shifted windows, or None.

        Returns:
            (b, s, c); the results of the tokens are summed over the windows.
        """
        channels, cells, n = x.shape[-1], self.window**2, num_tokens
        num_windows = (x.shape[1] - n) // cells
        zeros = nn.initializers.zeros
        q_bias = self.param("q_bias", zeros, (channels,))
        v_bias = self.param("v_bias", zeros, (channels,))
        logit_scale = self.param(
            "logit_scale", nn.initializers.constant(math.log(10)), (self.num_heads,)
        )
        qkv_bias = jnp.concatenate([q_bias, jnp.zeros_like(q_bias), v_bias])
        scale = jnp.exp(jnp.minimum(logit_scale, math.log(100)))[:, None]

        y = Dense(3 * channels, use_bias=False, dtype=self.dtype, name="qkv")(x)
        y = y + qkv_bias.astype(y.dtype)
        q, k, v = rearrange(y, "b s (t e d) -> t b s e d", t=3, e=self.num_heads)

        def split(y: jax.Array) -> tuple[jax.Array, jax.Array]:
            y, t = y[:, :-n], y[:, -n:]
            y = rearrange(y, "b (k p) e d -> b k e p d", k=num_windows)
            return y, repeat(t, "b n e d -> b k e n d", k=num_windows)

        q = jnp.concatenate(split(normalize(q, scale)), axis=-2)
        (k, tk), (v, tv) = split(normalize(k)), split(v)
        bias = jnp.pad(self.position_bias(regions), ((0, 0), (0, 0), (0, n), (0, 0)))
        y = attend((logits(q, k) + bias, v), (logits(q, tk), tv)).astype(v.dtype)
        y, t = y[..., :cells, :], y[..., cells:, :]
        # The sum of the windows' projections is k times the projection of their mean,
        # and NOTE(reference): so it counts the projection's bias k times.
        y = rearrange(y, "b k e p d -> b (k p) (e d)")
        t = rearrange(t.mean(axis=1), "b e n d -> b n (e d)")
        y = jnp.concatenate([y, t], axis=1)
        y = Dense(channels, dtype=self.dtype, name="proj")(y)
        times = np.where(np.arange(y.shape[1]) < num_windows * cells, 1, num_windows)
        return y * times[:, None].astype(y.dtype)

    def position_bias(self, regions: np.ndarray | None) -> jax.Array:
        """Returns the bias between cells (1, e, p, p); with a shift (k, e, p, p)."""
        table = jnp.asarray(windows.log_offsets(self.window), jnp.result_type(float))
        table = nn.relu(Dense(512, name="cpb_mlp_0")(table))
        table = Dense(self.num_heads, use_bias=False, name="cpb_mlp_2")(table)
        table = rearrange(16 * nn.sigmoid(table), "y x e -> e y x")
        bias = windows.spread_offsets(table)[None]
        if regions is None:
            return bias
        apart = regions[:, None, :, None] != regions[:, None, None, :]
        return bias + jnp.where(apart, _SHIFT_MASK, 0.0).astype(bias.dtype)


class Mlp(nn.Module):
    """Two layers with the exact GELU between them, from (..., c) to (..., c)."""

    hidden: int
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps (..., c) to (..., c)."""
        y = Dense(self.hidden, dtype=self.dtype, name="fc1")(x)
        y = gelu(y)
        return Dense(x.shape[-1], dtype=self.dtype, name="fc2")(y)


class SwinBlock(nn.Module):
    """Window attention and MLP, each normalised *after* it ran (SwinV2, section 3.2).

    The norms start at zero, as in SwinV2, so that every block starts as the identity.
    """

    num_heads: int
    window: int
    shift: int
    mlp_ratio: int = 4
    drop_path: float = 0.0
    dtype: Any = None
    token_mlp: bool = False

    @nn.compact
    def __call__(
        self, x: jax.Array, tokens: jax.Array, deterministic: bool = True
    ) -> tuple[jax.Array, jax.Array]:
        """Maps x (b, h, w, c) and tokens (b, n, c) to the same shapes.

        The tokens share the attention's norm with the cells. They skip the MLP, unless
        `token_mlp` is true; then they share it and its norm too.
        """
        size, channels = x.shape[1], x.shape[-1]
        norm = dict(scale_init=nn.initializers.zeros, dtype=self.dtype)
        norm1 = LayerNorm(name="norm1", **norm)
        norm2 = LayerNorm(name="norm2", **norm)

        def drop_path(y: jax.Array) -> jax.Array:
            axes = tuple(range(1, y.ndim))
            drop = nn.Dropout(self.drop_path, axes, rng_collection="drop_path")
            return drop(y, deterministic=deterministic)

        shift, regions, n = self.shift, None, tokens.shape[1]
        y = x
        if shift:
            y = jnp.roll(y, (-shift, -shift), axis=(1, 2))
            regions = windows.shift_regions(size, self.window, shift)
        y = rearrange(windows.window_partition(y, self.window), "b k p c -> b (k p) c")
        y = jnp.concatenate([y, tokens], axis=1)
        attn = WindowAttention(self.num_heads, self.window, self.dtype, name="attn")
        y = norm1(attn(y, n, regions))
        y, t = y[:, :-n], y[:, -n:]
        y = rearrange(y, "b (k p) c -> b k p c", p=self.window**2)
        y = windows.window_reverse(y, self.window, size)
        if shift:
            y = jnp.roll(y, (shift, shift), axis=(1, 2))
        x = x + drop_path(y)
        tokens = tokens + drop_path(t)
        mlp = Mlp(self.mlp_ratio * channels, self.dtype, name="mlp")
        if self.token_mlp:
            tokens = tokens + drop_path(norm2(mlp(tokens)))
        return x + drop_path(norm2(mlp(x))), tokens


class PatchMerging(nn.Module):
    """Halves a map and doubles its channels, (b, h, w, c) to (b, h/2, w/2, 2c)."""

    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps (b, h, w, c) to (b, h/2, w/2, 2c)."""
        channels = x.shape[-1]
        # Rows change fastest: (even, even), (odd row, even column), (even, odd), ...
        x = rearrange(x, "b (h y) (w x) c -> b h w (x y c)", y=2, x=2)
        x = Dense(2 * channels, use_bias=False, dtype=self.dtype, name="reduction")(x)
        return LayerNorm(dtype=self.dtype, name="norm")(x)


class PatchEmbed(nn.Module):
    """Makes a vector of each patch, (b, s, s, 3) to (b, s/patch, s/patch, channels)."""

    channels: int
    patch: int
    dtype: Any = None

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        """Maps (b, s, s, 3) to (b, s/patch, s/patch, channels)."""
        x = nn.Conv(
            self.channels,
            (self.patch, self.patch),
            (self.patch, self.patch),
            padding="VALID",
            dtype=self.dtype,
            name="proj",
        )(images)
        return LayerNorm(dtype=self.dtype, name="norm")(x)


class PredictionHead(nn.Module):
    """Three layers with tanh between them, from (b, n, c) to (b, n, w_dim)."""

    hidden: int
    w_dim: int
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps (b, n, c) to (b, n, w_dim)."""
        x = nn.tanh(Dense(self.hidden, dtype=self.dtype, name="layers_0")(x))
        x = nn.tanh(Dense(self.hidden, dtype=self.dtype, name="layers_1")(x))
        return Dense(self.w_dim, dtype=self.dtype, name="layers_2")(x)
