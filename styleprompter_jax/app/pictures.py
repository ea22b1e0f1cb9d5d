"""What the commands share: the pictures that go in, in batches, and what comes out."""

import collections
import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import jax
import numpy as np
from tqdm import tqdm

from styleprompter_jax.app.read_once import ReadOnce
from styleprompter_jax.core.batches import pad as pad
from styleprompter_jax.core.batches import take as take
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.paths import local_path
from styleprompter_jax.core.results import Results
from styleprompter_jax.images.files import (
    output_paths,
    read_image,
    to_float,
    to_uint8,
    write_image,
)
from styleprompter_jax.images.find import find_images, shown

# Together they hold no more than the largest picture takes: see `images/decode.py`.
THREADS = min(os.cpu_count() or 1, 8)
AHEAD = 2  # batches that are read before their turn
WAITING = 64  # pictures at most that wait to be written
SHOWN = 8  # pictures on a sheet


def at_size(size: int) -> ReadOnce:
    """Reads pictures as uint8 (size, size, 3); see `find_pictures`."""
    return ReadOnce(lambda path: read_image(path, size))


def find_pictures(
    inputs: Sequence[str],
    output: str,
    skip_bad: bool,
    read: ReadOnce,
    suffix: str = ".png",
) -> tuple[list[Path], list[Path], int]:
    """The pictures to work on, and where each one's result goes.

    Every picture is read once here, so that a bad one is known before anything is
    written.

    Args:
        inputs: files, folders and globs.
        output: the folder of the results.
        skip_bad: report pictures that cannot be read on stderr, and go on.
        read: how they are to be read, which also keeps what it read.
        suffix: how the results' names end.

    Returns:
        The pictures, the result's path for each, and how many were left out.

    Raises:
        StylePrompterError: if there are none, or one cannot be read.
    """
    paths = list_inputs(inputs, output, warn=True)
    bar = dict(desc="checking", unit="image", total=len(paths), disable=None)
    with _threads() as pool:
        problems = list(
            tqdm(pool.map(partial(_problem, read), paths), **bar, leave=False)
        )
    bad = [problem for problem in problems if problem]
    if bad and not skip_bad:
        hint = "--skip-bad leaves out such pictures."
        raise StylePrompterError("\n".join([*bad, hint]))
    for problem in bad:
        print(f"Skipped: {problem}", file=sys.stderr)
    paths = [path for path, bad in zip(paths, problems, strict=True) if not bad]
    if not paths:
        raise StylePrompterError(f"{', '.join(inputs)}: no picture that can be used.")
    return paths, output_paths(paths, output, suffix), len(bad)


def list_inputs(inputs: Sequence[str], output: str, warn: bool = False) -> list[Path]:
    """The pictures that files, folders and globs stand for, each once.

    Results of an earlier call are not among them.

    Args:
        inputs: files, folders and globs.
        output: the folder of the results.
        warn: say on stderr which pictures are of kinds that are not read.
    """
    output, paths = Path(output).resolve(), []
    for entry in dict.fromkeys(map(local_path, inputs)):
        found = list_pictures(entry, warn)
        if local_path(entry).resolve() in output.parents:
            found = [path for path in found if output not in path.resolve().parents]
        paths += found
    return list(dict.fromkeys(paths))


def list_pictures(entry: str, warn: bool = True) -> list[Path]:
    """The pictures of `find_images`; may say on stderr which are left out."""
    found = find_images(entry)
    if warn and found.warning:
        print(f"{shown(entry)}: {found.warning}", file=sys.stderr)
    return found.images


def _problem(read: ReadOnce, path: Path) -> str | None:
    try:
        read.check(path)
    except StylePrompterError as error:
        return str(error)
    return None


def batches(count: int, batch_size: int) -> Iterator[slice]:
    """Slices of at most batch_size that cover 0 ... count - 1."""
    for start in range(0, count, batch_size):
        yield slice(start, min(start + batch_size, count))


def read_batches(
    paths: Sequence[Path], read: ReadOnce, batch_size: int
) -> Iterator[tuple[slice, np.ndarray]]:
    """Slices of the paths, and their pictures, padded to the one shape compiled.

    The next batches are read meanwhile.
    """
    for part, images in read_ahead(
        lambda index: read(paths[index]), len(paths), batch_size
    ):
        yield part, pad(to_float(np.stack(images)), batch_size)


def read_ahead(
    read: Callable, count: int, batch_size: int
) -> Iterator[tuple[slice, list]]:
    """Slices that cover 0 ... count - 1, and what `read` gives for these indices.

    The next batches are read meanwhile.
    """
    parts = list(batches(count, batch_size))
    with _threads() as pool:

        def start(part):
            return [pool.submit(read, k) for k in range(part.start, part.stop)]

        ahead = collections.deque(map(start, parts[:AHEAD]))
        for k, part in enumerate(parts):
            results = [future.result() for future in ahead.popleft()]
            ahead.extend(map(start, parts[k + AHEAD : k + AHEAD + 1]))
            yield part, results


@contextlib.contextmanager
def writing(place: Results) -> Iterator[Callable]:
    """`write_images` that does not wait; at the end of the block all are written."""

    def write_one(image, path):
        with place.writing(path):
            write_image(image, path)

    with _threads() as pool:
        waiting = collections.deque()

        def write(images, paths):
            for image, path in zip(to_uint8(images), paths, strict=True):
                waiting.append(pool.submit(write_one, image, path))
            while len(waiting) > WAITING:
                waiting.popleft().result()

        yield write
        for future in waiting:
            future.result()


@contextlib.contextmanager
def _threads() -> Iterator[ThreadPoolExecutor]:
    """A pool that, when the block is left by an error, begins nothing more."""
    pool = ThreadPoolExecutor(THREADS)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def decoding(args, index: int) -> dict:
    """The options of `StylePrompter.decode` for one batch, from the command line."""
    rng = None
    if args.noise_mode == "random":
        rng = jax.random.fold_in(jax.random.key(args.seed), index)
    return dict(
        refine=args.refine, noise_mode=args.noise_mode, rng=rng, **refiner_options(args)
    )


def refiner_options(args) -> dict:
    """The options of the refiner that the command line names."""
    return {"beta": args.beta} if args.beta else {}


def fit(args, model, images, latents):
    """Latents after --optimize steps towards their images, padded or not."""
    if not args.optimize:
        return latents
    # Random noise is no target: the codes are fitted to the stored one.
    noise_mode = "const" if args.noise_mode == "random" else args.noise_mode
    return model.optimize(
        images,
        latents,
        args.optimize,
        refine=args.refine,
        noise_mode=noise_mode,
        **refiner_options(args),
    )


def each(work: Callable, jobs: Sequence[tuple]) -> None:
    """Calls work(*job) for each job, several at a time, behind a progress bar."""
    with _threads() as pool:
        done = pool.map(work, *zip(*jobs, strict=True))
        for _ in tqdm(done, total=len(jobs), unit="image", disable=None):
            pass


def sheet_path(folder: str | os.PathLike, taken: Sequence[Path]) -> Path:
    """Where the sheet goes: sheet.png, unless a result has that name."""
    path = Path(folder) / "sheet.png"
    while path in taken:
        path = path.with_stem(path.stem + "_")
    return path


def plural(count: int, noun: str) -> str:
    """ "1 picture", "2 pictures"."""
    return f"{count} {noun}" + ("s" if count != 1 else "")
