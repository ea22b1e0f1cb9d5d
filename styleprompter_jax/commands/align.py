"""`styleprompter align`: FFHQ's crop of faces in photographs, from landmarks."""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from styleprompter_jax.commands import pictures
from styleprompter_jax.core.atomic import atomic_path
from styleprompter_jax.errors import StylePrompterError
from styleprompter_jax.images import detect
from styleprompter_jax.images.align import align, check_quad, crop_quad
from styleprompter_jax.images.files import read_image, write_image


def run(args):
    paths, results, skipped = pictures.find_pictures(
        args.input, args.output, args.skip_bad
    )
    given = None
    if args.landmarks:
        given = _landmarks_by_path(Path(args.landmarks), paths)
    else:
        detect.network()  # says so at once if it is not there
    quads, problems = {}, []
    for path in tqdm(paths, desc="faces", unit="image", disable=None, leave=False):
        photo = read_image(path)
        try:
            quad = _quad(path, photo, given, args.landmarks)
            height, width, _ = photo.shape
            check_quad(quad, width, height)
            quads[path] = quad
        except StylePrompterError as error:
            problems.append(f"{path}: {error}")
    if problems and not args.skip_bad:
        hint = "--skip-bad leaves out such pictures."
        raise StylePrompterError("\n".join([*problems, hint]))
    for problem in problems:
        print(f"Skipped: {problem}", file=sys.stderr)
    if not quads:
        raise StylePrompterError("There is no face in any picture.")
    records = {result.with_suffix(".json").resolve() for result in results}
    if args.landmarks and Path(args.landmarks).resolve() in records:
        raise StylePrompterError(
            f"{args.landmarks} would be overwritten: choose another --output."
        )
    jobs = [job for job in zip(paths, results, strict=True) if job[0] in quads]

    def cut(path, result):
        photo = read_image(path)
        write_image(align(photo, quads[path], args.size), result)
        _write_record(result, path, photo, quads[path])

    pictures.each(cut, jobs)
    skipped += len(problems)
    left_out = f", {skipped} skipped" if skipped else ""
    print(f"{pictures.plural(len(jobs), 'crop')} in {args.output}{left_out}.")


def _quad(path: Path, photo: np.ndarray, given: dict | None, file: str | None):
    """The crop of a photograph, from the landmarks in a file or of its largest face."""
    if given is not None:
        if path not in given:
            raise StylePrompterError(f"{file} has no landmarks of it.")
        return crop_quad(given[path])
    quad = detect.find_quad(photo)
    if quad is None:
        raise StylePrompterError("No face was found in it: give its --landmarks.")
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


def _write_record(crop: Path, path: Path, photo: np.ndarray, quad: np.ndarray) -> None:
    """Beside a crop, what `unalign` needs to know of it."""
    record = crop.with_suffix(".json")
    height, width, _ = photo.shape
    text = json.dumps(
        {
            "photograph": Path(os.path.relpath(path, record.parent)).as_posix(),
            "size": [width, height],
            "quad": quad.tolist(),
        }
    )
    with atomic_path(record) as partial:
        partial.write_text(text + "\n")
