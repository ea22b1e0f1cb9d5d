"""Exports a model for other programs and runtimes, and checks the export."""

import dataclasses
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from styleprompter_jax.core.atomic import atomic_folder
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.lock import folder_lock
from styleprompter_jax.core.outbox import to_bucket
from styleprompter_jax.core.paths import AnyPath, local_path
from styleprompter_jax.core.values import check_choice
from styleprompter_jax.editing.latents import Latents
from styleprompter_jax.export import folder as folders
from styleprompter_jax.export.programs import DECODE, EDIT, ENCODE, MAP, SYNTHESIZE
from styleprompter_jax.inversion.exported import ExportedModel
from styleprompter_jax.inversion.pipeline import StylePrompter, load
from styleprompter_jax.store.places import public_name

BATCHES = 1, 4  # the batch sizes with which the check calls each program
TOLERANCE, HALF_TOLERANCE = 1e-4, 0.05  # absolute up to 1, relative for larger numbers


@dataclasses.dataclass(frozen=True)
class ExportedFolder:
    """An export that agrees with its model.

    Attributes:
        folder: the folder.
        programs: names of the programs.
        difference: the largest difference from the model, by program.
    """

    folder: Path
    programs: list[str]
    difference: dict[str, float]


@to_bucket("output")
def export(
    model: AnyPath,
    output: AnyPath,
    *,
    format: str,
    half: bool = False,
    overwrite: bool = False,
    page: Callable[[Path, StylePrompter], dict] | None = None,
) -> ExportedFolder:
    """Writes a model as programs for other runtimes, and compares them with it.

    Args:
        model: name or path of the model, as `load` takes it.
        output: folder to write.
        format: "jax" for `jax.export`, or "onnx".
        half: store the weights of ONNX graphs in float16; they compute in float32.
        overwrite: replace an existing export.
        page: a function that writes a page into the folder of a model, and returns the
            values that the page reads in the manifest (`web.static`).

    Raises:
        StylePrompterError: if the model cannot be read or exported, the export differs
            from the model, or the folder cannot be written. In this case, nothing has
            been written.
    """
    check_choice(format, "format", folders.FORMATS)
    if half and format != "onnx":
        raise StylePrompterError("half is for ONNX: leave it out, or use format onnx.")
    folder = local_path(output)
    check_place(folder, overwrite)
    if folders.is_export(model):
        raise StylePrompterError(f"{model} is an export: name the model itself.")
    loaded = load(model)
    parts = loaded.config, loaded.variables, loaded.directions
    with folder_lock(folder):
        check_place(folder, overwrite)  # another process may have written there
        old = folders.written(folder) or set()
        with atomic_folder(folder, {name.split("/")[0] for name in old}) as new:
            facts = page(new, loaded) if page else None
            check_files(folder, old, new)
            files = folders.write_programs(new, format, *parts, half=half)
            made = folders.open_programs(
                new, format, loaded.config, loaded.directions, loaded.sha256
            )
            tolerance = HALF_TOLERANCE if half else TOLERANCE
            # ONNX Runtime computes in float32, but JAX on a GPU rounds to TF32.
            precision = "highest" if format == "onnx" else None
            with jax.default_matmul_precision(precision):
                found = compare(loaded, ExportedModel(made, str(folder)), tolerance)
            folders.write_manifest(
                new,
                format,
                loaded.config,
                loaded.directions,
                files,
                # Leave out the folder's path, because it is private.
                model={"name": public_name(loaded.source), "sha256": loaded.sha256},
                check={"tolerance": tolerance, "batches": BATCHES, "difference": found},
                half=half,
                page=facts,
            )
    return ExportedFolder(folder, list(made.programs), found)


def check_place(folder: Path, overwrite: bool) -> None:
    """Refuses a folder that is not empty; with overwrite, accepts an export."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not folders.is_export(folder) or folders.written(folder) is None:
        raise StylePrompterError(
            f"{folder} exists and is not an export: choose another --output."
        )
    if not overwrite:
        raise StylePrompterError(
            f"{folder} exists: choose another --output, or replace it with --overwrite."
        )


def files_in(folder: Path) -> list[Path]:
    """Returns the files of a folder at any depth."""
    return [path for path in folder.rglob("*") if not path.is_dir()]


def check_files(folder: Path, old: set[str], new: Path) -> None:
    """Refuses to replace files in an export that the export did not write.

    Args:
        folder: the export to replace, if there is one.
        old: the paths of the files that the old export wrote.
        new: the folder with the files of the page that replaces the old export.
    """
    replaced = {path.name for path in new.iterdir()}
    replaced |= {name.split("/")[0] for name in old}
    for path in files_in(folder):
        name = path.relative_to(folder).as_posix()
        if name not in old and name.split("/")[0] in replaced:
            raise StylePrompterError(
                f"{path} does not belong to the export: move it, or choose another "
                "--output."
            )


def compare(
    model: StylePrompter, exported: ExportedModel, tolerance: float
) -> dict[str, float]:
    """Compares an export with its model, on random images and codes.

    Returns:
        The largest difference of each program, over the batches of `BATCHES`.

    Raises:
        StylePrompterError: if a program differs by more than the tolerance. It is
            relative to the largest number if that number is above 1.
    """
    found: dict[str, float] = {}
    for program, expected, call in _cases(model, exported):
        for size in BATCHES:
            for one, other in zip(expected, call(slice(size)), strict=True):
                one = np.asarray(one)[:size]
                largest = max(1.0, float(np.max(np.abs(one))))
                difference = float(np.max(np.abs(one - np.asarray(other)))) / largest
                if not difference <= tolerance:  # also true for NaN
                    raise StylePrompterError(
                        f"The exported program {program} differs from the model by "
                        f"{difference:.2g} for a batch of {size}, more than "
                        f"{tolerance:g}: nothing was written. Report the config of "
                        "this model as a fault."
                    )
                found[program] = max(difference, found.get(program, 0.0))
    return found


def _cases(model: StylePrompter, exported: ExportedModel) -> Iterator[tuple]:
    """Yields each program's name, the model's results, and a call for some rows."""
    rng, count = np.random.default_rng(0), max(BATCHES)
    n = model.config.generator.num_codes
    z = rng.standard_normal((count, model.config.generator.z_dim), np.float32)
    w_plus = np.asarray(model.mapping(z, 0.7))
    if w_plus.ndim == 2:
        w_plus = np.repeat(w_plus[:, None], n, 1)
    yield MAP, [w_plus], lambda rows: [exported.mapping(z[rows], 0.7)]
    latents = Latents(w_plus)
    if model.config.encoder is not None:
        shape = count, *model.config.input_shape
        images = rng.uniform(-1, 1, shape).astype(np.float32)
        latents = model.encode(images)
        expected = _arrays(latents)
        yield ENCODE, expected, lambda rows: _arrays(exported.encode(images[rows]))
    if model.directions:
        codes = np.asarray(latents.w_plus)
        strengths = rng.uniform(-1, 1, (count, len(model.directions)))
        moved = codes.copy()
        for k, direction in enumerate(model.directions.values()):
            step = np.asarray(direction.step(codes))
            moved += strengths[:, k, None, None] * step
        given = codes, strengths
        yield EDIT, [moved], lambda rows: [exported.edited(*(x[rows] for x in given))]
    ways: list[dict[str, Any]] = [{"refine": False}]
    if model.config.refiner is not None and model.config.encoder is not None:
        ways += [{}, dict(model.config.refiner.edit_options)]
    for way in ways:
        program = SYNTHESIZE if "refine" in way else DECODE
        made = model.decode(latents, **way)
        decode = partial(exported.decode, **way)
        yield program, [made], lambda rows, decode=decode: [decode(latents[rows])]


def _arrays(latents: Latents) -> list:
    return [latents.w_plus, *latents.features]
