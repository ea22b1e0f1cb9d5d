"""`styleprompter edit`: edits images along directions, as images or animations."""

import argparse

from styleprompter_jax.cli.arguments import (
    add_decoding,
    add_format,
    add_input,
    add_layers,
    add_model,
    add_optimize,
    add_output,
    frames,
    left_out,
    name_or_path,
    number,
    options,
    path,
)
from styleprompter_jax.core.values import plural


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    add_model(parser)
    source = parser.add_mutually_exclusive_group(required=True)
    add_input(source)
    source.add_argument(
        "--latents",
        type=path,
        metavar="FILE",
        help="latents.npz of `invert`, instead of --input",
    )
    add_output(parser)
    parser.add_argument(
        "--direction",
        dest="directions",
        type=name_or_path,
        nargs="+",
        required=True,
        metavar="D",
        help="a direction of the model, or a file (.npy, .npz, .pt, .pth, "
        ".safetensors) with an array of [w_dim], [n, w_dim] or [1, n * w_dim]",
    )
    parser.add_argument(
        "--strength",
        dest="strengths",
        nargs="+",
        type=number,
        metavar="S",
        help="strengths of the edit (default: the direction's own strength, 0 and the "
        "opposite strength; for a sweep, the direction's range); a sweep with one "
        "strength begins or ends at 0",
    )
    add_layers(parser, "to change (default: the direction's)")
    parser.add_argument(
        "--together",
        action="store_true",
        help="apply all directions at once; smile:1 age:-0.5 gives them weights",
    )
    parser.add_argument(
        "--animate",
        choices=["gif", "mp4", "frames"],
        help="write a sweep instead of images, from the lowest to the highest "
        "strength and back: an animation, or a folder of its frames",
    )
    parser.add_argument(
        "--frames",
        type=frames,
        metavar="N",
        help="number of images from one end of a sweep to the other (default: 24)",
    )
    add_optimize(parser)
    add_decoding(parser, beta="each direction's own")
    add_format(parser)
    # Without a default, the function knows whether a format was given.
    parser.set_defaults(format=None)


def run(args: argparse.Namespace) -> None:
    """Runs the command and prints its results."""
    from styleprompter_jax.app.edit import edit

    made = edit(**options(args))
    done = plural(made.edits, "animation" if args.animate else "edit")
    whose = plural(made.pictures, "image")
    print(f"{done} of {whose} in {args.output}{left_out(made)}.")
