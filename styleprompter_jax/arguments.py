"""Arguments on the command line: their kinds, and those that several commands take."""

import argparse
import re


def positive(text: str):
    """A whole number from 1."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return value


def not_negative(text: str):
    """A whole number from 0."""
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text} is less than 0")
    return value


def frames(text: str):
    """How many pictures an animation has, from 2."""
    value = int(text)
    if not 2 <= value <= 10_000:
        raise argparse.ArgumentTypeError(f"{text} is not 2 to 10000")
    return value


def span(text: str):
    """The indices of "7" or "0-3", as a range."""
    first, _, last = text.partition("-")
    if not (first.isdecimal() and (last or first).isdecimal()):
        raise argparse.ArgumentTypeError(f"{text} is no index, and no range like 0-3")
    first, last = int(first), int(last or first)
    if not first <= last < 1000:
        raise argparse.ArgumentTypeError(f"{text} is no range of codes")
    return range(first, last + 1)


def number(text: str):
    """A finite number."""
    value = float(text)
    if not abs(value) < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a finite number")
    return value


def sha256(text: str):
    """64 hexadecimal digits, in small letters."""
    if not re.fullmatch("[0-9a-fA-F]{64}", text):
        raise argparse.ArgumentTypeError(f"{text} is not 64 hexadecimal digits")
    return text.lower()


class Spans(argparse.Action):
    """Several `span`, as one list without repetitions."""

    def __call__(self, parser, namespace, values, option_string=None):
        layers = dict.fromkeys(layer for span in values for layer in span)
        setattr(namespace, self.dest, list(layers))


def add_layers(parser, text):
    parser.add_argument(
        "--layers",
        nargs="+",
        type=span,
        action=Spans,
        metavar="K",
        help=f"indices of the W+ codes {text}; 0-3 7 is 0 1 2 3 7",
    )


def add_model(parser):
    parser.add_argument(
        "--model",
        required=True,
        metavar="M",
        help="a model folder, the name of a bundled model, or "
        "hf://USER/MODEL[@REVISION][/FOLDER] on the Hugging Face Hub",
    )


def add_input(parser, **options):
    parser.add_argument(
        "--input",
        nargs="+",
        metavar="PATH",
        help="pictures: files, folders (searched recursively) or globs",
        **options,
    )


def add_output(parser):
    parser.add_argument(
        "--output", required=True, metavar="DIR", help="folder for the results"
    )
    add_overwrite(parser)


def add_overwrite(parser, what="files"):
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help=f"replace {what} there that this program did not write, or that were "
        "changed since",
    )


def add_format(parser):
    parser.add_argument(
        "--format",
        choices=["png", "jpg", "webp"],
        default="png",
        help="of the results: png (default) and webp keep every pixel",
    )


def add_optimize(parser):
    parser.add_argument(
        "--optimize",
        type=positive,
        default=0,
        metavar="N",
        help="fit the codes of each picture by N steps of gradient descent",
    )


def add_decoding(parser, beta="1 1"):
    """What all commands take that turn pictures into pictures."""
    parser.add_argument(
        "--beta",
        nargs=2,
        type=number,
        metavar=("B1", "B2"),
        help=f"weights of SMART's retrieval and feed-forward part (default: {beta})",
    )
    parser.add_argument(
        "--no-refine",
        dest="refine",
        action="store_false",
        help="leave SMART out: W+ alone",
    )
    parser.add_argument(
        "--noise-mode",
        choices=["const", "random", "none"],
        default="const",
        help="the generator's noise: stored, drawn from --seed, or none",
    )
    parser.add_argument("--seed", type=int, default=0, help="for --noise-mode random")
    parser.add_argument(
        "--batch-size", type=positive, default=16, metavar="N", help="(default: 16)"
    )
    parser.add_argument(
        "--dtype",
        choices=["float32", "bfloat16"],
        default="float32",
        help="what the model computes in: float32 (default), or bfloat16, which is "
        "faster on GPUs and TPUs",
    )
    add_skip_bad(parser)


def add_skip_bad(parser):
    parser.add_argument(
        "--skip-bad",
        action="store_true",
        help="leave out pictures that cannot be read, instead of stopping",
    )
