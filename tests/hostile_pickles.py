"""Pickles that must be refused: calls, instructions of no weight file, and bombs.

Each function gives {file name: (bytes, words of the message)}.  An attack that runs
leaves a file named CANARY in the working folder.
"""

import struct
import zipfile

import numpy as np
from weight_files import (
    MAGIC,
    Call,
    Name,
    Persistent,
    code,
    legacy,
    npz,
    pickled,
    storage_id,
    tensor,
    torch_zip,
    zipped,
)

SHELL = "touch CANARY"
PYTHON = "open('CANARY', 'w').close()"
NUMBERS = np.arange(6, dtype=np.float32)


def calls():
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
            "damaged" if name == "builtins bytes" else "runs no code from a file",
        )
        for name, arguments in gadgets.items()
    }
    run = Call("os system", (SHELL,))
    refused = "'os.system' does not belong in a weight file"
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


def machine():
    """Instructions that weight files do not have, and states that no object takes."""
    unknown = "does not belong in a weight file"
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
        "pid.pkl": (code(Persistent(("a",))), "data outside the file"),
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
        "tuple_as_key.pkl": (b"}" + code((1, 2)) + b"Ns", "neither a short printable"),
        "escapes_as_key.pkl": (code({"a\x1b[2J": 1}), "neither a short printable"),
    }
    cases = {name: (b"\x80\x02" + c + b".", words) for name, (c, words) in body.items()}
    cases["protocol_6.pkl"] = b"\x80\x06N.", "protocol 6 is unknown"
    cases["protocol_0.pkl"] = (
        b"cos\nsystem\n(S'touch CANARY'\ntR.",
        "not a supported file",
    )
    return cases


def bombs():
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
            "neither a short printable",
        ),
        "laughs_as_dtype.pkl": (
            b"\x80\x02" + code(Name("numpy dtype")) + doubled + b"\x85R.",
            "damaged",
        ),
        "cycle.pkl": (b"\x80\x02]q\x00h\x00a.", "contain themselves"),
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
            "more than 16 times the size",
        ),
        "expanded.pt": (torch_zip({"w": view}, [NUMBERS]), "at 'w', its tensors would"),
        "views.pt": (
            torch_zip([half] * 30, [big]),
            "at '15', its tensors would need more than 16 times",
        ),
        "strings.pkl": (
            b"\x80\x02(" + code("a" * 2**20) + b"q\x00" + code("latin1") + b"q\x01"
            b"N" + (code(Name("_codecs encode")) + b"h\x00h\x01\x86R") * 99 + b"t.",
            "more than 16 times the size",
        ),
        "long_integer.pkl": (b"\x80\x02\x8b\xff\xff\xff\x7f.", "does not belong"),
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
