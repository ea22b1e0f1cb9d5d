"""The published training in PyTorch; our training must match it step by step.

Both stages for one image at a time, on the weights that `recipe` draws, written from
the method alone: windows that each hold a copy of the tokens, modulated weights, keys
lined up for each query, autograd.  Needs numpy and torch 2.13 and no code of the
package.  Optimiser and losses are those of benchmarks/torch_losses.py.

    PYTHONPATH=. python tests/torch_training.py train_full
    PYTHONPATH=. python tests/torch_training.py train_full --threads=1
    PYTHONPATH=. python tests/torch_training.py --write  # tests/data/torch_training.npz

With random weights of IR-SE50, rounding errors dominate the published training: the
number of threads alone decides the results after the first step. For this reason, there
is ``--damped``, which ``--write`` implies. It scales the blocks of IR-SE50 to a tenth
(`recipe.damped`), and keeps the published learning rate.
"""

import argparse
import math

import numpy as np
import recipe
import torch
import torch.nn.functional as F

from benchmarks.torch_losses import Ranger, id_loss, lpips
from benchmarks.torch_side import layer_norm, linear, under

STEPS = 10
LEARNING_RATE = 1e-4  # as published; the recorded runs took far smaller ones
CASES = ("train_baseline", "train_full")


# Encoder: maps (h, w, c), windows (k, p, c), tokens (n, c).


def windows(x, side):
    h, _, c = x.shape
    x = x.view(h // side, side, h // side, side, c).transpose(1, 2)
    return x.reshape(-1, side * side, c)


def whole(x, side, size):
    n, c = size // side, x.shape[-1]
    return x.view(n, n, side, side, c).transpose(1, 2).reshape(size, size, c)


def offsets(side, dtype):
    """Log-spaced offsets (2 side - 1, 2 side - 1, 2), and which one each pair has."""
    line = torch.arange(1 - side, side, dtype=dtype) * 8 / (side - 1)
    table = torch.stack(torch.meshgrid(line, line, indexing="ij"), -1)
    table = torch.sign(table) * torch.log2(table.abs() + 1) / 3
    y, x = torch.arange(side * side) // side, torch.arange(side * side) % side
    row, column = (a[:, None] - a + side - 1 for a in (y, x))
    return table, row * (2 * side - 1) + column


def shift_mask(size, side, shift, dtype):
    """Returns (k, 1, p, p): -100 between cells that the shift made neighbours."""
    line = torch.zeros(size)
    line[size - side : size - shift], line[size - shift :] = 1, 2
    region = windows((3 * line[:, None] + line)[..., None], side)
    apart = region != region.transpose(1, 2)
    return (-100.0 * apart.to(dtype))[:, None]


def attention(weights, x, side, heads, mask):
    k, s, c = x.shape
    cells = side * side
    q_bias, v_bias = weights["q_bias"], weights["v_bias"]
    bias = torch.cat([q_bias, torch.zeros_like(q_bias), v_bias])
    qkv = F.linear(x, weights["qkv.weight"], bias)
    q, key, v = qkv.view(k, s, 3, heads, -1).permute(2, 0, 3, 1, 4)
    logits = F.normalize(q, dim=-1) @ F.normalize(key, dim=-1).transpose(2, 3)
    logits = logits * weights["logit_scale"].clamp(max=math.log(100)).exp()
    table, index = offsets(side, x.dtype)
    table = linear(weights, "cpb_mlp.2", F.relu(linear(weights, "cpb_mlp.0", table)))
    bias = 16 * torch.sigmoid(table.view(-1, heads)[index].permute(2, 0, 1)) + mask
    logits = logits + F.pad(bias, (0, s - cells, 0, s - cells))
    y = logits.softmax(-1) @ v
    return linear(weights, "proj", y.transpose(1, 2).reshape(k, s, c))


def block(weights, x, tokens, heads, side, shift):
    size, cells = len(x), side * side
    mask = shift_mask(size, side, shift, x.dtype) if shift else 0.0
    y = windows(torch.roll(x, (-shift, -shift), (0, 1)), side)
    y = torch.cat([y, tokens.expand(len(y), -1, -1)], 1)
    y = attention(under(weights, "attn."), y, side, heads, mask)
    gathered = y[:, cells:].sum(0)
    y = torch.roll(whole(y[:, :cells], side, size), (shift, shift), (0, 1))
    x = x + layer_norm(weights, "norm1", y)
    tokens = tokens + layer_norm(weights, "norm1", gathered)
    y = linear(weights, "mlp.fc2", F.gelu(linear(weights, "mlp.fc1", x)))
    return x + layer_norm(weights, "norm2", y), tokens


def encoder(weights, image):
    """Codes (1, n, 512) and maps, coarse to fine, of an image (1, 3, 256, 256)."""
    patch = "patch_embed.proj"
    x = F.conv2d(image, weights[f"{patch}.weight"], weights[f"{patch}.bias"], stride=4)
    x = layer_norm(weights, "patch_embed.norm", x[0].permute(1, 2, 0))
    tokens, maps = weights["latent_tok"], []
    for i, (depth, heads) in enumerate(((2, 3), (2, 6), (6, 12), (2, 24))):
        side = min(16, len(x))
        for j in range(depth):
            shift = side // 2 if j % 2 and len(x) > side else 0
            params = under(weights, f"layers.{i}.blocks.{j}.")
            x, tokens = block(params, x, tokens, heads, side, shift)
        if i < 3:
            merge, widen = f"layers.{i}.downsample", f"dim_up_layers.{i}"
            corners = ((0, 0), (1, 0), (0, 1), (1, 1))
            x = torch.cat([x[y::2, z::2] for y, z in corners], -1)
            x = layer_norm(
                weights, f"{merge}.norm", linear(weights, f"{merge}.reduction", x)
            )
            tokens = linear(weights, f"{widen}.0", tokens)
            tokens = layer_norm(weights, f"{widen}.1", tokens)
        maps.append(x)
    for k in range(2):
        tokens = torch.tanh(linear(weights, f"prediction_head.layers.{k}", tokens))
    return linear(weights, "prediction_head.layers.2", tokens)[None], maps[::-1]


# Generator and SMART: maps (1, c, h, w).


def resample(x, up, before, after):
    """Zeros between the pixels, padding, and the filter [1, 3, 3, 1] with gain 4."""
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=x.dtype)
    _, c, h, w = x.shape
    y = torch.zeros(c, 1, up * h, up * w, dtype=x.dtype)
    y[:, 0, ::up, ::up] = x[0]
    y = F.pad(y, (before, after, before, after))
    return F.conv2d(y, torch.outer(taps, taps)[None, None] / 16).transpose(0, 1)


def modulated(weights, x, w, demodulate, up=False):
    kernel = weights["conv.weight"][0]
    _, i, side, _ = kernel.shape
    affine = under(weights, "conv.modulation.")
    style = F.linear(w, affine["weight"] / math.sqrt(w.shape[1]), affine["bias"])
    kernel = kernel * style.view(1, i, 1, 1) / math.sqrt(i * side * side)
    if demodulate:
        power = kernel.square().sum((1, 2, 3), keepdim=True)
        kernel = kernel * torch.rsqrt(power + 1e-8)
    if up:
        x = F.conv_transpose2d(x, kernel.transpose(0, 1), stride=2)
        return resample(x, 1, 1, 1)
    return F.conv2d(x, kernel, padding=side // 2)


def styled(weights, x, w, noise, up=False):
    x = modulated(weights, x, w, True, up) + weights["noise.weight"] * noise
    x = F.leaky_relu(x + weights["activate.bias"].view(1, -1, 1, 1), 0.2)
    return x * math.sqrt(2)


def generator(weights, w_plus, refine):
    noise, w = under(weights, "noises.noise_"), w_plus.unbind(1)
    x = styled(under(weights, "conv1."), weights["input.input"], w[0], noise["0"])
    first = under(weights, "to_rgb1.")
    image = modulated(first, x, w[1], False) + first["bias"]
    for k in range((len(w) - 2) // 2):
        conv0, conv1 = (under(weights, f"convs.{2 * k + j}.") for j in (0, 1))
        rgb = under(weights, f"to_rgbs.{k}.")
        x = styled(conv0, x, w[2 * k + 1], noise[f"{2 * k + 1}"], up=True)
        x = styled(conv1, x, w[2 * k + 2], noise[f"{2 * k + 2}"])
        x = refine(x) if k == 1 else x  # at 16x16
        y = modulated(rgb, x, w[2 * k + 3], False) + rgb["bias"]
        image = resample(image, 2, 2, 1) + y
    return image


def smart(weights, x, maps, heads=4):
    _, c, size, _ = x.shape
    x = x[0].permute(1, 2, 0)
    query = linear(weights, "query_proj", x).view(size, size, 1, heads, -1)
    lined_up = []
    for i, y in enumerate(maps):
        y = linear(weights, f"input_proj.{i}.0", y)
        coarser, finer = max(size // len(y), 1), max(len(y) // size, 1)
        y = y.repeat_interleave(coarser, 0).repeat_interleave(coarser, 1)
        y = y.view(size, finer, size, finer, 2 * c).transpose(1, 2)
        lined_up.append(y.reshape(size, size, finer * finer, 2, heads, -1))
    keys, values = torch.cat(lined_up, 2).unbind(3)
    weight = (query * keys).sum(-1, keepdim=True)
    x = x + linear(weights, "proj", (weight * values).sum(2).reshape(size, size, c))
    x = x + linear(weights, "linear2", F.relu(linear(weights, "linear1", x)))
    return x.permute(2, 0, 1)[None]


# Training.


def load(case, dtype, change=lambda state: state):
    state = change(recipe.state_dict(case))
    return {key: torch.from_numpy(np.asarray(x)).to(dtype) for key, x in state.items()}


def train(case, dtype=torch.float64, damped=True):
    """Losses and gradient norm of each of ten steps, as they are made."""
    recorded = np.load(recipe.DATA / f"{case}.npz")
    full = case == "train_full"
    weights = load("styleprompter_256", dtype)
    swin = under(weights, "encoder.module.")
    refiner = under(weights, "decoder.module.smart_block.")
    synthesis = under(weights, "decoder.module.generator.")
    arcface = load("ir_se50", dtype, *((recipe.damped,) if damped else ()))
    alex = load("lpips_alex", dtype)

    trained = list((refiner if full else swin).values())
    for p in trained:
        p.requires_grad_()
    optimizer = Ranger(trained, LEARNING_RATE if damped else float(recorded["lr"]))
    for t in range(STEPS):
        image = recipe.normal(recorded["image_seed"] + t, 1, 3, 256, 256)
        image = torch.from_numpy(np.clip(0.5 * image, -1, 1)).to(dtype)
        codes, maps = encoder(swin, image)
        output = generator(
            synthesis,
            codes + weights["latent_avg"],
            lambda x, maps=maps: smart(refiner, x, maps) if full else x,
        )
        losses = {
            "l2": F.mse_loss(output, image),
            "lpips": lpips(alex, output, image),
            "id": id_loss(arcface, output, image, levels=full),
        }
        total = losses["l2"] + 0.6 * losses["lpips"] + 0.1 * losses["id"]
        if not full:
            losses["align"] = codes.square().mean()
            total = total + 0.1 * losses["align"]
        total.backward()
        grads = (p.grad for p in trained if p.grad is not None)
        norm = math.sqrt(sum(g.double().square().sum() for g in grads))
        parts = {f"loss_{name}": float(loss.detach()) for name, loss in losses.items()}
        yield {"loss": total.item(), **parts, "grad_norm": norm}
        optimizer.step()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("case", nargs="?", choices=CASES)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--damped", action="store_true")
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float32")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    if bool(args.case) == args.write:
        parser.error("give a case, or --write")
    torch.set_num_threads(args.threads)
    if args.write:
        rows = {case: list(train(case)) for case in CASES}
        found = {
            f"{case}_{name}": np.array([row[name] for row in rows[case]])
            for case in CASES
            for name in rows[case][0]
        }
        np.savez_compressed(recipe.DATA / "torch_training.npz", **found)
    else:
        rows = train(args.case, getattr(torch, args.dtype), args.damped)
        for t, row in enumerate(rows):
            cells = (f"{name} {value:.9g}" for name, value in row.items())
            print(t, ", ".join(cells), flush=True)


if __name__ == "__main__":
    main()
