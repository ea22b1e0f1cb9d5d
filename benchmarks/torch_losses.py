"""The losses of each stage, and Ranger, in PyTorch, for the models of `torch_side`.

Axes: b batch, h w space, c channels.  Images and maps are (b, c, h, w).
"""

import math

import torch
import torch.nn.functional as F

from benchmarks.torch_side import FAST, encoder, generator, linear, smart, under


def batch_norm(weights, name, x):
    stored = (weights[f"{name}.running_{k}"] for k in ("mean", "var"))
    return F.batch_norm(
        x, *stored, weights[f"{name}.weight"], weights[f"{name}.bias"], eps=1e-5
    )


def unit(x):
    """Normalises along the channels, with the epsilon inside the root, like ours."""
    return x * torch.rsqrt(x.square().sum(1, keepdim=True) + 1e-10)


def bottleneck(weights, x, stride):
    shortcut = x[:, :, ::stride, ::stride]
    if "shortcut_layer.0.weight" in weights:
        shortcut = F.conv2d(x, weights["shortcut_layer.0.weight"], stride=stride)
        shortcut = batch_norm(weights, "shortcut_layer.1", shortcut)
    weights = under(weights, "res_layer.")
    x = F.conv2d(batch_norm(weights, "0", x), weights["1.weight"], padding=1)
    x = F.prelu(x, weights["2.weight"])
    x = F.conv2d(x, weights["3.weight"], stride=stride, padding=1)
    x = batch_norm(weights, "4", x)
    gate = F.relu(F.conv2d(x.mean((2, 3), keepdim=True), weights["5.fc1.weight"]))
    return x * torch.sigmoid(F.conv2d(gate, weights["5.fc2.weight"])) + shortcut


def ir_se50(weights, x):
    """Returns the maps of all stages: 1/2, 1/4, 1/8 and 1/16 of the size of x."""
    x = F.conv2d(x, weights["input_layer.0.weight"], padding=1)
    x = F.prelu(
        batch_norm(weights, "input_layer.1", x), weights["input_layer.2.weight"]
    )
    maps = []
    for k in range(24):
        x = bottleneck(under(weights, f"body.{k}."), x, 2 if k in (0, 3, 7, 21) else 1)
        if k in (2, 6, 20, 23):
            maps.append(x)
    return maps


def face(weights, images, levels):
    """Returns unit vectors of the embedding, or of five levels, each (b, c)."""
    x = images if levels else images[:, :, 35:223, 32:220]
    found = ir_se50(weights, F.adaptive_avg_pool2d(x, 112))
    x = batch_norm(weights, "output_layer.0", found[-1]).flatten(1)
    x = batch_norm(weights, "output_layer.4", linear(weights, "output_layer.3", x))
    found = [m.flatten(1) for m in found] if levels else []
    return [unit(x) for x in (*found, x)]


def id_loss(weights, output, target, levels):
    with torch.no_grad():
        target = face(weights, target, levels)
    pairs = zip(face(weights, output, levels), target, strict=True)
    return sum((1 - (a * b).sum(1)).mean() for a, b in pairs)


def alexnet(weights, x):
    constants = ((-0.030, -0.088, -0.188), (0.458, 0.448, 0.450))
    shift, scale = (torch.tensor(c).to(x).view(1, 3, 1, 1) for c in constants)
    x, found = (x - shift) / scale, []
    for k, stride, padding in ((0, 4, 2), (3, 1, 2), (6, 1, 1), (8, 1, 1), (10, 1, 1)):
        kernel, bias = (weights[f"features.{k}.{leaf}"] for leaf in ("weight", "bias"))
        x = F.relu(F.conv2d(x, kernel, bias, stride, padding))
        found.append(unit(x))
        x = F.max_pool2d(x, 3, 2) if k < 6 else x
    return found


def lpips(weights, output, target):
    with torch.no_grad():
        target = alexnet(weights, target)
    pairs = zip(alexnet(weights, output), target, strict=True)
    return sum(
        F.conv2d((a - b).square(), weights[f"lin{k}.model.1.weight"]).mean()
        for k, (a, b) in enumerate(pairs)
    )


# Optimiser and steps.


class Ranger:
    """Centralised gradients, RAdam, Lookahead."""

    def __init__(self, params, lr, b1=0.95, b2=0.999, eps=1e-5, period=6, pull=0.5):
        self.params, self.lr, self.betas, self.eps = params, lr, (b1, b2), eps
        self.period, self.pull, self.count = period, pull, 0
        self.mean, self.square = ([torch.zeros_like(p) for p in params] for _ in "12")
        self.slow = [p.detach().clone() for p in params]

    @torch.no_grad()
    def step(self):
        self.count += 1
        t, (b1, b2) = self.count, self.betas
        longest = 2 / (1 - b2) - 1
        length = longest - 2 * t * b2**t / (1 - b2**t)
        size = self.lr / (1 - b1**t)
        if length > 5:
            part = (length - 4) * (length - 2) / length
            part *= longest / ((longest - 4) * (longest - 2))
            size *= math.sqrt((1 - b2**t) * part)
        state = zip(self.params, self.mean, self.square, self.slow, strict=True)
        for p, mean, square, slow in state:
            if p.grad is None:  # the last block's MLP, where no loss reads the maps
                continue
            grad, p.grad = p.grad, None
            if grad.ndim > 1:
                grad = grad - grad.mean(tuple(range(1, grad.ndim)), keepdim=True)
            mean.lerp_(grad, 1 - b1)
            square.lerp_(grad.square(), 1 - b2)
            p -= size * (mean / (square.sqrt() + self.eps) if length > 5 else mean)
            if t % self.period == 0:
                slow += self.pull * (p - slow)
                p.copy_(slow)


def inversion_losses(weights, networks, images, stage, forms=FAST):
    """Losses by name of stage "encoder" or "smart", at the encoder's size.

    weights: a published checkpoint's; networks: {"id": ..., "lpips": ...}.
    """
    swin = under(weights, "encoder.module.")
    refiner = under(weights, "decoder.module.smart_block.")
    synthesis = under(weights, "decoder.module.generator.")
    if stage == "smart":
        with torch.no_grad():
            codes, maps = encoder(swin, images)
    else:
        codes, maps = encoder(swin, images)
    output = generator(
        synthesis,
        codes + weights["latent_avg"],
        (lambda x: smart(refiner, x, maps)) if stage == "smart" else lambda x: x,
        forms,
    )
    if output.shape[-1] > images.shape[-1]:
        output = F.avg_pool2d(output, output.shape[-1] // images.shape[-1])
    output = output.to(torch.promote_types(output.dtype, torch.float32))
    losses = {
        "l2": F.mse_loss(output, images),
        "lpips": lpips(networks["lpips"], output, images),
        "id": id_loss(networks["id"], output, images, levels=stage == "smart"),
    }
    if stage == "encoder":
        losses["align"] = codes.square().mean()
    return losses


WEIGHTS = {"l2": 1.0, "lpips": 0.6, "id": 0.1, "align": 0.1}


def adversarial_losses(generate, discriminate, images, latents, r1_gamma=0.0):
    """(discriminator's, generator's) losses as functions to call one after another.

    ``r1_gamma``: with R1 of this weight, by autograd through the gradient.
    """

    def of_discriminator():
        with torch.no_grad():
            fakes = generate(latents)
        real = images.detach().requires_grad_(r1_gamma > 0)
        logits = discriminate(real)
        loss = F.softplus(-logits).mean() + F.softplus(discriminate(fakes)).mean()
        if r1_gamma:
            (grad,) = torch.autograd.grad(logits.sum(), real, create_graph=True)
            loss = loss + r1_gamma / 2 * grad.square().sum((1, 2, 3)).mean()
        return loss

    def of_generator():
        return F.softplus(-discriminate(generate(latents))).mean()

    return of_discriminator, of_generator
