"""Programs as ONNX graphs: one file for each, which includes the weights."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.export.program_files import read_program
from styleprompter_jax.export.programs import Program

SUFFIX = ".onnx"
_LIMIT = 2**31  # the largest size of a graph in bytes
# TF32 would round the inputs of matrix products to 10 bits.
_PROVIDERS = {"CUDAExecutionProvider": {"use_tf32": "0"}, "CPUExecutionProvider": {}}
# Marks an array in another file. ONNX Runtime reads such files from the current folder.
_ELSEWHERE = b"location"
_WARNINGS = 3  # ONNX Runtime logs only errors; its warnings are for developers


def write(
    folder: Path, programs: Mapping[str, Program], weights: Mapping, half: bool
) -> list[str]:
    """Writes the graphs, and returns the names of the files.

    Args:
        folder: the folder for the files.
        programs: the programs by name.
        weights: the programs' weights, which become constants.
        half: store the weights in float16; the graphs compute in float32.
    """
    _installed("onnx")
    from styleprompter_jax.export.onnx.convert import to_onnx

    known = jax.tree.map(np.asarray, dict(weights))
    files = []
    for name, program in programs.items():
        inputs = {k: each.about for k, each in program.inputs.items()}
        graph = to_onnx(
            partial(program.function, known),
            program.specs(),
            list(program.outputs),
            half=half,
            description="\n".join(f"{k}: {about}" for k, about in inputs.items()),
        )
        (folder / f"{name}{SUFFIX}").write_bytes(graph)
        files.append(f"{name}{SUFFIX}")
    return files


class Runtime:
    """Calls the graphs of a folder with ONNX Runtime.

    Args:
        folder: the folder with the files that `write` wrote.
        sums: SHA-256 of each file, by name; None for files that were just written.
    """

    def __init__(self, folder: Path, sums: Mapping[str, str] | None = None):
        self._runtime = _installed("onnxruntime")
        self._folder, self._sums = folder, sums
        self._sessions: dict[str, Any] = {}

    def __call__(self, name: str, inputs: Mapping[str, Any]) -> list[np.ndarray]:
        """Returns the outputs of a program, in order."""
        if name not in self._sessions:
            self._sessions[name] = self._read(name)
        given = {k: np.asarray(value) for k, value in inputs.items()}
        return self._sessions[name].run(None, given)

    def _read(self, name: str) -> Any:
        path = self._folder / f"{name}{SUFFIX}"
        options = self._runtime.SessionOptions()
        options.log_severity_level = _WARNINGS
        known = self._runtime.get_available_providers()
        chosen = [each for each in _PROVIDERS.items() if each[0] in known]
        try:
            content = read_program(path, _LIMIT, self._sums)
            if _ELSEWHERE in content:
                raise StylePrompterError(
                    f"{path} reads other files, which no exported model needs: do not "
                    "run it, and export the model again."
                )
            return self._runtime.InferenceSession(content, options, providers=chosen)
        except StylePrompterError:
            raise
        except Exception as error:  # a file of another kind causes errors of many types
            raise StylePrompterError(
                f"{path} cannot be read by this version of ONNX Runtime: export the "
                "model again."
            ) from error


def _installed(package: str) -> Any:
    import importlib

    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise StylePrompterError(
            f"ONNX needs the package {package}: run "
            "`pip install 'styleprompter_jax[onnx]'`."
        ) from error
