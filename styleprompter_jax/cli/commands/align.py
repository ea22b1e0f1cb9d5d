"""`styleprompter align`: crops faces from photographs as FFHQ does."""

import argparse

from styleprompter_jax.cli.arguments import (
    add_input,
    add_output,
    add_skip_bad,
    left_out,
    options,
    path,
    positive,
)
from styleprompter_jax.core.values import plural


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    add_input(parser, required=True)
    parser.add_argument(
        "--landmarks",
        type=path,
        metavar="FILE",
        help='JSON file: {"face.jpg": [[x, y], ...]} with 68 points (dlib), or with 5 '
        "points: eyes, nose, corners of the mouth, the left side of the image first; "
        "for one image, the list alone (default: find the largest face, with the "
        "extra `detector`)",
    )
    add_output(parser)
    parser.add_argument(
        "--size",
        type=positive,
        default=1024,
        metavar="S",
        help="side of the crops in pixels, at most 4096 (default: 1024)",
    )
    add_skip_bad(parser)


def run(args: argparse.Namespace) -> None:
    """Runs the command and prints its results."""
    from styleprompter_jax.app.align import align

    made = align(**options(args))
    print(f"{plural(len(made.files), 'crop')} in {args.output}{left_out(made)}.")
