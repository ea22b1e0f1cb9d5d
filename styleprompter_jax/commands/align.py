"""`styleprompter align`: FFHQ's crop of faces in photographs, from landmarks."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from styleprompter_jax.commands import pictures
from styleprompter_jax.commands.read_once import ReadOnce
from styleprompter_jax.core.atomic import atomic_path
from styleprompter_jax.core.results import Results
from styleprompter_jax.errors import StylePrompterError
from styleprompter_jax.images import detect
from styleprompter_jax.images.align import align, check_quad, crop_quad
from styleprompter_jax.images.files import read_image, write_image


def run(args):
    given, quads = None, {}
    if args.landmarks:
        paths = pictures.list_inputs(args.input, args.output)
        given = _landmarks_by_path(Path(args.landmarks), paths)
    else:
        detect.network()  # says so at once if it is not there

    def crop(path):
        photo = read_image(path)
        if path not in quads:  # else it is read once more, as it did not fit
            quads[path] = _quad(path, photo, given, args.landmarks)
        return align(photo, quads[path], args.size), photo.shape[1::-1]

    read = ReadOnce(crop)
    paths, results, skipped = pictures.find_pictures(
        args.input, args.output, args.skip_bad, read
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


def _quad(path: Path, photo: np.ndarray, given: dict | None, file: str | None):
    """The crop of a photograph, from the landmarks in a file or of its largest face."""
    try:
        if given is None:
            quad = detect.find_quad(photo)
            if quad is None:
                raise StylePrompterError(
                    "No face was found in it: give its --landmarks."
                )
        elif path in given:
            quad = crop_quad(given[path])
        else:
            raise StylePrompterError(f"{file} has no landmarks of it.")
        height, width, _ = photo.shape
        check_quad(quad, width, height)
    except StylePrompterError as error:
        raise StylePrompterError(f"{path}: {error}") from error
    return quad


def _landmarks_by_path(file: Path, paths: Sequence[Path]) -> dict[Path, list]:
    """The landmarks of each picture that has any: {"a.jpg": [[x, y], ...]}, or a list.

    A name may have folders before it, and must stand for one picture.
    """
    try:
        content = json.loads(file.read_bytes())
        if not isinstance(content, dict | list):
            raise ValueError("it holds one value")
    except FileNotFoundError as error:
        raise StylePrompterError(f"There is no file {file}.") from error
    except (OSError, ValueError, RecursionError) as error:
        raise StylePrompterError(
            f"{file} cannot be read as landmarks ({error}): write "
            '{"face.jpg": [[x, y], ...]}, with 5 or 68 points for each picture.'
        ) from error
    if isinstance(content, list):
        if len(paths) > 1:
            raise StylePrompterError(
                f"{file} holds one list of points for {len(paths)} pictures: write "
                '{"face.jpg": [[x, y], ...]}.'
            )
        return {paths[0]: content}
    found = {}
    for name, points in content.items():
        parts = Path(name).parts
        named = [path for path in paths if path.parts[-len(parts) :] == parts]
        if len(named) > 1:
            raise StylePrompterError(
                f"{file}: {name!r} may be {named[0]} or {named[1]}: write the folder "
                "too."
            )
        if named and parts:
            found[named[0]] = points
    return found


def _record(crop: Path) -> Path:
    return crop.with_suffix(".json")


def _write_record(
    crop: Path, path: Path, size: tuple[int, int], quad: np.ndarray
) -> None:
    """Beside a crop, what `unalign` needs to know of it."""
    record = _record(crop)
    text = json.dumps(
        {
            "photograph": Path(os.path.relpath(path, record.parent)).as_posix(),
            "size": list(size),
            "quad": quad.tolist(),
        }
    )
    with atomic_path(record) as partial:
        partial.write_text(text + "\n")
