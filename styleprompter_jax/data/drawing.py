"""Many faces drawn at once, by programs of their own: one for each core.

`draw` starts them as plain programs, not through `multiprocessing`, which would run the
caller's script again in each: it works from notebooks and from scripts without an
`if __name__ == "__main__"`.
"""

import dataclasses
import io
import json
import os
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence

from PIL import Image

from styleprompter_jax.data.faces import Face, render

FACES_A_PROGRAM = 50  # at least; for fewer it does not pay to start one
_LENGTH = struct.Struct("<I")


def draw(faces: Sequence[Face], size: int) -> Iterator[bytes]:
    """Faces as PNG files, in order, the same whatever draws them.

    Args:
        faces: what to draw.
        size: side of the pictures in pixels.

    Raises:
        StylePrompterError: if the packages that draw are not installed.
    """
    count = min(_cores(), len(faces) // FACES_A_PROGRAM) if sys.executable else 0
    programs = [_start(faces[k::count], size) for k in range(count if count > 1 else 0)]
    try:
        for k, face in enumerate(faces):
            png = _receive(programs[k % count]) if programs else b""
            # Of a program that could not start, or was killed, the rest is drawn here.
            yield png or _png(face, size)
    finally:
        for program in programs:
            with program:  # closes its pipe, and waits for it
                program.kill()


def _cores() -> int:
    """How many this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _start(faces: Sequence[Face], size: int) -> subprocess.Popen:
    """A program that draws faces and writes them to its stdout."""
    places = [os.path.abspath(place) for place in sys.path]
    with tempfile.TemporaryFile("w+") as order:
        json.dump([dataclasses.asdict(face) for face in faces], order)
        order.seek(0)
        return subprocess.Popen(
            [sys.executable, "-P", "-m", __name__, str(size)],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(places)},
            stdin=order,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )


def _receive(program: subprocess.Popen[bytes]) -> bytes:
    """The next PNG of a program; empty where there is no whole one."""
    stream = program.stdout
    assert stream  # it was asked for
    length = stream.read(_LENGTH.size)
    if len(length) < _LENGTH.size:
        return b""
    (count,) = _LENGTH.unpack(length)
    png = stream.read(count)
    return png if len(png) == count else b""


def _png(face: Face, size: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(render(face, size)).save(file, "PNG")
    return file.getvalue()


def _main(size: int) -> None:
    for fields in json.load(sys.stdin):
        png = _png(Face(**fields), size)
        sys.stdout.buffer.write(_LENGTH.pack(len(png)) + png)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    _main(int(sys.argv[1]))
