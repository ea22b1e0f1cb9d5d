"""Weight files: read as data without PyTorch, and written in PyTorch's format."""

import ast
import pathlib
import pickle
import tracemalloc
import zipfile
from collections import Counter, OrderedDict

import jax.numpy as jnp
import numpy as np
import pytest
import recipe
import safetensors.numpy
from weight_files import DATA, Call, npy, nvidia, pickled, storage_id, tensor, torch_zip

import styleprompter_jax
from styleprompter_jax.convert.reading.files import Object, read_file
from styleprompter_jax.convert.reading.torch_file import write_torch
from styleprompter_jax.convert.reading.torch_objects import names
from styleprompter_jax.convert.reading.unpickle import Budget
from styleprompter_jax.core.errors import StylePrompterError

BASE = np.arange(24, dtype=np.float32).reshape(4, 6) / 8


@pytest.fixture
def read(tmp_path):
    """Reads bytes as a file."""

    def read(content, name="weights"):
        (tmp_path / name).write_bytes(content)
        return read_file(tmp_path / name)

    return read


def assert_same(got, expected):
    """The same tree, with the same types and dtypes."""
    assert type(got) is type(expected)
    if isinstance(expected, dict):
        assert list(got) == list(expected)
        for key in expected:
            assert_same(got[key], expected[key])
    elif isinstance(expected, list | tuple):
        assert len(got) == len(expected)
        for one, other in zip(got, expected, strict=True):
            assert_same(one, other)
    elif isinstance(expected, Object):
        assert got.type == expected.type
        assert_same(got.state, expected.state)
    elif isinstance(expected, np.ndarray):
        assert got.dtype == expected.dtype
        np.testing.assert_array_equal(got, expected, strict=True)
    else:
        assert got == expected


@pytest.mark.parametrize("name", ["torch_zip.pt", "torch_legacy.pt"])
def test_files_that_pytorch_wrote(name):
    """PyTorch 2.13 wrote both; the expected values list the saved tree."""
    expected = {
        "state_dict": {
            "fc.weight": np.arange(6, dtype=np.float32).reshape(2, 3) / 4,
            "fc.bias": np.array([1, 1.25], np.float32),
            "bn.weight": np.array([2, 2.25], np.float32),
            "bn.bias": np.array([3, 3.25], np.float32),
            "bn.running_mean": np.zeros(2, np.float32),
            "bn.running_var": np.ones(2, np.float32),
            "bn.num_batches_tracked": np.array(0),
        },
        "opts": Object(
            "argparse.Namespace",
            {"lr": 1e-4, "name": "ü", "sizes": [1, 2], "none": None},
        ),
        "parameter": np.array([1.5, -2], np.float32),
        "transposed": BASE.T,
        "row": BASE[1],
        "column": BASE[:, 2],
        "half": BASE.astype(np.float16),
        "bfloat16": BASE,
        "double": BASE.astype(np.float64),
        "long": np.array([1, -(2**40)]),
        "bool": np.array([True, False]),
        "uint8": np.array([0, 255], np.uint8),
        "scalar": np.array(3.5, np.float32),
        "empty": np.zeros((0, 3), np.float32),
        "size": (2, 3),
        "dtype": "torch.float32",
        "numbers": (1, -1, 2**40, 0.5, True, None),
        "bytes": b"\x00\xff",
        "set": [1],
        5: "five",
        "epoch": 7,
    }
    assert_same(read_file(DATA / name), expected)


def test_nvidia_network():
    """A pickle of stylegan2-ada-pytorch: the arrays of its recipe, bit for bit."""

    def tensors(module, prefix=""):
        for part in ("_parameters", "_buffers"):
            for key, array in module.state[part].items():
                yield prefix + key, array
        for key, child in module.state["_modules"].items():
            yield from tensors(child, f"{prefix}{key}.")

    content = read_file(DATA / "nvidia_64.pkl")
    assert content["D"] is None
    assert content["training_set_kwargs"]["resolution"] == 64
    network = content["G_ema"]
    assert network.type == "Generator"
    assert network.state["_init_kwargs"]["z_dim"] == network.state["z_dim"]
    got = {key: array for key, array in tensors(network) if array is not None}
    weights = recipe.state_dict("nvidia_64")
    buffers = {row[0] for row in recipe.manifest("nvidia_64")["buffers"]}
    assert set(got) == set(weights) | buffers
    for key, array in weights.items():
        np.testing.assert_array_equal(got[key], array, strict=True)


def test_module_source_is_dropped(read):
    """Altered, it changes nothing: NVIDIA's programs would execute it."""
    altered = nvidia("import os; os.system('touch CANARY')")
    assert b"CANARY" in altered
    network = read(altered)["G_ema"]
    assert_same(network.state, read(nvidia())["G_ema"].state)
    assert "CANARY" not in repr(network)
    np.testing.assert_array_equal(
        network.state["_parameters"]["weight"], np.arange(6.0).reshape(2, 3)
    )


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_numpy_in_pickles(read, protocol):
    tree = {
        "array": BASE,
        "fortran": np.asfortranarray(BASE),
        "part": BASE[::2, 1:],
        "empty": np.zeros((2, 0)),
        "scalar": np.array(3),
        "bool": np.array([True, False]),
        "bytes": b"\x00\xff" * 200,
        "nested": [(), [], {}, ("a" * 300,)],
        "large": 2**62,
        "negative": -1,
    }
    assert_same(read(pickle.dumps(tree, protocol)), tree)
    others = {"big": BASE.astype(">f4"), "number": np.float32(2.5), "set": {1, 2}}
    expected = {"big": BASE, "number": 2.5, "set": [1, 2]}
    assert_same(read(pickle.dumps(others, protocol)), expected)


def test_python_2(read):
    """Its strings do not say whether they are text."""
    data = b"U\x08" + BASE[0, :2].tobytes()
    array = Call("numpy.core.multiarray _reconstruct", (None, (0,), "b"))
    array.state = (1, (2,), Call("numpy dtype", ("f4", 0, 1)), False, bytearray(data))
    pairs = Call("collections OrderedDict", ([[bytearray(b"U\x01a"), array]],))
    assert_same(read(pickled(pairs)), {"a": BASE[0, :2]})


def test_milestones_of_a_schedule(read):
    """PyTorch's MultiStepLR keeps them in a Counter."""
    state = {"milestones": Counter([80, 80, 120]), "none": Counter(), "w": BASE}
    expected = {"milestones": {80: 2, 120: 1}, "none": {}, "w": BASE}
    assert_same(read(pickle.dumps(state)), expected)


def test_shared_content_is_shared(read):
    shared = [BASE]
    first, second = read(pickle.dumps([shared, shared]))
    assert first is second


def test_arrays_are_views_of_the_file(tmp_path):
    """Aligned arrays, as in PyTorch's files, need no copy and no memory."""
    write_torch(tmp_path / "weights.pt", {"w": np.zeros(2**20, np.float32)})
    tracemalloc.start()
    array = read_file(tmp_path / "weights.pt")["w"]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < array.nbytes / 4
    assert not array.flags.writeable


def test_strides(read):
    """Handmade, so that its storage is not aligned and has to be copied."""
    tree = {"w": tensor(storage_id(24), (3, 2), (1, 6), 7)}
    assert_same(read(torch_zip(tree, [BASE])), {"w": BASE[1:3, 1:4].T})


def test_npy_and_npz(read, tmp_path):
    for array in (BASE, np.asfortranarray(BASE), BASE.astype(">f8"), np.array(1)):
        got = read(npy(array))
        assert got.dtype.isnative
        np.testing.assert_array_equal(got, array)
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "a.npz", w=BASE, n=np.arange(3))
        assert_same(read_file(tmp_path / "a.npz"), {"n": np.arange(3), "w": BASE})


def test_safetensors(read):
    tree = {"a": BASE, "b": np.arange(3), "h": BASE.astype(np.float16)}
    assert_same(read(safetensors.numpy.save(tree)), tree)
    # NumPy alone has no bfloat16.
    saved = safetensors.numpy.save({"w": np.asarray(jnp.asarray(BASE, jnp.bfloat16))})
    assert_same(read(saved), {"w": BASE})
    header = b'{"w":{"dtype":"F8_E4M3","shape":[8],"data_offsets":[0,8]}}'
    content = len(header).to_bytes(8, "little") + header + bytes(8)
    with pytest.raises(StylePrompterError, match=r"at 'w', .*'F8_E4M3' is not supp"):
        read(content)


TREE = {
    "state_dict": OrderedDict(
        a=BASE, b=np.array([1, 2**40]), c=np.array(2.5), d=np.zeros((0, 4), np.float16)
    ),
    "others": [np.array([True, False]), np.arange(3, dtype=np.uint8), BASE[0].copy()],
    "numbers": (1, -5, 2**40, -(2**63), 0.1, True, None),
    "text": ["", "ü", b"\x00\xff"],
    "empty": [[], (), {}],
    5: {"latent_avg": np.arange(4, dtype=np.int32)},
}


def test_written_files_are_read(tmp_path):
    path = tmp_path / "weights.pt"
    write_torch(path, TREE)
    expected = TREE | {"state_dict": dict(TREE["state_dict"])}
    assert_same(read_file(path), expected)
    first = path.read_bytes()
    write_torch(path, TREE)
    assert path.read_bytes() == first
    assert list(tmp_path.iterdir()) == [path]


def test_written_layouts(tmp_path):
    """Any memory layout and byte order is written, and a namespace as a dict."""
    path = tmp_path / "weights.pt"
    opts = Object("argparse.Namespace", {"lr": 1e-4})
    write_torch(path, {"t": BASE.T, "s": BASE[::2], "b": BASE.astype(">f4"), "o": opts})
    expected = {"t": BASE.T, "s": BASE[::2], "b": BASE, "o": {"lr": 1e-4}}
    assert_same(read_file(path), expected)


def test_written_as_pytorch_writes(tmp_path):
    """The same entries as in PyTorch's own file, stored, storages at multiples of 64.

    `torch.load(path, weights_only=True)` of PyTorch 2.13 read such a file.
    """
    write_torch(tmp_path / "weights.pt", {"a": BASE, "b": BASE[0]})
    with zipfile.ZipFile(tmp_path / "weights.pt") as archive:
        assert archive.testzip() is None
        written = archive.namelist()
        for entry in archive.infolist():
            assert entry.compress_type == zipfile.ZIP_STORED
            start = entry.header_offset + 30 + len(entry.filename) + len(entry.extra)
            assert start % 64 == 0
    with zipfile.ZipFile(DATA / "torch_zip.pt") as archive:
        theirs = {name.partition("/")[2] for name in archive.namelist()}
    own = {name.removeprefix("archive/") for name in written}
    assert {"data.pkl", "byteorder", "version", "data/0", "data/1"} == own <= theirs


@pytest.mark.parametrize(
    ("leaf", "words"),
    [
        (object(), "'a.0' is object"),
        (np.array(["x"]), "'a.0' is an array of <U1"),
        (Object("Generator", {}), "'a.0' is Generator"),
        (2**70, "'a.0' is int"),
    ],
)
def test_what_cannot_be_written(tmp_path, leaf, words):
    path = tmp_path / "weights.pt"
    path.write_bytes(b"before")
    with pytest.raises(StylePrompterError, match=words):
        write_torch(path, {"a": [leaf]})
    assert path.read_bytes() == b"before"
    with pytest.raises(StylePrompterError, match="cannot be written"):
        write_torch(tmp_path / "none" / "weights.pt", {})
    assert list(tmp_path.iterdir()) == [path]


def test_paths_and_devices_are_read_as_text(tmp_path):
    def device(*arguments):
        return Call("torch device", arguments)

    tree = {
        "a": pathlib.PurePosixPath("/data/x.pt"),
        "b": pathlib.PureWindowsPath("C:/data/x.pt"),
        "c": pathlib.Path("runs"),
    }
    path = tmp_path / "x.pkl"
    path.write_bytes(pickle.dumps(tree))
    assert read_file(path) == {"a": "/data/x.pt", "b": r"C:\data\x.pt", "c": "runs"}
    for arguments, text in ((("cuda", 1), "cuda:1"), (("cpu",), "cpu")):
        path.write_bytes(pickled(device(*arguments)))
        assert read_file(path) == text
    for call in (device(1), Call("pathlib PosixPath", ("x" * 5000,))):
        path.write_bytes(pickled(call))
        with pytest.raises(StylePrompterError):
            read_file(path)


def test_permitted_names():
    """The whole list: whoever adds a name to it states that here."""
    permitted = names(Budget(0), load_storage=lambda data: None)
    modules = {}
    for module, name in permitted:
        modules.setdefault(module, set()).add(name)
    torch_names = modules.pop("torch")
    kinds = ("Float", "Double", "Half", "BFloat16")
    kinds += ("Byte", "Char", "Short", "Int", "Long", "Bool")
    dtypes = {"float32", "float64", "float16", "bfloat16"}
    dtypes |= {"uint8", "int8", "int16", "int32", "int64", "bool"}
    assert torch_names == {"Size", "device"} | dtypes | {
        f"{kind}Storage" for kind in kinds
    }
    paths = {f"{kind}Path" for kind in ("Posix", "PurePosix", "Windows", "PureWindows")}
    assert modules == {
        "pathlib": paths,
        "pathlib._local": paths,
        "collections": {"OrderedDict", "Counter"},
        "argparse": {"Namespace"},
        "torch._utils": {
            "_rebuild_tensor",
            "_rebuild_tensor_v2",
            "_rebuild_parameter",
        },
        "torch.storage": {"_load_from_bytes"},
        "torch_utils.persistence": {"_reconstruct_persistent_obj"},
        "dnnlib.util": {"EasyDict"},
        "numpy": {"ndarray", "dtype"},
        "numpy.core.multiarray": {"_reconstruct", "scalar"},
        "numpy._core.multiarray": {"_reconstruct", "scalar"},
        "numpy.core.numeric": {"_frombuffer"},
        "numpy._core.numeric": {"_frombuffer"},
        "_codecs": {"encode"},
        "builtins": {"set", "frozenset", "bytes"},
        "__builtin__": {"set", "frozenset", "bytes"},
    }


def test_nothing_in_the_package_runs_files():
    """No pickle, marshal or torch, no eval or exec, nowhere objects for NumPy.

    Configs are programs, which users name to be run: one module does that.
    """
    folder = pathlib.Path(styleprompter_jax.__file__).parent
    modules = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "marshal"}
    modules |= {"shelve", "joblib", "torch", "runpy", "code", "builtins", "ctypes"}
    calls = {"eval", "exec", "compile", "__import__"}
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            imported = []
            if isinstance(node, ast.Import):
                imported = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                imported = [node.module or ""]
            for name in imported:
                assert name.partition(".")[0] not in modules, (path, name)
            if isinstance(node, ast.Name) and path != folder / "training" / "config.py":
                assert node.id not in calls, (path, node.lineno)
            if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
                assert ast.unparse(node.value) == "False", (path, node.lineno)
