"""Edits images along directions, and writes images or animations."""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from styleprompter_jax.app import alignment, pictures
from styleprompter_jax.app.decoding import Decoding
from styleprompter_jax.app.joined import check_ranges, joined
from styleprompter_jax.convert.directions import find_direction, named_directions
from styleprompter_jax.core.batches import pad, take
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.outbox import to_bucket
from styleprompter_jax.core.paths import AnyPath, as_paths, local_path, path_text
from styleprompter_jax.core.progress import Progress
from styleprompter_jax.core.results import Results
from styleprompter_jax.core.values import LARGEST_NUMBER, check_choice, reals, whole
from styleprompter_jax.editing.directions import Direction
from styleprompter_jax.editing.latents import Latents
from styleprompter_jax.images import animation
from styleprompter_jax.images.batches import batches, read_batches
from styleprompter_jax.images.files import to_uint8, write_image
from styleprompter_jax.images.inputs import InputReader, as_pictures
from styleprompter_jax.images.sheets import sheet
from styleprompter_jax.inversion.pipeline import StylePrompter

ANIMATIONS = "gif", "mp4", "frames"


@dataclasses.dataclass(frozen=True)
class Edited(pictures.Shown):
    """The results of `edit`, and a sheet of some of them.

    Attributes:
        edits: number of edits.
        pictures: number of images that were edited.
    """

    edits: int
    pictures: int


@to_bucket("output")
def edit(
    model: AnyPath | StylePrompter,
    output: AnyPath,
    directions: Sequence[str],
    *,
    inputs: Sequence[AnyPath] | None = None,
    latents: AnyPath | None = None,
    strengths: Sequence[float] | None = None,
    layers: Sequence[int] | None = None,
    together: bool = False,
    animate: str | None = None,
    frames: int | None = None,
    optimize: int = 0,
    decoding: Decoding = Decoding(),
    format: str | None = None,
    skip_bad: bool = False,
    overwrite: bool = False,
) -> Edited:
    """Edits images, or the stored latents of images, along directions.

    Args:
        model: a loaded model, or a name as `load` takes it.
        output: folder of the results.
        directions: names of the model's directions, or files; with `together`,
            NAME:WEIGHT gives a direction a weight.
        inputs: files, folders and globs of images.
        latents: a file that `invert` wrote, instead of images.
        strengths: strengths of the edit; None for each direction's own strength, 0 and
            the opposite strength, as far as its range allows them, and for the
            direction's range in an animation. One strength in an animation is one of
            its ends; the other is the image without the edit.
        layers: indices of the codes to change; None for each direction's own indices.
        together: apply all directions at once.
        animate: write a sweep from the lowest to the highest strength and back instead
            of images: "gif", "mp4", or "frames" for a folder of its frames.
        frames: number of images from one end of a sweep to the other, 2 or more; None
            for 24. In a folder of frames, those of an earlier, longer sweep go.
        optimize: steps of gradient descent that first fit the codes of each image.
        decoding: options for rendering.
        format: format of the images or frames: "png", "jpg" or "webp"; None for "png".
        skip_bad: skip images that cannot be read, with a warning for each.
        overwrite: replace files that this program did not write.

    Raises:
        StylePrompterError: if an image, the latents or a direction cannot be read or
            belong to another model, or a result cannot be written.
    """
    folder, suffix = local_path(output), pictures.suffix_of(format or "png")
    if animate is not None:
        check_choice(animate, "animate", ANIMATIONS)
        if format is not None and animate != "frames":
            raise StylePrompterError(
                f"A {animate} has its own format: leave out format (--format), or "
                "choose frames with animate (--animate)."
            )
    elif frames is not None:
        raise StylePrompterError(
            "The number of frames is for a sweep: choose one with animate (--animate), "
            "or leave out frames (--frames)."
        )
    length = whole(24 if frames is None else frames, "frames", 2)
    if not as_paths(directions, lambda one: Path(path_text(one))):
        raise StylePrompterError("directions is empty: name one or more directions.")
    if bool(inputs) == bool(latents):
        raise StylePrompterError("Give edit either inputs or latents.")
    if latents and decoding.iterations is not None:
        raise StylePrompterError(
            "Iterations (--iterations) are for images, not for latents: leave them "
            "out, or give images (--input)."
        )
    if animate == "mp4":
        animation.check_mp4()
    model = decoding.loaded(model)
    read = InputReader(model.config.input_shape)
    if inputs:
        paths, results, skipped = pictures.find_pictures(
            inputs, folder, skip_bad, read, suffix
        )
    else:
        paths, skipped = [], []
        assert latents is not None  # guaranteed by the check above
        stored, results = pictures.load_latents(
            latents, model, decoding, folder, suffix
        )
        if optimize:
            raise StylePrompterError(
                "--optimize fits codes to images, not to latents: give the images with "
                "--input, or use `invert --optimize` to write fitted latents."
            )
    ways = _directions(model, directions, layers, together)
    if together and not _given(strengths):
        check_ranges(ways)
    if animate:
        plan: dict[str, tuple] = _sweeps(ways, strengths, length)
        edits: _Stills = _Sweeps(plan, layers, decoding, animate)
    else:
        plan = dict(_stills(ways, strengths))
        edits = _Stills(plan, layers, decoding)
    sources: Sequence[object] = paths or pictures.names_of(results, folder)
    planned = [
        (file, result, source)
        for result, source in zip(results, sources, strict=True)
        for label in plan
        for file in edits.files(result, label)
    ]
    files = [file for file, _, _ in planned]
    table = pictures.sheet_path(folder, files)
    place = Results(
        folder,
        [*files, table],
        inputs=[*paths, *([latents] if latents else []), *directions],
        sources={file: result for file, result, _ in planned},
        sheets=[table],
        overwrite=overwrite,
        images=[source for _, _, source in planned],
    )
    batch_size = decoding.batch(model, len(results))
    rows: list = []
    titles: list = []
    if paths:
        parts: Iterable[tuple] = read_batches(paths, read, batch_size)
    else:
        parts = ((part, None) for part in batches(len(results), batch_size))
    bar = Progress(total=len(results), unit="image")
    with bar, pictures.writing(place) as write:
        for index, (part, images) in enumerate(parts):
            count = part.stop - part.start
            columns: dict[str, Any] = {}
            if paths:
                codes = model.encode(images, decoding.iterations)
                codes = decoding.fit(model, images, codes, optimize)
                columns["input"] = as_pictures(images)
            else:
                codes = pad(stored[part], batch_size)
            if len(rows) < pictures.SHOWN:
                made = model.decode(codes, **decoding.options(index))
                columns["inversion"] = model.shown(made)
            columns = take(columns, count)
            shown = edits.make(model, codes, index, results[part], place, write)
            if paths and index == 0:
                alignment.warn(model, paths, images)
            if len(rows) < pictures.SHOWN:
                columns |= shown
                titles = [title.replace("_", " ") for title in columns]
                columns = {k: some[: pictures.SHOWN] for k, some in columns.items()}
                rows += zip(*columns.values(), strict=True)
            bar.update(count)
    with place.writing(table):
        write_image(sheet(rows[: pictures.SHOWN], titles), table)
    done = len(results) * len(plan)
    return Edited(files, skipped, table, done, len(results))


@dataclasses.dataclass(frozen=True)
class _Stills:
    """Makes an image for each direction and strength.

    Attributes:
        plan: direction and strength of each edit, by its label.
        layers: indices of the codes to change; None for the direction's own indices.
        decoding: options for rendering.
    """

    plan: dict[str, tuple]
    layers: Sequence[int] | None
    decoding: Decoding

    def files(self, path: Path, label: str) -> list[Path]:
        """Returns the files of an image, from the path of its result and a label."""
        return [path.with_name(f"{path.stem}_{label}{path.suffix}")]

    def make(
        self,
        model: StylePrompter,
        latents: Latents,
        index: int,
        results: Sequence[Path],
        place: Results,
        write: Callable,
    ) -> dict[str, Any]:
        """Writes the edits of a batch; returns a sheet's first images by title."""
        options, shown = self.decoding.options(index), {}
        # All codes before any image, so that a wrong shape leaves no files.
        edits = {
            label: (direction, latents.edit(direction, strength, self.layers))
            for label, (direction, strength) in self.plan.items()
        }
        for label, (direction, edited) in edits.items():
            made = model.decode(edited, **model.options_of(direction) | options)
            images = to_uint8(take(model.shown(made), len(results)))
            write(images, [self.files(path, label)[0] for path in results])
            shown[label] = images[: pictures.SHOWN]
        return shown


@dataclasses.dataclass(frozen=True)
class _Sweeps(_Stills):
    """Makes a sweep for each direction; the plan has the strengths of all frames.

    Attributes:
        animate: one of `ANIMATIONS`.
    """

    animate: str

    def files(self, path: Path, label: str) -> list[Path]:
        (named,) = super().files(path, label)
        if self.animate != "frames":
            return [named.with_suffix(f".{self.animate}")]
        folder, count = named.with_suffix(""), len(self.plan[label][1])
        return [folder / f"{k:04d}{named.suffix}" for k in range(count)]

    def make(
        self,
        model: StylePrompter,
        latents: Latents,
        index: int,
        results: Sequence[Path],
        place: Results,
        write: Callable,
    ) -> dict[str, Any]:
        shown: dict[str, list] = {}
        for name, (direction, strengths) in self.plan.items():
            options = model.options_of(direction) | self.decoding.options(index)
            rng, count = options["rng"], len(strengths)
            # Random noise depends on the index in a batch. All frames need the same.
            batch_size = self.decoding.batch(model, count) if rng is None else 1
            repeat = functools.partial(np.repeat, repeats=batch_size, axis=0)
            ends = (0, count // 2, count - 1)
            columns = {f"{name}_{strengths[at]:+.3g}": at for at in ends}
            for k, path in enumerate(results):
                one = jax.tree.map(repeat, latents[k])
                if rng is not None:
                    options["rng"] = jax.random.fold_in(rng, k)
                made = []
                for part in batches(count, batch_size):
                    edited = one.edit(
                        direction, pad(strengths[part], batch_size), self.layers
                    )
                    images = model.shown(model.decode(edited, **options))
                    made.append(to_uint8(take(images, part.stop - part.start)))
                frames = np.concatenate(made)
                files = self.files(path, name)
                if self.animate == "frames":
                    write(frames, files)
                    for other in set(files[0].parent.glob("*")).difference(files):
                        if other.stem.isdecimal():  # of a longer sweep
                            place.remove(other)
                else:
                    with place.writing(files[0]):
                        write_sweep(frames, files[0])
                for label, at in columns.items():
                    shown.setdefault(label, []).append(frames[at].copy())
        return shown


def write_sweep(frames: np.ndarray, path: Path) -> None:
    """Writes an animation of the frames forwards and then backwards.

    Args:
        frames: uint8 (t, h, w, 3).
        path: the file; its ending is ".gif" or ".mp4".
    """
    there_and_back = np.concatenate([frames, frames[-2:0:-1]])
    write = {".gif": animation.write_gif, ".mp4": animation.write_mp4}[path.suffix]
    write(there_and_back, path)


def _stills(
    directions: dict[str, Direction], strengths: Sequence[float] | None
) -> dict[str, tuple[Direction, float]]:
    """Returns the direction and strength of each image, by its label."""
    plan = {}
    for name, direction in directions.items():
        low, high, there = *direction.range, direction.strength
        # A range such as (0.5, 2) has no opposite strength.
        own = sorted({max(min(low, 0.0), -there), 0.0, min(max(high, 0.0), there)})
        for strength in _given(strengths) or own:
            label = f"{name}_{strength:+g}"
            if label in plan:
                raise StylePrompterError(
                    f"Two results would both be called {label!r}: give strengths that "
                    "differ in their first six digits, or rename a direction."
                )
            plan[label] = direction, strength
    return plan


def _sweeps(
    directions: dict[str, Direction], strengths: Sequence[float] | None, frames: int
) -> dict[str, tuple]:
    """Returns each direction and its strengths, float32 (frames,), by its label."""
    plan, given = {}, _given(strengths)
    if given == [0.0]:
        raise StylePrompterError(
            "--strength 0 does not change the image: give the two ends of a sweep."
        )
    # With one strength, the sweep starts at the unedited image.
    ends = sorted(given if len(given) > 1 else [0.0, *given])
    for name, direction in directions.items():
        low, *_, high = ends if given else direction.range
        plan[name] = direction, np.linspace(low, high, frames, dtype=np.float32)
    return plan


def _given(strengths: Sequence[float] | None) -> list[float]:
    """Returns the strengths without repetitions; [] means each direction's default."""
    return [] if strengths is None else reals(strengths, "strengths (--strength)")


def _directions(
    model: StylePrompter,
    named: Sequence[str],
    layers: Sequence[int] | None,
    together: bool,
) -> dict[str, Direction]:
    """Returns the directions to apply, by their names in the results."""
    codes = model.config.generator
    shape = codes.num_codes, codes.w_dim
    if together:
        weighted = [_weighted(text, model, shape) for text in named]
        name = "+".join(name for name, _, _ in weighted)
        parts = [(direction, weight) for _, direction, weight in weighted]
        return {name: joined(model, parts, layers)}
    return named_directions(named, model.directions, *shape)


def _weighted(
    text: str, model: StylePrompter, shape: tuple[int, int]
) -> tuple[str, Direction, float]:
    """Returns name, direction and weight for "smile" or "smile:0.5"."""
    head, _, tail = text.rpartition(":")
    weight = 1.0
    if head and text not in model.directions:
        with contextlib.suppress(ValueError):  # otherwise, a path with a colon
            text, weight = head, float(tail)
    if weight and not 1 / LARGEST_NUMBER <= abs(weight) <= LARGEST_NUMBER:
        raise StylePrompterError(
            f"--direction {head}:{tail} has a weight that is too large or too small: "
            f"give 0, or a number from {1 / LARGEST_NUMBER:g} to {LARGEST_NUMBER:g}, "
            "positive or negative."
        )
    return *find_direction(text, model.directions, *shape), weight
