"""Large pages of memory for programs."""

import os
import sys
from pathlib import Path

_SETTING = Path("/sys/kernel/mm/transparent_hugepage/enabled")
_VARIABLE, _ON = "GLIBC_TUNABLES", "glibc.malloc.hugetlb=1"


def use_large_pages() -> None:
    """Restarts this program once, so that malloc asks Linux for large pages.

    XLA:CPU allocates and frees memory in each call, and the kernel provides new pages
    each time. Pages of 4 KiB cost more time than the data in them
    (docs/performance.md). The function does nothing if the kernel does not wait for
    such requests, or the variable is set. It also does nothing in another program: a
    notebook that calls ours with `%run` would lose its state.
    """
    try:
        waits = "[madvise]" in _SETTING.read_text()
    except OSError:  # not Linux
        return
    given = sys.argv[1:]
    ours = sys.orig_argv[len(sys.orig_argv) - len(given) :] == given
    alone = ours and "IPython" not in sys.modules
    if waits and alone and _VARIABLE not in os.environ and sys.executable:
        os.environ[_VARIABLE] = _ON
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
