"""The encoder and SMART in float64 NumPy, as the published code goes about them.

The functions work on one image without batches, with plain sums and loops. The modules
must agree with them where the precision of the float32 fixtures ends.
"""

import numpy as np
import scipy.special
from einops import rearrange

from styleprompter_jax.ops import windows


def dense(x, params):
    """A linear layer, with or without bias."""
    return x @ params["kernel"] + params.get("bias", 0.0)


def norm(x, params):
    """LayerNorm over the last axis."""
    x = x - x.mean(-1, keepdims=True)
    power = (x**2).mean(-1, keepdims=True)
    return x / np.sqrt(power + 1e-5) * params["scale"] + params["bias"]


def unit(x):
    return x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-12)


def swin_block(params, x, tokens, heads, window, shift):
    """A block in float64 NumPy, as the published code goes about it for one image.

    Tokens are appended to the cells of every window, attend and are attended to.
    """
    attn, mlp = params["attn"], params["mlp"]
    size, cells = x.shape[0], window**2
    table = np.maximum(dense(windows.log_offsets(window), attn["cpb_mlp_0"]), 0)
    table = dense(table, attn["cpb_mlp_2"])
    row, column = np.divmod(np.arange(cells), window)
    bias = table[row[:, None] - row + window - 1, column[:, None] - column + window - 1]
    bias = 16 / (1 + np.exp(-bias.transpose(2, 0, 1)))
    scale = np.exp(np.minimum(attn["logit_scale"], np.log(100)))[:, None, None]
    regions = windows.shift_regions(size, window, shift) if shift else None

    y = np.roll(x, (-shift, -shift), (0, 1))
    parts = windows.window_partition(y[None], window)[0]
    outputs = []
    for k, part in enumerate(parts):
        y = np.concatenate([part, tokens]) @ attn["qkv"]["kernel"]
        q, key, v = rearrange(y, "s (t e d) -> t e s d", t=3, e=heads)
        q = q + rearrange(attn["q_bias"], "(e d) -> e 1 d", e=heads)
        v = v + rearrange(attn["v_bias"], "(e d) -> e 1 d", e=heads)
        logits = scale * unit(q) @ unit(key).swapaxes(1, 2)
        logits[:, :cells, :cells] += bias
        if shift:
            apart = regions[k][:, None] != regions[k]
            logits[:, :cells, :cells] -= 100 * apart
        weights = np.exp(logits - logits.max(-1, keepdims=True))
        y = weights / weights.sum(-1, keepdims=True) @ v
        y = rearrange(y, "e s d -> s (e d)")
        outputs.append(dense(y, attn["proj"]))
    outputs = np.stack(outputs)
    y = windows.window_reverse(outputs[None, :, :cells], window, size)[0]
    x = x + norm(np.roll(y, (shift, shift), (0, 1)), params["norm1"])
    # NOTE(reference): the sum counts the projection's bias once a window.
    tokens = tokens + norm(outputs[:, cells:].sum(0), params["norm1"])
    y = scipy.special.ndtr(y := dense(x, mlp["fc1"])) * y
    return x + norm(dense(y, mlp["fc2"]), params["norm2"]), tokens


def swin_encoder(params, image, config):
    """Codes (n, w_dim) and maps (h, w, c), coarse to fine, of an image (s, s, 3)."""
    patch = config.patch_size
    kernel = params["patch_embed"]["proj"]["kernel"]
    patches = rearrange(image, "(h y) (w x) c -> h w (y x c)", y=patch, x=patch)
    x = patches @ kernel.reshape(-1, kernel.shape[-1])
    x = norm(x + params["patch_embed"]["proj"]["bias"], params["patch_embed"]["norm"])
    tokens, maps = params["latent_tok"], []
    for i, depth in enumerate(config.depths):
        window = min(config.window_size, len(x))
        for j in range(depth):
            shift = window // 2 if j % 2 and len(x) > window else 0
            block = params[f"layers_{i}_blocks_{j}"]
            x, tokens = swin_block(block, x, tokens, config.num_heads[i], window, shift)
        if i + 1 < len(config.depths):
            quarter = [x[y::2, z::2] for y, z in ((0, 0), (1, 0), (0, 1), (1, 1))]
            merge = params[f"layers_{i}_downsample"]
            x = dense(np.concatenate(quarter, -1), merge["reduction"])
            x = norm(x, merge["norm"])
            tokens = dense(tokens, params[f"dim_up_layers_{i}_0"])
            tokens = norm(tokens, params[f"dim_up_layers_{i}_1"])
        maps.append(x)
    head = params["prediction_head"]
    tokens = np.tanh(dense(tokens, head["layers_0"]))
    tokens = np.tanh(dense(tokens, head["layers_1"]))
    return dense(tokens, head["layers_2"]), maps[::-1]


def smart_block(params, x, features, index, heads, beta):
    """SMART for a map (q, c) and features [(k_i, c_i)], with linear attention.

    ``index`` (q, j) names the keys of each query among those of all maps.
    """
    keys, values = [], []
    for i, feature in enumerate(features):
        k, v = np.split(dense(feature, params[f"input_proj_{i}"]), 2, axis=1)
        keys.append(k)
        values.append(v)
    seen = (np.concatenate(part)[index] for part in (keys, values))
    k, v = (rearrange(part, "q j (e d) -> q j e d", e=heads) for part in seen)
    query = rearrange(dense(x, params["query_proj"]), "q (e d) -> q 1 e d", e=heads)
    weights = (query * k).sum(-1, keepdims=True)
    retrieved = (weights * beta[0] * v).sum(1).reshape(x.shape)
    x = x + dense(retrieved, params["proj"])
    hidden = np.maximum(dense(x, params["linear1"]), 0)
    return x + beta[1] * dense(hidden, params["linear2"])
