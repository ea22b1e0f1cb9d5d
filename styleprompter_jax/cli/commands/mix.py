"""`styleprompter mix`: mixes the codes of two images."""

import argparse
from typing import Any

from styleprompter_jax.cli.arguments import (
    IN_BUCKET,
    add_decoding,
    add_format,
    add_layers,
    add_model,
    add_output,
    left_out,
    number,
    options,
    path,
)
from styleprompter_jax.core.values import plural


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    add_model(parser)
    either = parser.add_mutually_exclusive_group(required=True)
    how: dict[str, Any] = dict(type=path, nargs="+", metavar="PATH")
    either.add_argument(
        "--source",
        dest="sources",
        **how,
        help=f"sources: files, folders or globs, {IN_BUCKET}",
    )
    either.add_argument(
        "--latents",
        type=path,
        metavar="FILE",
        help="latents from `invert`, instead of --source",
    )
    parser.add_argument(
        "--reference",
        dest="references",
        required=True,
        **how,
        help=f"references: files, folders or globs, {IN_BUCKET}",
    )
    add_output(parser)
    parser.add_argument(
        "--mode",
        choices=["replace", "exchange", "interpolate"],
        required=True,
        help="replace: take the first 0, 1, ..., n codes from the reference; exchange: "
        "take one code at a time; interpolate: move all codes towards the reference",
    )
    parser.add_argument(
        "--pairs",
        action="store_true",
        help="mix the first source with the first reference, and so on (default: mix "
        "every source with every reference)",
    )
    parser.add_argument(
        "--alpha",
        dest="alphas",
        nargs="+",
        type=number,
        metavar="A",
        help="interpolate: shares of the reference (default: 0 0.1 ... 1)",
    )
    add_layers(parser, "that may come from the reference (default: all)")
    add_decoding(parser)
    add_format(parser)


def run(args: argparse.Namespace) -> None:
    """Runs the command and prints its results."""
    from styleprompter_jax.app.mix import mix

    made = mix(**options(args))
    sources = plural(made.sources, "source")
    whose = f"{sources} and {plural(made.references, 'reference')}"
    done = f"{plural(len(made.files), 'mix', 'es')} of {whose}"
    print(f"{done} in {args.output}{left_out(made)}.")
