"""`styleprompter pack`: packs a folder of images into one file for training."""

import argparse

from styleprompter_jax.cli.arguments import (
    IN_BUCKET,
    add_overwrite,
    add_skip_bad,
    left_out,
    options,
    path,
    side,
)
from styleprompter_jax.core.values import plural


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    parser.add_argument(
        "folder", type=path, help=f"folder of images, searched recursively, {IN_BUCKET}"
    )
    parser.add_argument(
        "dest",
        type=path,
        help="file to write: NAME.array_record; it may be in a bucket (gs://, s3://)",
    )
    parser.add_argument(
        "--size",
        type=side,
        required=True,
        help="length of the shorter side in pixels; smaller images keep their size",
    )
    parser.add_argument(
        "--crop",
        choices=["center", "none"],
        default="center",
        help="center (default) keeps the central square; none keeps the whole image, "
        "for random crops in training",
    )
    add_overwrite(parser, "an existing file")
    add_skip_bad(parser)


def run(args: argparse.Namespace) -> None:
    """Runs the command and prints its results."""
    from styleprompter_jax.app.pack import pack

    made = pack(**options(args))
    dest = made.files[0]
    print(
        f"{plural(made.count, 'image')} packed into {dest}{left_out(made)}. "
        "Train on it with --config.data.name=array_record "
        f"--config.data.path={dest.parent} "
        f"--config.data.train_split='{dest.stem}[10%:]' "
        f"--config.data.eval_split='{dest.stem}[:10%]'"
    )
