"""Weight files made by hand: small good ones of every kind, and parts for bad ones."""

import dataclasses
import io
import math
import pathlib
import struct
import zipfile

import numpy as np
import safetensors.numpy

DATA = pathlib.Path(__file__).parent / "data"
MAGIC = 0x1950A86A20F9469CFC6C
SYSTEM = {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}


@dataclasses.dataclass
class Name:
    """A name that a pickle looks up: "module name"."""

    name: str


@dataclasses.dataclass
class Call:
    """A call of the function with this name; the result then gets ``state``."""

    name: str
    arguments: tuple = ()
    state: object = None


@dataclasses.dataclass
class Persistent:
    """A value that a persistent id stands for."""

    pid: tuple


def code(value):
    """The instructions that leave a value on the stack; bytearray is taken as is."""
    match value:
        case bytearray():
            return bytes(value)
        case None:
            return b"N"
        case bool():
            return b"\x88" if value else b"\x89"
        case int() if -(2**31) <= value < 2**31:
            return b"J" + struct.pack("<i", value)
        case int():
            size = value.bit_length() // 8 + 1
            return b"\x8a" + bytes([size]) + value.to_bytes(size, "little", signed=True)
        case float():
            return b"G" + struct.pack(">d", value)
        case str():
            return b"X" + struct.pack("<I", len(value.encode())) + value.encode()
        case bytes():
            return b"B" + struct.pack("<I", len(value)) + value
        case tuple():
            return b"(" + b"".join(map(code, value)) + b"t"
        case list():
            return b"](" + b"".join(map(code, value)) + b"e"
        case dict():
            items = b"".join(code(k) + code(v) for k, v in value.items())
            return b"}(" + items + b"u"
        case Name(name):
            module, _, attribute = name.partition(" ")
            return f"c{module}\n{attribute}\n".encode()
        case Call(name, arguments, state):
            call = code(Name(name)) + code(arguments) + b"R"
            return call if state is None else call + code(state) + b"b"
        case Persistent(pid):
            return code(pid) + b"Q"
    raise TypeError(type(value))


def pickled(value, protocol=2):
    """A whole pickle."""
    return b"\x80" + bytes([protocol]) + code(value) + b"."


def tensor(storage, size, stride, offset=0):
    """A tensor, as PyTorch pickles it."""
    hooks = Call("collections OrderedDict")
    arguments = (storage, offset, size, stride, False, hooks)
    return Call("torch._utils _rebuild_tensor_v2", arguments)


def storage_id(numel, key="0", kind="FloatStorage", legacy=False):
    """A storage, as PyTorch refers to it."""
    pid = ("storage", Name(f"torch {kind}"), key, "cpu", numel)
    return Persistent((*pid, None) if legacy else pid)


def legacy(tree, storages=(), numels=None, keys=None):
    """A file of PyTorch before 1.6; ``storages``: arrays, by order of their keys."""
    keys = [str(i) for i in range(len(storages))] if keys is None else keys
    parts = [pickled(part) for part in (MAGIC, 1001, SYSTEM, tree, keys)]
    for i, array in enumerate(storages):
        numel = array.size if numels is None else numels[i]
        parts += [struct.pack("<q", numel), array.tobytes()]
    return b"".join(parts)


def zipped(entries, method=zipfile.ZIP_STORED):
    """A zip archive of (name, content) pairs."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, content in dict(entries).items():
            archive.writestr(zipfile.ZipInfo(name), content, method)
    return out.getvalue()


def torch_zip(tree, storages=(), root="archive", **more):
    """A file of PyTorch since 1.6; ``more``: entries beside the usual ones."""
    entries = {f"{root}/data.pkl": pickled(tree), f"{root}/byteorder": b"little"}
    for i, array in enumerate(storages):
        entries[f"{root}/data/{i}"] = array.tobytes()
    entries |= {f"{root}/{name}": content for name, content in more.items()}
    return zipped(entries)


def nvidia(source=""):
    """A pickle of a network as NVIDIA's programs write it, with one parameter."""
    numbers = np.arange(6, dtype=np.float32)
    blob = legacy(storage_id(6, legacy=True), [numbers])
    storage = Call("torch.storage _load_from_bytes", (blob,))
    hooks = Call("collections OrderedDict")
    weight = Call(
        "torch._utils _rebuild_parameter",
        (tensor(storage, (2, 3), (3, 1)), True, hooks),
    )
    meta = {
        "type": "class",
        "version": 6,
        "module_src": source,
        "class_name": "FullyConnectedLayer",
        "state": {
            "_parameters": {"weight": weight},
            "_buffers": {},
            "_non_persistent_buffers_set": Call("builtins set", ([],)),
            "_init_kwargs": Call("dnnlib.util EasyDict", (), {}),
            "gain": 0.5,
        },
    }
    call = Call("torch_utils.persistence _reconstruct_persistent_obj", (meta,))
    return pickled({"G_ema": call, "D": None}, protocol=4)


def checkpoint():
    """A checkpoint of StylePrompter's layout as far as telling its kind looks."""
    encoder, decoder = "encoder.module.", "decoder.module.generator."
    block, head = f"{encoder}layers.0.blocks.0.", f"{encoder}prediction_head.layers."
    smart = "decoder.module.smart_block."
    sizes = {
        f"{encoder}latent_tok": (4, 8),
        f"{encoder}patch_embed.proj.weight": (8, 3, 4, 4),
        f"{block}attn.logit_scale": (2, 1, 1),
        f"{block}mlp.fc1.weight": (16, 8),
        f"{head}0.weight": (8, 8),
        f"{head}2.weight": (8, 8),
        f"{decoder}input.input": (1, 8, 4, 4),
        f"{decoder}style.1.weight": (8, 8),
        f"{decoder}to_rgb1.conv.weight": (1, 3, 8, 1, 1),
        f"{decoder}to_rgbs.0.conv.weight": (1, 3, 8, 1, 1),
        f"{smart}query_proj.weight": (8, 8),
        f"{smart}linear1.weight": (16, 8),
    }
    numbers = np.arange(384, dtype=np.float32)

    def view(size):
        strides = [math.prod(size[k + 1 :]) for k in range(len(size))]
        return tensor(storage_id(numbers.size), size, tuple(strides))

    options = dict(type="full", output_size=8, tokens_num=4, refined_layer=2)
    tree = {
        "state_dict": {key: view(size) for key, size in sizes.items()},
        "latent_avg": view((4, 8)[1:]),
        "opts": Call("argparse Namespace", (), options),
    }
    return torch_zip(tree, [numbers])


def npy(array):
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def npz(save=np.savez, **arrays):
    out = io.BytesIO()
    save(out, **arrays)
    return out.getvalue()


def good_files():
    """{name: bytes}, one of every kind that can be read; 700 bytes to 7 kB each."""
    array = np.arange(24, dtype=np.float32).reshape(4, 6)
    return {
        "zip.pt": (DATA / "torch_zip.pt").read_bytes(),
        "legacy.pt": (DATA / "torch_legacy.pt").read_bytes(),
        "checkpoint.pt": checkpoint(),
        "nvidia.pkl": nvidia(),
        "array.npy": npy(array),
        "arrays.npz": npz(a=array, b=np.arange(3)),
        "compressed.npz": npz(np.savez_compressed, a=array, b=np.arange(3)),
        "arrays.safetensors": safetensors.numpy.save({"a": array, "b": array[0]}),
    }
