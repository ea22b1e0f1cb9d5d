"""Facts about this process that need no JAX: its cores, and whether JAX has started."""

import os
import sys
from typing import Any


def cores() -> int:
    """Returns the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def jax_has_started() -> bool:
    """Returns whether JAX has made its devices, and read XLA_FLAGS."""
    bridge: Any = sys.modules.get("jax._src.xla_bridge")
    return bridge is not None and bridge.backends_are_initialized()


def is_file(flags: str) -> bool:
    """Returns whether XLA_FLAGS names a file; XLA decides by the first character."""
    return bool(flags) and not flags.startswith("-")
