"""`styleprompter invert`: writes inversions, their latents and a sheet."""

import argparse

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
    of_tune = ("layers", "together", "locality", "network", "half")
    given = [name for name in of_tune if getattr(args, name)]
    return f"--{given[0]} is for --tune" if given and not args.tune else None


def run(args: argparse.Namespace) -> None:
    """Runs the command and prints its results."""
    from styleprompter_jax.app.invert import invert

    made = invert(**options(args))
    done = plural(len(made.files), "image")
    print(f"{done} inverted to {args.output}{left_out(made)}.")
