"""Cases of `benchmarks.gpu` in PyTorch, with the same weights, inputs and work.

Steps use PyTorch's fused Adam, which is faster than Ranger in Python.
"""

import numpy as np
import torch

from benchmarks import torch_encoders, torch_losses, torch_side
from benchmarks.cases import ENCODERS, Case, draw, encoder_of, random_images
from styleprompter_jax.convert.export import export_model
from styleprompter_jax.models.encoders.swin import SwinConfig
from styleprompter_jax.models.generators.stylegan2 import GeneratorConfig
from styleprompter_jax.models.inverter import StylePrompterConfig
from styleprompter_jax.models.refiners.smart import SmartConfig
from styleprompter_jax.store.model_folder import model_shapes
from tests import recipe

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def make(kind: str, size: int, batch: int, dtype: str, compiled: bool) -> Case:
    """Makes a case of a kind.

    Args:
        kind: "invert", the stage "encoder" or "smart" of a step, or "psp" or "e4e" for
            this encoder alone.
        size: of the generator's images.
        batch: images in a batch.
        dtype: "float32" or "bfloat16".
        compiled: use `torch.compile`.
    """
    torch.set_float32_matmul_precision("high")  # TF32, as in JAX
    torch.backends.cudnn.allow_tf32 = torch.backends.cudnn.benchmark = True
    wrap = torch.compile if compiled else lambda function: function
    weights = _weights(size, kind)
    images = random_images(batch, 256).transpose(0, 3, 1, 2)
    images = _to_device(images).contiguous(memory_format=torch.channels_last)
    build = _inversion if kind in ("invert", *ENCODERS) else _step
    return build(kind, weights, images, getattr(torch, dtype), wrap)


def wait(_result=None) -> None:
    """Waits until the device has finished all its work."""
    if DEVICE == "cuda":
        torch.cuda.synchronize()


def peak_bytes() -> int:
    """Returns the peak memory of PyTorch on the device."""
    return torch.cuda.max_memory_allocated() if DEVICE == "cuda" else 0


def _inversion(kind, weights, images, dtype, wrap):
    weights = {k: x.to(dtype) for k, x in weights.items()}
    images = images.to(dtype)
    if kind == "invert":
        call = wrap(torch_side.invert)
    else:
        weights = torch_side.under(weights, "encoder.")
        call = wrap(getattr(torch_encoders, kind))

    def run():
        with torch.no_grad():
            return call(weights, images)

    return Case(run, 0.0, len(images))


def _step(stage, weights, images, dtype, wrap):
    part = {"encoder": "encoder.module.", "smart": "decoder.module.smart_block."}[stage]
    trained = [x.requires_grad_() for k, x in weights.items() if k.startswith(part)]
    optimizer = torch.optim.Adam(trained, 1e-4, fused=DEVICE == "cuda")
    networks = {
        "id": _all_to_device(recipe.damped(recipe.state_dict("ir_se50"))),
        "lpips": _all_to_device(recipe.state_dict("lpips_alex")),
    }
    mixed = dtype != torch.float32

    @wrap
    def loss():
        with torch.autocast(DEVICE, torch.bfloat16, enabled=mixed):
            parts = torch_losses.inversion_losses(weights, networks, images, stage)
            return sum(torch_losses.WEIGHTS[name] * x for name, x in parts.items())

    def run():
        total = loss()
        total.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return total

    return Case(run, 0.0, len(images))


def _weights(size: int, kind: str):
    generator = GeneratorConfig(size)
    if kind in ENCODERS:
        config = StylePrompterConfig(encoder_of(kind, generator), None, generator)
    else:
        swin = SwinConfig(num_tokens=generator.num_codes)
        config = StylePrompterConfig(swin, SmartConfig(), generator)
    _, content = export_model(config, draw(model_shapes(config)))
    mean = np.asarray(content["latent_avg"])
    return _all_to_device(content["state_dict"] | {"latent_avg": mean})


def _all_to_device(state):
    arrays = {key: np.asarray(x) for key, x in state.items()}
    return {
        key: _to_device(x)
        for key, x in arrays.items()
        if np.issubdtype(x.dtype, np.floating)
    }


def _to_device(array):
    tensor = torch.from_numpy(np.array(array, np.float32)).to(DEVICE)
    channels_last = tensor.ndim == 4
    kind = torch.channels_last if channels_last else torch.contiguous_format
    return tensor.contiguous(memory_format=kind)
