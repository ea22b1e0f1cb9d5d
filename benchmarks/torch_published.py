"""Operations of the generator in the form of the published PyTorch code.

A resampling is a convolution with the whole filter, after zeros between the pixels. A
modulated layer makes weights for each image, and convolves the images as groups. We
wrote them from the method (Karras et al. 2020). For the models, see `torch_side`.
"""

import math

import torch
import torch.nn.functional as F

from benchmarks.torch_side import Forms, under


def resample(x, up, before, after, gain=1.0):
    """Puts zeros between the pixels, pads, and applies the filter [1, 3, 3, 1]."""
    b, c, h, w = x.shape
    x = x.reshape(b * c, 1, h, 1, w, 1)
    x = F.pad(x, (0, up - 1, 0, 0, 0, up - 1)).reshape(b * c, 1, h * up, w * up)
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=x.dtype, device=x.device) / 8
    kernel = gain * torch.outer(taps, taps)[None, None]
    y = F.conv2d(F.pad(x, (before, after, before, after)), kernel)
    return y.view(b, c, *y.shape[2:])


def blur(x, before, after, gain=1.0):
    return resample(x, 1, before, after, gain)


def upsample(image):
    return resample(image, 2, 2, 1, 4.0)


def modulated(weights, x, w, demodulate, up=False):
    kernel = weights["conv.weight"]
    _, o, i, side, _ = kernel.shape
    b, _, height, width = x.shape
    affine = under(weights, "conv.modulation.")
    style = F.linear(w, affine["weight"] / math.sqrt(w.shape[1]), affine["bias"])
    kernel = kernel / math.sqrt(i * side * side) * style.view(b, 1, i, 1, 1)
    if demodulate:
        power = kernel.square().sum((2, 3, 4), keepdim=True)
        kernel = kernel * torch.rsqrt(power + 1e-8)
    x = x.reshape(1, b * i, height, width)
    if up:
        kernel = kernel.transpose(1, 2).reshape(b * i, o, side, side)
        y = F.conv_transpose2d(x, kernel, stride=2, groups=b)
        return blur(y.view(b, o, *y.shape[2:]), 1, 1, 4.0)
    kernel = kernel.reshape(b * o, i, side, side)
    return F.conv2d(x, kernel, padding=side // 2, groups=b).view(b, o, height, width)


PUBLISHED = Forms(blur, upsample, modulated)
