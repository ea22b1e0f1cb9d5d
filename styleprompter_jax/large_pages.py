"""Large pages of memory for programs."""

import os
import sys
from pathlib import Path

_SETTING = Path("/sys/kernel/mm/transparent_hugepage/enabled")
_VARIABLE, _ON = "GLIBC_TUNABLES", "glibc.malloc.hugetlb=1"


def use_large_pages() -> None:
    """Starts this program anew, once, with malloc asking Linux for large pages.

    XLA:CPU gets the memory of each call from malloc and gives it back, and the kernel
    hands it out in fresh pages: 4 KiB each, they cost more time than passing over what
    they hold (docs/performance.md).  Nothing happens where the kernel does not wait to
    be asked, or the variable is set; nor in another program, such as a notebook that
    calls ours by `%run`, and would lose all that it holds.
    """
    try:
        waits = "[madvise]" in _SETTING.read_text()
    except OSError:  # another system
        return
    given = sys.argv[1:]
    ours = sys.orig_argv[len(sys.orig_argv) - len(given) :] == given
    alone = ours and "IPython" not in sys.modules
    if waits and alone and _VARIABLE not in os.environ and sys.executable:
        os.environ[_VARIABLE] = _ON
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
