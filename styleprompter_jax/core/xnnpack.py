"""Disables XNNPACK for JAX before 0.8.2 on CPUs, because it may use stale matrices.

In these versions, XNNPACK keeps a packed copy of a matrix that is an argument of a
compiled function. It finds the copy by the address of the matrix. A training step may
write new weights to the same address, or a second model may get the memory of a first
model. XNNPACK then multiplies by the old copy, without an error. XLA reads the flag
once, when the backends of JAX start.
"""

import os
import sys
import warnings
from pathlib import Path

from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.process import is_file, jax_has_started

_FLAG = "--xla_cpu_use_xnnpack"
_ADVICE = (
    f"set {_FLAG}=false in XLA_FLAGS, restart Python, and import styleprompter_jax "
    "before you use JAX; or install JAX 0.8.2 or newer."
)

_late = False  # JAX had started before the call of `switch_off`


def switch_off() -> None:
    """Appends the flag that disables XNNPACK to XLA_FLAGS, for JAX before 0.8.2.

    The variable does not change if it already sets XNNPACK, or names a file of flags:
    the function trusts that it was set before JAX started.
    The function warns if JAX already runs on a CPU.
    """
    global _late
    flags = os.environ.get("XLA_FLAGS", "").strip()
    if not _has_stale_copies() or _given(flags):
        return
    _late = jax_has_started()
    if not _late and not is_file(flags):
        os.environ["XLA_FLAGS"] = f"{flags} {_FLAG}=false".lstrip()
    elif _late and sys.modules["jax"].default_backend() == "cpu":
        warnings.warn(
            "JAX runs with XNNPACK already, and may use the weights of an earlier "
            f"model: {_ADVICE}",
            RuntimeWarning,
            stacklevel=3,
        )


def check_off(platform: str) -> None:
    """Raises a StylePrompterError if training on a platform would be wrong."""
    if platform != "cpu" or not _has_stale_copies():
        return
    value = "".join(_given(os.environ.get("XLA_FLAGS", "").strip())[-1:])
    if _late or value.lower() not in (f"{_FLAG}=false", f"{_FLAG}=0"):
        raise StylePrompterError(
            f"This version of JAX trains wrongly on a CPU with XNNPACK: {_ADVICE}"
        )


def _has_stale_copies() -> bool:
    """Returns whether the installed JAX has this fault."""
    from jaxlib.version import __version_info__

    return __version_info__ < (0, 8, 2)


def _given(flags: str) -> list[str]:
    """Returns the XNNPACK flags in XLA_FLAGS, or in its file; the last one counts."""
    if is_file(flags):
        try:
            flags = Path(flags).read_text()
        except OSError:
            return []
    return [flag for flag in flags.split() if flag.split("=")[0] == _FLAG]
