"""The arguments of `evaluate` and `compare`, which measure models."""

import argparse
from collections.abc import Mapping

from styleprompter_jax.cli.arguments import (
    IN_BUCKET,
    add_data_dir,
    add_decoding,
    add_input,
    add_overwrite,
    differs,
    name_or_path,
    path,
    positive,
    side,
)


def skipped_lines(results: Mapping) -> list[str]:
    """Returns the lines about the metrics that were not measured, and the reasons."""
    skipped = results["skipped"]
    lines = ["\nSkipped:"] if skipped else []
    return lines + [f"- {name}: {why}." for name, why in skipped.items()]


def wrong_measured(args: argparse.Namespace) -> str | None:
    """Returns the reason why the arguments of the images do not fit, if any."""
    for name in ("split", "data_dir"):
        if args.inputs and differs(args, name):
            return f"--{name.replace('_', '-')} is for --data"
    return None


def add_measured(
    parser: argparse.ArgumentParser, folder: str, files: str, size: str
) -> None:
    """Adds the arguments of commands that measure models.

    Args:
        parser: the parser of the command.
        folder: the default of --output.
        files: help text of --output.
        size: help text of the default of --size.
    """
    source = parser.add_mutually_exclusive_group(required=True)
    add_input(source)
    source.add_argument(
        "--data", metavar="NAME", help='"avatars", "cells", or a TFDS dataset of images'
    )
    parser.add_argument(
        "--split", default="test", help="split of --data (default: test)"
    )
    add_data_dir(parser)
    parser.add_argument(
        "--count", type=positive, metavar="N", help="use only the first N images"
    )
    parser.add_argument(
        "--output",
        type=path,
        default=folder,
        metavar="DIR",
        help=f"{files}, {IN_BUCKET} (default: {folder})",
    )
    add_overwrite(parser)
    parser.add_argument(
        "--size",
        type=side,
        metavar="S",
        help=f"side of the compared images (default: {size})",
    )
    parser.add_argument(
        "--networks",
        type=name_or_path,
        nargs="+",
        default=[],
        metavar="N",
        help="network folders from `convert`, also on the Hub or in a bucket, for "
        "LPIPS, ID similarity, FID",
    )
    parser.add_argument(
        "--direction",
        dest="directions",
        type=name_or_path,
        nargs="+",
        metavar="D",
        help="directions to measure (default: all directions of the model, or those "
        "that all compared models have)",
    )
    parser.add_argument(
        "--classifier",
        type=path,
        metavar="FILE",
        help="classifier that judges edits: a file, or avatars or cells for a bundled "
        "one (default with --data avatars or cells: theirs)",
    )
    add_decoding(parser)
