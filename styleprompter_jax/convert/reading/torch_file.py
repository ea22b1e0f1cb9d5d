"""Reads and writes PyTorch's files without PyTorch.

zip      since PyTorch 1.6: NAME/data.pkl, and NAME/data/KEY for each storage
legacy   before 1.6: five pickles (magic number, protocol, system, content, storage
         keys), then for each storage the number of elements and the elements
pickle   a plain pickle of NVIDIA's networks, with a legacy file for each tensor
"""

import functools
import os
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from styleprompter_jax.convert.reading.resolve import resolve
from styleprompter_jax.convert.reading.torch_objects import STORAGES, Storage, names
from styleprompter_jax.convert.reading.unpickle import Budget, Machine, Object
from styleprompter_jax.core.archive import Archive
from styleprompter_jax.core.atomic import atomic_path
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.paths import local_path
from styleprompter_jax.core.refusal import DAMAGED, Refusal, quoted

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_ALIGNMENT = 64  # bytes; PyTorch aligns storages, so that programs can map them


def is_torch_archive(archive: Archive) -> bool:
    """Returns whether torch.save wrote an archive."""
    return any(name.split("/")[-1] == "data.pkl" for name in archive.names)


def read_torch_archive(archive: Archive) -> Any:
    """Reads the content of a file that torch.save wrote, since PyTorch 1.6.

    Raises:
        Refusal: naming the entry and byte, or the key.
    """
    pickles = [name for name in archive.names if name.split("/")[-1] == "data.pkl"]
    if len(pickles) > 1:
        raise Refusal(f"it holds two data.pkl; {DAMAGED}")
    root = pickles[0].removesuffix("data.pkl")
    inside = {name.removeprefix(root) for name in archive.names}
    if "constants.pkl" in inside or any(name.startswith("code/") for name in inside):
        raise Refusal(
            "it is a TorchScript program, and styleprompter_jax runs no program from a "
            "file: if you trust it, load it with torch.jit.load, and save its "
            "state_dict()."
        )
    if "byteorder" in inside and archive.read(f"{root}byteorder") != b"little":
        raise Refusal(
            "it was written on a big-endian machine: save it again on another."
        )
    data = archive.read(pickles[0])
    budget = Budget(archive.size)
    storages: dict[str, Storage] = {}

    def persistent(pid: Any) -> Storage:
        tag, kind, key, _location, numel = pid
        if tag != "storage" or not _is_key(key):
            raise TypeError
        if key not in storages:
            storages[key] = Storage(kind, numel, archive.read(f"{root}data/{key}"))
        return _same(storages[key], key, kind, numel)

    machine = Machine(data, 0, names(budget), budget, persistent)
    try:
        tree = machine.run()
    except Refusal as error:
        raise Refusal(f"in {quoted(pickles[0])}, {error}") from error
    _at_end(machine.position, data)
    return resolve(tree, budget)


def read_pickle(data: memoryview) -> Any:
    """Reads the content of a legacy file of PyTorch, or of a plain pickle.

    Raises:
        Refusal: naming the byte, or the key.
    """
    budget = Budget(len(data))
    load_storage = functools.partial(_load_storage, budget=budget)
    first = Machine(data, 0, names(budget, load_storage), budget)
    tree = first.run()
    if tree == _MAGIC and type(tree) is int:
        tree = _read_legacy(data, budget)
    else:
        _at_end(first.position, data)
    return resolve(tree, budget)


def _load_storage(data: Any, budget: Budget) -> Storage:
    """Replaces torch.storage._load_from_bytes: reads a legacy file with one storage."""
    if type(data) is bytes:
        data = memoryview(data)
    if type(data) is not memoryview:
        raise TypeError
    try:
        storage = _read_legacy(data, budget)
    except Refusal as error:
        raise Refusal(f"in the storage there, {error}") from error
    if type(storage) is not Storage:
        raise TypeError
    return storage


def _read_legacy(data: memoryview, budget: Budget) -> Any:
    table = names(budget)
    position = 0
    storages: dict[str, Storage] = {}

    def pickle(persistent: Callable[[Any], Any] | None = None) -> Any:
        nonlocal position
        machine = Machine(data, position, table, budget, persistent)
        value = machine.run()
        position = machine.position
        return value

    def persistent(pid: Any) -> Storage:
        tag, kind, key, _location, numel, view = pid
        if tag != "storage" or not _is_key(key) or view is not None:
            raise TypeError
        if key not in storages:
            storages[key] = Storage(kind, numel)
        return _same(storages[key], key, kind, numel)

    if pickle() != _MAGIC or pickle() != _PROTOCOL:
        raise Refusal(f"it does not have PyTorch's protocol {_PROTOCOL}; {DAMAGED}")
    system = pickle()
    if type(system) is not dict or system.get("little_endian") is not True:
        raise Refusal(
            "it was written on a big-endian machine: save it again on another."
        )
    tree = pickle(persistent)
    keys = pickle()
    if (
        type(keys) is not list
        or not all(map(_is_key, keys))
        or sorted(keys) != sorted(storages)
    ):
        raise Refusal(f"at byte {position}, its list of storages is wrong; {DAMAGED}")
    for key in keys:
        storage = storages[key]
        start = position + 8
        position = start + storage.nbytes
        if position > len(data):
            raise Refusal(
                f"the file ends at byte {len(data)}, but storage {quoted(key)} ends at "
                f"byte {position}: download or copy the file again."
            )
        if int.from_bytes(data[start - 8 : start], "little") != storage.numel:
            raise Refusal(
                f"at byte {start - 8}, storage {quoted(key)} does not have the "
                f"{storage.numel} elements that its tensors expect; {DAMAGED}"
            )
        storage.data = data[start:position]
    _at_end(position, data)
    return tree


def _is_key(key: Any) -> bool:
    return type(key) is str and len(key) <= 64


def _same(storage: Storage, key: str, kind: Any, numel: Any) -> Storage:
    if storage.kind is not kind or storage.numel != numel:
        raise Refusal(f"storage {quoted(key)} has two types or sizes; {DAMAGED}")
    return storage


def _at_end(position: int, data: memoryview) -> None:
    if position != len(data):
        raise Refusal(
            f"at byte {position}, {len(data) - position} bytes follow the end of the "
            f"content; {DAMAGED}"
        )


def write_torch(path: str | os.PathLike, tree: Any) -> None:
    """Writes a file that ``torch.load(path, weights_only=True)`` reads.

    The file gets its name only when it is complete. The same tree gives the same bytes.

    Args:
        path: path of the file; replaces an existing file.
        tree: dict, list, tuple, str, bytes, int, float, bool, None and arrays of
            float16, 32 and 64, integers and bool. An `Object` of type
            "argparse.Namespace" becomes a dict, because PyTorch would refuse it.

    Raises:
        StylePrompterError: if the tree holds anything else, or the file cannot be
            written.
    """
    path = local_path(path)
    pickle = _Pickle()
    try:
        pickle.run(tree)
    except Refusal as error:
        raise StylePrompterError(f"{path} was not written: {error}") from error
    with (
        atomic_path(path, parents=False) as partial,
        zipfile.ZipFile(partial, "w") as archive,
    ):
        _store(archive, "archive/data.pkl", pickle.content)
        _store(archive, "archive/byteorder", b"little")
        for key, array in enumerate(pickle.storages):
            # Converts one array at a time to the file's byte order, to save memory.
            dtype = array.dtype.newbyteorder("<")
            array = np.ascontiguousarray(array, dtype).reshape(-1)
            _store(archive, f"archive/data/{key}", array.view(np.uint8).data)
        _store(archive, "archive/version", b"3\n")


def _store(
    archive: zipfile.ZipFile, name: str, content: bytes | bytearray | memoryview
) -> None:
    entry = zipfile.ZipInfo(name)  # the date is 1980: the same bytes on every day
    entry.file_size = len(content)
    # The header ends with a padding field: two numbers, then zeros up to the alignment.
    assert archive.fp  # the archive is open
    header = archive.fp.tell() + 30 + len(name) + 4
    padding = -header % _ALIGNMENT
    entry.extra = struct.pack("<2sH", b"FB", padding) + bytes(padding)
    with archive.open(entry, "w") as file:
        file.write(content)


class _Pickle:
    """Writes a pickle of protocol 2, and collects the arrays as `storages`."""

    def __init__(self) -> None:
        self.content = bytearray(b"\x80\x02")
        self.storages: list[np.ndarray] = []
        self.path: list = []

    def run(self, tree: Any) -> None:
        self.write(tree)
        self.content += b"."

    def write(self, value: Any) -> None:
        out = self.content
        if value is None:
            out += b"N"
        elif isinstance(value, bool):
            out += b"\x88" if value else b"\x89"
        elif isinstance(value, int) and -(2**31) <= value < 2**31:
            out += b"J" + struct.pack("<i", value)
        elif isinstance(value, int) and -(2**63) <= value < 2**63:
            out += b"\x8a\x08" + struct.pack("<q", value)
        elif isinstance(value, float):
            out += b"G" + struct.pack(">d", value)
        elif isinstance(value, str):
            text = value.encode()
            out += b"X" + struct.pack("<I", len(text)) + text
        elif isinstance(value, bytes):
            self.call("_codecs encode", value.decode("latin-1"), "latin1")
        elif isinstance(value, tuple):
            out += b"("
            self.items(enumerate(value))
            out += b"t"
        elif isinstance(value, list):
            out += b"]("
            self.items(enumerate(value))
            out += b"e"
        elif isinstance(value, dict):
            if isinstance(value, OrderedDict):
                self.call("collections OrderedDict")
            else:
                out += b"}"
            out += b"("
            self.items(value.items(), keys=True)
            out += b"u"
        elif isinstance(value, np.ndarray) and value.dtype.name in _STORAGE_NAMES:
            self.array(value)
        elif isinstance(value, Object) and value.type == "argparse.Namespace":
            self.write(value.state)
        else:
            kind = value.type if isinstance(value, Object) else type(value).__name__
            if isinstance(value, np.ndarray):
                kind = f"an array of {value.dtype}"
            where = quoted(".".join(map(str, self.path)))
            raise Refusal(f"{where} is {kind}, but a weight file cannot hold it.")

    def items(self, items: Iterable[tuple[Any, Any]], keys: bool = False) -> None:
        for key, value in items:
            self.path.append(key)
            if keys:
                self.write(key)
            self.write(value)
            self.path.pop()

    def call(self, name: str, *arguments: Any) -> None:
        self.name(name)
        self.write(arguments)
        self.content += b"R"

    def name(self, name: str) -> None:
        module, name = name.split()
        self.content += f"c{module}\n{name}\n".encode()

    def array(self, array: np.ndarray) -> None:
        """Writes a tensor: a call with a storage, given by its persistent id."""
        strides = [1]
        for size in reversed(array.shape[1:]):
            strides.insert(0, strides[0] * size)
        self.name("torch._utils _rebuild_tensor_v2")
        self.content += b"(("
        self.write("storage")
        self.name(f"torch {_STORAGE_NAMES[array.dtype.name]}")
        self.write(str(len(self.storages)))
        self.write("cpu")
        self.write(array.size)
        self.content += b"tQ"
        self.write(0)
        self.write(array.shape)
        self.write(tuple(strides[: array.ndim]))
        self.write(False)
        self.call("collections OrderedDict")
        self.content += b"tR"
        self.storages.append(array)


_STORAGE_NAMES = {dtype: name for name, dtype in STORAGES.items()}
