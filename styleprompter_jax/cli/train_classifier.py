"""Trains the classifier that judges edits, and prints its accuracy on a test split.

python -m styleprompter_jax.cli.train_classifier --data avatars/64 --output FILE
"""

import argparse
import logging
import os
import sys
from collections.abc import Mapping
from typing import Any

from styleprompter_jax.cli.arguments import local, seed
from styleprompter_jax.cli.surroundings import orderly
from styleprompter_jax.core.compilation_cache import use_compilation_cache
from styleprompter_jax.core.errors import StylePrompterError

log = logging.getLogger(__name__)


def main(argv: list[str] | None = None) -> int:
    """Runs the program; returns 0, or 1 after a StylePrompterError."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="avatars/64", help="a TFDS dataset")
    parser.add_argument("--data-dir", help="folder of the TFDS datasets")
    parser.add_argument("--split", default="train", help="split to train on")
    parser.add_argument("--test-split", default="test", help="to test on")
    parser.add_argument(
        "--seed", type=seed, default=0, help="of weights and order (default: 0)"
    )
    parser.add_argument(
        "--output", type=local, required=True, help="file to write: NAME.safetensors"
    )
    return orderly(lambda: run(parser.parse_args(argv)))


def run(args: argparse.Namespace) -> None:
    """Runs the program and prints its results."""
    from styleprompter_jax.evaluation import classifier

    if os.path.lexists(args.output):
        raise StylePrompterError(f"{args.output} exists: choose another --output.")
    folder = os.path.dirname(os.path.abspath(args.output))
    if not os.path.isdir(folder):
        raise StylePrompterError(f"There is no folder {folder}: create it first.")
    use_compilation_cache()
    shown, labels = classifier.read_split(args.data, args.split, args.data_dir)
    labels = _learnable(labels, f"the split {args.split!r} of {args.data}")
    images, attributes = classifier.read_split(
        args.data, args.test_split, args.data_dir
    )
    classifier.train(shown, labels, seed=args.seed).save(args.output)
    judge = classifier.load_classifier(args.output)
    known = {name: attributes[name] for name in labels}
    for name, share in classifier.right(judge, images, known).items():
        print(f"{name}: right on {share:.1%} of {len(images)} images")


def _learnable(labels: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Returns the attributes with several values, and warns of the others.

    Raises:
        StylePrompterError: if all attributes have only one value.
    """
    found = {name: own for name, own in labels.items() if len(set(own.tolist())) > 1}
    if not found:
        raise StylePrompterError(
            f"All attributes of {source} have only one value: choose other images."
        )
    for name in labels:
        if name not in found:
            log.warning("Left out: %r has only one value in %s.", name, source)
    return found


if __name__ == "__main__":
    sys.exit(main())
