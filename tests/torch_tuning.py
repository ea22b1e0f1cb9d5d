"""Steps of pivotal tuning in PyTorch, which is what ours is held to.

Written from the method alone: modulated weights, autograd, `torch.optim.Adam`.  Needs
numpy and torch 2.13 and no code of the package.

    PYTHONPATH=.:tests python tests/torch_tuning.py  # tests/data/torch_tuning.npz
"""

import math

import numpy as np
import recipe
import torch
import torch.nn.functional as F
from torch_training import generator, under
from tuning_case import (
    CHANNELS,
    LAYERS,
    LOCALITY,
    RATES,
    inputs,
    noises,
    parameters,
    summary,
)

from benchmarks.torch_losses import lpips


def as_published(params, noise):
    """The weights of the synthesis by the keys of `torch_training.generator`."""
    found = {"input.input": params["synthesis/b4/const"].permute(2, 0, 1)[None]}
    names = {"b4/conv1": "conv1", "b4/torgb": "to_rgb1"}
    for k in range(1, len(CHANNELS)):
        block = f"b{4 << k}"
        for j in (0, 1):
            names[f"{block}/conv{j}"] = f"convs.{2 * k - 2 + j}"
        names[f"{block}/torgb"] = f"to_rgbs.{k - 1}"
    for k, layer in enumerate(noise):
        found[f"noises.noise_{k}"] = torch.from_numpy(noise[layer])
    for ours, theirs in names.items():
        layer = under(params, f"synthesis/{ours}/")
        found[f"{theirs}.conv.weight"] = layer["kernel"].permute(3, 2, 0, 1)[None]
        found[f"{theirs}.conv.modulation.weight"] = layer["affine/kernel"].T
        found[f"{theirs}.conv.modulation.bias"] = layer["affine/bias"]
        if "noise_strength" in layer:
            found[f"{theirs}.noise.weight"] = layer["noise_strength"]
            found[f"{theirs}.activate.bias"] = layer["bias"]
        else:
            found[f"{theirs}.bias"] = layer["bias"].view(1, 3, 1, 1)
    return found


def synthesis(params, noise, w_plus):
    weights = as_published(params, noise)
    made = [generator(weights, one[None], lambda x: x) for one in w_plus]
    return torch.cat(made)


def mapping(params, z):
    x = z * torch.rsqrt(z.square().mean(-1, keepdim=True) + 1e-8)
    for k in range(LAYERS):
        kernel, bias = (params[f"mapping/fc{k}/{name}"] for name in ("kernel", "bias"))
        x = x @ (kernel * 0.01 / math.sqrt(len(kernel))) + 0.01 * bias
        x = F.leaky_relu(x, 0.2) * math.sqrt(2)
    return x


def tune():
    """The numbers of two steps: loss and distance of each, and what became of all."""
    params = {key: torch.as_tensor(x) for key, x in parameters().items()}
    given = {key: torch.from_numpy(x) for key, x in inputs().items()}
    noise, images = noises(), given["images"].permute(0, 3, 1, 2)
    state = recipe.state_dict("lpips_alex")
    alex = {key: torch.from_numpy(np.float64(x)) for key, x in state.items()}

    def compare(a, b):
        distance = lpips(alex, a, b)
        return F.mse_loss(a, b) + distance, distance

    tuned = {
        key: x.clone().requires_grad_() if key.startswith("synthesis") else x
        for key, x in params.items()
    }
    leaves = [x for x in tuned.values() if x.requires_grad]
    optimizer = torch.optim.Adam(leaves)
    found = {"loss": [], "distance": []}
    for rate, z in zip(RATES, given["z"], strict=True):
        pivot = given["w_plus"]
        loss, distance = compare(synthesis(tuned, noise, pivot), images)
        w, mean = mapping(params, z)[:, None], given["latent_avg"]
        way = mean + 0.5 * (w - mean) - pivot
        near = pivot + 30 * way / way.square().sum((1, 2), keepdim=True).sqrt()
        other = synthesis(params, noise, near)
        loss = loss + LOCALITY * compare(synthesis(tuned, noise, near), other)[0]
        optimizer.zero_grad()
        loss.backward()
        optimizer.param_groups[0]["lr"] = rate
        optimizer.step()
        found["loss"].append(loss.item())
        found["distance"].append(distance.item())
    found["keys"] = [key for key, x in tuned.items() if x.requires_grad]
    changes = {key: (tuned[key] - params[key]).detach() for key in found["keys"]}
    found["changes"] = [summary(key, changes[key]) for key in found["keys"]]
    return {name: np.array(values) for name, values in found.items()}


def main():
    found = tune()
    np.savez_compressed(recipe.DATA / "torch_tuning.npz", **found)
    print(found["loss"], found["distance"])


if __name__ == "__main__":
    main()
