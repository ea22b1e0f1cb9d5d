"""The models in PyTorch, for comparison with ours; see also `torch_losses`.

We wrote them from the method, for whole batches and for speed. They use one dense
convolution for the batch (they scale activations, not weights), channels last, and
blurs as sums of slices, which `torch.compile` fuses. `torch_published` has these
operations in the form of the published code. Weights are dictionaries in the published
layout, as `styleprompter convert --export` writes them. The module needs torch, and
nothing of this package.

Axes: b batch, h w space, c channels, k windows, p cells of a window, n latent tokens,
e heads.  The generator takes (b, c, h, w) in channels_last.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

Weights = dict[str, Tensor]
# Constants of the encoder, by device and dtype, so that steps copy nothing to the
# device.
_TABLES: dict = {}


def under(weights: Weights, prefix: str) -> Weights:
    """Returns the weights below a prefix, and removes it from their keys."""
    return {k[len(prefix) :]: v for k, v in weights.items() if k.startswith(prefix)}


def linear(weights, name, x):
    return F.linear(x, weights[f"{name}.weight"], weights.get(f"{name}.bias"))


def layer_norm(weights, name, x):
    scale = weights[f"{name}.weight"]
    return F.layer_norm(x, scale.shape, scale, weights[f"{name}.bias"], 1e-5)


# Encoder: maps (b, h, w, c), windows (b, k, p, c), tokens (b, n, c).


def windows(x, side):
    b, h, w, c = x.shape
    x = x.view(b, h // side, side, w // side, side, c).transpose(2, 3)
    return x.reshape(b, -1, side * side, c)


def whole(x, side, size):
    n = size // side
    x = x.view(x.shape[0], n, n, side, side, -1).transpose(2, 3)
    return x.reshape(x.shape[0], size, size, -1)


def tables(side, size, shift, like):
    """Returns log-spaced offsets, the index for each pair, and the window mask."""
    key = side, size, shift, like.device, like.dtype
    if key not in _TABLES:
        kind = dict(device=like.device, dtype=like.dtype)
        line = torch.arange(1 - side, side, device=like.device) * 8 / (side - 1)
        table = torch.stack(torch.meshgrid(line, line, indexing="ij"), -1)
        table = (torch.sign(table) * torch.log2(table.abs() + 1) / 3).to(**kind)
        cells = torch.arange(side * side, device=like.device)
        row, column = (a[:, None] - a + side - 1 for a in (cells // side, cells % side))
        mask = torch.zeros((), **kind)
        if shift:
            line = torch.zeros(size, device=like.device)
            line[size - side : size - shift], line[size - shift :] = 1, 2
            region = windows((3 * line[:, None] + line)[None, ..., None], side)[0]
            mask = (-100.0 * (region != region.transpose(1, 2))).to(**kind)[:, None]
        _TABLES[key] = table, row * (2 * side - 1) + column, mask
    return _TABLES[key]


def attention(weights, x, side, heads, constants):
    b, k, s, c = x.shape
    table, index, mask = constants
    q_bias, v_bias = weights["q_bias"], weights["v_bias"]
    bias = torch.cat([q_bias, torch.zeros_like(q_bias), v_bias])
    qkv = F.linear(x, weights["qkv.weight"], bias)
    q, key, v = qkv.view(b, k, s, 3, heads, -1).permute(3, 0, 1, 4, 2, 5)
    scale = weights["logit_scale"].clamp(max=math.log(100)).exp()
    logits = (F.normalize(q, dim=-1) * scale) @ F.normalize(key, dim=-1).mT
    table = linear(weights, "cpb_mlp.2", F.relu(linear(weights, "cpb_mlp.0", table)))
    bias = 16 * torch.sigmoid(table.view(-1, heads)[index].permute(2, 0, 1)) + mask
    added = s - side * side
    y = (logits + F.pad(bias, (0, added, 0, added))).softmax(-1).to(v.dtype) @ v
    return linear(weights, "proj", y.transpose(2, 3).reshape(b, k, s, c))


def block(weights, x, tokens, heads, side, shift, constants):
    size, cells = x.shape[1], side * side
    y = windows(torch.roll(x, (-shift, -shift), (1, 2)) if shift else x, side)
    joined = tokens[:, None].expand(-1, y.shape[1], -1, -1)
    y = attention(
        under(weights, "attn."), torch.cat([y, joined], 2), side, heads, constants
    )
    gathered = y[:, :, cells:].sum(1)
    y = whole(y[:, :, :cells], side, size)
    y = torch.roll(y, (shift, shift), (1, 2)) if shift else y
    x = x + layer_norm(weights, "norm1", y)
    tokens = tokens + layer_norm(weights, "norm1", gathered)
    y = linear(weights, "mlp.fc2", F.gelu(linear(weights, "mlp.fc1", x)))
    return x + layer_norm(weights, "norm2", y), tokens


def encoder(weights, images):
    """Encodes images (b, 3, 256, 256) to codes (b, n, 512) and maps, coarse to fine."""
    patch = "patch_embed.proj"
    x = F.conv2d(images, weights[f"{patch}.weight"], weights[f"{patch}.bias"], stride=4)
    x = layer_norm(weights, "patch_embed.norm", x.permute(0, 2, 3, 1))
    tokens, maps = weights["latent_tok"].expand(len(x), -1, -1).to(x.dtype), []
    for i, (depth, heads) in enumerate(((2, 3), (2, 6), (6, 12), (2, 24))):
        size = x.shape[1]
        side = min(16, size)
        for j in range(depth):
            shift = side // 2 if j % 2 and size > side else 0
            params = under(weights, f"layers.{i}.blocks.{j}.")
            constants = tables(side, size, shift, x)
            x, tokens = block(params, x, tokens, heads, side, shift, constants)
        if i < 3:
            merge, widen = f"layers.{i}.downsample", f"dim_up_layers.{i}"
            corners = ((0, 0), (1, 0), (0, 1), (1, 1))
            x = torch.cat([x[:, y::2, z::2] for y, z in corners], -1)
            x = linear(weights, f"{merge}.reduction", x)
            x = layer_norm(weights, f"{merge}.norm", x)
            tokens = linear(weights, f"{widen}.0", tokens)
            tokens = layer_norm(weights, f"{widen}.1", tokens)
        maps.append(x)
    for k in range(2):
        tokens = torch.tanh(linear(weights, f"prediction_head.layers.{k}", tokens))
    return linear(weights, "prediction_head.layers.2", tokens), maps[::-1]


# Generator and SMART: maps (b, c, h, w).


def blur(x, before, after, gain=1.0):
    """Pads, and applies the filter [1, 3, 3, 1] as a sum of slices along each axis."""
    x = F.pad(x, (before, after, before, after))
    for axis in (2, 3):
        length = x.shape[axis] - 3
        taps = (
            x.narrow(axis, k, length) * t for k, t in enumerate((1.0, 3.0, 3.0, 1.0))
        )
        x = sum(taps) * (gain**0.5 / 8)
    return x


def upsample(image):
    """Doubles the size with [1, 3, 3, 1] and gain 4; values outside are zero."""
    for axis in (2, 3):
        pad = (1, 1, 0, 0) if axis == 3 else (0, 0, 1, 1)
        wide, size = F.pad(image, pad), image.shape[axis]
        before, after = wide.narrow(axis, 0, size), wide.narrow(axis, 2, size)
        pair = 0.75 * image + 0.25 * before, 0.75 * image + 0.25 * after
        image = torch.stack(pair, axis + 1).flatten(axis, axis + 1)
    return image


def modulated(weights, x, w, demodulate, up=False):
    kernel = weights["conv.weight"][0]
    _, i, side, _ = kernel.shape
    affine = under(weights, "conv.modulation.")
    style = F.linear(w, affine["weight"] / math.sqrt(w.shape[1]), affine["bias"])
    kernel = kernel / math.sqrt(i * side * side)
    y = x * style[:, :, None, None]
    if up:
        y = blur(F.conv_transpose2d(y, kernel.transpose(0, 1), stride=2), 1, 1, 4.0)
    else:
        y = F.conv2d(y, kernel, padding=side // 2)
    if demodulate:
        power = style.square() @ kernel.square().sum((2, 3)).T
        y = y * torch.rsqrt(power + 1e-8)[:, :, None, None]
    return y


class Forms(NamedTuple):
    """Operations that have several forms; see the functions of these names."""

    blur: Callable
    upsample: Callable
    modulated: Callable


LEAVES = "weight", "bias"
FAST = Forms(blur, upsample, modulated)


def mapping(weights, z):
    """Maps z (b, 512) to w (b, 512), with equalised weights and a slow rate."""
    x = z * torch.rsqrt(z.square().mean(1, keepdim=True) + 1e-8)
    k, slow = 1, 0.01
    while f"style.{k}.weight" in weights:
        kernel, bias = (
            weights[f"style.{k}.{leaf}"] * slow for leaf in ("weight", "bias")
        )
        x = F.linear(x, kernel / math.sqrt(kernel.shape[1]), bias)
        x, k = F.leaky_relu(x, 0.2) * math.sqrt(2), k + 1
    return x


def styled(weights, x, w, noise, forms, up=False):
    x = forms.modulated(weights, x, w, True, up)
    if noise is not None:
        x = x + weights["noise.weight"] * noise(x)
    x = F.leaky_relu(x + weights["activate.bias"].view(1, -1, 1, 1), 0.2)
    return x * math.sqrt(2)


def generator(weights, w_plus, refine=lambda x: x, forms=FAST, noise="const"):
    """Renders codes (b, n, 512) to images; applies ``refine`` to the map at 16x16.

    ``noise``: "const", "random" or "none".
    """
    stored, w = under(weights, "noises.noise_"), w_plus.unbind(1)
    noises = {
        "const": lambda k: lambda _: stored[str(k)],
        "random": lambda _: lambda x: torch.randn_like(x[:, :1]),
        "none": lambda _: None,
    }[noise]
    x = weights["input.input"].expand(len(w_plus), -1, -1, -1)
    x = styled(under(weights, "conv1."), x, w[0], noises(0), forms)
    first = under(weights, "to_rgb1.")
    image = forms.modulated(first, x, w[1], False) + first["bias"]
    for k in range((len(w) - 2) // 2):
        conv0, conv1 = (under(weights, f"convs.{2 * k + j}.") for j in (0, 1))
        rgb = under(weights, f"to_rgbs.{k}.")
        x = styled(conv0, x, w[2 * k + 1], noises(2 * k + 1), forms, up=True)
        x = styled(conv1, x, w[2 * k + 2], noises(2 * k + 2), forms)
        x = refine(x) if k == 1 else x
        y = forms.modulated(rgb, x, w[2 * k + 3], False) + rgb["bias"]
        image = forms.upsample(image) + y
    return image


def smart(weights, x, maps, heads=4):
    """Applies SMART at one layer: map x (b, c, h, h), encoder's maps (b, s, s, c)."""
    b, c, size, _ = x.shape
    x = x.permute(0, 2, 3, 1)
    query = linear(weights, "query_proj", x).view(b, size, size, 1, heads, -1)
    lined_up = []
    for i, y in enumerate(maps):
        y, side = linear(weights, f"input_proj.{i}.0", y), y.shape[1]
        coarser, finer = max(size // side, 1), max(side // size, 1)
        y = y.repeat_interleave(coarser, 1).repeat_interleave(coarser, 2)
        y = y.view(b, size, finer, size, finer, 2 * c).transpose(2, 3)
        lined_up.append(y.reshape(b, size, size, finer * finer, 2, heads, -1))
    keys, values = torch.cat(lined_up, 3).unbind(4)
    weight = (query * keys).sum(-1, keepdim=True)
    y = (weight * values).sum(3).reshape(b, size, size, c)
    x = x + linear(weights, "proj", y)
    x = x + linear(weights, "linear2", F.relu(linear(weights, "linear1", x)))
    return x.permute(0, 3, 1, 2)


def invert(weights, images, forms=FAST):
    """Inverts images (b, 3, 256, 256) with a published checkpoint."""
    codes, maps = encoder(under(weights, "encoder.module."), images)
    refiner = under(weights, "decoder.module.smart_block.")
    synthesis = under(weights, "decoder.module.generator.")
    return generator(
        synthesis,
        codes + weights["latent_avg"],
        lambda x: smart(refiner, x, maps),
        forms,
    )


# Discriminator, in rosinality's layout.


def equalized(weights, name, x, forms, down=False):
    kernel = weights[f"{name}.weight"]
    side = kernel.shape[-1]
    kernel = kernel / math.sqrt(kernel[0].numel())
    if down:
        x = forms.blur(x, *((2, 2) if side == 3 else (1, 1)))
    return F.conv2d(
        x, kernel, stride=2 if down else 1, padding=0 if down else side // 2
    )


def activate(weights, name, x):
    x = F.leaky_relu(x + weights[f"{name}.bias"].view(1, -1, 1, 1), 0.2)
    return x * math.sqrt(2)


def discriminator(weights, images, group=4, forms=FAST):
    """Maps images (b, 3, s, s) to logits (b,)."""
    x = activate(weights, "convs.0.1", equalized(weights, "convs.0.0", images, forms))
    k = 1
    while f"convs.{k}.conv1.0.weight" in weights:
        layer = under(weights, f"convs.{k}.")
        y = activate(layer, "conv1.1", equalized(layer, "conv1.0", x, forms))
        y = activate(layer, "conv2.2", equalized(layer, "conv2.1", y, forms, down=True))
        x = (y + equalized(layer, "skip.1", x, forms, down=True)) / math.sqrt(2)
        k += 1
    b, _, h, w = x.shape
    spread = x.view(group, b // group, *x.shape[1:]).var(0, unbiased=False)
    spread = (spread + 1e-8).sqrt().mean((1, 2, 3)).repeat(group)
    x = torch.cat([x, spread.view(b, 1, 1, 1).expand(-1, -1, h, w)], 1)
    x = activate(weights, "final_conv.1", equalized(weights, "final_conv.0", x, forms))
    x = x.flatten(1)
    for name, gain in (("final_linear.0", math.sqrt(2)), ("final_linear.1", 0)):
        kernel = weights[f"{name}.weight"]
        x = F.linear(x, kernel / math.sqrt(kernel.shape[1]), weights[f"{name}.bias"])
        x = F.leaky_relu(x, 0.2) * gain if gain else x
    return x[:, 0]
