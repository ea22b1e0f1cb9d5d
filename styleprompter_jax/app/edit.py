"""Images moved along directions, as pictures or animations."""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from styleprompter_jax.app import alignment, pictures
from styleprompter_jax.app.decoding import Decoding
from styleprompter_jax.convert.directions import find_direction
from styleprompter_jax.core.batches import pad, take
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.paths import AnyPath, local_path
from styleprompter_jax.core.results import Results
from styleprompter_jax.core.values import LARGEST_NUMBER, check_choice, whole
from styleprompter_jax.editing.directions import Direction, combine
from styleprompter_jax.editing.latents import Latents, load_named
from styleprompter_jax.images import animation
from styleprompter_jax.images.batches import at_size, batches, read_batches
from styleprompter_jax.images.files import sheet, to_uint8, write_image
from styleprompter_jax.inversion.pipeline import StylePrompter

ANIMATIONS = "gif", "mp4", "frames"


@dataclasses.dataclass(frozen=True)
class Edited(pictures.Shown):
    """What was written, a sheet of some, and how many edits of how many pictures."""

    edits: int
    pictures: int


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
    frames: int = 24,
    optimize: int = 0,
    decoding: Decoding = Decoding(),
    format: str = "png",
    skip_bad: bool = False,
    overwrite: bool = False,
) -> Edited:
    """Moves pictures, or the latents of some, along directions.

    Args:
        model: a loaded model, or what `load` takes.
        output: folder for the results.
        directions: names that the model knows, or files; with `together`, NAME:WEIGHT
            gives one a weight.
        inputs: files, folders and globs of pictures.
        latents: a file that `invert` wrote, in place of pictures.
        strengths: how far along; by default each direction's own, there and back, and
            for an animation its range.
        layers: the codes to change; by default a direction's own.
        together: go along all directions at once.
        animate: in place of pictures, a sweep from the lowest to the highest strength
            and back, "gif" or "mp4", or a folder of its "frames".
        frames: pictures from one end of a sweep to the other, 2 or more.
        optimize: steps of gradient descent that fit the codes of each picture first.
        decoding: how codes become pictures.
        format: of the results, "png", "jpg" or "webp".
        skip_bad: leave out pictures that cannot be read, and warn of each.
        overwrite: replace files that this program did not write.

    Raises:
        StylePrompterError: if a picture, latents or a direction cannot be read or are
            of another model, or a result cannot be written.
    """
    folder = local_path(output)
    if animate is not None:
        check_choice(animate, "animate", ANIMATIONS)
    if bool(inputs) == bool(latents):
        raise StylePrompterError("Give inputs or latents to edit: one of them.")
    if animate == "mp4":
        animation.check_mp4()
    model = decoding.loaded(model)
    read = at_size(model.image_size)
    if inputs:
        paths, results, skipped = pictures.find_pictures(
            inputs, folder, skip_bad, read, f".{format}"
        )
    else:
        paths, skipped = [], []
        assert latents is not None  # or there are inputs
        stored, names = load_named(latents)
        _check_codes(stored, model, latents)
        results = [folder / f"{name}.{format}" for name in names]
        if optimize:
            raise StylePrompterError(
                "--optimize fits codes to pictures: give them as --input, or name it "
                "to `invert`, whose latents are fitted then."
            )
    ways = _directions(model, directions, layers, together)
    if animate:
        plan: dict[str, tuple] = _sweeps(
            ways, strengths, whole(frames, "frames", least=2)
        )
        edits: _Stills = _Sweeps(plan, layers, decoding, animate)
    else:
        plan = dict(_stills(ways, strengths))
        edits = _Stills(plan, layers, decoding)
    files = [file for r in results for label in plan for file in edits.files(r, label)]
    table = pictures.sheet_path(folder, files)
    place = Results(
        folder,
        [*files, table],
        inputs=[*paths, *([latents] if latents else []), *directions],
        overwrite=overwrite,
    )
    batch_size = min(decoding.batch_size, len(results))
    rows: list = []
    titles: list = []
    if paths:
        parts: Iterable[tuple] = read_batches(paths, read, batch_size)
    else:
        parts = ((part, None) for part in batches(len(results), batch_size))
    bar = tqdm(total=len(results), unit="image", disable=None)
    with bar, pictures.writing(place) as write:
        for index, (part, images) in enumerate(parts):
            count = part.stop - part.start
            columns: dict[str, Any] = {}
            if paths:
                codes = decoding.fit(model, images, model.encode(images), optimize)
                columns["input"] = images
            else:
                codes = pad(stored[part], batch_size)
            if len(rows) < pictures.SHOWN:
                columns["inversion"] = model.decode(codes, **decoding.options(index))
            columns = take(columns, count)
            shown = edits.make(model, codes, index, results[part], place, write)
            if paths and index == 0:
                alignment.warn(model, paths, images)
            if len(rows) < pictures.SHOWN:
                columns |= shown
                titles = [title.replace("_", " ") for title in columns]
                rows += zip(*columns.values(), strict=True)
            bar.update(count)
    with place.writing(table):
        write_image(sheet(rows[: pictures.SHOWN], titles), table)
    done = len(results) * len(plan)
    return Edited(files, skipped, table, done, len(results))


def _check_codes(latents: Latents, model: StylePrompter, file: AnyPath) -> None:
    """Refuses the codes of another model, by the name of their file."""
    generator = model.config.generator
    own = [generator.num_codes, generator.w_dim]
    there = list(latents.w_plus.shape[1:])
    if there != own:
        raise StylePrompterError(
            f"{file} holds codes of {there}, and this model's are {own}: they belong "
            "to another model."
        )


@dataclasses.dataclass(frozen=True)
class _Stills:
    """A picture for each direction and strength.

    Attributes:
        plan: direction and strength by label.
        layers: the codes to change, if not the direction's own.
        decoding: how codes become pictures.
    """

    plan: dict[str, tuple]
    layers: Sequence[int] | None
    decoding: Decoding

    def files(self, path: Path, label: str) -> list[Path]:
        """What is written of a picture, by the name of its result, and a label."""
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
        """The edits of a batch, written; some to show, by their titles."""
        options = self.decoding.options(index)
        # All edits before any is written: a bad shape leaves nothing behind.
        edited = {
            label: model.decode(
                latents.edit(direction, strength, self.layers),
                **model.options_of(direction) | options,
            )
            for label, (direction, strength) in self.plan.items()
        }
        edited = take(edited, len(results))
        for label, images in edited.items():
            write(images, [self.files(path, label)[0] for path in results])
        return edited


@dataclasses.dataclass(frozen=True)
class _Sweeps(_Stills):
    """A sweep for each direction, whose plan has the strengths of all frames.

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
            count = len(strengths)
            batch_size = min(self.decoding.batch_size, count)
            repeat = functools.partial(np.repeat, repeats=batch_size, axis=0)
            ends = (0, count // 2, count - 1)
            columns = {f"{name}_{strengths[at]:+.3g}": at for at in ends}
            for k, path in enumerate(results):
                one = jax.tree.map(repeat, latents[k])
                made = []
                for part in batches(count, batch_size):
                    edited = one.edit(
                        direction, pad(strengths[part], batch_size), self.layers
                    )
                    images = model.decode(edited, **options)
                    made.append(to_uint8(take(images, part.stop - part.start)))
                frames = np.concatenate(made)
                files = self.files(path, name)
                if self.animate == "frames":
                    write(frames, files)
                else:
                    with place.writing(files[0]):
                        _write_sweep(frames, files[0])
                for label, at in columns.items():
                    shown.setdefault(label, []).append(frames[at])
        return shown


def _write_sweep(frames: np.ndarray, path: Path) -> None:
    """An animation that goes there and back."""
    there_and_back = np.concatenate([frames, frames[-2:0:-1]])
    write = {".gif": animation.write_gif, ".mp4": animation.write_mp4}[path.suffix]
    write(there_and_back, path)


def _stills(
    directions: dict[str, Direction], strengths: Sequence[float] | None
) -> dict[str, tuple[Direction, float]]:
    """Direction and strength of each picture by its label."""
    plan = {}
    for name, direction in directions.items():
        low, high, there = *direction.range, direction.strength
        own = sorted({max(low, -there), 0.0, min(high, there)})
        for strength in _given(strengths) or own:
            label = f"{name}_{strength:+g}"
            if label in plan:
                raise StylePrompterError(
                    f"Two results would both be called {label!r}: give strengths that "
                    "differ in their first six digits, or directions other names."
                )
            plan[label] = direction, strength
    return plan


def _sweeps(
    directions: dict[str, Direction], strengths: Sequence[float] | None, frames: int
) -> dict[str, tuple]:
    """Direction and float32 (frames,), the strengths of a sweep, by its label."""
    plan, given = {}, _given(strengths)
    if given == [0.0]:
        raise StylePrompterError(
            "--strength 0 is the image as it is: give the two ends of a sweep."
        )
    # One strength alone is where a sweep from the image as it is goes to.
    ends = sorted(given if len(given) > 1 else [0.0, *given])
    for name, direction in directions.items():
        low, *_, high = ends if given else direction.range
        plan[name] = direction, np.linspace(low, high, frames, dtype=np.float32)
    return plan


def _given(strengths: Sequence[float] | None) -> list[float]:
    """Strengths without repetitions; [] for those of each direction."""
    # -0.0 is 0.0.
    return list(dict.fromkeys(strength + 0.0 for strength in strengths or ()))


def _directions(
    model: StylePrompter,
    named: Sequence[str],
    layers: Sequence[int] | None,
    together: bool,
) -> dict[str, Direction]:
    """The directions to go along, by what they are called in results."""
    codes = model.config.generator
    shape = codes.num_codes, codes.w_dim
    if together:
        weighted = [_weighted(text, model, shape) for text in named]
        name = "+".join(name for name, _, _ in weighted)
        refiner = model.config.refiner
        own = dict(refiner.options) if refiner else {}
        # The least of what they ask for: what one does not name is the refiner's own.
        parts = [
            (dataclasses.replace(direction, options=own | dict(direction.options)), w)
            for _, direction, w in weighted
        ]
        if not any(weight for _, weight in parts):
            raise StylePrompterError("All directions have the weight 0: nothing moves.")
        if layers and max(layers) >= codes.num_codes:
            raise StylePrompterError(
                f"layers {layers} are not all codes: those are 0 to "
                f"{codes.num_codes - 1}."
            )
        return {name: combine(parts, codes.num_codes, layers)}
    found = {}
    for name_or_path in named:
        name, direction = find_direction(name_or_path, model.directions, *shape)
        if name in found:
            raise StylePrompterError(
                f"Two directions are called {name!r}: rename one of the files."
            )
        found[name] = direction
    return found


def _weighted(
    text: str, model: StylePrompter, shape: tuple[int, int]
) -> tuple[str, Direction, float]:
    """Name, direction and weight of "smile" or "smile:0.5"."""
    head, _, tail = text.rpartition(":")
    weight = 1.0
    if head and text not in model.directions:
        with contextlib.suppress(ValueError):  # else it is a path with a colon
            text, weight = head, float(tail)
    if weight and not 1 / LARGEST_NUMBER <= abs(weight) <= LARGEST_NUMBER:
        raise StylePrompterError(
            f"--direction {head}:{tail} has a weight that is too large or too small: "
            f"give 0, or a number of {1 / LARGEST_NUMBER:g} to {LARGEST_NUMBER:g}, "
            "which may be negative."
        )
    return *find_direction(text, model.directions, *shape), weight
