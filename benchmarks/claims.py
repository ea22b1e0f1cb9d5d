"""Answers the questions of docs/claims.md: trains what is missing, then compares.

    python -m benchmarks.claims QUESTION [--domain cells] [--steps N] [--seeds K ...]

A question has several rows. A row is the bundled model with options of `compare`, or a
training of one of `VARIANTS` for each seed. All trainings start from the bundled model
of the domain and see the same number of images. A finished run is not repeated, and an
interrupted run goes on where it stopped. The table goes to FOLDER/QUESTION/table.md.
"""

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from absl import logging

import styleprompter_jax as sp
from benchmarks.claim_tables import at_equal_psnr, table_of
from styleprompter_jax.app.compare import compare
from styleprompter_jax.app.decoding import Decoding
from styleprompter_jax.cli.arguments import positive
from styleprompter_jax.core.compilation_cache import use_compilation_cache
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.json_files import write_json
from styleprompter_jax.data.sources import TfdsSource
from styleprompter_jax.editing.latents import Latents
from styleprompter_jax.images.files import to_float
from styleprompter_jax.models.encoders.swin_layers import SwinBlock
from styleprompter_jax.ops.metrics import psnr

# The bundled model of each domain, and the default folder of its runs.
BUNDLED = {"avatars": "avatars64", "cells": "cells64"}
FOLDERS = {"avatars": Path("runs/claims"), "cells": Path("runs/claims_cells")}
BUDGET = "budget.json"  # in the folder of a run

# The config of each trained variant, and the keys that differ from it.
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "smart": ("avatars_smart", {}),
    "conv": ("avatars_conv", {}),
    "smart_4": ("avatars_smart", {"model.smart.refined_layers": (4,)}),
    "smart_468": ("avatars_smart", {"model.smart.refined_layers": (4, 6, 8)}),
    "softmax": ("avatars_smart", {"model.smart.attention": "softmax"}),
    "swin": ("avatars_encoder", {}),
    "token_mlp": ("avatars_encoder", {"model.encoder.token_mlp": True}),
    "psp": ("avatars_psp", {}),
    "e4e": ("avatars_e4e", {}),
    "restyle": ("avatars_restyle", {}),
}


@dataclasses.dataclass(frozen=True)
class Row:
    """A row of a table.

    Attributes:
        title: text of the row.
        options: options of an entry of `compare`, such as ",refine=no".
        variant: one of `VARIANTS`; "" for the bundled model.
    """

    title: str
    options: str = ""
    variant: str = ""


QUESTIONS: dict[str, list[Row]] = {
    "betas": [
        Row("beta 0, 0 (W+, but for a bias)", ",beta=0"),
        *(Row(f"beta {b}, {b}", f",beta={b}") for b in (0.25, 0.5, 0.75, 1)),
        Row("beta 1, 0", ",beta=1:0"),
        Row("beta 0, 1", ",beta=0:1"),
        Row("each direction's own for edits"),
    ],
    "procedures": [
        Row("W+, one pass", ",refine=no"),
        Row("W+, 200 steps on codes", ",optimize=200,refine=no"),
        Row("W+, 100 steps on the generator", ",tune=100,refine=no"),
        Row("W+, 350 steps on the generator", ",tune=350,refine=no"),
        Row("SMART, one pass"),
        Row("SMART, 200 steps on codes", ",optimize=200"),
        Row("SMART, 100 steps on the generator", ",tune=100"),
        Row("SMART, 350 steps on the generator", ",tune=350"),
    ],
    "refiners": [
        Row("SMART", variant="smart"),
        Row("convolutions", variant="conv"),
        Row("W+", ",refine=no"),
    ],
    "strengths": [
        Row(f"{title}, beta {b}", f",beta={b}", variant)
        for title, variant in (("SMART", "smart"), ("convolutions", "conv"))
        for b in (0, 0.25, 0.5, 0.75, 1)
    ],
    "layers": [
        Row("layers 4, 6", variant="smart"),
        Row("layer 4", variant="smart_4"),
        Row("layers 4, 6, 8", variant="smart_468"),
    ],
    "attention": [
        Row("linear", variant="smart"),
        Row("softmax", variant="softmax"),
    ],
    "encoders": [
        Row("latent tokens (SwinV2)", variant="swin"),
        Row("pSp", variant="psp"),
        Row("e4e", variant="e4e"),
        Row("ReStyle", variant="restyle"),
    ],
    "tokens": [
        Row("tokens without MLP", variant="swin"),
        Row("tokens with MLP", variant="token_mlp"),
    ],
}


def main(arguments: Sequence[str]) -> None:
    """Trains and compares the rows of a question, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("question", choices=[*QUESTIONS, "pooling"])
    parser.add_argument("--domain", choices=BUNDLED, default="avatars")
    parser.add_argument("--steps", type=int, default=1200, help="of each training")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--count", type=positive, default=300, help="test images")
    parser.add_argument("--folder", type=Path, help="of runs and tables")
    parser.add_argument(
        "--no_edits", action="store_true", help="leave out edits, which take longest"
    )
    args = parser.parse_args(arguments)
    logging.set_verbosity(logging.WARNING)
    use_compilation_cache()
    try:
        if args.question == "pooling":
            print(pooling(args.count, args.domain))
            return
        answer(
            args.question, args.steps, args.seeds, args.count,
            args.folder or FOLDERS[args.domain], args.domain,
            directions=[] if args.no_edits else None,
        )  # fmt: skip
    except StylePrompterError as error:
        sys.exit(f"Error: {error}")


def answer(
    question: str,
    steps: int,
    seeds: Sequence[int],
    count: int,
    folder: Path,
    domain: str,
    directions: Sequence[str] | None = None,
) -> None:
    """Trains what is missing, compares, and writes and prints the table."""
    rows, entries, budgets = QUESTIONS[question], {}, {}
    for row in rows:
        if row.variant:
            runs = [run_of(row.variant, steps, seed, folder, domain) for seed in seeds]
            budgets[row.title] = [json.loads((r / BUDGET).read_text()) for r in runs]
            places = [str(run / "model") for run in runs]
        else:
            places = [BUNDLED[domain]]
        entries[row.title] = [place + row.options for place in places]
    found = compare(
        [entry for of_row in entries.values() for entry in of_row],
        folder / question,
        data=domain,
        count=count,
        directions=directions,
        decoding=Decoding(batch_size=min(50, count)),
        overwrite=True,
    )
    seconds = {
        row["title"]: row["seconds"]["processor"] for row in found.results["models"]
    }
    table = table_of(
        {
            title: (
                [found.values[entry] for entry in of_row],
                np.mean([seconds[entry] for entry in of_row]),
                budgets.get(title),
            )
            for title, of_row in entries.items()
        }
    )
    # There may be fewer than asked for.
    images = len(next(iter(found.values.values()))["mse"])
    head = f"{question}: {images} test images of {domain}, intervals of 95 % over them."
    if budgets:
        head += f" {steps} steps of training, seeds {', '.join(map(str, seeds))}."
    if question == "strengths" and directions is None:
        curves: dict[str, list] = {}
        for row in rows:
            seeds_of_row = [found.values[entry] for entry in entries[row.title]]
            curves.setdefault(row.variant, []).append(seeds_of_row)
        table += f"\n\n{at_equal_psnr(curves['smart'], curves['conv'])}"
    (folder / question / "table.md").write_text(f"{head}\n\n{table}\n")
    print(f"{head}\n\n{table}")


def pooling(count: int, domain: str) -> str:
    """Averages the results of the bundled tokens over the windows, instead of sums.

    Returns:
        A sentence with the differences of the codes and of the PSNR.
    """
    model = sp.load(BUNDLED[domain])
    source = TfdsSource(f"{domain}/64", "test")
    images = to_float(np.stack([source[k]["image"] for k in range(count)]))

    def averaging(run: Callable, args: tuple, kwargs: dict, context: Any) -> Any:
        block = context.module.parent
        if context.module.name != "norm1" or not isinstance(block, SwinBlock):
            return run(*args, **kwargs)
        (x,) = args
        cells = x.shape[1] - model.config.encoder.num_tokens
        windows = cells // block.window**2
        return run(x / np.where(np.arange(x.shape[1]) < cells, 1, windows)[:, None])

    def encode(images: jax.Array) -> Any:
        return model.module.apply(model.variables, images, method="encode")

    def averaged(images: jax.Array) -> Any:
        with nn.intercept_methods(averaging):
            return encode(images)

    both = [Latents(*jax.jit(run)(images)) for run in (encode, averaged)]
    summed, mean = (np.asarray(one.w_plus) for one in both)
    change = np.linalg.norm(mean - summed) / np.linalg.norm(summed)
    outputs = (jnp.asarray(model.decode(one)) for one in both)
    first, second = (psnr(one, jnp.asarray(images)) for one in outputs)
    return (
        f"{count} test images: averages instead of sums change the codes by "
        f"{change:.1e} of their norm, and the PSNR by at most "
        f"{np.abs(first - second).max():.1e} dB."
    )


def config_of(variant: str, steps: int, seed: int, domain: str = "avatars") -> Any:
    """Returns the config of the training of a variant."""
    name, changes = VARIANTS[variant]
    config = sp.get_config(name)
    if domain == "cells":
        config.data = sp.get_config("cells64_generator").data
    with config.unlocked():  # a key that the config leaves at its default
        config.update_from_flattened_dict(changes)
    config.init_from, config.seed = BUNDLED[domain], seed
    config.total_steps = steps
    config.eval_every = steps
    config.checkpoint_every = min(config.checkpoint_every, steps)
    warmup = config.optimizer.warmup_steps
    config.optimizer.warmup_steps = min(warmup, steps // 10)
    return config


def run_of(variant: str, steps: int, seed: int, folder: Path, domain: str) -> Path:
    """Trains a variant, unless its run is finished; returns the folder of the run."""
    config = config_of(variant, steps, seed, domain)
    run = folder / f"{variant}-{steps}-{seed}"
    spent = _spent(run)
    if spent.get("finished"):
        return run
    start = time.process_time()
    before = spent.get("processor_seconds", 0)
    try:
        sp.train(config, run)
        model = sp.load(run / "model")
        part = "encoder" if config.stage == "encoder" else model.config.refiner.key
        spent = {
            "finished": True,
            "parameters": sum(a.size for a in jax.tree.leaves(model.params[part])),
            "images": steps * config.batch_size,
        }
        # The generator is that of the bundled model, so its directions fit.
        model.directions = sp.load(BUNDLED[domain]).directions
        model.save(run / "model")
    finally:
        if run.is_dir():
            spent["processor_seconds"] = before + time.process_time() - start
            write_json(run / BUDGET, spent)
    return run


def _spent(run: Path) -> dict:
    return json.loads((run / BUDGET).read_text()) if (run / BUDGET).is_file() else {}


if __name__ == "__main__":
    main(sys.argv[1:])
