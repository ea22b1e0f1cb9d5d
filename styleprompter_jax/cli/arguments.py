"""The types of command-line arguments, and the arguments that commands share."""

import argparse
import dataclasses
import re
from typing import TYPE_CHECKING, Any

from styleprompter_jax.core.buckets import checked_path
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.paths import local_path
from styleprompter_jax.core.values import LARGEST_NUMBER, parsed_whole, shown

if TYPE_CHECKING:
    from styleprompter_jax.app.pictures import Made

# A parser, or a group of its arguments.
_Takes = argparse._ActionsContainer

MOST = 2**31 - 1  # largest number of steps, images or components
LARGEST_BATCH = 1024  # images; results do not depend on the batch size
LARGEST_SIDE = 16_384  # pixels of an image
# The end of the help text of arguments that may be in a bucket.
IN_BUCKET = "or gs:// or s3://BUCKET/FOLDER"


def whole(text: str, least: int, most: int) -> int:
    """Parses an integer from `least` to `most`."""
    value = parsed_whole(text)
    if value is None or not least <= value <= most:
        wanted = f"{least} or more" if most >= MOST else f"from {least} to {most}"
        if value is not None and value > most:
            wanted = f"at most {most}"
        raise argparse.ArgumentTypeError(
            f"{shown(text)} is not a whole number, {wanted}"
        )
    return value


def positive(text: str) -> int:
    """Parses an integer of 1 or more."""
    return whole(text, 1, MOST)


def not_negative(text: str) -> int:
    """Parses an integer of 0 or more."""
    return whole(text, 0, MOST)


def seed(text: str) -> int:
    """Parses a seed of random numbers, from 0 to 2^63 - 1."""
    return whole(text, 0, 2**63 - 1)


def batch_size(text: str) -> int:
    """Parses a batch size; `LARGEST_BATCH` replaces a larger one."""
    return min(whole(text, 1, 2**63 - 1), LARGEST_BATCH)


def side(text: str) -> int:
    """Parses the side of an image in pixels."""
    return whole(text, 1, LARGEST_SIDE)


def frames(text: str) -> int:
    """Parses the number of images in an animation, 2 or more."""
    return whole(text, 2, 10_000)


def span(text: str) -> range:
    """Parses indices such as "7" or "0-3" to a range."""
    first, _, last = text.partition("-")
    start, end = parsed_whole(first), parsed_whole(last or first)
    if start is None or end is None:
        raise argparse.ArgumentTypeError(
            f"{shown(text)} is not an index or a range like 0-3"
        )
    if not 0 <= start <= end < 1000:
        raise argparse.ArgumentTypeError(f"{text} is not a range of codes")
    return range(start, end + 1)


def number(text: str) -> float:
    """Parses a number that the networks can compute with in float32."""
    value = float(text)
    if not abs(value) <= LARGEST_NUMBER:
        most = f"{LARGEST_NUMBER:.0e}".replace("+0", "")
        raise argparse.ArgumentTypeError(
            f"{text} is not a number from -{most} to {most}"
        )
    return value


def refiner_option(text: str) -> tuple[str, float | tuple[float, ...]]:
    """Parses an option such as "gain=0.5" or "beta=1,0.5" to name and value."""
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise argparse.ArgumentTypeError(f"{text} is not NAME=X")
    numbers = tuple(number(part) for part in value.split(","))
    return name, numbers if len(numbers) > 1 else numbers[0]


def sha256(text: str) -> str:
    """Parses 64 hexadecimal digits, and returns them in lower case."""
    if not re.fullmatch("[0-9a-fA-F]{64}", text):
        raise argparse.ArgumentTypeError(f"{text} is not 64 hexadecimal digits")
    return text.lower()


def path(text: str) -> str:
    """Parses a file, folder or glob, or an address in a bucket, and expands "~"."""
    return str(checked_path(text))


def local(text: str) -> str:
    """Parses the path of a file or folder that must be local, and expands "~"."""
    return str(local_path(text))


def name_or_path(text: str) -> str:
    """Parses a path, a name or an address."""
    return path(text) if text.startswith("~") else text


class Spans(argparse.Action):
    """Joins several spans to one list without repetitions."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        """Stores the layers in the given order."""
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
        help=f"indices of the W+ codes {text}; 0-3 7 means 0 1 2 3 7",
    )


def add_model(parser: _Takes) -> None:
    """Adds --model."""
    parser.add_argument(
        "--model",
        type=name_or_path,
        required=True,
        metavar="M",
        help="a model folder, the name of a bundled model, a model on the Hugging Face "
        f"Hub: hf://USER/MODEL[@REVISION][/FOLDER], {IN_BUCKET}",
    )


def add_input(parser: _Takes, **options: Any) -> None:
    """Adds --input."""
    parser.add_argument(
        "--input",
        dest="inputs",
        nargs="+",
        type=path,
        metavar="PATH",
        help=f"images: files, folders (searched recursively) or globs, {IN_BUCKET}",
        **options,
    )


def add_output(parser: _Takes) -> None:
    """Adds --output."""
    parser.add_argument(
        "--output",
        type=path,
        required=True,
        metavar="DIR",
        help=f"folder of the results, {IN_BUCKET}",
    )
    add_overwrite(parser)


def add_overwrite(
    parser: _Takes,
    what: str = "files that the command did not write, or that have changed since",
) -> None:
    """Adds --overwrite."""
    parser.add_argument("--overwrite", action="store_true", help=f"replace {what}")


def add_data_dir(parser: _Takes) -> None:
    """Adds --data-dir."""
    parser.add_argument(
        "--data-dir",
        type=local,
        metavar="DIR",
        help="folder of the TFDS datasets",
    )


def add_format(parser: _Takes) -> None:
    """Adds --format."""
    parser.add_argument(
        "--format",
        choices=["png", "jpg", "webp"],
        default="png",
        help="format of the results: png (default) and webp are lossless",
    )


def add_optimize(parser: _Takes) -> None:
    """Adds --optimize."""
    parser.add_argument(
        "--optimize",
        type=positive,
        default=0,
        metavar="N",
        help="fit the codes of each image with N steps of gradient descent",
    )


def add_tune(parser: _Takes) -> None:
    """Adds --tune, and how it tunes."""
    parser.add_argument(
        "--tune",
        type=positive,
        default=0,
        metavar="N",
        help="fit the generator to each image with at most N steps of gradient descent "
        "(pivotal tuning); the codes stay as they are",
    )
    add_layers(parser, "whose layers --tune changes (default: all)")
    parser.add_argument(
        "--together",
        action="store_true",
        help="tune one generator to all images, instead of one to each",
    )
    parser.add_argument(
        "--locality",
        type=number,
        default=0.0,
        metavar="W",
        help="weight of the locality term of --tune (default: 0; published: 0.1)",
    )
    parser.add_argument(
        "--network",
        type=name_or_path,
        metavar="DIR",
        help="LPIPS network from `convert` for the loss of --tune (default: 1 - SSIM)",
    )
    parser.add_argument(
        "--half",
        action="store_true",
        help="store the changes of --tune in float16, at half the size",
    )


def add_refiner(parser: _Takes, beta: str) -> None:
    """Adds the options of the refiner; ``beta`` is the help text of --beta."""
    parser.add_argument("--beta", nargs=2, type=number, metavar=("B1", "B2"), help=beta)
    parser.add_argument(
        "--refiner",
        nargs="+",
        type=refiner_option,
        metavar="NAME=X",
        help="options of a refiner other than SMART, by name; write an option with "
        "several numbers as NAME=X,Y",
    )


def add_batch_size(parser: _Takes) -> None:
    """Adds --batch-size."""
    parser.add_argument(
        "--batch-size",
        type=batch_size,
        default=16,
        metavar="N",
        help="images in a batch of one device (default: 16)",
    )


def add_dtype(parser: _Takes) -> None:
    """Adds --dtype."""
    parser.add_argument(
        "--dtype",
        choices=["float32", "bfloat16"],
        default="float32",
        help="number format of the computation: float32 (default), or bfloat16, "
        "which is faster on GPUs and TPUs",
    )


def add_decoding(parser: _Takes, beta: str = "1 1") -> None:
    """Adds the options of all commands that render images."""
    add_refiner(
        parser,
        f"weights of SMART's retrieval and its feed-forward part (default: {beta})",
    )
    parser.add_argument(
        "--no-refine",
        dest="refine",
        action="store_false",
        default=None,
        help="skip SMART and decode W+ alone, as a model without SMART always does",
    )
    parser.add_argument(
        "--iterations",
        type=positive,
        metavar="N",
        help="passes of an encoder of ReStyle (default: its own number, mostly 5)",
    )
    parser.add_argument(
        "--noise-mode",
        choices=["const", "random", "none"],
        default="const",
        help="noise of the generator: stored (const, default), drawn from --seed "
        "(random), or none",
    )
    parser.add_argument(
        "--seed", type=seed, default=0, help="seed of all random numbers (default: 0)"
    )
    add_batch_size(parser)
    add_dtype(parser)
    add_skip_bad(parser)


def differs(args: argparse.Namespace, name: str) -> bool:
    """Returns whether the call gives an argument another value than its default."""
    return getattr(args, name) != args.parser.get_default(name)


def add_skip_bad(parser: _Takes) -> None:
    """Adds --skip-bad."""
    parser.add_argument(
        "--skip-bad",
        action="store_true",
        help="skip images that cannot be read, instead of stopping",
    )


def options(args: argparse.Namespace) -> dict[str, Any]:
    """Returns the arguments of a call, by the names of its function in `app/`."""
    from styleprompter_jax.app.decoding import Decoding

    given = vars(args).copy()
    for name in ("command", "parser", "traceback", "engine", "address"):
        given.pop(name, None)
    if "beta" in given:
        beta, others = given.pop("beta"), given.pop("refiner") or ()
        given["refiner"] = _once([("beta", beta)] * bool(beta) + [*others])
    if "noise_mode" in given:
        names = [field.name for field in dataclasses.fields(Decoding)]
        given["decoding"] = Decoding(**{name: given.pop(name) for name in names})
    return given


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Returns the options of the refiner by name; refuses a name given twice."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise StylePrompterError(
                f"The refiner's option {shown(name)} is given twice (--beta, "
                "--refiner): leave out one of them."
            )
        found[name] = value
    return found


def left_out(made: "Made") -> str:
    """Returns the end of the sentence about a result: ", 2 skipped", for example."""
    return f", {len(made.skipped)} skipped" if made.skipped else ""
