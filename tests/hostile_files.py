"""Files that the reader must refuse: attacks, lies, bombs, damage, and other formats.

`hostile_files` gives for each file its name, its bytes, and words that the error
message must have. An attack that runs writes a file CANARY in the working folder.
"""

import io
import pickle
import struct
import tarfile
import zipfile

import numpy as np
from hostile_pickles import NUMBERS, SHELL, bombs, calls, machine
from weight_files import (
    MAGIC,
    Call,
    Name,
    good_files,
    legacy,
    npy,
    npz,
    nvidia,
    pickled,
    storage_id,
    tensor,
    torch_zip,
    zipped,
)


def hostile_files():
    """{file name: (bytes, words of the message)}."""
    cases = {}
    for family in (calls, machine, bombs, _zips, _arrays, _storages, _others, _cut):
        for name, (content, words) in family().items():
            assert name not in cases
            cases[name] = content, words
    return cases


def _zips():
    """Archives that readers and scanners see differently."""
    good = torch_zip({"w": tensor(storage_id(6), (2, 3), (3, 1))}, [NUMBERS])
    malicious = pickled(Call("os system", (SHELL,)))
    plain = pickled({"a": 1})
    directory = good.index(b"PK\x01\x02")

    def changed(offset, value, data=good):
        return data[:offset] + value + data[offset + len(value) :]

    twice = zipped({"a/data.pkl": plain, "a/Data.pkl": malicious})
    overlap = zipped({"a/data.pkl": plain, "a/data_2.pkl": malicious})
    second = overlap.rindex(b"PK\x01\x02")
    return {
        "two_pickles.pt": (
            zipped({"a/data.pkl": plain, "b/data.pkl": malicious}),
            "two data.pkl",
        ),
        "same_name.pt": (twice.replace(b"Data.pkl", b"data.pkl"), "data.pkl' twice"),
        "other_case.pt": (twice, "data.pkl' twice"),
        "parent.pt": (
            zipped({"a/data.pkl": plain, "a/../../x": b""}),
            "not a valid name in an archive",
        ),
        "absolute.pt": (zipped({"a/data.pkl": plain, "/x": b""}), "not a valid name"),
        "backslash.pt": (
            zipped({"a/data.pkl": plain, "a\\x": b""}),
            "not a valid name",
        ),
        "escapes.npz": (zipped({"\x9b2J.npy": npy(NUMBERS)}), "not a valid name"),
        "drive.pt": (zipped({"a/data.pkl": plain, "c:/x": b""}), "not a valid name"),
        "crc_of_pickle.pt": (
            good.replace(b"collections", b"collectionz"),
            "the size or CRC of 'archive/data.pkl' differs",
        ),
        "crc_of_storage.pt": (
            good.replace(NUMBERS.tobytes(), NUMBERS[::-1].tobytes()),
            "the size or CRC of 'archive/data/0' differs",
        ),
        "local_crc.pt": (changed(14, b"\0\0\0\0"), "contradict each other"),
        "encrypted.pt": (
            changed(directory + 8, b"\x01", changed(6, b"\x01")),
            "contradict each other",
        ),
        "flag_in_front.pt": (changed(6, b"\x01"), "contradict each other"),
        "flag_in_directory.pt": (changed(directory + 8, b"\x20"), "contradict"),
        "local_name.pt": (changed(30, b"A"), "contradict each other"),
        "local_method.pt": (changed(8, b"\x08"), "contradict each other"),
        "overlap.pt": (
            changed(second + 42, struct.pack("<I", 0), overlap),
            "contradict each other",
        ),
        "outside.pt": (changed(directory + 42, b"\xff\xff\xff\x7f"), "damaged"),
        "bzip2.pt": (
            zipped({"a/data.pkl": plain}, zipfile.ZIP_BZIP2),
            "unknown compression method",
        ),
        "deflated_damage.pt": (
            changed(43, b"\xff\xff", zipped({"a/data.pkl": plain * 99}, 8)),
            "damaged",
        ),
        "big_endian.pt": (
            zipped({"a/data.pkl": plain, "a/byteorder": b"big"}),
            "big-endian machine",
        ),
        "torchscript.pt": (torch_zip({}, **{"constants.pkl": plain}), "TorchScript"),
        "torchscript_code.pt": (torch_zip({}, **{"code/m.py": b""}), "TorchScript"),
        "no_storage.pt": (
            torch_zip({"w": tensor(storage_id(6), (6,), (1,))}),
            "no entry 'archive/data/0'",
        ),
        "storage_elsewhere.pt": (
            torch_zip({"w": storage_id(6, key="../data.pkl")}, [NUMBERS]),
            "no entry",
        ),
        "no_weights.zip": (zipped({"a/readme.txt": b"hello"}), "no data.pkl"),
        "no_entries.zip": (zipped({}), "no data.pkl"),
        "stacked_inside.pt": (
            zipped({"a/data.pkl": plain + malicious}),
            "bytes follow the end",
        ),
    }


def _arrays():
    """.npy and .npz, and NumPy's arrays in pickles."""

    def header(text, version=b"\x01\x00", content=bytes(24)):
        size = struct.pack("<H" if version == b"\x01\x00" else "<I", len(text))
        return b"\x93NUMPY" + version + size + text.encode() + content

    def described(descr="'<f4'", shape="(6,)"):
        return f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}"

    objects = np.array([{"a": 1}], object)
    array = Name("numpy ndarray")

    def rebuilt(dtype, shape, data):
        state = (1, shape, dtype, False, data)
        start = "numpy.core.multiarray _reconstruct"
        return pickled({"x": Call(start, (array, (0,), b"b"), state)})

    float32 = Call("numpy dtype", ("f4", False, True))
    huge = npy(np.zeros(1)).replace(b"(1,)", b"(100000000000,)", 1)
    return {
        "800_gigabytes.npy": (huge, "does not fit"),
        "long_header.npy": (header("{" * 9_000), "header of the array is damaged"),
        "open_header.npy": (header("{" * 500), "header of the array is damaged"),
        "huge_header.npy": (header("", b"\x02\x00")[:8] + b"\xff" * 40, "damaged"),
        "nested_header.npy": (header("(" * 200 + ")" * 200), "damaged"),
        "called_header.npy": (header(f"__import__('os').system('{SHELL}')"), "damaged"),
        "version_9.npy": (header(described(), b"\x09\x00"), "damaged"),
        "negative.npy": (header(described(shape="(-6, -1)")), "does not fit"),
        "overflow.npy": (
            header(described(shape=f"({2**32}, {2**32}, 0)"), content=b""),
            "does not fit",
        ),
        "digits.npy": (header(described(shape=f"({'9' * 400},)")), "does not fit"),
        "too_short.npy": (header(described(), content=bytes(23)), "does not fit"),
        "too_long.npy": (header(described(), content=bytes(25)), "does not fit"),
        "records.npy": (header(described("[('a', '<f4')]")), "instead of numbers"),
        "text.npy": (header(described("'<U6'", "(1,)")), "instead of numbers"),
        "objects.npy": (npy(objects), "reading it could run code"),
        "objects.npz": (npz(a=NUMBERS, b=objects), "in 'b.npy', the array"),
        "pickle_in.npz": (
            zipped({"a.npy": pickled(Call("os system", (SHELL,)))}),
            "in 'a.npy', the header",
        ),
        "object_pickle.pkl": (
            pickle.dumps(objects, 2),
            "holds 'O8' instead of numbers",
        ),
        "object_list.pkl": (rebuilt(float32, (1,), [1]), "objects instead of numbers"),
        "array_short.pkl": (rebuilt(float32, (7,), bytes(24)), "does not fit 24"),
        "array_shape.pkl": (rebuilt(float32, (2**60, 0), b""), "impossible shape"),
        "array_negative.pkl": (rebuilt(float32, (-6, -1), bytes(24)), "impossible"),
        "array_empty.pkl": (
            pickled([Call("numpy.core.multiarray _reconstruct", (array, (0,), b"b"))]),
            "at '0', an array has no content",
        ),
        "array_bool.pkl": (
            rebuilt(Call("numpy dtype", ("b1", False, True)), (1,), b"\x07"),
            "at 'x', its array of booleans contains other values",
        ),
        "scalar.pkl": (
            pickled(Call("numpy.core.multiarray scalar", (float32, bytes(8)))),
            "does not fit 8",
        ),
        "bad_dtype.pkl": (
            pickled(Call("numpy dtype", ("f1",))),
            "'f1' instead of numbers",
        ),
    }


def _storages():
    """Tensors that lie about their storage."""
    shapes = {
        "size": ((2, 4), (4, 1), 0),
        "stride": ((2, 3), (4, 1), 0),
        "offset": ((2, 3), (3, 1), 1),
        "negative_offset": ((2, 3), (3, 1), -1),
        "negative_size": ((-2, 3), (3, 1), 0),
        "negative_stride": ((2, 3), (-3, 1), 3),
        "overflow": ((2**62, 4), (1, 2**62), 0),
        "large_empty": ((0, 2**62), (1, 1), 0),
        "endless": ((2**2000,), (2**2000,), 2**2000),
        "dimensions": ((1,) * 33, (1,) * 33, 0),
        "lengths": ((2, 3), (1,), 0),
        "truth": ((True, 3), (3, 1), 0),
        "fraction": ((2.0, 3), (3, 1), 0),
    }
    cases = {
        f"storage_{name}.pt": (
            torch_zip({"w": tensor(storage_id(6), size, stride, offset)}, [NUMBERS]),
            "a tensor",
        )
        for name, (size, stride, offset) in shapes.items()
    }

    def one(**kind):
        return {"w": tensor(storage_id(legacy=True, **kind), (6,), (1,))}

    whole = tensor(storage_id(6), (6,), (1,))
    return cases | {
        "short_storage.pt": (
            torch_zip({"w": tensor(storage_id(7), (7,), (1,))}, [NUMBERS]),
            "at 'w', its numbers are missing from the file",
        ),
        "wide_storage.pt": (
            torch_zip({"w": storage_id(6, kind="DoubleStorage")}, [NUMBERS]),
            "at 'w', its numbers are missing from the file",
        ),
        "two_types.pt": (
            torch_zip([whole, storage_id(12, kind="HalfStorage")], [NUMBERS]),
            "two types or sizes",
        ),
        "no_truth.pt": (
            torch_zip({"w": storage_id(24, kind="BoolStorage")}, [NUMBERS]),
            "array of booleans contains other values",
        ),
        "unknown_storage.pt": (
            torch_zip({"w": storage_id(24, kind="QInt8Storage")}, [NUMBERS]),
            "QInt8Storage",
        ),
        "no_storage_at_all.pt": (
            torch_zip({"w": tensor(NUMBERS.tobytes(), (6,), (1,))}),
            "damaged",
        ),
        "numel.pt": (legacy(one(numel=6), [NUMBERS], numels=[5]), "6 elements that"),
        "huge_numel.pt": (
            legacy({"w": storage_id(2**40, legacy=True)}, [NUMBERS], numels=[2**40]),
            "the file ends",
        ),
        "negative_numel.pt": (
            legacy({"w": storage_id(-1, legacy=True)}, [NUMBERS]),
            "a storage has an impossible size",
        ),
        "endless_numel.pt": (
            torch_zip({"w": storage_id(2**2000)}, [NUMBERS]),
            "a storage has an impossible size",
        ),
        "other_keys.pt": (legacy(one(numel=6), [NUMBERS], keys=["1"]), "list of stor"),
        "more_keys.pt": (
            legacy(one(numel=6), [NUMBERS], keys=["0", "0"]),
            "list of storages",
        ),
        "odd_keys.pt": (legacy(one(numel=6), [NUMBERS], keys=[[], 0]), "list of stor"),
        "protocol_1000.pt": (pickled(MAGIC) + pickled(1000), "protocol 1001"),
    }


def _others():
    """Returns other files that have the name of a weight file."""
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("storages"))
    page = b"\n<!DOCTYPE html><html><title>Quota exceeded</title></html>"
    return {
        "page.pt": (page, "web page"),
        "page.pkl": (b"\xef\xbb\xbf<HTML>" + page, "web page"),
        "pointer.pt": (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n",
            "git lfs pull",
        ),
        "error.pt": (b'{"message": "Not Found"}', "JSON"),
        "old.pt": (tar.getvalue(), "tar archive"),
        "weights.pt.gz": (b"\x1f\x8b\x08" + bytes(20), "packed with gzip"),
        "weights.bz2": (b"BZh9" + bytes(20), "packed with bzip2"),
        "weights.xz": (b"\xfd7zXZ\0" + bytes(20), "packed with xz"),
        "weights.7z": (b"7z\xbc\xaf\x27\x1c" + bytes(20), "packed with 7-Zip"),
        "weights.rar": (b"Rar!\x1a\x07\0" + bytes(20), "packed with RAR"),
        "weights.zst": (b"\x28\xb5\x2f\xfd" + bytes(20), "packed with Zstandard"),
        "photo.jpg": (b"\xff\xd8\xff\xe0" + bytes(20), "it is an image, not weights"),
        "weights.h5": (b"\x89HDF\r\n\x1a\n" + bytes(20), "HDF5"),
        "text.pt": (b"hello", "not a supported file"),
        "zeros_only.pt": (bytes(4096), "not a supported file"),
        "header.safetensors": (struct.pack("<Q", 20) + b"{" + b" " * 19, "safetensors"),
        "outside.safetensors": (
            _safetensors('{"a":{"dtype":"F32","shape":[9],"data_offsets":[0,36]}}'),
            "safetensors",
        ),
        "escapes.safetensors": (
            _safetensors(
                '{"\\u001b[2J":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'
            ),
            "not a valid name of an array",
        ),
        "overflow.safetensors": (
            _safetensors(
                '{"a":{"dtype":"F32","shape":[4294967296,4294967296],'
                '"data_offsets":[0,8]}}'
            ),
            "safetensors",
        ),
    }


def _safetensors(header):
    return struct.pack("<Q", len(header)) + header.encode() + bytes(8)


def _cut():
    """Each kind of file, cut off."""
    cases = {}
    for name, content in good_files().items():
        size = len(content)
        for where, end in {
            "0": 0,
            "1": size // 100,
            "50": size // 2,
            "99": size * 99 // 100,
            "last": size - 1,
        }.items():
            cases[f"cut_{where}_{name}"] = content[:end], "empty" if end == 0 else ""
    cases["longer.pkl"] = nvidia() + b"\0", "1 bytes follow the end"
    return cases
