"""`styleprompter edit`: images moved along directions, as pictures or animations."""

import contextlib
from pathlib import Path

import jax
import numpy as np
from tqdm import tqdm

from styleprompter_jax.app import alignment, pictures
from styleprompter_jax.convert.directions import find_direction
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.results import Results
from styleprompter_jax.core.values import LARGEST_NUMBER
from styleprompter_jax.editing.directions import Direction, combine
from styleprompter_jax.editing.latents import load_named
from styleprompter_jax.images import animation
from styleprompter_jax.images.files import sheet, to_uint8, write_image
from styleprompter_jax.inversion.pipeline import load


def run(args):
    folder = Path(args.output)
    if args.animate == "mp4":
        animation.check_mp4()
    model = load(args.model, dtype=args.dtype)
    read = pictures.at_size(model.image_size)
    if args.input:
        paths, results, skipped = pictures.find_pictures(
            args.input, folder, args.skip_bad, read, f".{args.format}"
        )
    else:
        paths, skipped = None, 0
        stored, names = load_named(args.latents)
        _check_codes(stored, model, args.latents)
        results = [folder / f"{name}.{args.format}" for name in names]
        if args.optimize:
            raise StylePrompterError(
                "--optimize fits codes to pictures: give them as --input, or name it "
                "to `invert`, whose latents are fitted then."
            )
    directions = _directions(args, model)
    make, plan = _animate, directions
    if not args.animate:
        make, plan = _edit, _plan(args, directions)
    files = [file for r in results for label in plan for file in _files(args, r, label)]
    table = pictures.sheet_path(folder, files)
    inputs = [*(paths or [args.latents]), *args.direction]
    place = Results(folder, [*files, table], inputs=inputs, overwrite=args.overwrite)
    batch_size = min(args.batch_size, len(results))
    rows, titles = [], []
    if paths:
        batches = pictures.read_batches(paths, read, batch_size)
    else:
        batches = ((part, None) for part in pictures.batches(len(results), batch_size))
    bar = tqdm(total=len(results), unit="image", disable=None)
    with bar, pictures.writing(place) as write:
        for index, (part, images) in enumerate(batches):
            count = part.stop - part.start
            options = pictures.decoding(args, index)
            columns = {}
            if paths:
                latents = pictures.fit(args, model, images, model.encode(images))
                columns["input"] = images
            else:
                latents = pictures.pad(stored[part], batch_size)
            if len(rows) < pictures.SHOWN:
                columns["inversion"] = model.decode(latents, **options)
            columns = pictures.take(columns, count)
            shown = make(
                args, model, plan, latents, results[part], options, place, write
            )
            if paths and index == 0:
                alignment.warn(model, paths, images)
            if len(rows) < pictures.SHOWN:
                columns |= shown
                titles = [title.replace("_", " ") for title in columns]
                rows += zip(*columns.values(), strict=True)
            bar.update(count)
    with place.writing(table):
        write_image(sheet(rows[: pictures.SHOWN], titles), table)
    left_out = f", {skipped} skipped" if skipped else ""
    noun = "animation" if args.animate else "edit"
    print(
        f"{pictures.plural(len(results) * len(plan), noun)} of "
        f"{pictures.plural(len(results), 'picture')} in {folder}{left_out}."
    )


def _check_codes(latents, model, file) -> None:
    """Refuses the codes of another model, by the name of their file."""
    generator = model.config.generator
    own = [generator.num_codes, generator.w_dim]
    there = list(latents.w_plus.shape[1:])
    if there != own:
        raise StylePrompterError(
            f"{file} holds codes of {there}, and this model's are {own}: they belong "
            "to another model."
        )


def _edit(args, model, plan, latents, results, options, place, write):
    """A picture of each image in a batch for each direction and strength.

    Args:
        plan: direction and strength by label.

    Returns:
        The pictures by their labels.
    """
    # All edits before any is written: a bad shape leaves nothing behind.
    edited = {
        label: model.decode(
            latents.edit(direction, strength, args.layers),
            **model.options_of(direction) | options,
        )
        for label, (direction, strength) in plan.items()
    }
    edited = pictures.take(edited, len(results))
    for label, images in edited.items():
        write(images, [_named(path, label) for path in results])
    return edited


def _animate(args, model, directions, latents, results, options, place, write):
    """A sweep of each image in a batch for each direction; returns as `_edit` does."""
    shown = {}
    batch_size = min(args.batch_size, args.frames)
    for name, direction in directions.items():
        options = model.options_of(direction) | options
        low, *_, high = _strengths(args, direction)
        strengths = np.linspace(low, high, args.frames, dtype=np.float32)
        ends = (0, args.frames // 2, args.frames - 1)
        columns = {f"{name}_{strengths[at]:+.3g}": at for at in ends}
        for k, path in enumerate(results):
            one = jax.tree.map(
                lambda array, k=k: np.repeat(array[k : k + 1], batch_size, axis=0),
                latents,
            )
            frames = []
            for part in pictures.batches(args.frames, batch_size):
                strength = pictures.pad(strengths[part], batch_size)
                images = model.decode(
                    one.edit(direction, strength, args.layers), **options
                )
                frames.append(to_uint8(pictures.take(images, part.stop - part.start)))
            frames = np.concatenate(frames)
            files = _files(args, path, name)
            if args.animate == "frames":
                write(frames, files)
            else:
                with place.writing(files[0]):
                    _write_sweep(frames, files[0])
            for label, at in columns.items():
                shown.setdefault(label, []).append(frames[at])
    return shown


def _files(args, path: Path, label: str) -> list[Path]:
    """What is written of an image and a label: a picture, an animation or frames."""
    named = _named(path, label)
    if args.animate == "frames":
        folder, suffix = named.with_suffix(""), named.suffix
        return [folder / f"{k:04d}{suffix}" for k in range(args.frames)]
    return [named.with_suffix(f".{args.animate}") if args.animate else named]


def _write_sweep(frames, path: Path) -> None:
    """An animation that goes there and back."""
    there_and_back = np.concatenate([frames, frames[-2:0:-1]])
    write = {".gif": animation.write_gif, ".mp4": animation.write_mp4}[path.suffix]
    write(there_and_back, path)


def _named(path: Path, label: str) -> Path:
    """The name of a result with a label at its end: a_smile_+1.png."""
    return path.with_name(f"{path.stem}_{label}{path.suffix}")


def _plan(args, directions) -> dict[str, tuple[Direction, float]]:
    """Direction and strength of each picture by its label."""
    plan = {}
    for name, direction in directions.items():
        for strength in _strengths(args, direction):
            label = f"{name}_{strength:+g}"
            if label in plan:
                raise StylePrompterError(
                    f"Two results would both be called {label!r}: give strengths that "
                    "differ in their first six digits, or directions other names."
                )
            plan[label] = direction, strength
    return plan


def _strengths(args, direction: Direction) -> list[float]:
    """How far to go along a direction; for an animation, two or more."""
    low, high = direction.range
    given = list(dict.fromkeys(s + 0.0 for s in args.strength or ()))  # -0.0 is 0.0
    if given and args.animate:
        if given == [0.0]:
            raise StylePrompterError(
                "--strength 0 is the image as it is: give the two ends of a sweep."
            )
        # One strength alone is where a sweep from the image as it is goes to.
        return sorted(given if len(given) > 1 else [0.0, *given])
    if given:
        return given
    if args.animate:
        return [low, high]
    there = direction.strength
    return sorted({max(low, -there), 0.0, min(high, there)})


def _directions(args, model) -> dict[str, Direction]:
    """The directions to go along, by what they are called in results."""
    codes = model.config.generator
    shape = codes.num_codes, codes.w_dim
    if args.together:
        weighted = [_weighted(text, model, shape) for text in args.direction]
        name = "+".join(name for name, _, _ in weighted)
        parts = [(direction, weight) for _, direction, weight in weighted]
        if not any(weight for _, weight in parts):
            raise StylePrompterError("All directions have the weight 0: nothing moves.")
        if args.layers and max(args.layers) >= codes.num_codes:
            raise StylePrompterError(
                f"layers {args.layers} are not all codes: those are 0 to "
                f"{codes.num_codes - 1}."
            )
        return {name: combine(parts, codes.num_codes, args.layers)}
    found = {}
    for name_or_path in args.direction:
        name, direction = find_direction(name_or_path, model.directions, *shape)
        if name in found:
            raise StylePrompterError(
                f"Two directions are called {name!r}: rename one of the files."
            )
        found[name] = direction
    return found


def _weighted(text: str, model, shape) -> tuple[str, Direction, float]:
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
