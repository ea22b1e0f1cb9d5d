"""Reads files and reports the effects: `python watched.py FILE...` prints JSON.

In a process of its own, because an audit hook cannot be removed, and so that memory
can be limited for it.
"""

import contextlib
import json
import resource
import sys
import time
import unicodedata  # noqa: F401 - which Python's parser imports when it needs it

import numpy as np

from styleprompter_jax.convert.reading.files import Object, read_file
from styleprompter_jax.convert.recognise import recognise
from styleprompter_jax.core.errors import StylePrompterError

# Audit events of code that runs from a file; reading a file does not cause them.
SUSPECT = (
    "exec",
    "import",
    "marshal.",
    "os.",
    "pickle.",
    "pty.",
    "shutil.",
    "socket.",
    "subprocess.",
    "tempfile.",
    "webbrowser.",
)
GIGABYTE = 2**30

_events: list[str] | None = None


def _hook(event, arguments):
    if _events is not None and (
        event.startswith(SUSPECT)
        or (event == "open" and any(c in str(arguments[1]) for c in "wax+"))
    ):
        _events.append(f"{event} {arguments[0] if arguments else ''}")


def watch(path):
    """Reads a file: {"outcome": "read", "refused" or an error's name, ...}.

    The report also has the kind of the file, if it is known, as "what". The seconds are
    processor time, which other processes do not lengthen.
    """
    global _events
    _events = events = []
    started = time.process_time()
    what = ""
    try:
        tree = read_file(path)
        touch(tree)
        outcome, message = "read", ""
        with contextlib.suppress(StylePrompterError):
            what = recognise(tree, str(path)).what
    except StylePrompterError as error:
        outcome, message = "refused", str(error)
    except BaseException as error:  # the test shows what it was
        outcome, message = type(error).__name__, str(error)
    seconds = time.process_time() - started
    _events = None
    return {
        "outcome": outcome,
        "message": message,
        "what": what,
        "seconds": seconds,
        "events": events,
    }


def touch(value):
    """Reads every number of a tree."""
    match value:
        case dict():
            return sum(map(touch, value.values()))
        case list() | tuple():
            return sum(map(touch, value))
        case Object():
            return touch(value.state)
        case np.ndarray():
            return np.count_nonzero(value)
        case None | bool() | int() | float() | str() | bytes():
            return 1
    raise TypeError(f"{type(value)} in a tree")


def limit_memory(more=GIGABYTE):
    """This process may take ``more`` bytes beside those that it has."""
    if sys.platform != "linux":
        return
    with open("/proc/self/statm") as file:
        pages = int(file.read().split()[0])
    limit = pages * resource.getpagesize() + more
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def warm_up(paths):
    """Reads good files, to make their imports first."""
    for path in paths:
        read_file(path)
    sys.addaudithook(_hook)


if __name__ == "__main__":
    good = int(sys.argv[1])
    paths = sys.argv[2:]
    warm_up(paths[:good])
    limit_memory()
    print(json.dumps({path: watch(path) for path in paths}))
