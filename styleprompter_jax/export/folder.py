"""Folders of exported models: programs, directions, and a manifest.

manifest.json           the programs, their inputs, and SHA-256 of the other files
encode.onnx, ...        the programs; for JAX: encode.jax, ... and weights.safetensors
directions.safetensors  the directions, as in a model folder
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.json_files import read_json, write_json
from styleprompter_jax.core.paths import AnyPath, local_path, scheme
from styleprompter_jax.core.refusal import quoted
from styleprompter_jax.core.sums import sha256
from styleprompter_jax.editing.directions import Direction
from styleprompter_jax.export import jax_programs, onnx_programs
from styleprompter_jax.export.programs import (
    NAMES,
    Input,
    Program,
    programs,
    weights_of,
)
from styleprompter_jax.models.inverter import StylePrompterConfig
from styleprompter_jax.store.direction_files import load_directions, save_directions
from styleprompter_jax.store.places import CONFIG, DIRECTIONS, MANIFEST
from styleprompter_jax.version import __version__

VERSION = 1
FORMATS = "jax", "onnx"
_AGAIN = "export the model again."
# Matches all names of programs and of their data.
PARTS = frozenset(
    {MANIFEST, DIRECTIONS, jax_programs.WEIGHTS}
    | {
        name + suffix
        for name in NAMES
        for suffix in (jax_programs.SUFFIX, onnx_programs.SUFFIX)
    }
)


class Export(NamedTuple):
    """A folder of an exported model.

    Attributes:
        config: the architecture of the model.
        directions: the directions by name, in the order of `edit`'s strengths.
        programs: the programs by name.
        run: calls a program: ``run(name, inputs by name)`` returns its outputs.
        sha256: SHA-256 of the model's weights.
    """

    config: StylePrompterConfig
    directions: dict[str, Direction]
    programs: dict[str, Program]
    run: Any
    sha256: str


def write_programs(
    folder: Path,
    format: str,
    config: StylePrompterConfig,
    variables: Mapping,
    directions: Mapping[str, Direction],
    *,
    half: bool = False,
) -> list[str]:
    """Writes a model's programs and directions, and returns the names of the files.

    Args:
        folder: an empty folder.
        format: one of `FORMATS`.
        config: the architecture.
        variables: {"params": ..., "const": ...}.
        directions: the directions by name.
        half: store the weights of ONNX graphs in float16.
    """
    made = programs(config, directions)
    weights = weights_of(variables, directions, config.generator.num_codes)
    if format == "jax":
        files = jax_programs.write(folder, made, weights)
    else:
        files = onnx_programs.write(folder, made, weights, half)
    if directions:
        save_directions(folder, directions)
        files.append(DIRECTIONS)
    return files


def write_manifest(
    folder: Path,
    format: str,
    config: StylePrompterConfig,
    directions: Mapping[str, Direction],
    files: list[str],
    *,
    model: Mapping[str, str],
    check: Mapping[str, Any],
    half: bool,
    page: Mapping[str, Any] | None = None,
) -> None:
    """Writes manifest.json.

    Args:
        folder: the folder with the files.
        format: one of `FORMATS`.
        config: the architecture.
        directions: the directions by name.
        files: names of the files with programs, weights and directions.
        model: the model's "name", and the "sha256" of its weights.
        check: the results of the comparison with the model.
        half: whether the weights are in float16.
        page: values for the script of a page in the same folder.
    """
    refiner = config.refiner
    suffix = jax_programs.SUFFIX if format == "jax" else onnx_programs.SUFFIX
    entries = {
        name: {
            "file": name + suffix,
            "inputs": {k: _entry(each) for k, each in program.inputs.items()},
            "outputs": {k: _entry(each) for k, each in program.outputs.items()},
        }
        for name, program in programs(config, directions).items()
    }
    value = {
        "version": VERSION,
        "format": format,
        **_made_with(format),
        "weights": "float16" if half else "float32",
        "model": {**model, "config": config.to_dict()},
        "passes": config.encoder.passes if config.encoder is not None else 0,
        "programs": entries,
        "refiner": refiner
        and {
            "title": refiner.title,
            "options": _lists(refiner.options),
        },
        "directions": {
            name: {
                "index": k,
                "range": one.range,
                "strength": one.strength,
                "layers": one.layers,
                "options": _lists(one.options),
                "origin": one.origin,
            }
            for k, (name, one) in enumerate(directions.items())
        },
        "check": check,
        "files": {name: {"sha256": sha256(folder / name)} for name in files},
    }
    write_json(folder / MANIFEST, value | ({"page": page} if page else {}))


def _lists(options: Mapping[str, Any]) -> dict[str, list[float]]:
    """Returns each option of a refiner as a list, a number as a list of one."""
    return {name: np.ravel(value).tolist() for name, value in options.items()}


def _made_with(format: str) -> dict[str, Any]:
    versions = {"styleprompter_jax": __version__, "jax": jax.__version__}
    if format == "jax":
        return {"versions": versions, "platforms": jax_programs.PLATFORMS}
    import onnx

    from styleprompter_jax.export.onnx.graph import OPSET

    return {"versions": versions | {"onnx": onnx.__version__}, "opset": OPSET}


def _entry(each: Input) -> dict[str, Any]:
    return {
        "shape": ["batch", *each.shape],
        "dtype": each.dtype,
        "range": each.range,
        "about": each.about,
    }


def is_export(folder: AnyPath) -> bool:
    """Returns whether a local folder is an exported model instead of a model."""
    if scheme(folder):
        return False
    path = local_path(folder)
    return (path / MANIFEST).is_file() and not (path / CONFIG).exists()


def written(folder: Path) -> set[str] | None:
    """Returns the paths that an export wrote in a folder; None for other folders."""
    try:
        manifest = read_json(folder / MANIFEST)
    except StylePrompterError:
        return None
    if manifest.get("format") not in FORMATS or "programs" not in manifest:
        return None
    page = manifest.get("page")
    files = page.get("files") if isinstance(page, dict) else ()
    return {*PARTS, *map(str, files if isinstance(files, list) else ())}


def read_export(folder: Path) -> Export:
    """Opens the folder of an exported model.

    A program executes the instructions in its file. Open only folders that you trust.

    Raises:
        StylePrompterError: if a file is damaged or has another version, or a package
            is missing.
    """
    path = folder / MANIFEST
    manifest = read_json(path, hint=_AGAIN)
    version, form = manifest.get("version"), manifest.get("format")
    if version != VERSION or form not in FORMATS:
        raise StylePrompterError(
            f"{path} has the version {quoted(version)} and the format {quoted(form)}, "
            f"which this program cannot read: {_AGAIN}"
        )
    try:
        config = StylePrompterConfig.from_dict(manifest["model"]["config"])
        digest, entries = manifest["model"]["sha256"], dict(manifest["programs"])
        sums = {str(k): str(v["sha256"]) for k, v in manifest["files"].items()}
        order = list(dict(manifest["directions"]))
    except (
        KeyError, TypeError, ValueError, AttributeError, StylePrompterError
    ) as error:  # fmt: skip
        raise StylePrompterError(
            f"{path} is not the manifest of an exported model: {_AGAIN}"
        ) from error
    for name, digest_of_file in sums.items():
        file = folder / name
        if name not in PARTS or not file.is_file() or sha256(file) != digest_of_file:
            raise StylePrompterError(
                f"{file} is missing, damaged or replaced: copy the folder again, or "
                + _AGAIN
            )
    if form == "jax":
        needed = {name + jax_programs.SUFFIX for name in entries}
        needed.add(jax_programs.WEIGHTS)
    else:
        needed = {name + onnx_programs.SUFFIX for name in entries}
    if missing := sorted(needed - sums.keys()):
        raise StylePrompterError(f"{path} has no SHA-256 of {missing[0]}: {_AGAIN}")
    known = load_directions(folder)
    if sorted(known) != sorted(order):
        raise StylePrompterError(
            f"{folder / DIRECTIONS} has other directions than {MANIFEST}: {_AGAIN}"
        )
    directions = {name: known[name] for name in order}
    expected = programs(config, directions)
    if list(entries) != list(expected):
        raise StylePrompterError(
            f"{path} lists other programs than its config has: {_AGAIN}"
        )
    return open_programs(folder, form, config, directions, str(digest), sums)


def open_programs(
    folder: Path,
    format: str,
    config: StylePrompterConfig,
    directions: dict[str, Direction],
    digest: str,
    sums: Mapping[str, str] | None = None,
) -> Export:
    """Opens the programs of a folder without reading its manifest; see `Export`."""
    made = jax_programs.Runtime if format == "jax" else onnx_programs.Runtime
    run = made(folder, sums)
    return Export(config, directions, programs(config, directions), run, digest)
