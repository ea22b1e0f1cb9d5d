"""What each command takes on the command line; `cli.training` has that of `train`."""

from styleprompter_jax.cli.arguments import (
    add_data_dir,
    add_decoding,
    add_format,
    add_input,
    add_layers,
    add_model,
    add_optimize,
    add_output,
    add_overwrite,
    add_skip_bad,
    batch_size,
    frames,
    name_or_path,
    not_negative,
    number,
    path,
    positive,
    seed,
    sha256,
    side,
)
from styleprompter_jax.core.paths import is_link


def convert(parser):
    parser.add_argument(
        "paths",
        type=name_or_path,
        nargs="+",
        metavar="PATH",
        help="files of weights, then the folder to write; or files of directions, then "
        "the model folder to keep them with; or, with --export, the model folder. A "
        "file may also be an https link, of Google Drive too: up to 8 GiB, kept in the "
        "cache, gone on with after a break",
    )
    parser.add_argument(
        "--sha256",
        action="append",
        type=sha256,
        metavar="SUM",
        help="what the file behind a link must have; one for each link, in their order",
    )
    parser.add_argument(
        "--export",
        type=path,
        metavar="FILE",
        help="write the model as the published PyTorch code reads it",
    )
    add_overwrite(parser, "the model or file that is there")


def wrong_convert(args) -> str:
    """What argparse cannot tell of this command's paths; "" if nothing is wrong."""
    if args.export and len(args.paths) != 1:
        return "convert --export FILE takes one model folder"
    if not args.export and len(args.paths) < 2:
        return "convert takes one file or more, and then the folder to write"
    if is_link(args.export or args.paths[-1]):
        return "convert writes to this machine: the folder to write is no link"
    links = sum(map(is_link, args.paths))
    if args.sha256 and len(args.sha256) != links:
        return f"--sha256 is given {len(args.sha256)} times for {links} links"
    return ""


def invert(parser):
    add_model(parser)
    add_input(parser, required=True)
    add_output(parser)
    parser.add_argument(
        "--features",
        action="store_true",
        help="keep SMART's feature maps in the latents too, for `edit --latents`",
    )
    add_optimize(parser)
    add_decoding(parser)
    add_format(parser)


def edit(parser):
    add_model(parser)
    source = parser.add_mutually_exclusive_group(required=True)
    add_input(source)
    source.add_argument(
        "--latents",
        type=path,
        metavar="FILE",
        help="latents that `invert` wrote, for --input",
    )
    add_output(parser)
    parser.add_argument(
        "--direction",
        type=name_or_path,
        nargs="+",
        required=True,
        metavar="D",
        help="a name known to the model; or an .npy, .npz or .pt of [w_dim], "
        "[n, w_dim] or [1, n * w_dim]",
    )
    parser.add_argument(
        "--strength",
        nargs="+",
        type=number,
        metavar="S",
        help="how far along (default: the direction's own, there and back; for a "
        "sweep, its range)",
    )
    add_layers(parser, "to change (default: the direction's)")
    parser.add_argument(
        "--together",
        action="store_true",
        help="go along all directions at once; smile:1 age:-0.5 gives them weights",
    )
    parser.add_argument(
        "--animate",
        choices=["gif", "mp4", "frames"],
        help="in place of pictures, a sweep from the lowest to the highest strength "
        "and back; or a folder of its frames",
    )
    parser.add_argument(
        "--frames",
        type=frames,
        default=24,
        metavar="N",
        help="pictures from one end of a sweep to the other (default: 24)",
    )
    add_optimize(parser)
    add_decoding(parser, beta="each direction's own")
    add_format(parser)


def mix(parser):
    add_model(parser)
    for name in ("source", "reference"):
        parser.add_argument(
            f"--{name}",
            type=path,
            nargs="+",
            required=True,
            metavar="PATH",
            help=f"{name}s: files, folders or globs",
        )
    add_output(parser)
    parser.add_argument(
        "--mode",
        choices=["replace", "exchange", "interpolate"],
        required=True,
        help="replace: ever more of the first codes; exchange: one code at a time; "
        "interpolate: all codes by shares",
    )
    parser.add_argument(
        "--pairs",
        action="store_true",
        help="the first source with the first reference, and so on, in place of every "
        "source with every reference",
    )
    parser.add_argument(
        "--alpha",
        nargs="+",
        type=number,
        metavar="A",
        help="shares of the reference, to interpolate (default: 0 0.1 ... 1)",
    )
    add_layers(parser, "that may come from the reference (default: all)")
    add_decoding(parser)
    add_format(parser)


def directions(parser):
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
    parser.add_argument(
        "--beta",
        nargs=2,
        type=number,
        metavar=("B1", "B2"),
        help="pairs: SMART's weights for such edits (default: 0.5 0.5)",
    )
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


def evaluate(parser):
    add_model(parser)
    source = parser.add_mutually_exclusive_group(required=True)
    add_input(source)
    source.add_argument(
        "--data", metavar="NAME", help='"avatars", or a TFDS data set with pictures'
    )
    parser.add_argument("--split", default="test", help="of --data (default: test)")
    add_data_dir(parser)
    parser.add_argument(
        "--count", type=positive, metavar="N", help="the first N pictures only"
    )
    parser.add_argument(
        "--output",
        type=path,
        default="evaluation",
        metavar="DIR",
        help="folder for metrics.json, images.csv and sheet.png (default: evaluation)",
    )
    add_overwrite(parser)
    parser.add_argument(
        "--size",
        type=side,
        metavar="S",
        help="side at which pictures are compared (default: the model's, 256 at most)",
    )
    parser.add_argument(
        "--networks",
        type=path,
        nargs="+",
        default=[],
        metavar="DIR",
        help="perceptual networks that `convert` wrote, for LPIPS, ID similarity, FID",
    )
    parser.add_argument(
        "--direction",
        type=name_or_path,
        nargs="+",
        metavar="D",
        help="directions to judge (default: all that the model knows)",
    )
    parser.add_argument(
        "--classifier",
        type=path,
        metavar="FILE",
        help="what judges edits (default for the avatars: the bundled one)",
    )
    add_decoding(parser)


def push(parser):
    parser.add_argument("model", metavar="MODEL", help="as --model takes it elsewhere")
    parser.add_argument(
        "target",
        metavar="hf://USER/NAME[/FOLDER]",
        help="where to; the repository is made if it is not there",
    )
    parser.add_argument(
        "--private",
        action="store_true",
        help="nobody else may see the repository; refuses one that is public",
    )
    parser.add_argument(
        "--metrics",
        metavar="FILE",
        help="metrics.json of `evaluate`, whose figures the card shows (default: the "
        "one in the model folder, if there is one)",
    )


def pack(parser):
    parser.add_argument("folder", type=path, help="pictures, searched recursively")
    parser.add_argument("dest", type=path, help="the file to write: NAME.array_record")
    parser.add_argument(
        "--size", type=side, required=True, help="pixels of the shorter side"
    )
    parser.add_argument(
        "--crop",
        choices=["center", "none"],
        default="center",
        help="keep the central square (default), or all, for random crops in training",
    )
    add_overwrite(parser, "the file that is there")
    add_skip_bad(parser)


def align(parser):
    add_input(parser, required=True)
    parser.add_argument(
        "--landmarks",
        type=path,
        metavar="FILE",
        help='JSON: {"face.jpg": [[x, y], ...]} with 68 points (dlib), or 5: eyes, '
        "nose, corners of the mouth, the left of the picture first; for one picture "
        "its list alone (default: the largest face that is found, with the extra "
        "`detector`)",
    )
    add_output(parser)
    parser.add_argument(
        "--size",
        type=side,
        default=1024,
        metavar="S",
        help="side of the crops (default: 1024)",
    )
    add_skip_bad(parser)


def unalign(parser):
    add_input(parser, required=True)
    parser.add_argument(
        "--crops",
        type=path,
        required=True,
        metavar="DIR",
        help="the folder that `align` wrote",
    )
    add_output(parser)
    parser.add_argument(
        "--no-detail",
        dest="detail",
        action="store_false",
        help="put the crops themselves, in place of adding what the edit changed; for "
        "edits that move shapes in a photograph much finer than the crop",
    )
    add_format(parser)
    add_skip_bad(parser)
