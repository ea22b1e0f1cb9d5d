"""ICC profiles and PNG files made byte by byte, which no library here writes so."""

import struct
import zlib

import numpy as np

D50 = (0.9642, 1.0, 0.8249)
# Light to XYZ under D50, from the tables of Bruce Lindbloom.
SRGB = np.array(
    [
        [0.4360747, 0.3850649, 0.1430804],
        [0.2225045, 0.7168786, 0.0606169],
        [0.0139322, 0.0971045, 0.7141733],
    ]
)
ADOBE = np.array(
    [
        [0.6097559, 0.2052401, 0.1492240],
        [0.3111242, 0.6256560, 0.0632197],
        [0.0194811, 0.0608902, 0.7448387],
    ]
)


def _fixed(values):
    return struct.pack(f">{len(values)}i", *(round(v * 65536) for v in values))


def gamma(exponent):
    """A curve that is a power; None of a linear one."""
    if exponent is None:
        return struct.pack(">4sII", b"curv", 0, 0)
    return struct.pack(">4sIIH2x", b"curv", 0, 1, round(exponent * 256))


def table(values):
    content = np.rint(np.asarray(values) * 65535).astype(">u2").tobytes()
    return struct.pack(">4sII", b"curv", 0, len(values)) + content


def parametric(kind, *values):
    return struct.pack(">4sIHH", b"para", 0, kind, 0) + _fixed(values)


# The curve of sRGB itself.
SRGB_CURVE = parametric(3, 2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)


def profile(curve, matrix=None, name="sRGB", pcs=b"XYZ "):
    """Makes a grey profile, or an RGB profile with a matrix; the name may be wrong."""
    text = name.encode() + b"\0"
    tags = {
        b"desc": struct.pack(">4sII", b"desc", 0, len(text)) + text + bytes(78),
        b"cprt": b"text\0\0\0\0none\0",
        b"wtpt": _xyz(D50),
    }
    if matrix is None:
        tags[b"kTRC"] = curve
    else:
        for k, channel in enumerate(b"rgb"):
            tags[bytes([channel]) + b"TRC"] = curve
            tags[bytes([channel]) + b"XYZ"] = _xyz(matrix[:, k])
    entries = content = b""
    start = 132 + 12 * len(tags)
    for tag, value in tags.items():
        entries += tag + struct.pack(">II", start + len(content), len(value))
        content += value + bytes(-len(value) % 4)
    space = b"GRAY" if matrix is None else b"RGB "
    header = struct.pack(
        ">I4s4s4s4s4s12x4s28x12s48x", 132 + len(entries) + len(content),
        b"", b"\x02\x10\0\0", b"mntr", space, pcs, b"acsp", _fixed(D50),
    )  # fmt: skip
    return header + struct.pack(">I", len(tags)) + entries + content


def _xyz(values):
    return b"XYZ \0\0\0\0" + _fixed(values)


def chunk(kind, content, crc=None):
    crc = zlib.crc32(kind + content) if crc is None else crc
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", crc)


def png(values, depth, *chunks, palette=None, after=()):
    """A PNG of (h, w, k) values, with chunks before and after its pixels."""
    height, width, channels = values.shape
    colour = 3 if palette is not None else {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    if depth == 16:
        rows = values.astype(">u2").reshape(height, -1).view(np.uint8)
    else:
        bits = values.reshape(height, -1, 1) >> np.arange(depth)[::-1] & 1
        rows = np.packbits(bits.reshape(height, -1).astype(np.uint8), axis=1)
    filtered = np.pad(rows, ((0, 0), (1, 0))).tobytes()
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    if palette is not None:
        palette = [chunk(b"PLTE", np.asarray(palette, np.uint8).tobytes())]
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", header),
            *(c for c in chunks if c[4:8] != b"tRNS"),
            *(palette or []),
            *(c for c in chunks if c[4:8] == b"tRNS"),
            chunk(b"IDAT", zlib.compress(filtered)),
            *after,
            chunk(b"IEND", b""),
        ]
    )


def icc_chunk(content):
    return chunk(b"iCCP", b"name\0\0" + zlib.compress(content))
