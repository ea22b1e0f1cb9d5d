"""The encoders of pSp and e4e in PyTorch, for comparison with ours.

We wrote them from the method. Weights are dictionaries in the published layout, as
`styleprompter convert --export` writes them. Like the published code, they make the
codes one after another. The module needs torch, and nothing of this package.
"""

import math

import torch
import torch.nn.functional as F

from benchmarks.torch_losses import ir_se50
from benchmarks.torch_side import under

COARSE, MEDIUM = 3, 7  # the first codes of the medium and of the fine map


def psp(weights, images):
    """Maps images (b, 3, 256, 256) to codes (b, n, 512), each from its map."""
    pyramid, codes = _pyramid(weights, images), []
    while (styles := under(weights, f"styles.{len(codes)}.")) != {}:
        level = (len(codes) >= COARSE) + (len(codes) >= MEDIUM)
        codes.append(_map_to_style(styles, pyramid[level]))
    return torch.stack(codes, 1)


def e4e(weights, images):
    """Maps images (b, 3, 256, 256) to codes (b, n, 512): the first plus deltas."""
    codes = psp(weights, images)
    return torch.cat([codes[:, :1], codes[:, :1] + codes[:, 1:]], 1)


def _pyramid(weights, images):
    _, fine, medium, coarse = ir_se50(weights, images)
    medium = _add(weights, "latlayer1", coarse, medium)
    return coarse, medium, _add(weights, "latlayer2", medium, fine)


def _add(weights, name, coarse, fine):
    fine = F.conv2d(fine, weights[f"{name}.weight"], weights[f"{name}.bias"])
    size = fine.shape[2:]
    return fine + F.interpolate(coarse, size, mode="bilinear", align_corners=True)


def _map_to_style(weights, x):
    for k in range(int(math.log2(x.shape[-1]))):
        kernel, bias = (weights[f"convs.{2 * k}.{leaf}"] for leaf in ("weight", "bias"))
        x = F.leaky_relu(F.conv2d(x, kernel, bias, stride=2, padding=1), 0.01)
    scale = 1 / math.sqrt(x.shape[1])
    return F.linear(
        x[:, :, 0, 0], weights["linear.weight"] * scale, weights["linear.bias"]
    )
