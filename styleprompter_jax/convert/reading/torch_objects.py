"""The names that weight files may use, and the plain data for each name.

`names` has the whole list: PyTorch's names for tensors and parameters, NumPy's names
for arrays and numbers, the names of NVIDIA's modules, and the argparse.Namespace that
training scripts store beside the weights, with paths and devices as plain text. The
reader refuses every other name.
"""

import math
import re
from collections.abc import Callable
from pathlib import PurePath, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np

from styleprompter_jax.convert.reading.unpickle import (
    Budget,
    Function,
    Names,
    Object,
    Placeholder,
    dict_key,
)
from styleprompter_jax.core.numpy_files import is_shape, native
from styleprompter_jax.core.refusal import DAMAGED, Refusal, quoted

_LARGEST = 2**48
_PATH = 4096  # characters of a file's path
STORAGES = {
    "FloatStorage": "float32",
    "DoubleStorage": "float64",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "ByteStorage": "uint8",
    "CharStorage": "int8",
    "ShortStorage": "int16",
    "IntStorage": "int32",
    "LongStorage": "int64",
    "BoolStorage": "bool",
}


class StorageType:
    """Stands for a class torch.*Storage; has the dtype of its elements."""

    def __init__(self, dtype: str):
        self.dtype = dtype
        # NumPy has no bfloat16, which is the upper half of a float32.
        self.stored = np.dtype("uint16" if dtype == "bfloat16" else dtype)


class Storage(Placeholder):
    """The flat array behind tensors, which are views of it; ``data`` may come later."""

    def __init__(self, kind: Any, numel: Any, data: memoryview | None = None):
        if type(kind) is not StorageType or type(numel) is not int:
            raise TypeError
        if not 0 <= numel < _LARGEST:
            raise Refusal(f"a storage has an impossible size; {DAMAGED}")
        self.kind = kind
        self.numel = numel
        self.data = data
        self._array: np.ndarray | None = None

    @property
    def nbytes(self) -> int:
        """Size of its numbers in the file, in bytes."""
        return self.numel * self.kind.stored.itemsize

    def resolve(self, resolver: Any) -> np.ndarray:
        """Returns all elements."""
        return self.array(resolver.budget)

    def array(self, budget: Budget) -> np.ndarray:
        """Returns all elements; makes the array once for all its tensors."""
        if self._array is None:
            if self.data is None or len(self.data) != self.nbytes:
                raise Refusal(f"its numbers are missing from the file; {DAMAGED}")
            array = _native(self.data, self.kind.stored, budget)
            if self.kind.dtype == "bfloat16":
                budget.spend_bytes(2 * array.nbytes)
                array = (array.astype(np.uint32) << 16).view(np.float32)
            self._array = array
        return self._array


class Tensor(Placeholder):
    """A view of a storage; offset and strides count elements."""

    def __init__(self, storage: Any, offset: Any, size: Any, stride: Any):
        if type(storage) is not Storage:
            raise TypeError
        if type(size) is not tuple or type(stride) is not tuple:
            raise TypeError
        if type(offset) is not int or not 0 <= offset <= storage.numel:
            raise Refusal(f"a tensor begins outside its storage; {DAMAGED}")
        if len(size) != len(stride) or not is_shape(size):
            raise Refusal(f"a tensor has an impossible shape; {DAMAGED}")
        if any(type(n) is not int or not 0 <= n < _LARGEST for n in stride):
            raise Refusal(f"a tensor has an impossible stride; {DAMAGED}")
        end = offset
        if 0 not in size:
            end += 1 + sum((n - 1) * s for n, s in zip(size, stride, strict=True))
        if end > storage.numel:
            raise Refusal(
                f"a tensor of shape {size} at offset {offset} with strides {stride} "
                f"reaches outside its storage of {storage.numel} elements; {DAMAGED}"
            )
        self.storage, self.offset = storage, offset
        self.size, self.stride = size, stride

    def resolve(self, resolver: Any) -> np.ndarray:
        """Returns the view."""
        flat = self.storage.array(resolver.budget)
        resolver.budget.spend_bytes(math.prod(self.size) * flat.itemsize)
        if 0 in self.size:
            return np.empty(self.size, flat.dtype)
        # NumPy checks again that the view is inside its buffer.
        return np.ndarray(
            self.size,
            flat.dtype,
            buffer=flat,
            offset=self.offset * flat.itemsize,
            strides=tuple(s * flat.itemsize for s in self.stride),
        )


class Dtype(Placeholder):
    """Stands for a numpy.dtype of numbers; BUILD gives the byte order."""

    def __init__(self, name: Any):
        if type(name) is not str:
            raise TypeError
        if not re.fullmatch(r"[<>|=]?([?]|b1|[iu][1248]|f[248])", name):
            raise Refusal(
                f"an array holds {quoted(name)} instead of numbers: save it as float32."
            )
        self.dtype = np.dtype(name)

    def build(self, state: Any) -> None:
        """Takes the byte order."""
        order: Any = state[1]
        if type(order) is not str or order not in ("<", ">", "|", "="):
            raise TypeError
        self.dtype = self.dtype.newbyteorder(order)  # type: ignore[arg-type]  # above

    def resolve(self, resolver: Any) -> str:
        """Returns the name of the dtype."""
        return self.dtype.name


class Array(Placeholder):
    """Stands for a numpy.ndarray; BUILD gives shape, dtype and bytes."""

    def __init__(self) -> None:
        self.data: memoryview | bytes | str | None = None

    def build(self, state: Any) -> None:
        """Takes shape, dtype, order and bytes."""
        _version, shape, dtype, fortran, data = state
        self.set(data, dtype, shape, "F" if fortran is True else "C")

    def set(self, data: Any, dtype: Any, shape: Any, order: Any) -> None:
        """Checks and keeps the content of the array."""
        if type(dtype) is not Dtype or type(shape) is not tuple:
            raise TypeError
        if order not in ("C", "F") or not is_shape(shape):
            raise Refusal(f"an array has an impossible shape; {DAMAGED}")
        if type(data) not in (bytes, memoryview, str):  # a string from Python 2
            raise Refusal(f"an array holds objects instead of numbers; {DAMAGED}")
        if math.prod(shape) * dtype.dtype.itemsize != len(data):
            raise Refusal(
                f"an array of shape {shape} and dtype {dtype.dtype} does not fit "
                f"{len(data)} bytes; {DAMAGED}"
            )
        self.data, self.dtype, self.shape, self.order = data, dtype.dtype, shape, order

    def resolve(self, resolver: Any) -> np.ndarray:
        """Returns the array."""
        if self.data is None:
            raise Refusal(f"an array has no content; {DAMAGED}")
        flat = _native(self.data, self.dtype, resolver.budget)
        return flat.reshape(self.shape, order=self.order)


class Namespace(Placeholder):
    """Stands for an argparse.Namespace; BUILD gives the attributes."""

    def __init__(self) -> None:
        self.state: dict = {}

    def build(self, state: Any) -> None:
        """Takes the attributes."""
        if type(state) is not dict:
            raise TypeError
        self.state = state

    def resolve(self, resolver: Any) -> Object:
        """Returns an `Object` with the attributes."""
        return Object("argparse.Namespace", resolver.entry("state", self.state))


def _native(
    data: memoryview | bytes | str, dtype: np.dtype, budget: Budget
) -> np.ndarray:
    """Calls `native` within a budget; also accepts strings of Python 2."""
    budget.spend_bytes(len(data))
    return native(data.encode("latin-1") if isinstance(data, str) else data, dtype)


def scalar(dtype: Any, data: Any) -> bool | int | float:
    """Replaces numpy.core.multiarray.scalar; returns one number."""
    array = Array()
    array.set(data, dtype, (), "C")
    return _native(data, array.dtype, Budget(0))[0].item()


def parameter(tensor: Any, _requires_grad: Any, _hooks: Any) -> Tensor:
    """Replaces torch._utils._rebuild_parameter; returns the tensor."""
    if type(tensor) is not Tensor:
        raise TypeError
    return tensor


def persistent_object(meta: Any) -> Object:
    """Returns an object of NVIDIA's torch_utils.persistence as data.

    ``meta`` also has the source code of its module, which NVIDIA's program executes.
    This function ignores the source code.
    """
    if meta["type"] != "class" or type(meta["class_name"]) is not str:
        raise TypeError
    return Object(meta["class_name"], meta["state"])


def names(
    budget: Budget, load_storage: Callable[[memoryview], Storage] | None = None
) -> Names:
    """Returns the names that a pickle may use.

    Args:
        budget: the budget of the pickle's calls.
        load_storage: reads a file within the file; NVIDIA's pickles have such a file
            for each tensor. None refuses such files.
    """

    def listed(items: Any = ()) -> list:
        if type(items) not in (list, tuple):
            raise TypeError
        budget.spend_steps(len(items))
        return list(items)

    def ordered_dict(items: Any = ()) -> dict:
        return {dict_key(key): value for key, value in listed(items)}

    def counter(counts: Any = None) -> dict:
        if type(counts) not in (dict, type(None)):
            raise TypeError
        return {dict_key(key): value for key, value in (counts or {}).items()}

    def encode(text: Any, encoding: Any) -> bytes:
        if type(text) is not str or encoding not in ("latin1", "latin-1"):
            raise TypeError
        budget.spend_bytes(len(text))
        return text.encode("latin-1")

    def shape(size: Any) -> tuple:
        return tuple(listed(size))

    def no_bytes() -> bytes:
        return b""

    # `path` and `device` return plain text, and open nothing.
    def path(kind: type[PurePath]) -> Function:
        def text(*parts: Any) -> str:
            if any(type(part) is not str for part in parts):
                raise TypeError
            if (length := sum(map(len, parts))) > _PATH:
                raise Refusal(f"a path has more than {_PATH} characters; {DAMAGED}")
            budget.spend_steps(len(parts))
            budget.spend_bytes(length)
            return str(kind(*parts))

        return Function(text)

    def device(kind: Any, index: Any = None) -> str:
        if type(kind) is not str or type(index) not in (int, type(None)):
            raise TypeError
        budget.spend_bytes(len(kind))
        return kind if index is None else f"{kind}:{index}"

    def from_buffer(data: Any, dtype: Any, size: Any, order: Any) -> Array:
        array = Array()
        array.set(data, dtype, size, order)
        return array

    def rebuild_v2(
        storage: Any,
        offset: Any,
        size: Any,
        stride: Any,
        _grad: Any,
        _hooks: Any,
        _metadata: Any = None,
    ) -> Tensor:
        return Tensor(storage, offset, size, stride)

    def reconstruct(_class: Any, _shape: Any, _typecode: Any) -> Array:
        return Array()

    table: dict[tuple[str, str], Any] = {
        ("collections", "OrderedDict"): Function(ordered_dict),
        ("collections", "Counter"): Function(counter),  # the state of MultiStepLR
        ("dnnlib.util", "EasyDict"): Function(ordered_dict),
        ("argparse", "Namespace"): Function(Namespace),
        ("torch_utils.persistence", "_reconstruct_persistent_obj"): Function(
            persistent_object
        ),
        ("_codecs", "encode"): Function(encode),
        ("torch", "Size"): Function(shape),
        ("torch", "device"): Function(device),
        ("torch._utils", "_rebuild_tensor"): Function(Tensor),
        ("torch._utils", "_rebuild_tensor_v2"): Function(rebuild_v2),
        ("torch._utils", "_rebuild_parameter"): Function(parameter),
        ("numpy", "dtype"): Function(lambda name, *_: Dtype(name)),
        ("numpy", "ndarray"): "numpy.ndarray",
    }
    for builtins in ("builtins", "__builtin__"):
        table[builtins, "set"] = Function(listed)
        table[builtins, "frozenset"] = Function(listed)
        table[builtins, "bytes"] = Function(no_bytes)
    for pathlib in ("pathlib", "pathlib._local"):  # Python 3.13 has the second
        for system, kind in (("Posix", PurePosixPath), ("Windows", PureWindowsPath)):
            table[pathlib, f"{system}Path"] = table[pathlib, f"Pure{system}Path"] = (
                path(kind)
            )
    for core in ("numpy.core", "numpy._core"):
        table[f"{core}.multiarray", "_reconstruct"] = Function(reconstruct)
        table[f"{core}.multiarray", "scalar"] = Function(scalar)
        table[f"{core}.numeric", "_frombuffer"] = Function(from_buffer)
    for name, dtype in STORAGES.items():
        table["torch", name] = StorageType(dtype)
        table["torch", dtype] = f"torch.{dtype}"
    if load_storage is not None:
        table["torch.storage", "_load_from_bytes"] = Function(load_storage)
    return table
