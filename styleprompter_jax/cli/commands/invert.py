"""`styleprompter invert`: writes inversions, their latents and a sheet."""

import argparse
from typing import Any

from styleprompter_jax.cli.arguments import (
    add_decoding,
    add_format,
    add_input,
    add_model,
    add_optimize,
    add_output,
    add_tune,
    left_out,
    options,
)
from styleprompter_jax.core.values import plural

# Options that `--engine ray` does not have.
_TUNING = ("layers", "together", "locality", "network", "half")
_LOCAL = ("tune", "overwrite", *_TUNING)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    add_model(parser)
    add_input(parser, required=True)
    add_output(parser)
    parser.add_argument(
        "--features",
        action="store_true",
        help="also store SMART's feature maps in latents.npz, for `edit --latents`",
    )
    parser.add_argument(
        "--engine",
        choices=["ray"],
        help="invert on the machines of a Ray cluster, and write shards (Parquet) "
        "instead of files; the same call again does what is missing",
    )
    parser.add_argument(
        "--address",
        metavar="A",
        help="address of the Ray cluster (default: start Ray on this machine)",
    )
    parser.add_argument(
        "--input-kind",
        choices=["picture", "grey", "sketch", "labels"],
        help="kind of the files: colour images (picture), images to read in grey, "
        "sketches in grey, or label maps of classes (default: the model's own kind)",
    )
    add_optimize(parser)
    add_tune(parser)
    add_decoding(parser)
    add_format(parser)


def wrong(args: argparse.Namespace) -> str | None:
    """Returns the reason why the options do not fit together, if any."""
    given = [name for name in _TUNING if getattr(args, name)]
    if given and not args.tune:
        return f"--{given[0]} is for --tune"
    if args.address and not args.engine:
        return "--address is for --engine ray"
    if args.engine:
        if args.noise_mode == "random":
            return "--noise-mode random is not for --engine ray"
        if other := [name for name in ("tune", "overwrite") if getattr(args, name)]:
            return f"--{other[0]} is not for --engine ray"
    return None


def run(args: argparse.Namespace) -> None:
    """Runs the command and prints its results."""
    if args.engine:
        given = {k: v for k, v in options(args).items() if k not in _LOCAL}
        _run_on_ray(given | {"address": args.address})
        return
    from styleprompter_jax.app.invert import invert

    made = invert(**options(args))
    done = plural(len(made.files), "image")
    print(f"{done} inverted to {args.output}{left_out(made)}.")


def _run_on_ray(given: dict[str, Any]) -> None:
    from styleprompter_jax.app.engine_ray import invert_on_ray

    made = invert_on_ray(**given)
    done = f"{plural(made.count, 'image')} inverted to {given['output']}"
    before = f", {made.before} were there" if made.before else ""
    print(f"{done}, {plural(len(made.files), 'shard')}{left_out(made)}{before}.")
