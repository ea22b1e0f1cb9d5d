"""JAX before 0.8.2 on CPUs: XLA without XNNPACK, which multiplies by stale matrices.

There XNNPACK keeps a packed copy of a matrix that is a compiled function's argument,
and finds it again by the matrix's address. Where a training step writes weights in
place of the former ones, or a second model comes to lie where a first one was, it
goes on with the copy, and nothing tells. XLA reads the switch once, when JAX's
backends start.
"""

import os
import sys
import warnings
from pathlib import Path
from typing import Any

from styleprompter_jax.core.errors import StylePrompterError

_FLAG = "--xla_cpu_use_xnnpack"
_ADVICE = (
    "start Python anew and import styleprompter_jax before JAX is used, with no "
    f"{_FLAG} but {_FLAG}=false in XLA_FLAGS, or install JAX 0.8.2 or newer."
)

_late = False  # JAX had started before the switch


def switch_off() -> None:
    """Appends the switch to XLA_FLAGS, for JAX before 0.8.2.

    What the variable says of XNNPACK itself stays, and so does the name of a file of
    flags.  Warns where JAX runs on a CPU already.
    """
    global _late
    flags = os.environ.get("XLA_FLAGS", "").strip()
    if not _has_stale_copies() or _given(flags):
        return
    bridge: Any = sys.modules.get("jax._src.xla_bridge")
    _late = bridge is not None and bridge.backends_are_initialized()
    if not _late and not _is_file(flags):
        os.environ["XLA_FLAGS"] = f"{flags} {_FLAG}=false".lstrip()
    elif _late and bridge.get_backend().platform == "cpu":
        warnings.warn(
            "JAX runs with XNNPACK already, and may multiply by weights of a former "
            f"model: {_ADVICE}",
            RuntimeWarning,
            stacklevel=3,
        )


def check_off(platform: str) -> None:
    """Raises a StylePrompterError where training on a platform would go wrong."""
    if platform != "cpu" or not _has_stale_copies():
        return
    value = "".join(_given(os.environ.get("XLA_FLAGS", "").strip())[-1:])
    if _late or value.lower() not in (f"{_FLAG}=false", f"{_FLAG}=0"):
        raise StylePrompterError(
            f"This JAX trains wrongly on a CPU with XNNPACK: {_ADVICE}"
        )


def _has_stale_copies() -> bool:
    """Whether the installed JAX is one of those."""
    from jaxlib.version import __version_info__

    return __version_info__ < (0, 8, 2)


def _is_file(flags: str) -> bool:
    """Whether XLA_FLAGS names a file of flags; XLA tells by the first letter."""
    return bool(flags) and not flags.startswith("-")


def _given(flags: str) -> list[str]:
    """What XLA_FLAGS, or the file that it names, says of XNNPACK; the last holds."""
    if _is_file(flags):
        try:
            flags = Path(flags).read_text()
        except OSError:
            return []
    return [flag for flag in flags.split() if flag.split("=")[0] == _FLAG]
