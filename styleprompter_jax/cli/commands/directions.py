"""`styleprompter directions`: finds directions and adds them to a model."""

import argparse

from styleprompter_jax.cli.arguments import (
    IN_BUCKET,
    add_batch_size,
    add_data_dir,
    add_layers,
    add_model,
    add_overwrite,
    add_refiner,
    differs,
    name_or_path,
    not_negative,
    number,
    options,
    path,
    positive,
    seed,
)
from styleprompter_jax.core.values import plural
from styleprompter_jax.data.tables import is_table

# The methods that have an option.
_METHODS = {
    "components": ("sefa", "pca"),
    "data": ("labels", "pairs", "classifier"),
    "rank": ("pairs", "classifier"),
    "latents": ("labels",),
    "attributes": ("labels", "pairs", "classifier"),
    "steps": ("pairs", "classifier"),
    "classifier": ("classifier",),
    "data_dir": ("labels", "classifier"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    add_model(parser)
    parser.add_argument(
        "--method",
        choices=["sefa", "pca", "labels", "pairs", "classifier"],
        required=True,
        help="sefa: from the generator's weights; pca: principal components of sampled "
        "codes (GANSpace); labels: regression of the codes of labelled images; "
        "pairs: fit to images before and after an edit; classifier: fit to a "
        "classifier's verdicts on edited images",
    )
    parser.add_argument(
        "--components",
        type=positive,
        default=5,
        metavar="K",
        help="sefa and pca: number of directions (default: 5)",
    )
    add_layers(parser, "that the directions change and sefa analyses (default: all)")
    parser.add_argument(
        "--orthogonal-to",
        nargs="+",
        default=[],
        metavar="NAME",
        help="directions of the model; the new directions are orthogonal to them",
    )
    parser.add_argument(
        "--data",
        type=name_or_path,
        default="avatars",
        help='labels: "avatars" (default), another TFDS dataset with labels, or a '
        "FILE.csv of images and their attributes; classifier: the same, of which it "
        'reads the images alone; pairs: "avatars", or a FILE.csv with the columns '
        "direction,before,after",
    )
    parser.add_argument(
        "--latents",
        type=path,
        metavar="FILE",
        help="labels: codes of the images in the .csv, as `invert` writes them; the "
        "command then encodes nothing",
    )
    parser.add_argument(
        "--attributes",
        nargs="+",
        default=[],
        metavar="NAME",
        help="labels: attributes of the data to find directions for (default: all); "
        "pairs: directions to fit; classifier: attributes that it knows (default: all)",
    )
    parser.add_argument(
        "--rank",
        type=not_negative,
        default=16,
        metavar="R",
        help="pairs and classifier: rank of the map that adapts an edit to the codes "
        "(default: 16); 0 gives the same edit for all codes",
    )
    add_refiner(
        parser,
        "SMART's weights for the edits (default: 1 1; with pairs and classifier "
        "0.5 0.5)",
    )
    parser.add_argument(
        "--strength",
        type=number,
        metavar="S",
        help="default strength of the edits (default: 1; with sefa and pca 2)",
    )
    parser.add_argument(
        "--steps",
        type=not_negative,
        help="steps of gradient descent for each direction (default: pairs 400, "
        "classifier 100)",
    )
    parser.add_argument(
        "--classifier",
        type=path,
        metavar="FILE",
        help="classifier: its file (default for the avatars and the cells: the bundled "
        "one)",
    )
    add_data_dir(parser)
    parser.add_argument(
        "--count",
        type=positive,
        help="labels: number of images (default: 2000 of TFDS, all of a .csv); "
        "pairs: number of pairs for each direction (default: 800 avatars); "
        "classifier: number of images (default: 800); sefa and pca: number of codes to "
        "sample (default: 20000)",
    )
    parser.add_argument(
        "--seed",
        type=seed,
        default=0,
        help="seed of the sampled codes, or of the order of the images or pairs",
    )
    parser.add_argument(
        "--output",
        type=path,
        metavar="DIR",
        help=f"add the directions to a copy of the model in DIR, {IN_BUCKET} "
        "(default: to the model itself)",
    )
    add_overwrite(
        parser,
        "the model at --output, or a directions.png that the command did not write",
    )
    add_batch_size(parser)


def wrong(args: argparse.Namespace) -> str | None:
    """Returns the reason why the options do not fit together, if any."""
    for name, methods in _METHODS.items():
        if differs(args, name) and args.method not in methods:
            return f"--{name.replace('_', '-')} is for --method {' or '.join(methods)}"
    if args.data_dir and is_table(args.data):
        return "--data-dir is for a TFDS dataset, not for a table"
    return None


def run(args: argparse.Namespace) -> None:
    """Runs the command and prints its results."""
    from styleprompter_jax.app.directions import find_directions

    found = find_directions(**options(args))
    names, replaced = ", ".join(found.directions), ", ".join(found.replaced)
    print(
        f"{plural(len(found.directions), 'direction')} in {found.folder}: {names}."
        + (f" Replaced: {replaced}." if replaced else "")
    )
