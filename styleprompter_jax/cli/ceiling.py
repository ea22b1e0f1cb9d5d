"""Measures the best inversions that a generator allows: it optimises W+ per image.

python -m styleprompter_jax.cli.ceiling --model avatars64
"""

import argparse
import sys

from styleprompter_jax.cli.arguments import name_or_path, positive
from styleprompter_jax.cli.surroundings import orderly
from styleprompter_jax.core.compilation_cache import use_compilation_cache


def main(argv: list[str] | None = None) -> int:
    """Runs the program; returns 0, or 1 after a StylePrompterError."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=name_or_path, default="avatars64")
    parser.add_argument(
        "--count", type=positive, default=20, help="number of test avatars"
    )
    parser.add_argument(
        "--steps", type=positive, default=500, help="optimisation steps per image"
    )
    return orderly(lambda: run(parser.parse_args(argv)))


def run(args: argparse.Namespace) -> None:
    """Runs the program and prints its results."""
    from styleprompter_jax.evaluation.ceiling import ceiling
    from styleprompter_jax.inversion.pipeline import load

    use_compilation_cache()
    psnr, ssim, count = ceiling(load(args.model), args.count, args.steps)
    print(f"{count} test avatars: PSNR {psnr:.2f} dB, SSIM {ssim:.3f}")


if __name__ == "__main__":
    sys.exit(main())
