"""`styleprompter directions`: finds directions, and keeps them with a model."""

import argparse

from styleprompter_jax.cli.arguments import (
    add_data_dir,
    add_layers,
    add_model,
    add_overwrite,
    add_refiner,
    batch_size,
    name_or_path,
    not_negative,
    options,
    path,
    positive,
    seed,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what the command takes."""
    add_model(parser)
    parser.add_argument(
        "--method",
        choices=["sefa", "pca", "labels", "pairs"],
        required=True,
        help="sefa: from the generator's weights; pca: principal components of sampled "
        "codes (GANSpace); labels: regression of the codes of labelled images; "
        "pairs: fitted to images before and after an edit",
    )
    parser.add_argument(
        "--components",
        type=positive,
        default=5,
        metavar="K",
        help="sefa and pca: how many directions (default: 5)",
    )
    add_layers(parser, "that the directions change, and sefa looks at (default: all)")
    parser.add_argument(
        "--orthogonal-to",
        nargs="+",
        default=[],
        metavar="NAME",
        help="directions of the model that the new ones must leave alone",
    )
    parser.add_argument(
        "--data",
        type=name_or_path,
        default="avatars",
        help='labels: "avatars" (default), any other data set of TFDS with labels, or '
        'a FILE.csv of pictures and their attributes; pairs: "avatars", or a FILE.csv '
        "with the columns direction,before,after",
    )
    parser.add_argument(
        "--latents",
        type=path,
        metavar="FILE",
        help="labels: the codes of the pictures that the .csv names, as `invert` keeps "
        "them, in place of encoding",
    )
    parser.add_argument(
        "--attributes",
        nargs="+",
        default=[],
        metavar="NAME",
        help="labels: which of the data's attributes to tell apart (default: all); "
        "pairs: which directions to fit",
    )
    parser.add_argument(
        "--rank",
        type=not_negative,
        default=16,
        metavar="R",
        help="pairs: of how an edit depends on the codes (default: 16); 0: not at all",
    )
    add_refiner(parser, "pairs: SMART's weights for such edits (default: 0.5 0.5)")
    parser.add_argument(
        "--steps",
        type=not_negative,
        default=400,
        help="pairs: of gradient descent for each direction (default: 400)",
    )
    add_data_dir(parser)
    parser.add_argument(
        "--count",
        type=positive,
        help="images to use (default: 2000 of TFDS, all of a .csv), pairs of each "
        "direction (default: 800 avatars), or codes to sample (default: 20000)",
    )
    parser.add_argument(
        "--seed",
        type=seed,
        default=0,
        help="of sampled codes, or of the pairs' order",
    )
    parser.add_argument(
        "--output",
        type=path,
        metavar="DIR",
        help="a copy of the model to keep them with (default: the model itself)",
    )
    add_overwrite(parser, "the model at --output, or a directions.png of others")
    parser.add_argument("--batch-size", type=batch_size, default=16, metavar="N")


def run(args: argparse.Namespace) -> None:
    """Does it, and prints what was made."""
    from styleprompter_jax.app.directions import find_directions

    found = find_directions(**options(args))
    names, replaced = ", ".join(found.directions), ", ".join(found.replaced)
    print(
        f"{len(found.directions)} directions in {found.folder}: {names}."
        + (f" Replaced: {replaced}." if replaced else "")
    )
