"""Reads mutated weight files: `python tests/soak_files.py [COUNT] [SEED]`.

Each is a good file with flipped bits, moved or missing bytes, or changed pickle
instructions.  Reading it must succeed or be refused with a message that names it,
within 5 seconds and a gigabyte, and do nothing else.  `make soak` runs 10,000; the
tests run a sample.
"""

import collections
import io
import itertools
import os
import pathlib
import pickletools
import sys
import tempfile
import zipfile

import numpy as np
import watched
from weight_files import code, good_files, zipped

EXTREMES = (0, 1, 127, 128, 255)


def mutated(content, rng):
    """A changed copy of a good file."""
    if rng.random() < 0.5:
        return _change_bytes(content, rng)
    if not content.startswith(b"PK"):
        return _change_instructions(content, rng)
    # Packed again, with the right CRC.
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
        method = archive.infolist()[0].compress_type
    name = rng.choice([n for n in entries if n.endswith((".pkl", ".npy"))])
    change = rng.choice([_change_bytes, _change_instructions])
    return zipped(entries | {name: change(entries[name], rng)}, method)


def _change_bytes(content, rng):
    data = bytearray(content)
    for _ in range(rng.integers(1, 4)):
        start, length = int(rng.integers(len(data))), int(rng.integers(1, 64))
        match rng.integers(6):
            case 0 | 1:
                data[start] ^= 1 << int(rng.integers(8))
            case 2:
                data[start] = rng.choice(EXTREMES)
            case 3:
                del data[start + 1 : start + length]
            case 4:
                other = int(rng.integers(len(data)))
                data[start:start] = data[other : other + length]
            case 5:
                del data[start + 1 :]
    return bytes(data)


def _change_instructions(content, rng):
    steps, rest = _instructions(content)
    if not steps:
        return _change_bytes(content, rng)
    for _ in range(rng.integers(1, 4)):
        i, j = (int(k) for k in rng.integers(len(steps), size=2))
        match rng.integers(6):
            case 0:
                steps[i] = b""
            case 1:
                steps[i] = steps[i] + steps[j]
            case 2:
                steps[i], steps[j] = steps[j], steps[i]
            case 3:
                steps[i] = bytes([rng.integers(256)]) + steps[i][1:]
            case 4:
                filling = bytes([rng.choice(EXTREMES)]) * (len(steps[i]) - 1)
                steps[i] = steps[i][:1] + filling
            case 5:
                value = int(rng.choice([-(2**40), -1, 0, 1, 2**31, 2**63]))
                steps[i] = code(value)
    return b"".join(steps) + rest


def _instructions(content):
    """Returns the instructions of the pickles at the start of a file, and the rest."""
    steps, end = [], 0
    while content[end : end + 1] == b"\x80":
        try:
            starts = [at for *_, at in pickletools.genops(content[end:])]
        except ValueError:
            break
        bounds = [end + at for at in (*starts, starts[-1] + 1)]
        steps += [content[a:b] for a, b in itertools.pairwise(bounds)]
        end = bounds[-1]
    return steps, content[end:]


def soak(count, seed, folder):
    """Counts by kind of file and outcome, and the reports that must not be."""
    good = good_files()
    for name, content in good.items():
        (folder / name).write_bytes(content)
    watched.warm_up([folder / name for name in good])
    watched.limit_memory()
    counts, bad = collections.Counter(), []
    for i in range(count):
        name = list(good)[i % len(good)]
        path = folder / f"{seed}_{i}_{name}"
        path.write_bytes(mutated(good[name], np.random.default_rng([seed, i])))
        report = watched.watch(path)
        counts[name, report["outcome"]] += 1
        if (
            report["outcome"] not in ("read", "refused")
            or report["events"]
            or report["seconds"] > 5
            or (report["outcome"] == "refused" and str(path) not in report["message"])
        ):
            bad.append((path, report))
        else:
            path.unlink()
    return counts, bad


def main(count=10_000, seed=0):
    folder = pathlib.Path(tempfile.mkdtemp(prefix="soak_files_"))
    counts, bad = soak(count, seed, folder)
    for (name, outcome), number in sorted(counts.items()):
        print(f"{name:20} {outcome:10} {number:6}")
    for path, report in bad:
        print(path, report)
    if not bad:
        for path in folder.iterdir():
            os.unlink(path)
        folder.rmdir()
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
