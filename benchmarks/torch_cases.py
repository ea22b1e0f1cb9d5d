"""Cases of `benchmarks.gpu` in PyTorch, with the same weights, inputs and work.

Steps use PyTorch's fused Adam, which is faster than Ranger in Python.
"""

import functools

import jax
import numpy as np
import torch

from benchmarks import torch_encoders, torch_losses, torch_side
from benchmarks.cases import (
    ENCODERS,
    Case,
    draw,
    encoder_of,
    generator_config,
    random_images,
)
from benchmarks.torch_published import PUBLISHED
from styleprompter_jax.convert.export import export_model
from styleprompter_jax.convert.table import merge_collections, write_table
from styleprompter_jax.convert.tables.discriminators import rosinality_table
from styleprompter_jax.convert.tables.stylegan2 import generator_table
from styleprompter_jax.models.encoders.swin import SwinConfig
from styleprompter_jax.models.generators.stylegan2 import GeneratorConfig
from styleprompter_jax.models.inverter import StylePrompterConfig
from styleprompter_jax.models.refiners.smart import SmartConfig
from styleprompter_jax.store.model_folder import model_shapes
from styleprompter_jax.training.objectives.adversarial import Adversarial
from tests import recipe

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def make(kind: str, size: int, batch: int, dtype: str, how: str) -> Case:
    """Makes a case of a kind.

    Args:
        kind: "invert", the stage "encoder", "smart" or "generator" of a step, or "psp"
            or "e4e" for this encoder alone.
        size: of the generator's images.
        batch: images in a batch.
        dtype: "float32" or "bfloat16".
        how: "eager", "compile" (with `torch.compile`), or "published" (in the form of
            the published code).
    """
    torch.set_float32_matmul_precision("high")  # TF32, as in JAX
    torch.backends.cudnn.allow_tf32 = torch.backends.cudnn.benchmark = True
    wrap = torch.compile if how == "compile" else lambda function: function
    forms, layout = torch_side.FAST, torch.channels_last
    if how == "published":
        forms, layout = PUBLISHED, torch.contiguous_format

    if kind == "generator":
        config = generator_config(size, batch, dtype)
        states = {
            key: _to_device(state, layout)
            for key, state in adversarial_states(config).items()
        }
        images = _images(batch, size, layout)
        return _generator_step(config, states, images, wrap, forms)
    weights = _to_device(_weights(size, kind), layout)
    images, number = _images(batch, 256, layout), getattr(torch, dtype)
    if kind in ("invert", *ENCODERS):
        return _inversion(kind, weights, images, number, wrap, forms)
    networks = {
        "id": _to_device(recipe.damped(recipe.state_dict("ir_se50")), layout),
        "lpips": _to_device(recipe.state_dict("lpips_alex"), layout),
    }
    return _step(kind, weights, networks, images, number, wrap, forms)


def wait(_result=None) -> None:
    """Waits until the device has finished all its work."""
    if DEVICE == "cuda":
        torch.cuda.synchronize()


def peak_bytes() -> int:
    """Returns the peak memory of PyTorch on the device."""
    return torch.cuda.max_memory_allocated() if DEVICE == "cuda" else 0


def _inversion(kind, weights, images, dtype, wrap, forms):
    weights = {k: x.to(dtype) for k, x in weights.items()}
    images = images.to(dtype)
    if kind == "invert":
        call = wrap(functools.partial(torch_side.invert, forms=forms))
    else:
        weights = torch_side.under(weights, "encoder.")
        call = wrap(getattr(torch_encoders, kind))

    def run():
        with torch.no_grad():
            return call(weights, images)

    return Case(run, 0.0, len(images))


def _step(stage, weights, networks, images, dtype, wrap, forms):
    part = {"encoder": "encoder.module.", "smart": "decoder.module.smart_block."}[stage]
    trained = [x.requires_grad_() for k, x in weights.items() if k.startswith(part)]
    optimizer = torch.optim.Adam(trained, 1e-4, fused=True)
    mixed = dtype != torch.float32

    @wrap
    def loss():
        with torch.autocast(DEVICE, torch.bfloat16, enabled=mixed):
            parts = torch_losses.inversion_losses(
                weights, networks, images, stage, forms
            )
            return sum(torch_losses.WEIGHTS[name] * x for name, x in parts.items())

    def run():
        total = loss()
        total.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return total

    return Case(run, 0.0, len(images))


def _generator_step(config, states, images, wrap, forms):
    """Makes all steps of `cases.generator` from one R1 regularisation to the next."""
    g, d = states["g"], states["d"]
    trained = {
        key: [x.requires_grad_() for k, x in state.items() if "noises." not in k]
        for key, state in states.items()
    }
    averaged = [x.detach().clone() for x in trained["g"]]
    adam = functools.partial(
        torch.optim.Adam, lr=config.learning_rate, betas=(0.0, 0.99), fused=True
    )
    optimizers = {key: adam(tensors) for key, tensors in trained.items()}
    codes = 2 * int(np.log2(images.shape[-1])) - 2
    loss, mixed = config.loss, config.dtype != "float32"

    @wrap
    def generate(z):
        with torch.autocast(DEVICE, torch.bfloat16, enabled=mixed):
            w = torch_side.mapping(g, z.flatten(0, 1)).unflatten(0, z.shape[:2])
            cut = np.random.randint(1, codes) if np.random.rand() < 0.5 else codes
            two = w[:, :1].expand(-1, cut, -1), w[:, 1:].expand(-1, codes - cut, -1)
            return torch_side.generator(
                g, torch.cat(two, 1), forms=forms, noise=loss.noise_mode
            )

    @wrap
    def discriminate(x):
        with torch.autocast(DEVICE, torch.bfloat16, enabled=mixed):
            return torch_side.discriminator(d, x, forms=forms).float()

    def update(key, total):
        # Without noise, no loss reads its weights.
        grads = torch.autograd.grad(total, trained[key], allow_unused=True)
        for tensor, grad in zip(trained[key], grads, strict=True):
            tensor.grad = grad
        optimizers[key].step()

    def run():
        for k in range(loss.r1_every):
            z = torch.randn(len(images), 2, 512, device=DEVICE)
            weight = loss.r1_every * loss.r1_gamma if k == 0 else 0.0
            of_discriminator, of_generator = torch_losses.adversarial_losses(
                generate, discriminate, images, z, weight
            )
            update("d", of_discriminator())
            update("g", total := of_generator())
            with torch.no_grad():
                torch._foreach_lerp_(averaged, trained["g"], 0.1)
        return total

    return Case(run, 0.0, loss.r1_every * len(images))


def adversarial_states(config) -> dict:
    """Returns the initial generator "g" and discriminator "d" as published states."""
    objective = Adversarial(config)
    state = objective.init(jax.random.key(0))
    generator = merge_collections(
        {"params": state["generator"], "const": state["const"]}
    )
    networks = objective.networks
    return {
        "g": write_table(generator_table(networks.generator), generator),
        "d": write_table(
            rosinality_table(networks.discriminator), state["discriminator"]
        ),
    }


def _weights(size: int, kind: str):
    generator = GeneratorConfig(size)
    if kind in ENCODERS:
        config = StylePrompterConfig(encoder_of(kind, generator), None, generator)
    else:
        swin = SwinConfig(num_tokens=generator.num_codes)
        config = StylePrompterConfig(swin, SmartConfig(), generator)
    _, content = export_model(config, draw(model_shapes(config)))
    mean = np.asarray(content["latent_avg"])
    return content["state_dict"] | {"latent_avg": mean}


def _images(batch, size, layout):
    images = random_images(batch, size).transpose(0, 3, 1, 2)
    return torch.from_numpy(images).to(DEVICE).contiguous(memory_format=layout)


def _to_device(state, layout):
    """Returns the floating arrays of a state as float32 tensors."""
    tensors = {
        key: torch.from_numpy(np.array(x, np.float32)).to(DEVICE)
        for key, x in state.items()
        if np.issubdtype(np.asarray(x).dtype, np.floating)
    }
    return {
        key: x.contiguous(memory_format=layout) if x.ndim == 4 else x
        for key, x in tensors.items()
    }
