"""`styleprompter align`: FFHQ's crop of faces in photographs, from landmarks."""

import json
import os
import sys
from pathlib import Path

import numpy as np

from styleprompter_jax.app import pictures
from styleprompter_jax.app.read_once import ReadOnce
from styleprompter_jax.core.atomic import write_text
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.results import Results
from styleprompter_jax.core.spelling import another_spelling
from styleprompter_jax.images import detect
from styleprompter_jax.images.align import align, check_quad
from styleprompter_jax.images.files import open_image, write_image
from styleprompter_jax.images.find import shown
from styleprompter_jax.images.landmarks import Landmarks, read_landmarks


def run(args):
    given, named, quads, doubtful = None, [], {}, []
    if args.landmarks:
        paths = pictures.list_inputs(args.input, args.output)
        given, named = read_landmarks(args.landmarks, paths)
    else:
        detect.network()  # says so at once if it is not there

    def crop(path):
        with open_image(path) as photo:
            size = photo.shape[1::-1]
            if path not in quads:  # else it is read once more, as it did not fit
                quads[path], is_doubtful = _quad(
                    path, photo, given, named, args.landmarks
                )
                doubtful.extend([path] * is_doubtful)
            return align(photo, quads[path], args.size), size

    read = ReadOnce(crop)
    paths, results, skipped = pictures.find_pictures(
        args.input, args.output, args.skip_bad, read
    )
    if doubtful:
        print(
            f"Warning: the landmarks of {pictures.plural(len(doubtful), 'picture')}, "
            f"{shown(min(doubtful))} for one, look like percent of its sides: if so, "
            'write {"face.jpg": {"percent": [[x, y], ...]}}.',
            file=sys.stderr,
        )
    place = Results(
        args.output,
        [*results, *map(_record, results)],
        inputs=[*paths, *filter(None, [args.landmarks])],
        overwrite=args.overwrite,
    )

    def write(path, result):
        pixels, size = read(path)
        with place.writing(result):
            write_image(pixels, result)
        with place.writing(_record(result)):
            _write_record(result, path, size, quads[path])

    pictures.each(write, list(zip(paths, results, strict=True)))
    left_out = f", {skipped} skipped" if skipped else ""
    print(f"{pictures.plural(len(paths), 'crop')} in {args.output}{left_out}.")


def _quad(
    path: Path,
    photo: np.ndarray,
    given: dict[Path, object] | None,
    named: list[str],
    file: str | None,
) -> tuple[np.ndarray, bool]:
    """The crop of a photograph, from the landmarks in a file or of its largest face.

    And whether its landmarks look like percent.
    """
    height, width, _ = photo.shape
    try:
        if given is not None:
            if path not in given:
                other = another_spelling(path.name, named)
                raise StylePrompterError(f"{file} has no landmarks of it.{other}")
            landmarks = Landmarks.parsed(given[path])
            quad = landmarks.quad(width, height)
            return quad, landmarks.looks_like_percent(width, height)
        quad = detect.find_quad(photo)
        if quad is None:
            raise StylePrompterError("No face was found in it: give its --landmarks.")
        check_quad(quad, width, height)
    except StylePrompterError as error:
        raise StylePrompterError(f"{shown(path)}: {error}") from error
    return quad, False


def _name_fields(name: str) -> dict[str, str]:
    """A photograph's name for a record; that of a disk may be no text, but bytes."""
    content = os.fsencode(name)
    try:
        return {"photograph": content.decode()}
    except UnicodeDecodeError:
        shown = content.decode(errors="backslashreplace")
        return {"photograph": shown, "photograph_hex": content.hex()}


def _record(crop: Path) -> Path:
    return crop.with_suffix(".json")


def _write_record(
    crop: Path, path: Path, size: tuple[int, int], quad: np.ndarray
) -> None:
    """Beside a crop, what `unalign` needs to know of it."""
    record = _record(crop)
    photograph = Path(os.path.relpath(path, record.parent)).as_posix()
    text = json.dumps(
        {
            **_name_fields(photograph),
            "size": list(size),
            "quad": quad.tolist(),
        }
    )
    write_text(record, text + "\n")
