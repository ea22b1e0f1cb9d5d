"""Draws many faces in parallel, with one program for each core.

`draw` starts plain programs instead of using `multiprocessing`, which would run the
caller's script again in each process. So `draw` works in notebooks, and in scripts
without `if __name__ == "__main__"`.
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

from styleprompter_jax.core.process import cores
from styleprompter_jax.data.faces import Face, render

FACES_A_PROGRAM = 50  # at least; for fewer faces, a program costs more than it saves
_LENGTH = struct.Struct("<I")


def draw(faces: Sequence[Face], size: int) -> Iterator[bytes]:
    """Yields faces as PNG files, in order; the number of programs has no influence.

    Args:
        faces: the faces to draw.
        size: side of the images in pixels.

    Raises:
        StylePrompterError: if the packages for drawing are not installed.
    """
    count = min(cores(), len(faces) // FACES_A_PROGRAM) if sys.executable else 0
    programs = [_start(faces[k::count], size) for k in range(count if count > 1 else 0)]
    try:
        for k, face in enumerate(faces):
            png = _receive(programs[k % count]) if programs else b""
            # If a program did not start or was killed, draw its faces here.
            yield png or _png(face, size)
    finally:
        for program in programs:
            with program:  # closes the pipe, and waits for the end of the program
                program.kill()


def _start(faces: Sequence[Face], size: int) -> subprocess.Popen:
    """Starts a program that draws faces and writes them to its stdout."""
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
    """Reads the next PNG of a program; empty if no complete PNG follows."""
    stream = program.stdout
    assert stream  # `_start` set it to a pipe
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
