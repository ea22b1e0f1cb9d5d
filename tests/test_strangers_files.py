"""Files of strangers: opened, as JSON and as safetensors."""

import json
import os
import random
import struct

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from styleprompter_jax.convert.reading.files import read_file
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.files import open_file, read_bytes
from styleprompter_jax.core.json_files import parse_json, read_json
from styleprompter_jax.core.refusal import Refusal
from styleprompter_jax.core.safetensors_files import (
    is_safetensors,
    parse_safetensors,
    read_safetensors,
    write_safetensors,
)


def test_only_regular_files_within_a_size_are_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "null").symlink_to("/dev/null")
    (tmp_path / "zero").symlink_to("/dev/zero")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "nowhere").symlink_to(tmp_path / "gone")
    (tmp_path / "large").write_bytes(bytes(11))
    (tmp_path / "link").symlink_to(tmp_path / "file")
    (tmp_path / "file").write_bytes(b"0123456789")
    for name, words in {
        "pipe": "pipe is a folder or device",
        "": "is a folder or device",
        "null": "null is a folder or device",
        "zero": "zero is a folder or device",
        "loop": "loop cannot be read",
        "nowhere": "There is no file .*nowhere",
        "gone": "There is no file .*gone",
        "large": "large has 11 bytes, and the limit is 10",
        "a\0b": "is not a valid path",
        "\ud800": "no file|not a valid path",
        "x" * 300: "has 300 bytes: choose",
    }.items():
        with pytest.raises(StylePrompterError, match=words):
            read_bytes(tmp_path / name, 10)
    for name in ("file", "link"):
        assert read_bytes(tmp_path / name, 10) == b"0123456789"
    # The file has no size, but has content.
    with pytest.raises(StylePrompterError, match="more than 10 bytes"):
        read_bytes("/proc/cpuinfo", 10)
    for error in (OSError("no luck"), Refusal("no luck.")):
        with (
            pytest.raises(StylePrompterError, match=r"file cannot be read: no luck\."),
            open_file(tmp_path / "file"),
        ):
            raise error


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"a": NaN}', "NaN"),
        ('{"a": [-Infinity]}', "Infinity"),
        ('{"a": 1e400}', "too large"),
        (f'{{"a": 1{"0" * 400}}}', "too large"),
        (f'{{"a": -1{"0" * 5000}}}', "too large"),
        ("[" * 100_000, "nested|not valid JSON"),
        ("[" * 100_000 + "]" * 100_000, "nested"),
        ('{"a":' * 100_000 + "1" + "}" * 100_000, "nested"),
        ('{"a": ' + "[" * 32 + "]" * 32 + "}", "nested"),
        ('{"a": 1, "b": 2, "a": 1}', "'a' occurs twice"),
        (r'{"\ud800": 1}', "half of a character"),
        (r'{"a": ["\udfff"]}', "half of a character"),
        (r'{"a\u0000": 1}', "NUL"),
        ('{"a\0": 1}', "not valid JSON"),
        ("[]", "a list instead of an object"),
        ("3", "a single value instead of an object"),
        ("null", "a single value"),
        ('"a"', "a string instead of an object"),
        ("", "not valid JSON"),
        ('{"a": 1} {}', "not valid JSON: line 1, column 10"),
        (b'{"a": "\xff"}', "byte 7 is not valid text"),
        (b"\xff\xfe{", "not valid text|not valid JSON"),
    ],
    ids=lambda value: repr(value[:20]),
)
def test_json_that_is_refused(text, words, tmp_path):
    content = text if isinstance(text, bytes) else text.encode()
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(StylePrompterError, match=words) as error:
        read_json(tmp_path / "a.json", hint="write it again.")
    message = str(error.value)
    assert message.startswith(f"{tmp_path / 'a.json'} cannot be read (")
    assert message.endswith("): write it again.")
    assert message.isprintable() and len(message) < 400


def test_json_that_is_read():
    value = {
        "a": [1, -2.5, 1e-400, True, None, 2**53, "\\u0000 \\ud800", "é", "😀"],
        "": {"b": [[[]]]},
    }
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-32-be"):
        for ascii_only in (True, False):
            text = json.dumps(value, ensure_ascii=ascii_only)
            assert parse_json(text.encode(encoding)) == value
    assert parse_json("[" * 32 + "]" * 32, list)
    assert parse_json("[1e300, 100000000000000000000]", list) == [1e300, 1e20]
    assert parse_json("[]", (dict, list)) == []


def header(text, content=bytes(8)):
    text = text if isinstance(text, bytes) else text.encode()
    return struct.pack("<Q", len(text)) + text + content


def entry(dtype="F32", shape=(2,), place=(0, 8), name="a"):
    fields = {"dtype": dtype, "shape": shape, "data_offsets": place}
    return json.dumps({name: fields})


@pytest.mark.parametrize(
    "content",
    [
        b"",
        bytes(8),
        header(""),
        header("[]", b""),
        header("{", b""),
        header("{}"),
        header(entry())[:-1],
        header(entry()) + b"\0",
        header(entry("F8_E4M3", (8,))),
        header(entry("F4", (16,))),
        header(entry("C64", (1,))),
        header(entry("f32")),
        header(entry(["F32"])),
        header(entry(None)),
        header(entry(shape=(3,))),
        header(entry(shape=(-2,))),
        header(entry(shape=(2.0,))),
        header(entry(shape=(True, 2))),
        header(entry(shape=2)),
        header(entry(shape={"2": 2})),
        header(entry(shape=(1,) * 33 + (2,))),
        header(entry(shape=(2**40, 2**40, 0), place=(0, 0))),
        header(entry(shape=(2**64, 2**64))),
        header(entry(place=(0, 8, 16))),
        header(entry(place=(8, 0))),
        header(entry(place=(-8, 0))),
        header(entry(place=(0, "8"))),
        header(entry(place=(4, 12)), bytes(12)),
        header(entry("BOOL", (8,)), b"\x02" * 8),
        header(entry(name="\x1b[2J")),
        header(entry(name="x" * 2000)),
        header('{"a": []}'),
        header('{"a": {"dtype": "F32", "shape": [2]}}'),
        header(f'{{"a": {entry()[6:-1]}, "a": {entry()[6:-1]}}}'),
        header(f'{{"a": {entry()[6:-1]}, "b": {entry()[6:-1]}}}'),
        header(f'{{"__metadata__": [], "a": {entry()[6:-1]}}}'),
        header(f'{{"__metadata__": {{"x": 1}}, "a": {entry()[6:-1]}}}'),
        header("[" * 50_000 + "]" * 50_000),
        header(b'{"\xff": 1}'),
        struct.pack("<Q", 2**39) + b"{" + bytes(20),
        struct.pack("<Q", 2**64 - 8) + b"{" + bytes(20),
    ],
    ids=lambda content: repr(content[8:50]),
)
def test_safetensors_that_are_refused(content, tmp_path):
    (tmp_path / "a.safetensors").write_bytes(content)
    with pytest.raises(StylePrompterError) as error:
        read_safetensors(tmp_path / "a.safetensors")
    message = str(error.value)
    assert message.startswith(f"{tmp_path / 'a.safetensors'} cannot be read: ")
    assert message.isprintable() and len(message) < 400


def good_arrays(rng):
    """Arrays as files have them, and metadata that sets the length of the header."""
    arrays = {}
    for k in range(rng.randrange(4)):
        name = rng.choice(["w", "smile", "Älter", "a/b.c", "名"]) + str(k)
        dtype = rng.choice([*DTYPES])
        shape = [rng.randrange(4) for _ in range(rng.randrange(4))]
        arrays[name] = np.ones(shape, dtype)
    metadata = {"note": "x" * rng.randrange(600)} if rng.random() < 0.9 else None
    return arrays, metadata


DTYPES = (
    *("float16", "float32", "float64", "bool", "int8", "int16", "int32", "int64"),
    *("uint8", "uint16", "uint32", "uint64", "bfloat16"),
)


def test_ten_thousand_good_headers():
    """Lengths of headers that look like the signature of another kind of file."""
    rng = random.Random(0)
    lengths = set()
    for _ in range(10_000):
        arrays, metadata = good_arrays(rng)
        content = safetensors.numpy.save(arrays, metadata)
        lengths.add(content[0])
        assert is_safetensors(content[:16])
        found = parse_safetensors(memoryview(content))
        assert found.metadata == (metadata or {})
        assert found.arrays.keys() == arrays.keys()
        for name, array in arrays.items():
            own = found.arrays[name]
            assert own.shape == array.shape
            kind = array.dtype
            kind = np.dtype("float32") if kind == ml_dtypes.bfloat16 else kind
            assert own.dtype == kind and (own == 1).all()
    assert len(lengths) == 32  # headers are padded to eight bytes


def test_a_header_as_long_as_another_kind_is_marked(tmp_path):
    """0x80 begins a pickle, "PK" a zip archive, 0x93 "NUMPY" an array."""
    fields = entry()
    for length in (0x80, 0x280, 0x4B50, 0x93):
        content = header(fields + " " * (length - len(fields)))
        (tmp_path / "a.pt").write_bytes(content)
        np.testing.assert_array_equal(read_file(tmp_path / "a.pt")["a"], [0, 0])
        (tmp_path / "a.pt").write_bytes(content[:-1])
        with pytest.raises(StylePrompterError, match="ends within 'a'"):
            read_file(tmp_path / "a.pt")


def test_no_flipped_bit_goes_unseen(tmp_path):
    path = tmp_path / "a.safetensors"
    arrays = {"b": np.arange(4, dtype=np.float32), "a": np.ones((2, 1), np.float16)}
    write_safetensors(path, arrays, {"note": "a text"})
    whole = path.read_bytes()
    assert safetensors.numpy.load(whole).keys() == arrays.keys()
    read_safetensors(path)
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        with pytest.raises(StylePrompterError, match=r"a\.safetensors"):
            read_safetensors(path)


def test_files_without_a_sum_are_read(tmp_path):
    path = tmp_path / "a.safetensors"
    safetensors.numpy.save_file({"a": np.ones(3)}, path, {"note": "old"})
    found = read_safetensors(path)
    assert found.metadata == {"note": "old"} and found.arrays["a"].sum() == 3
