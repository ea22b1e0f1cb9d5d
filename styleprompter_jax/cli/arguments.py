"""Arguments on the command line: their kinds, and those that several commands take."""

import argparse
import dataclasses
import re
from typing import TYPE_CHECKING, Any

from styleprompter_jax.core.paths import local_path
from styleprompter_jax.core.values import LARGEST_NUMBER

if TYPE_CHECKING:
    from styleprompter_jax.app.pictures import Made

# What takes arguments: a parser, or a group of one.
_Takes = argparse._ActionsContainer

MOST = 2**31 - 1  # that a number of steps, pictures or components may be
LARGEST_BATCH = 1024  # pictures at once: results do not depend on it
LARGEST_SIDE = 16_384  # pixels of a picture


def whole(text: str, least: int, most: int) -> int:
    """A whole number from least to most."""
    value = int(text)
    if not least <= value <= most:
        raise argparse.ArgumentTypeError(f"{text} is not {least} to {most}")
    return value


def positive(text: str) -> int:
    """A whole number from 1."""
    return whole(text, 1, MOST)


def not_negative(text: str) -> int:
    """A whole number from 0."""
    return whole(text, 0, MOST)


def seed(text: str) -> int:
    """What random numbers begin with, from 0 to 2^63 - 1."""
    return whole(text, 0, 2**63 - 1)


def batch_size(text: str) -> int:
    """How many pictures at once; more than `LARGEST_BATCH` means that many."""
    return min(whole(text, 1, 2**63 - 1), LARGEST_BATCH)


def side(text: str) -> int:
    """Pixels of a side of a picture."""
    return whole(text, 1, LARGEST_SIDE)


def frames(text: str) -> int:
    """How many pictures an animation has, from 2."""
    return whole(text, 2, 10_000)


def span(text: str) -> range:
    """The indices of "7" or "0-3", as a range."""
    first, _, last = text.partition("-")
    if not (first.isdecimal() and (last or first).isdecimal()):
        raise argparse.ArgumentTypeError(f"{text} is no index, and no range like 0-3")
    start, end = int(first), int(last or first)
    if not start <= end < 1000:
        raise argparse.ArgumentTypeError(f"{text} is no range of codes")
    return range(start, end + 1)


def number(text: str) -> float:
    """A number that the networks can compute with."""
    value = float(text)
    if not abs(value) <= LARGEST_NUMBER:
        most = f"{LARGEST_NUMBER:.0e}".replace("+0", "")
        raise argparse.ArgumentTypeError(f"{text} is no number from -{most} to {most}")
    return value


def refiner_option(text: str) -> tuple[str, float | tuple[float, ...]]:
    """The name and value of "gain=0.5" or "beta=1,0.5"."""
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise argparse.ArgumentTypeError(f"{text} is not NAME=X")
    numbers = tuple(number(part) for part in value.split(","))
    return name, numbers if len(numbers) > 1 else numbers[0]


def sha256(text: str) -> str:
    """64 hexadecimal digits, in small letters."""
    if not re.fullmatch("[0-9a-fA-F]{64}", text):
        raise argparse.ArgumentTypeError(f"{text} is not 64 hexadecimal digits")
    return text.lower()


def path(text: str) -> str:
    """A file, folder or glob of this machine, "~" in full."""
    return str(local_path(text))


def name_or_path(text: str) -> str:
    """What may be a name or an address, too."""
    return path(text) if text.startswith("~") else text


class Spans(argparse.Action):
    """Several `span`, as one list without repetitions."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        """Keeps the layers in the order in which they are given."""
        layers = dict.fromkeys(layer for span in values for layer in span)
        setattr(namespace, self.dest, list(layers))


def add_layers(parser: _Takes, text: str) -> None:
    """Adds --layers."""
    parser.add_argument(
        "--layers",
        nargs="+",
        type=span,
        action=Spans,
        metavar="K",
        help=f"indices of the W+ codes {text}; 0-3 7 is 0 1 2 3 7",
    )


def add_model(parser: _Takes) -> None:
    """Adds --model."""
    parser.add_argument(
        "--model",
        type=name_or_path,
        required=True,
        metavar="M",
        help="a model folder, the name of a bundled model, or "
        "hf://USER/MODEL[@REVISION][/FOLDER] on the Hugging Face Hub",
    )


def add_input(parser: _Takes, **options: Any) -> None:
    """Adds --input."""
    parser.add_argument(
        "--input",
        dest="inputs",
        nargs="+",
        type=path,
        metavar="PATH",
        help="pictures: files, folders (searched recursively) or globs",
        **options,
    )


def add_output(parser: _Takes) -> None:
    """Adds --output."""
    parser.add_argument(
        "--output",
        type=path,
        required=True,
        metavar="DIR",
        help="folder for the results",
    )
    add_overwrite(parser)


def add_overwrite(
    parser: _Takes, what: str = "files that it did not write, or that changed since"
) -> None:
    """Adds --overwrite."""
    parser.add_argument("--overwrite", action="store_true", help=f"replace {what}")


def add_data_dir(parser: _Takes) -> None:
    """Adds --data-dir."""
    parser.add_argument(
        "--data-dir",
        type=path,
        metavar="DIR",
        help="where TFDS keeps its data sets",
    )


def add_format(parser: _Takes) -> None:
    """Adds --format."""
    parser.add_argument(
        "--format",
        choices=["png", "jpg", "webp"],
        default="png",
        help="of the results: png (default) and webp keep every pixel",
    )


def add_optimize(parser: _Takes) -> None:
    """Adds --optimize."""
    parser.add_argument(
        "--optimize",
        type=positive,
        default=0,
        metavar="N",
        help="fit the codes of each picture by N steps of gradient descent",
    )


def add_refiner(parser: _Takes, beta: str) -> None:
    """Adds options of the refiner; ``beta`` says what SMART's is for."""
    parser.add_argument("--beta", nargs=2, type=number, metavar=("B1", "B2"), help=beta)
    parser.add_argument(
        "--refiner",
        nargs="+",
        type=refiner_option,
        metavar="NAME=X",
        help="options of another refiner than SMART, by name; several numbers of one "
        "are NAME=X,Y",
    )


def add_decoding(parser: _Takes, beta: str = "1 1") -> None:
    """What all commands take that turn pictures into pictures."""
    add_refiner(
        parser, f"weights of SMART's retrieval and feed-forward part (default: {beta})"
    )
    parser.add_argument(
        "--no-refine",
        dest="refine",
        action="store_false",
        default=None,
        help="leave SMART out: W+ alone, as a model without it does anyway",
    )
    parser.add_argument(
        "--noise-mode",
        choices=["const", "random", "none"],
        default="const",
        help="the generator's noise: stored, drawn from --seed, or none",
    )
    parser.add_argument("--seed", type=seed, default=0, help="for --noise-mode random")
    parser.add_argument(
        "--batch-size", type=batch_size, default=16, metavar="N", help="(default: 16)"
    )
    parser.add_argument(
        "--dtype",
        choices=["float32", "bfloat16"],
        default="float32",
        help="what the model computes in: float32 (default), or bfloat16, which is "
        "faster on GPUs and TPUs",
    )
    add_skip_bad(parser)


def add_skip_bad(parser: _Takes) -> None:
    """Adds --skip-bad."""
    parser.add_argument(
        "--skip-bad",
        action="store_true",
        help="leave out pictures that cannot be read, instead of stopping",
    )


def options(args: argparse.Namespace) -> dict[str, Any]:
    """What a call gives, by the names that its function in `app/` has for it."""
    from styleprompter_jax.app.decoding import Decoding

    given = vars(args).copy()
    for name in ("command", "parser", "traceback"):
        del given[name]
    if "beta" in given:
        beta, others = given.pop("beta"), given.pop("refiner") or ()
        given["refiner"] = ({"beta": beta} if beta else {}) | dict(others)
    if "noise_mode" in given:
        names = [field.name for field in dataclasses.fields(Decoding)]
        given["decoding"] = Decoding(**{name: given.pop(name) for name in names})
    return given


def left_out(made: "Made") -> str:
    """The end of a sentence about a result of `app/`: ", 2 skipped"; or ""."""
    return f", {len(made.skipped)} skipped" if made.skipped else ""
