"""Tables for the encoder: a published checkpoint, and the ImageNet file to start from.

Both use the same keys for SwinV2. The target has the parameters of
``models.encoders.swin.SwinEncoder``.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from styleprompter_jax.convert.found import Found, others_beside, unused
from styleprompter_jax.convert.states import find_state
from styleprompter_jax.convert.table import (
    Buffer,
    Ignored,
    Kept,
    Row,
    Rule,
    count,
    prefixed,
    size,
)
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.models.encoders.swin import SwinConfig
from styleprompter_jax.ops import windows

_BLOCK, _BLOCK_KEY = "layers_{i}_blocks_{j}", "layers.{i}.blocks.{j}"
_LINEAR = "o i -> i o"


def _linear(target: str, source: str, bias: bool = True) -> tuple[Rule, ...]:
    """Returns the rows of a linear layer."""
    kernel = Rule(f"{target}/kernel", f"{source}.weight", _LINEAR)
    return (kernel, Rule(f"{target}/bias", f"{source}.bias")) if bias else (kernel,)


def _norm(target: str, source: str) -> tuple[Rule, ...]:
    """Returns the rows of a LayerNorm."""
    return (
        Rule(f"{target}/scale", f"{source}.weight"),
        Rule(f"{target}/bias", f"{source}.bias"),
    )


_BACKBONE = (
    Rule("patch_embed/proj/kernel", "patch_embed.proj.weight", "o i h w -> h w i o"),
    Rule("patch_embed/proj/bias", "patch_embed.proj.bias"),
    *_norm("patch_embed/norm", "patch_embed.norm"),
    *_norm(f"{_BLOCK}/norm1", f"{_BLOCK_KEY}.norm1"),
    *_norm(f"{_BLOCK}/norm2", f"{_BLOCK_KEY}.norm2"),
    Rule(f"{_BLOCK}/attn/logit_scale", f"{_BLOCK_KEY}.attn.logit_scale", "e 1 1 -> e"),
    Rule(f"{_BLOCK}/attn/q_bias", f"{_BLOCK_KEY}.attn.q_bias"),
    Rule(f"{_BLOCK}/attn/v_bias", f"{_BLOCK_KEY}.attn.v_bias"),
    *_linear(f"{_BLOCK}/attn/cpb_mlp_0", f"{_BLOCK_KEY}.attn.cpb_mlp.0"),
    *_linear(f"{_BLOCK}/attn/cpb_mlp_2", f"{_BLOCK_KEY}.attn.cpb_mlp.2", bias=False),
    *_linear(f"{_BLOCK}/attn/qkv", f"{_BLOCK_KEY}.attn.qkv", bias=False),
    *_linear(f"{_BLOCK}/attn/proj", f"{_BLOCK_KEY}.attn.proj"),
    *_linear(f"{_BLOCK}/mlp/fc1", f"{_BLOCK_KEY}.mlp.fc1"),
    *_linear(f"{_BLOCK}/mlp/fc2", f"{_BLOCK_KEY}.mlp.fc2"),
    *_linear(
        "layers_{i}_downsample/reduction", "layers.{i}.downsample.reduction", bias=False
    ),
    *_norm("layers_{i}_downsample/norm", "layers.{i}.downsample.norm"),
)

_TOKENS = (
    Rule("latent_tok", "latent_tok"),
    *_linear("dim_up_layers_{i}_0", "dim_up_layers.{i}.0"),
    *_norm("dim_up_layers_{i}_1", "dim_up_layers.{i}.1"),
    *_linear("prediction_head/layers_{i}", "prediction_head.layers.{i}"),
)

_LARGEST_WINDOW = 32
_NEW = "a classifier does not have it: it keeps its initial value"
_CLASSIFIER = "the last layer of the classifier, which the encoder does not need"
_NO_TOKENS: tuple[Row, ...] = (
    Kept("latent_tok", _NEW),
    Kept("dim_up_layers_{i}_{j}/{leaf}", _NEW),
    Kept("prediction_head/layers_{i}/{leaf}", _NEW),
    *(
        Ignored(f"{m}.{leaf}", _CLASSIFIER)
        for m in ("norm", "head")
        for leaf in ("weight", "bias")
    ),
)


def encoder_config(arrays: Mapping[str, np.ndarray], prefix: str = "") -> SwinConfig:
    """Returns the architecture, from the arrays whose keys start with the prefix.

    A classifier has no latent tokens and no head. Their fields then have the defaults.
    """
    first = f"{prefix}layers.0.blocks.0."
    keys = [key.removeprefix(prefix) for key in arrays if key.startswith(prefix)]
    stages = count(r"layers\.(\d+)\.blocks\.", keys)
    depths = tuple(count(rf"layers\.{i}\.blocks\.(\d+)\.", keys) for i in range(stages))
    embed_dim = size(arrays, (f"{prefix}patch_embed.proj.weight", 0))
    patch_size = size(arrays, (f"{prefix}patch_embed.proj.weight", 2))
    map_size, window_size = _map_and_window(arrays, prefix, depths)
    fields: dict[str, Any] = {}
    if f"{prefix}latent_tok" in arrays:
        head = f"{prefix}prediction_head.layers"
        fields = dict(
            num_tokens=size(arrays, (f"{prefix}latent_tok", 0)),
            head_dim=size(arrays, (f"{head}.0.weight", 0), (f"{head}.1.weight", 0)),
            w_dim=size(arrays, (f"{head}.2.weight", 0), (f"{head}.2.bias", 0)),
        )
    return SwinConfig(
        image_size=map_size * patch_size,
        patch_size=patch_size,
        embed_dim=embed_dim,
        depths=depths,
        num_heads=tuple(
            size(
                arrays,
                (f"{prefix}layers.{i}.blocks.0.attn.logit_scale", 0),
                (f"{prefix}layers.{i}.blocks.0.attn.cpb_mlp.2.weight", 0),
            )
            for i in range(stages)
        ),
        window_size=window_size,
        mlp_ratio=size(arrays, (f"{first}mlp.fc1.weight", 0)) // embed_dim,
        **fields,
    )


def encoder_table(config: SwinConfig) -> tuple[Row, ...]:
    """Returns the rows for an encoder in a published checkpoint."""
    return (*_TOKENS, *_BACKBONE, *_buffers(config))


def imagenet_table(config: SwinConfig) -> tuple[Row, ...]:
    """Returns the rows for a classifier's file, to start an encoder from."""
    return (*_NO_TOKENS, *_BACKBONE, *_buffers(config))


def _map_and_window(
    arrays: Mapping[str, np.ndarray], prefix: str, depths: Sequence[int]
) -> tuple[int, int]:
    """Returns the sides of the first map and of a window, in cells, from the buffers.

    If a map is larger than the window, odd blocks have a mask for each window.
    Otherwise, the window is the whole map. Without buffers, the function assumes the
    published size.
    """
    sides, map_size = [], None
    for i, depth in enumerate(depths):
        for j in range(depth):
            block = f"{prefix}layers.{i}.blocks.{j}."
            table: tuple[int, ...] = getattr(
                arrays.get(f"{block}attn.relative_coords_table"), "shape", ()
            )
            if len(table) != 4:
                continue
            side = (table[1] + 1) // 2
            if side > _LARGEST_WINDOW:
                raise StylePrompterError(
                    f"{block}attn has a window of {side} cells a side, but published "
                    f"windows have at most {_LARGEST_WINDOW}: use another file."
                )
            sides.append(side)
            mask: tuple[int, ...] = getattr(
                arrays.get(f"{block}attn_mask"), "shape", ()
            )
            count_windows = mask[0] if mask[1:] == (side**2, side**2) else 1
            if j % 2 and map_size is None:
                map_size = side * math.isqrt(count_windows) << i
    default = SwinConfig()
    if not sides or map_size is None:
        return default.map_sizes[0], max(sides, default=default.window_size)
    return map_size, max(sides)


def _buffers(config: SwinConfig) -> list[Buffer]:
    """Returns the masks and position tables that a file has for every block."""
    rows = []
    for i, (depth, side) in enumerate(
        zip(config.depths, config.map_sizes, strict=True)
    ):
        window = min(config.window_size, side)
        coordinates = windows.log_offsets(window).astype(np.float32)[None]
        y, x = np.divmod(np.arange(window**2), window)
        index = np.subtract.outer(y, y) + window - 1
        index = index * (2 * window - 1) + np.subtract.outer(x, x) + window - 1
        for j in range(depth):
            block = f"layers.{i}.blocks.{j}."
            rows.append(Buffer(f"{block}attn.relative_coords_table", coordinates))
            rows.append(Buffer(f"{block}attn.relative_position_index", index))
            if j % 2 and side > window:
                regions = windows.shift_regions(side, window, window // 2)
                apart = regions[:, :, None] != regions[:, None, :]
                mask = np.where(apart, np.float32(-100), np.float32(0))
                rows.append(Buffer(f"{block}attn_mask", mask))
    return rows


def recognise(tree: Any) -> Found | None:
    """Recognises a SwinV2 classifier, to start an encoder from."""
    found = find_state(tree, "patch_embed.proj.weight")
    if found is None:
        return None
    state, start = found.arrays, found.start("patch_embed.proj.weight")
    if f"{start}layers.0.blocks.0.attn.logit_scale" not in state:
        raise StylePrompterError(
            "this transformer is not a SwinV2, but the encoder starts from a SwinV2: "
            "use a file whose name begins with swinv2."
        )
    config = encoder_config(state, start)
    arrays = {key: value for key, value in state.items() if key.startswith(start)}
    table = prefixed(imagenet_table(config), "encoder/", start)
    what = (
        f"SwinV2 of ImageNet to start an encoder from, {config.image_size} px, window "
        f"{config.window_size}, depths {'-'.join(map(str, config.depths))}"
    )
    notes = assumed(config, arrays, start)
    notes += unused(others_beside(state, start) | found.left_out())
    return Found(what, arrays, table, encoder=config, is_start=True, notes=notes)


def assumed(
    config: SwinConfig, state: Mapping[str, np.ndarray], prefix: str
) -> tuple[str, ...]:
    """Returns a note if a file lacks the tables that determine an encoder's window."""
    for key in state:
        if key.startswith(prefix) and key.endswith(".attn.relative_coords_table"):
            return ()
    return (
        "The file has no position tables, which determine the encoder's window: "
        f"window {config.window_size} at {config.image_size} px is assumed.",
    )
