"""Measures ONNX graphs against JAX: python -m benchmarks.exported [--encoder psp].

The model has random weights and the published sizes. JAX and ONNX Runtime take turns.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np

from benchmarks.cases import ENCODERS, draw, encoder_of, random_images
from styleprompter_jax.export.folder import open_programs, write_programs
from styleprompter_jax.inversion.exported import ExportedModel
from styleprompter_jax.inversion.pipeline import StylePrompter
from styleprompter_jax.models.encoders.swin import SwinConfig
from styleprompter_jax.models.generators.stylegan2 import GeneratorConfig
from styleprompter_jax.models.inverter import StylePrompterConfig
from styleprompter_jax.models.refiners.smart import SmartConfig
from styleprompter_jax.store.model_folder import model_shapes


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--encoder", choices=["swin", *ENCODERS], default="swin")
    parser.add_argument("--batches", type=int, nargs="+", default=[1])
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    generator = GeneratorConfig(args.size)
    if args.encoder == "swin":
        encoder, refiner = SwinConfig(num_tokens=generator.num_codes), SmartConfig()
    else:
        encoder, refiner = encoder_of(args.encoder, generator), None
    config = StylePrompterConfig(encoder, refiner, generator)
    model = StylePrompter(config, draw(model_shapes(config)))
    with tempfile.TemporaryDirectory() as name:
        folder, start = Path(name), time.perf_counter()
        write_programs(folder, "onnx", config, model.variables, {})
        print(f"Written in {time.perf_counter() - start:.1f} s.")
        opened = open_programs(folder, "onnx", config, {}, "")
        exported = ExportedModel(opened, "the export")
        compare(model, exported, args.batches, args.repeats)


def compare(
    model: StylePrompter, exported: ExportedModel, batches: list, repeats: int
) -> None:
    """Prints the times of both, and how far their results are from each other."""
    print("| | batch | first call, s | JAX, s | ONNX, s | ratio | difference |")
    print("|---|---|---|---|---|---|---|")
    for batch in batches:
        images = random_images(batch, model.config.input_shape[0])
        latents = model.encode(images)
        calls: dict[str, Callable] = {
            "encode": lambda one, images=images: one.encode(images).w_plus,
            "decode": lambda one, latents=latents: one.decode(latents),
        }
        for name, call in calls.items():
            expected = jax.block_until_ready(call(model))
            first, made = seconds(lambda call=call: call(exported))
            times = [
                seconds(lambda one=one, call=call: call(one))[0]
                for _ in range(repeats)
                for one in (model, exported)
            ]
            ours, theirs = min(times[::2]), min(times[1::2])
            difference = np.abs(np.asarray(expected) - np.asarray(made)).max()
            print(
                f"| {name} | {batch} | {first:.1f} | {ours:.2f} | {theirs:.2f} | "
                f"{theirs / ours:.2f} | {difference:.0e} |"
            )


def seconds(call: Callable) -> tuple:
    """Returns the time of a call, and its result."""
    start = time.perf_counter()
    made = jax.block_until_ready(call())
    return time.perf_counter() - start, made


if __name__ == "__main__":
    main()
