"""Files that must be refused: attacks, lies, bombs, damage, and what is no weight file.

`hostile_files` gives for each its name, its bytes, and words that the message about it
must hold.  An attack that runs leaves a file named CANARY in the working folder.
"""

import io
import pickle
import struct
import tarfile
import zipfile

import numpy as np
from weight_files import (
    MAGIC,
    Call,
    Name,
    Persistent,
    code,
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

SHELL = "touch CANARY"
PYTHON = "open('CANARY', 'w').close()"
NUMBERS = np.arange(6, dtype=np.float32)


def hostile_files():
    """{file name: (bytes, words of the message)}"""
    cases = {}
    for family in (_calls, _machine, _zips, _arrays, _storages, _bombs, _others, _cut):
        for name, (content, words) in family().items():
            assert name not in cases
            cases[name] = content, words
    return cases


def _calls():
    """Gadgets: a function that runs something, or leads to one that does."""
    gadgets = {
        "os system": (SHELL,),
        "posix system": (SHELL,),
        "nt system": (SHELL,),
        "subprocess Popen": (["touch", "CANARY"],),
        "pty spawn": (["touch", "CANARY"],),
        "builtins eval": (PYTHON,),
        "builtins exec": (PYTHON,),
        "__builtin__ eval": (PYTHON,),
        "builtins getattr": (Name("collections OrderedDict"), "__class__"),
        "builtins __import__": ("os",),
        "runpy _run_code": (PYTHON, {}),
        "importlib import_module": ("antigravity",),
        "timeit timeit": ("pass", PYTHON),
        "cProfile run": (PYTHON,),
        "pdb run": (PYTHON,),
        "code InteractiveInterpreter": (),
        "operator attrgetter": ("system",),
        "operator methodcaller": ("system", SHELL),
        "functools partial": (Name("collections OrderedDict"),),
        "copyreg _reconstructor": (Name("collections OrderedDict"), None, None),
        "pickle loads": (pickled(Call("os system", (SHELL,))),),
        "_pickle loads": (pickled(Call("os system", (SHELL,))),),
        "joblib load": ("other.pkl",),
        "dill._dill _create_code": (),
        "webbrowser open": ("http://127.0.0.1:9",),
        "numpy load": ("other.npy",),
        "numpy.f2py.crackfortran getlincoef": (PYTHON, {}),
        "numpy.testing._private.utils runstring": (PYTHON, {}),
        "torch load": ("other.pt",),
        "torch.serialization load": ("other.pt",),
        "torch.hub load": ("owner/name", "model"),
        "torch.jit.unsupported_tensor_ops execWrapper": (PYTHON, {}, {}),
        "torch.utils.bottleneck.__main__ run_autograd_prof": (PYTHON, {}),
        "torch.utils._config_module ConfigModule.load_config": (b"",),
        "torch.nn.modules.linear Linear": (1, 1),
        "torch_utils.persistence _src_to_module": (PYTHON,),
        "collections OrderedDict.fromkeys": ([],),
        "argparse Namespace.__init__": (),
        "torch storage._load_from_bytes": (b"",),
        "builtins bytes": (2**40,),
    }
    cases = {
        f"{name.replace(' ', '.')}.pkl": (
            pickled(Call(name, arguments)),
            "damaged" if name == "builtins bytes" else "nothing in a file is run",
        )
        for name, arguments in gadgets.items()
    }
    run = Call("os system", (SHELL,))
    refused = "'os.system' is no part of a weight file"
    named = code("os") + b"q\x01" + code("system") + b"q\x02"
    cases |= {
        # The name comes out of the memo, and so no scanner finds it before the call.
        "memo.pkl": (
            b"\x80\x04" + named + b"N\x85h\x01h\x02\x93" + code((SHELL,)) + b"R.",
            refused,
        ),
        "inside.pt": (torch_zip({"a": run}), "'archive/data.pkl', at byte"),
        "renamed.npz": (pickled({"a": run}), refused),
        "renamed.safetensors": (pickled({"a": run}, 4), refused),
        "archive.npz": (torch_zip({"a": run}), refused),
        "nested.pkl": (
            pickled(Call("torch.storage _load_from_bytes", (legacy(run),))),
            "in the storage there, at byte",
        ),
        "nested_twice.pkl": (
            pickled(
                Call(
                    "torch.storage _load_from_bytes",
                    (legacy(Call("torch.storage _load_from_bytes", (b"",))),),
                )
            ),
            "_load_from_bytes",
        ),
        "in_magic.pt": (pickled(run) + legacy({}), refused),
        "in_system.pt": (
            pickled(MAGIC) + pickled(1001) + pickled(run) + pickled({}),
            refused,
        ),
        "in_keys.pt": (legacy({}, keys=run), refused),
        "stacked.pkl": (pickled({"a": 1}) + pickled(run), "bytes follow the end"),
        "stacked.pt": (legacy({}) + pickled(run), "bytes follow the end"),
        "before_garbage.pkl": (b"\x80\x02" + code(run) + b"\xff\xff", refused),
        "in_state.pkl": (
            pickled(Call("argparse Namespace", (), {"a": run})),
            refused,
        ),
        "in_pid.pt": (
            torch_zip({"a": Persistent(("storage", run, "0", "cpu", 1))}),
            refused,
        ),
        "tensorflow.pkl": (
            pickled((Call("dnnlib.tflib.network Network"),), 3),
            "pickle for TensorFlow",
        ),
        "control_characters.pkl": (
            pickled(Call("os\x1b[2J\rx system", (SHELL,))),
            r"\x1b[2J\r",
        ),
    }
    return cases


def _machine():
    """Instructions that weight files do not have, and states that no object takes."""
    unknown = "has no place in a weight file"
    body = {
        "inst.pkl": (b"(" + code(SHELL) + b"ios\nsystem\n", unknown),
        "obj.pkl": (b"(" + code(Name("os system")) + code(SHELL) + b"o", "os.system"),
        "obj_permitted.pkl": (b"(" + code(Name("collections OrderedDict")) + b"o", ""),
        "newobj.pkl": (code(Name("os system")) + code((SHELL,)) + b"\x81", "os.system"),
        "newobj_ex.pkl": (
            code(Name("collections OrderedDict")) + b")}\x92",
            unknown,
        ),
        "extension.pkl": (b"\x82\x01", unknown),
        "text_pid.pkl": (b"Ps\n", unknown),
        "pid.pkl": (code(Persistent(("a",))), "data outside of it"),
        "buffer.pkl": (b"\x97", unknown),
        "duplicate.pkl": (b"]2", unknown),
        "pop.pkl": (b"]0", unknown),
        "text_string.pkl": (b"S'a'\n", unknown),
        "call_a_string.pkl": (code("os.system") + code((SHELL,)) + b"R", "byte 35"),
        "call_a_dtype.pkl": (code(Name("torch float32")) + b")R", "damaged"),
        "build_a_function.pkl": (
            code(Name("collections OrderedDict")) + code({"call": 1}) + b"b",
            "damaged",
        ),
        "build_a_string.pkl": (code("a") + code({"__class__": 1}) + b"b", "damaged"),
        "build_a_persistent_object.pkl": (
            code(
                Call(
                    "torch_utils.persistence _reconstruct_persistent_obj",
                    ({"type": "class", "class_name": "G", "state": {}},),
                    {"type": "x"},
                )
            ),
            "damaged",
        ),
        "persistent_module.pkl": (
            code(
                Call(
                    "torch_utils.persistence _reconstruct_persistent_obj",
                    ({"type": "module", "class_name": "G", "state": {}},),
                )
            ),
            "damaged",
        ),
        "slots.pkl": (
            code(Call("argparse Namespace", (), (None, {"a": 1}))),
            "damaged",
        ),
        "name_as_value.pkl": (code({"a": Name("torch Size")}), "at 'a', it is a name"),
        "no_name.pkl": (code(1) + code("system") + b"\x93", "damaged"),
        "endless_name.pkl": (b"c" + b"a" * 10_000, "damaged"),
        "empty_stack.pkl": (b"R", "damaged"),
        "behind_the_mark.pkl": (code(1) + b"(\x85", "damaged"),
        "two_values.pkl": (b"NN", "damaged"),
        "open_mark.pkl": (b"(N", "damaged"),
        "no_memo.pkl": (b"h\x07", "damaged"),
        "odd_items.pkl": (b"}(Nu", "damaged"),
        "surrogates.pkl": (b"X\x03\x00\x00\x00\xed\xa0\x80", "damaged"),
        "tuple_as_key.pkl": (b"}" + code((1, 2)) + b"Ns", "no short string"),
    }
    cases = {name: (b"\x80\x02" + c + b".", words) for name, (c, words) in body.items()}
    cases["protocol_6.pkl"] = b"\x80\x06N.", "protocol 6 is unknown"
    cases["protocol_0.pkl"] = (
        b"cos\nsystem\n(S'touch CANARY'\ntR.",
        "none of the kinds",
    )
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
        "same_name.pt": (twice.replace(b"Data.pkl", b"data.pkl"), "occurs twice"),
        "other_case.pt": (twice, "occurs twice"),
        "parent.pt": (
            zipped({"a/data.pkl": plain, "a/../../x": b""}),
            "no name inside an archive",
        ),
        "absolute.pt": (zipped({"a/data.pkl": plain, "/x": b""}), "no name inside"),
        "backslash.pt": (zipped({"a/data.pkl": plain, "a\\x": b""}), "no name inside"),
        "drive.pt": (zipped({"a/data.pkl": plain, "c:/x": b""}), "no name inside"),
        "crc_of_pickle.pt": (
            good.replace(b"collections", b"collectionz"),
            "'archive/data.pkl' does not have",
        ),
        "crc_of_storage.pt": (
            good.replace(NUMBERS.tobytes(), NUMBERS[::-1].tobytes()),
            "'archive/data/0' does not have",
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
            "compressed in an unknown way",
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
        "800_gigabytes.npy": (huge, "cannot lie in"),
        "long_header.npy": (header("{" * 9_000), "header of the array is damaged"),
        "open_header.npy": (header("{" * 500), "header of the array is damaged"),
        "huge_header.npy": (header("", b"\x02\x00")[:8] + b"\xff" * 40, "damaged"),
        "nested_header.npy": (header("(" * 200 + ")" * 200), "damaged"),
        "called_header.npy": (header(f"__import__('os').system('{SHELL}')"), "damaged"),
        "version_9.npy": (header(described(), b"\x09\x00"), "damaged"),
        "negative.npy": (header(described(shape="(-6, -1)")), "cannot lie in"),
        "overflow.npy": (
            header(described(shape=f"({2**32}, {2**32}, 0)"), content=b""),
            "cannot lie in",
        ),
        "digits.npy": (header(described(shape=f"({'9' * 400},)")), "cannot lie in"),
        "too_short.npy": (header(described(), content=bytes(23)), "cannot lie in"),
        "too_long.npy": (header(described(), content=bytes(25)), "cannot lie in"),
        "records.npy": (header(described("[('a', '<f4')]")), "not of numbers"),
        "text.npy": (header(described("'<U6'", "(1,)")), "not of numbers"),
        "objects.npy": (npy(objects), "objects in it would be run"),
        "objects.npz": (npz(a=NUMBERS, b=objects), "in 'b.npy', the array"),
        "pickle_in.npz": (
            zipped({"a.npy": pickled(Call("os system", (SHELL,)))}),
            "in 'a.npy', the header",
        ),
        "object_pickle.pkl": (pickle.dumps(objects, 2), "holds no numbers but 'O8'"),
        "object_list.pkl": (rebuilt(float32, (1,), [1]), "objects and no numbers"),
        "array_short.pkl": (rebuilt(float32, (7,), bytes(24)), "cannot lie in 24"),
        "array_shape.pkl": (rebuilt(float32, (2**60, 0), b""), "impossible shape"),
        "array_negative.pkl": (rebuilt(float32, (-6, -1), bytes(24)), "impossible"),
        "array_empty.pkl": (
            pickled([Call("numpy.core.multiarray _reconstruct", (array, (0,), b"b"))]),
            "at '0', an array has no content",
        ),
        "array_bool.pkl": (
            rebuilt(Call("numpy dtype", ("b1", False, True)), (1,), b"\x07"),
            "at 'x', it holds bytes that are no truth values",
        ),
        "scalar.pkl": (
            pickled(Call("numpy.core.multiarray scalar", (float32, bytes(8)))),
            "cannot lie in 8",
        ),
        "bad_dtype.pkl": (pickled(Call("numpy dtype", ("f1",))), "no numbers but 'f1'"),
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
            "at 'w', its numbers are not in the file",
        ),
        "wide_storage.pt": (
            torch_zip({"w": storage_id(6, kind="DoubleStorage")}, [NUMBERS]),
            "at 'w', its numbers are not in the file",
        ),
        "two_types.pt": (
            torch_zip([whole, storage_id(12, kind="HalfStorage")], [NUMBERS]),
            "two types or sizes",
        ),
        "no_truth.pt": (
            torch_zip({"w": storage_id(24, kind="BoolStorage")}, [NUMBERS]),
            "no truth values",
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


def _bombs():
    """Small files that would fill the memory or never end."""
    big = NUMBERS.repeat(50_000)  # 1.2 MB
    levels = b"]q\x00" + b"".join(
        b"](" + b"h%c" % i * 10 + b"eq" + bytes([i + 1]) for i in range(40)
    )
    laughs = b"\x80\x02(" + levels + b"t."
    doubled = b")" + b"q\x00h\x00\x86" * 99
    nested_call = code(Name("torch.storage _load_from_bytes")) + b"q\x01"
    blob = code((legacy(storage_id(len(big), legacy=True), [big]),)) + b"q\x02"
    again = b"".join(b"h\x01h\x02R" for _ in range(200))
    entry = zipped({"a": b""})
    one = entry[entry.index(b"PK\x01\x02") : entry.index(b"PK\x05\x06")]
    many = b"PK\x03\x04" + one * 11_000
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 11_000, 11_000, len(many) - 4, 4, 0)
    wide = code(Name("collections OrderedDict")) + b"q\x01" + b"("
    pairs = code([(str(i), i) for i in range(1000)]) + b"\x85q\x02"
    view = tensor(storage_id(6), (2**20, 2**20), (0, 0))
    half = tensor(storage_id(big.size, kind="FloatStorage"), (big.size,), (1,))
    zeros = np.zeros(30_000_000, np.float32)
    return {
        "laughs.pkl": (laughs, "unfolds to more than"),
        "laughs_as_key.pkl": (
            b"\x80\x02}" + doubled + b"Ns.",
            "no short string",
        ),
        "laughs_as_dtype.pkl": (
            b"\x80\x02" + code(Name("numpy dtype")) + doubled + b"\x85R.",
            "damaged",
        ),
        "cycle.pkl": (b"\x80\x02]q\x00h\x00a.", "lie in themselves"),
        "cycle_in_dict.pkl": (b"\x80\x02}q\x00X\x01\0\0\0ah\x00s.", "themselves"),
        "cycle_in_namespace.pkl": (
            b"\x80\x02" + code(Name("argparse Namespace")) + b")\x81q\x00}"
            b"X\x01\0\0\0ah\x00sb.",
            "themselves",
        ),
        "deep.pkl": (b"\x80\x02" + b"](" * 50_000 + b"e" * 50_000 + b".", "64 deep"),
        "deep_tuples.pkl": (b"\x80\x02)" + b"\x85" * 400_000 + b".", "64 deep"),
        "steps.pkl": (b"\x80\x02(" + b"]" * 600_000 + b"e.", "500,000 steps"),
        "calls.pkl": (
            b"\x80\x02(" + pairs + wide + b"h\x01h\x02R" * 3000 + b"tt.",
            "500,000 steps",
        ),
        "storages.pkl": (
            b"\x80\x02(" + nested_call + blob + b"R" + again + b"t.",
            "more than 16 times the file",
        ),
        "expanded.pt": (torch_zip({"w": view}, [NUMBERS]), "at 'w', its tensors would"),
        "views.pt": (
            torch_zip([half] * 30, [big]),
            "at '15', its tensors would fill more than 16 times",
        ),
        "strings.pkl": (
            b"\x80\x02(" + code("a" * 2**20) + b"q\x00" + code("latin1") + b"q\x01"
            b"N" + (code(Name("_codecs encode")) + b"h\x00h\x01\x86R") * 99 + b"t.",
            "more than 16 times the file",
        ),
        "long_integer.pkl": (b"\x80\x02\x8b\xff\xff\xff\x7f.", "has no place"),
        "bytes.pkl": (b"\x80\x04\x8e" + b"\xff" * 8 + b".", "the file ends"),
        "string.pkl": (b"\x80\x04\x8d" + b"\xff" * 7 + b"\x7f.", "the file ends"),
        "frame.pkl": (b"\x80\x04\x95" + b"\xff" * 8, "the file ends"),
        "memo.pt": (b"\x80\x02]r\xff\xff\xff\xffj\xff\xff\xff\xfea.", "damaged"),
        "zeros.npz": (npz(np.savez_compressed, a=zeros), "would unpack to 120"),
        "zeros.pt": (
            zipped({"a/data.pkl": b"N" * 120_000_000}, zipfile.ZIP_DEFLATED),
            "would unpack to 120",
        ),
        "entries.zip": (many + end, "more than 10,000 entries"),
    }


def _others():
    """What is saved under the name of a weight file and is none."""
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
        "weights.h5": (b"\x89HDF\r\n\x1a\n" + bytes(20), "HDF5"),
        "text.pt": (b"hello", "none of the kinds"),
        "zeros_only.pt": (bytes(4096), "none of the kinds"),
        "header.safetensors": (struct.pack("<Q", 20) + b"{" + b" " * 19, "safetensors"),
        "outside.safetensors": (
            _safetensors('{"a":{"dtype":"F32","shape":[9],"data_offsets":[0,36]}}'),
            "safetensors",
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
