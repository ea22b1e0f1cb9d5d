"""The training of e4e and ReStyle in PyTorch, from the method alone, small.

Beside it `heads_training` makes the same steps with ours.  What a step leaves to chance
it reads from tests/data/heads_draws.npz.  Needs numpy and torch 2.13 and no code of the
package.

    PYTHONPATH=. python tests/torch_heads.py train_e4e
    PYTHONPATH=. python tests/torch_heads.py --write  # tests/data/torch_heads.npz

Axes: b batch, h w space, c channels, n codes, d their width.  Maps are (b, c, h, w).
"""

import argparse
import math

import numpy as np
import recipe
import torch
import torch.nn.functional as F
from torch_training import generator

from benchmarks.torch_losses import Ranger
from benchmarks.torch_side import linear, under

STEPS, BATCH, SIZE = 10, 8, 32
PASSES = 3  # of ReStyle
POOL, R1_EVERY, R1, DELTA_START = 6, 4, 10.0, 3  # one delta more a step
RATE, CRITIC_RATE = 1e-3, 1e-4
CASES = ("train_e4e", "train_restyle")
# Which code, by number, each stage's first is; what some layers are first needed for.
FIRST = {"latlayer1": 3, "latlayer2": 7}
# Arrays that are compared at the end.
KEPT = (
    "encoder.input_layer.1.running_mean",
    "encoder.body.3.res_layer.4.running_var",
    "encoder.body.2.res_layer.3.weight",
    "encoder.styles.0.convs.0.weight",
    "encoder.styles.7.convs.0.weight",
    "encoder.latlayer1.weight",
    "discriminator.mlp.2.weight",
)


# Encoder.


def batch_norm(weights, name, x):
    """By the batch's statistics; moves the running ones."""
    running = (weights[f"{name}.running_{k}"] for k in ("mean", "var"))
    scale, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
    return F.batch_norm(x, *running, scale, bias, training=True, momentum=0.1)


def bottleneck(weights, x, stride):
    shortcut = x[:, :, ::stride, ::stride]
    if "shortcut_layer.0.weight" in weights:
        shortcut = F.conv2d(x, weights["shortcut_layer.0.weight"], stride=stride)
        shortcut = batch_norm(weights, "shortcut_layer.1", shortcut)
    layers = under(weights, "res_layer.")
    x = F.conv2d(batch_norm(layers, "0", x), layers["1.weight"], padding=1)
    x = F.prelu(x, layers["2.weight"])
    x = F.conv2d(x, layers["3.weight"], stride=stride, padding=1)
    x = batch_norm(layers, "4", x)
    gate = F.relu(F.conv2d(x.mean((2, 3), keepdim=True), layers["5.fc1.weight"]))
    return x * torch.sigmoid(F.conv2d(gate, layers["5.fc2.weight"])) + shortcut


def ir_se(weights, x):
    """The map after each block."""
    x = F.conv2d(x, weights["input_layer.0.weight"], padding=1)
    x = batch_norm(weights, "input_layer.1", x)
    x, maps = F.prelu(x, weights["input_layer.2.weight"]), []
    for k in range(4):
        x = bottleneck(under(weights, f"body.{k}."), x, 2)
        maps.append(x)
    return maps


def style(weights, x):
    """A map to a code (b, d)."""
    for k in range(round(math.log2(x.shape[-1]))):
        name = f"convs.{2 * k}"
        kernel, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
        x = F.leaky_relu(F.conv2d(x, kernel, bias, stride=2, padding=1), 0.01)
    last = weights["linear.weight"] / math.sqrt(x.shape[1])
    return F.linear(x[:, :, 0, 0], last, weights["linear.bias"])


def deltas_encoder(weights, x, deltas):
    """Codes (b, n, d) of images, of which so many after the first are not that one.

    e4e makes them of three maps, ReStyle of the last one.
    """
    maps = ir_se(weights, x)
    _, c1, c2, c3 = maps

    def up(x, y, name):
        y = F.conv2d(y, weights[f"{name}.weight"], weights[f"{name}.bias"])
        x = F.interpolate(x, y.shape[2:], mode="bilinear", align_corners=True)
        return x + y

    codes, features = [style(under(weights, "styles.0."), c3)], c3
    for k in range(1, 8):
        if k > deltas:
            codes.append(codes[0])
            continue
        if k == FIRST["latlayer1"] and "latlayer1.weight" in weights:
            features = p2 = up(c3, c2, "latlayer1")
        if k == FIRST["latlayer2"] and "latlayer2.weight" in weights:
            features = up(p2, c1, "latlayer2")
        codes.append(codes[0] + style(under(weights, f"styles.{k}."), features))
    return torch.stack(codes, 1)


# What it is trained on.


def mapping(weights, z):
    x = z * torch.rsqrt(z.square().mean(1, keepdim=True) + 1e-8)
    for k in (1, 2):
        kernel = weights[f"style.{k}.weight"] * (0.01 / math.sqrt(x.shape[1]))
        x = F.linear(x, kernel, weights[f"style.{k}.bias"] * 0.01)
        x = F.leaky_relu(x, 0.2) * math.sqrt(2)
    return x


def ssim(x, y):
    taps = torch.exp(-0.5 * ((torch.arange(11, dtype=x.dtype) - 5) / 1.5) ** 2)
    window = torch.outer(taps, taps) / taps.sum() ** 2
    window = window.expand(x.shape[1], 1, 11, 11)

    def blur(x):
        return F.conv2d(x, window, groups=x.shape[1])

    mean_x, mean_y = blur(x), blur(y)
    var_x, var_y = blur(x * x) - mean_x**2, blur(y * y) - mean_y**2
    both = blur(x * y) - mean_x * mean_y
    a, b = (0.01 * 2) ** 2, (0.03 * 2) ** 2
    luminance = (2 * mean_x * mean_y + a) / (mean_x**2 + mean_y**2 + a)
    return (luminance * (2 * both + b) / (var_x + var_y + b)).mean()


def image_losses(output, image):
    """Those of configs/avatars_encoder.py, by name."""
    errors = (output - image).square()
    worst = errors.mean(1).flatten(1).topk(round(0.05 * SIZE * SIZE), 1).values
    scales = []
    while output.shape[-1] >= 16:
        scales.append(1 - ssim(output, image))
        output, image = F.avg_pool2d(output, 2), F.avg_pool2d(image, 2)
    return {
        "l2": errors.mean(),
        "hardest": worst.mean(),
        "structure": sum(scales) / len(scales),
    }


WEIGHTS = {
    "l2": 1.0,
    "hardest": 0.2,
    "structure": 0.3,
    "delta": 2e-4,
    "discriminator": 0.1,
}


def discriminate(weights, w):
    for k in (0, 2, 4):
        w = F.leaky_relu(linear(weights, f"mlp.{k}", w), 0.2)
    return linear(weights, "mlp.6", w)[..., 0]


class Pool:
    """Old codes, of which one may be seen in place of a new one."""

    def __init__(self):
        self.codes = []

    def exchange(self, codes, swap, slot):
        seen = []
        for code, swapped, k in zip(codes, swap, slot, strict=True):
            if len(self.codes) < POOL:
                self.codes.append(code)
            elif swapped:
                code, self.codes[k] = self.codes[k], code
            seen.append(code)
        return torch.stack(seen)


# Training.


class Training:
    """Weights in the published layout, optimisers and pools."""

    def __init__(self, case, dtype):
        self.weights = {
            key: torch.from_numpy(np.asarray(x)).to(dtype)
            for key, x in recipe.state_dict(case).items()
        }
        self.mean = self.weights["latent_avg"]
        groups = {}
        for key, x in self.weights.items():
            name = key.split(".")
            if name[0] == "encoder" and "running" not in key:
                x.requires_grad_()
                begins = FIRST.get(name[1], 0)
                begins = int(name[2]) if name[1] == "styles" else begins
                groups.setdefault((name[1] if begins else "", begins), []).append(x)
        self.rangers = {k: Ranger(params, RATE) for k, params in groups.items()}
        critic = [x for key, x in self.weights.items() if key.startswith("discrim")]
        for x in critic:
            x.requires_grad_()
        self.adam = torch.optim.Adam(critic, CRITIC_RATE)
        self.pools = {"real": Pool(), "fake": Pool()}
        self.trained = [p for group in groups.values() for p in group]

    def part(self, name):
        return under(self.weights, f"{name}.")

    def critic_step(self, step, codes, deltas, draws):
        z = torch.from_numpy(draws["z"][step]).to(codes)
        with torch.no_grad():
            real = mapping(self.part("decoder"), z)
        which = np.floor(draws["code"][step] * (deltas + 1)).astype(int)
        fake = codes.detach()[range(len(codes)), which]
        real, fake = (
            self.pools[kind].exchange(
                x, draws[f"{kind}_swap"][step], draws[f"{kind}_slot"][step]
            )
            for kind, x in (("real", real), ("fake", fake))
        )
        real.requires_grad_()
        critic = self.part("discriminator")
        of_real, of_fake = (discriminate(critic, x) for x in (real, fake))
        loss = F.softplus(-of_real).mean() + F.softplus(of_fake).mean()
        if step % R1_EVERY == 0:
            (grad,) = torch.autograd.grad(of_real.sum(), real, create_graph=True)
            loss = loss + R1 / 2 * R1_EVERY * grad.square().sum(1).mean()
        self.adam.zero_grad()
        loss.backward()
        self.adam.step()
        return {
            "loss_d": loss.item(),
            "logits_real": of_real.mean().item(),
            "logits_fake": of_fake.mean().item(),
        }

    def code_losses(self, codes, deltas):
        added = (codes[:, 1 : deltas + 1] - codes[:, :1]).square().sum(2).sqrt()
        logits = discriminate(self.part("discriminator"), codes[:, : deltas + 1])
        return {
            "delta": added.mean(0).sum(),
            "discriminator": F.softplus(-logits).mean(0).mean(),
        }

    def backward(self, losses):
        """Adds to the encoder's gradients alone."""
        total = sum(WEIGHTS[name] * loss for name, loss in losses.items())
        grads = torch.autograd.grad(total, self.trained, allow_unused=True)
        for p, grad in zip(self.trained, grads, strict=True):
            if grad is not None:
                p.grad = grad if p.grad is None else p.grad + grad
        found = {f"loss_{name}": loss.item() for name, loss in losses.items()}
        return {"loss": total.item(), **found}

    def update(self, step, deltas):
        """Steps of the layers that train; the norm of all gradients."""
        grads = [p.grad for p in self.trained if p.grad is not None]
        norm = math.sqrt(sum(g.square().sum().item() for g in grads))
        for (_, begins), ranger in self.rangers.items():
            # The rate falls as a cosine does, to zero after the last step.
            ranger.lr = RATE * 0.5 * (1 + math.cos(math.pi * step / STEPS))
            if begins <= deltas:
                ranger.step()
        return norm


def batch(case, step, dtype):
    seed = recipe.manifest(case)["image_seed"] + step
    noise = recipe.normal(seed, BATCH, 3, SIZE, SIZE)
    return torch.from_numpy(np.clip(0.5 * noise, -1, 1)).to(dtype)


def make_step(training, step, image, draws, passes):
    """One step of so many passes; e4e sees the image alone, once."""
    deltas = min(max(step - DELTA_START + 1, 0), 7)
    encoder, synthesis = training.part("encoder"), training.part("decoder")

    def render(codes):
        return torch.cat([generator(synthesis, w[None], lambda x: x) for w in codes])

    before, found, rows = training.mean.expand(len(image), 8, -1), {}, []
    shown = render(before).detach()
    for k in range(passes or 1):
        x = torch.cat([image, shown], 1) if passes else image
        codes = deltas_encoder(encoder, x, deltas) + before
        if k == 0:
            found = training.critic_step(step, codes, deltas, draws)
        output = render(codes)
        losses = image_losses(output, image) | training.code_losses(codes, deltas)
        rows.append(training.backward(losses))
        before, shown = codes.detach(), output.detach()
    found |= {name: np.mean([row[name] for row in rows]) for name in rows[0]}
    return found | {"grad_norm": training.update(step, deltas), "deltas": deltas}


def train(case, dtype=torch.float64):
    """Ten steps: each number by step, and some arrays after the last."""
    draws = dict(np.load(recipe.DATA / "heads_draws.npz"))
    training, rows = Training(case, dtype), []
    for step in range(STEPS):
        image = batch(case, step, dtype)
        passes = PASSES if case == "train_restyle" else 0
        rows.append(make_step(training, step, image, draws, passes))
    found = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    for key in KEPT:
        if key in training.weights:
            found[key] = training.weights[key].detach().numpy()
    for kind, pool in training.pools.items():
        found[f"pool_{kind}"] = torch.stack(pool.codes).numpy()
    return found


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("case", nargs="?", choices=CASES)
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    if bool(args.case) == args.write:
        parser.error("give a case, or --write")
    if args.write:
        found = {f"{case}/{k}": v for case in CASES for k, v in train(case).items()}
        np.savez_compressed(recipe.DATA / "torch_heads.npz", **found)
        return
    for name, values in train(args.case).items():
        if values.ndim == 1 and len(values) == STEPS:
            print(name, " ".join(f"{value:.12g}" for value in values))


if __name__ == "__main__":
    main()
