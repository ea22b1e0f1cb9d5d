"""What the commands share: which pictures go in, and how what comes out is written."""

import collections
import contextlib
import dataclasses
import logging
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.paths import AnyPath, as_paths
from styleprompter_jax.core.results import Results
from styleprompter_jax.images.batches import threads
from styleprompter_jax.images.files import output_paths, to_uint8, write_image
from styleprompter_jax.images.find import find_images, shown
from styleprompter_jax.images.read_once import ReadOnce

WAITING = 64  # pictures at most that wait to be written
SHOWN = 8  # pictures on a sheet

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Made:
    """What a command made of pictures.

    Attributes:
        files: the results.
        skipped: what was left out, a sentence for each that says why.
    """

    files: list[Path]
    skipped: list[str]


@dataclasses.dataclass(frozen=True)
class Shown(Made):
    """What a command made of pictures, with a sheet of some beside it."""

    sheet: Path


def find_pictures(
    inputs: Sequence[AnyPath],
    output: Path,
    skip_bad: bool,
    read: ReadOnce,
    suffix: str = ".png",
) -> tuple[list[Path], list[Path], list[str]]:
    """The pictures to work on, and where each one's result goes.

    Every picture is read once here, so that a bad one is known before anything is
    written.

    Args:
        inputs: files, folders and globs.
        output: the folder of the results.
        skip_bad: leave out pictures that cannot be read, and warn of each.
        read: how they are to be read, which also keeps what it read.
        suffix: how the results' names end.

    Returns:
        The pictures, the result's path for each, and why others were left out.

    Raises:
        StylePrompterError: if there are none, or one cannot be read.
    """
    paths = list_inputs(inputs, output, warn=True)
    bar = dict(desc="checking", unit="image", total=len(paths), disable=None)
    with threads() as pool:
        problems = list(
            tqdm(pool.map(partial(_problem, read), paths), **bar, leave=False)
        )
    bad = [problem for problem in problems if problem]
    if bad and not skip_bad:
        hint = "--skip-bad leaves out such pictures."
        raise StylePrompterError("\n".join([*bad, hint]))
    for problem in bad:
        log.warning("Skipped: %s", problem)
    paths = [path for path, bad in zip(paths, problems, strict=True) if not bad]
    if not paths:
        raise StylePrompterError(
            f"{', '.join(map(str, inputs))}: no picture that can be used."
        )
    return paths, output_paths(paths, output, suffix), bad


def list_inputs(
    inputs: Sequence[AnyPath], output: Path, warn: bool = False
) -> list[Path]:
    """The pictures that files, folders and globs stand for, each once.

    Results of an earlier call are not among them.

    Args:
        inputs: files, folders and globs.
        output: the folder of the results.
        warn: of pictures of kinds that are not read.
    """
    output, paths = output.resolve(), []
    for entry in dict.fromkeys(as_paths(inputs)):
        found = list_pictures(entry, warn)
        if entry.resolve() in output.parents:
            found = [path for path in found if output not in path.resolve().parents]
        paths += found
    return list(dict.fromkeys(paths))


def list_pictures(entry: AnyPath, warn: bool = True) -> list[Path]:
    """The pictures of `find_images`; may warn of what is left out."""
    found = find_images(entry)
    if warn and found.warning:
        log.warning("%s: %s", shown(entry), found.warning)
    return found.images


def _problem(read: ReadOnce, path: Path) -> str | None:
    try:
        read.check(path)
    except StylePrompterError as error:
        return str(error)
    return None


@contextlib.contextmanager
def writing(place: Results) -> Iterator[Callable]:
    """`write_images` that does not wait; at the end of the block all are written."""

    def write_one(image: np.ndarray, path: Path) -> None:
        with place.writing(path):
            write_image(image, path)

    with threads() as pool:
        waiting: collections.deque = collections.deque()

        def write(images: np.ndarray, paths: Sequence[Path]) -> None:
            for image, path in zip(to_uint8(images), paths, strict=True):
                waiting.append(pool.submit(write_one, image, path))
            while len(waiting) > WAITING:
                waiting.popleft().result()

        yield write
        for future in waiting:
            future.result()


def each(work: Callable, jobs: Sequence[tuple]) -> None:
    """Calls work(*job) for each job, several at a time, behind a progress bar."""
    with threads() as pool:
        done = pool.map(work, *zip(*jobs, strict=True))
        for _ in tqdm(done, total=len(jobs), unit="image", disable=None):
            pass


def sheet_path(folder: Path, taken: Sequence[Path]) -> Path:
    """Where the sheet goes: sheet.png, unless a result has that name."""
    path = folder / "sheet.png"
    while path in taken:
        path = path.with_stem(path.stem + "_")
    return path
