"""Finds the input images of a command, and writes its results."""

import collections
import contextlib
import dataclasses
import functools
import glob
import itertools
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from styleprompter_jax.app.decoding import Decoding
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.fetch import local_copy
from styleprompter_jax.core.paths import AnyPath, as_paths
from styleprompter_jax.core.progress import Progress
from styleprompter_jax.core.results import Results, sheets_in
from styleprompter_jax.core.values import check_choice
from styleprompter_jax.editing.latent_files import generator_sum
from styleprompter_jax.editing.latents import Latents, load_named
from styleprompter_jax.images.batches import threads
from styleprompter_jax.images.files import output_paths, to_uint8, write_image
from styleprompter_jax.images.find import find_images, shown
from styleprompter_jax.images.read_once import ReadOnce
from styleprompter_jax.inversion import calls
from styleprompter_jax.inversion.changes import deltas_of
from styleprompter_jax.inversion.pipeline import StylePrompter
from styleprompter_jax.inversion.tuned import Tuned

WAITING = 64  # largest number of images that wait to be written
FORMATS = "png", "jpg", "webp"
SHOWN = 8  # images on a sheet

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Made:
    """The results of a command on images.

    Attributes:
        files: the results.
        skipped: a sentence for each skipped image, with the reason.
    """

    files: list[Path]
    skipped: list[str]


@dataclasses.dataclass(frozen=True)
class Shown(Made):
    """The results of a command on images, and a sheet of some of them."""

    sheet: Path


def suffix_of(format: str) -> str:
    """Returns the suffix of results in a format; refuses an unknown format."""
    check_choice(format, "format", FORMATS)
    return f".{format}"


def find_pictures(
    inputs: Sequence[AnyPath],
    output: Path,
    skip_bad: bool,
    read: ReadOnce,
    suffix: str = ".png",
    count: int | None = None,
    repeats: bool = False,
) -> tuple[list[Path], list[Path], list[str]]:
    """Finds the input images, and chooses the path of each result.

    It reads every image once, to find unreadable images before the command writes
    anything. With a count, it reads only until it has this number of images.

    Args:
        inputs: files, folders and globs.
        output: the folder of the results.
        skip_bad: skip images that cannot be read, with a warning for each.
        read: reads an image, and keeps the result for later.
        suffix: suffix of the results' names.
        count: find only the first `count` readable images; None for all.
        repeats: keep an image as often as the inputs name it.

    Returns:
        The images, the path of the result for each, and a sentence for each skipped
        image. The path has the folders below the inputs, and does not depend on the
        count or on unreadable images.

    Raises:
        StylePrompterError: if the inputs have no images, or an image cannot be read.
    """
    entries = as_paths(inputs, local_copy)
    listed = list_inputs(entries, output, warn=True, repeats=repeats)
    wanted = len(listed) if count is None else min(count, len(listed))
    bar = Progress(desc="checking", unit="image", total=wanted, leave=False)
    rest = iter(listed)
    good: list[Path] = []
    bad: list[str] = []
    with bar, threads() as pool:
        while part := list(itertools.islice(rest, wanted - len(good))):
            problems = pool.map(partial(problem, read), part)
            for path, said in zip(part, problems, strict=True):
                bad += [said] if said else []
                good += [] if said else [path]
                bar.update(not said)
            if bad and not skip_bad:
                break
    leave_out(bad, skip_bad)
    if not good:
        raise StylePrompterError(
            f"{', '.join(map(str, inputs))} has no readable image: name other files."
        )
    # Of all images, so that no name depends on which ones can be read.
    paths = output_paths(listed, output, suffix, folders_of(entries))
    results = dict(zip(listed, paths, strict=True))
    return good, [results[path] for path in good], bad


def leave_out(bad: Sequence[str], skip_bad: bool) -> None:
    """Warns of each image that cannot be read.

    Args:
        bad: a sentence for each such image, with the reason.
        skip_bad: False refuses the images instead.

    Raises:
        StylePrompterError: if there are such images and `skip_bad` is False; the
            message has a line for each.
    """
    if bad and not skip_bad:
        hint = "Add --skip-bad to skip such images."
        raise StylePrompterError("\n".join([*bad, hint]))
    for said in bad:
        log.warning("Skipped: %s", said)


def names_of(results: Sequence[Path], folder: Path) -> list[str]:
    """Returns the names that results have in latents: without folder and suffix."""
    return [str(path.relative_to(folder).with_suffix("")) for path in results]


def load_latents(
    file: AnyPath, model: StylePrompter, decoding: Decoding, folder: Path, suffix: str
) -> tuple[Latents, list[Path]]:
    """Reads latents, and returns them with the path of each result.

    Raises:
        StylePrompterError: as for `load_checked`.
    """
    latents, names = load_checked(file, model, decoding)
    return latents, [folder / f"{name}{suffix}" for name in names]


def load_checked(
    file: AnyPath, model: StylePrompter, decoding: Decoding
) -> tuple[Latents, list[str]]:
    """Reads latents of a model, and the names of their images.

    It warns of latents of another generator. It also warns of generators that were
    tuned with the refiner and will be decoded without it, or the other way round.

    Raises:
        StylePrompterError: if the file cannot be read, or the shape of its codes or the
            changes of its generators belong to another model.
    """
    latents, names = load_named(file, lazy=True)
    generator = model.config.generator
    own = [generator.num_codes, generator.w_dim]
    there = list(latents.w_plus.shape[1:])
    if there != own:
        raise StylePrompterError(
            f"{file} holds codes of the shape {there}, but this model needs {own}: "
            "choose the model that made them."
        )
    original = model.model if isinstance(model, Tuned) else model
    made_by = generator_sum(file)
    # Unknown in older files, and for exports.
    if made_by and original.generator_sha256 not in ("", made_by):
        log.warning(
            "%s was made with another generator: the results are right only if this "
            "model's generator was trained from it.",
            shown(file),
        )
    for _, change in latents.by_change():
        deltas_of(original, change)  # before anything is written
    _warn_of_refiner(file, model, decoding, latents)
    return latents, names


def _warn_of_refiner(
    file: AnyPath, model: StylePrompter, decoding: Decoding, latents: Latents
) -> None:
    refines = calls.refines(model.config, decoding.refine, decoding.refiner)
    tuned = {change.refined for _, change in latents.by_change() if change is not None}
    if (not refines) not in tuned:
        return
    title = calls.require(model.config, "refiner").title
    log.warning(
        "The generators of %s were tuned %s %s, and another decoding may be worse than "
        "no tuning: %s --no-refine (refine=False).",
        file,
        "without" if refines else "with",
        title,
        "add" if refines else "leave out",
    )


def list_inputs(
    inputs: Sequence[AnyPath],
    output: Path | None,
    warn: bool = False,
    repeats: bool = False,
) -> list[Path]:
    """Lists the images that files, folders and globs name, each once.

    An image that has several paths, as through a link to its folder, is listed with its
    first. The list has no results of an earlier call.

    Args:
        inputs: files, folders and globs.
        output: the folder of the results; None if it is not on this disk.
        warn: warn of images in unsupported formats.
        repeats: keep an image as often as the inputs name it.
    """
    output, paths = output and output.resolve(), []
    entries = as_paths(inputs, local_copy)
    sheets = functools.cache(sheets_in)
    # For `photos/*`, a shell also lists the output and the sheets that are there.
    others = [
        entry
        for entry in entries
        if entry.resolve() != output and entry.name not in sheets(entry.parent)
    ]
    others = others or entries
    for entry in others if repeats else dict.fromkeys(others):
        found = list_pictures(entry, warn)
        if output and _top(entry).resolve() in output.parents:
            found = [path for path in found if output not in path.resolve().parents]
        paths += found
    if repeats:
        return paths
    real = functools.cache(Path.resolve)
    places: dict[Path, Path] = {}
    for path in paths:
        places.setdefault(real(path.parent) / path.name, path)
    return list(places.values())


def folders_of(inputs: Sequence[AnyPath]) -> list[Path]:
    """Returns the folder in which each input finds its images."""
    return [_top(entry) for entry in as_paths(inputs, local_copy)]


def _top(entry: Path) -> Path:
    """Returns the folder in which the images of a file, a folder or a glob lie."""
    while glob.has_magic(str(entry)) and not os.path.lexists(entry):
        entry = entry.parent
    return entry if entry.is_dir() else entry.parent


def list_pictures(entry: AnyPath, warn: bool = True) -> list[Path]:
    """Lists the images of `find_images`; may warn of the files that it skips."""
    found = find_images(entry)
    if warn and found.warning:
        log.warning("%s: %s", shown(entry), found.warning)
    return found.images


def problem(read: ReadOnce, path: Path) -> str | None:
    """Reads an image before its use; returns the reason if that is not possible."""
    try:
        read.check(path)
    except StylePrompterError as error:
        return str(error)
    return None


@contextlib.contextmanager
def writing(place: Results) -> Iterator[Callable]:
    """Gives a function `write(images, paths)` that writes in the background.

    All files are written at the end of the block.
    """

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
    """Calls work(*job) for each job, several at a time, and shows a progress bar."""
    with threads() as pool:
        done = pool.map(work, *zip(*jobs, strict=True))
        with Progress(done, total=len(jobs), unit="image") as bar:
            for _ in bar:
                pass


def sheet_path(folder: Path, taken: Sequence[Path]) -> Path:
    """Returns the path of the sheet: sheet.png, unless a result has that name."""
    path = folder / "sheet.png"
    while path in taken:
        path = path.with_stem(path.stem + "_")
    return path
