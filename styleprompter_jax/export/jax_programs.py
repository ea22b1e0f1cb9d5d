"""Programs in the format of `jax.export`: StableHLO for CPU, CUDA and TPU.

A program does not contain the weights. They are its first argument: a dict of the
arrays in the file of weights.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jax import export

from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.safetensors_files import read_safetensors
from styleprompter_jax.export.program_files import read_program
from styleprompter_jax.export.programs import Program
from styleprompter_jax.store.array_files import save_arrays

SUFFIX = ".jax"
WEIGHTS = "weights.safetensors"
PLATFORMS = "cpu", "cuda", "tpu"
_LIMIT = 2**30  # the largest size of a program in bytes
_CALL = "custom_call @shape_assertion("  # JAX writes this call for a symbolic batch


def write(folder: Path, programs: Mapping[str, Program], weights: Mapping) -> list[str]:
    """Writes the programs and the weights, and returns the names of the files."""
    flat = {k: np.asarray(v) for k, v in flatten_dict(weights, sep="/").items()}
    specs = {k: jax.ShapeDtypeStruct(v.shape, v.dtype) for k, v in flat.items()}
    _check_installed()
    files = []
    for name, program in programs.items():

        def call(weights: Mapping, *inputs: Any, program: Program = program) -> tuple:
            return program.function(unflatten_dict(weights, sep="/"), *inputs)

        trace = export.export(jax.jit(call), platforms=PLATFORMS)
        made = trace(specs, *program.specs().values())
        (folder / f"{name}{SUFFIX}").write_bytes(made.serialize())
        files.append(f"{name}{SUFFIX}")
    save_arrays(folder / WEIGHTS, flat)
    return [*files, WEIGHTS]


class Runtime:
    """Calls the programs of a folder.

    Args:
        folder: the folder with the files that `write` wrote.
        sums: SHA-256 of each file, by name; None for files that were just written.
    """

    def __init__(self, folder: Path, sums: Mapping[str, str] | None = None):
        _check_installed()
        self._folder, self._sums = folder, sums
        self._weights = jax.device_put(read_safetensors(folder / WEIGHTS).arrays)
        self._programs: dict[str, Any] = {}

    def __call__(self, name: str, inputs: Mapping[str, Any]) -> list[np.ndarray]:
        """Returns the outputs of a program, in order."""
        if name not in self._programs:
            self._programs[name] = jax.jit(self._read(name).call)
        return list(self._programs[name](self._weights, *inputs.values()))

    def _read(self, name: str) -> Any:
        path = self._folder / f"{name}{SUFFIX}"
        content = read_program(path, _LIMIT, self._sums)
        try:
            program = export.deserialize(bytearray(content))
            text = program.mlir_module()
        except Exception as error:  # a file of another kind causes errors of many types
            raise StylePrompterError(
                f"{path} cannot be read by this version of JAX: export the model again."
            ) from error
        if text.count("custom_call") != text.count(_CALL):
            raise StylePrompterError(
                f"{path} calls code outside of StableHLO, which no exported model "
                "needs: do not run it, and export the model again."
            )
        return program


def _check_installed() -> None:
    try:
        import flatbuffers  # noqa: F401 - JAX writes and reads programs with it
    except ImportError as error:
        raise StylePrompterError(
            "Programs of JAX need the package flatbuffers: run "
            "`pip install 'styleprompter_jax[onnx]'`, or `pip install flatbuffers`."
        ) from error
