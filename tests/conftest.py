"""A tiny model with random weights, which drives the real pipeline in every test."""

import collections
import contextlib
import gc
import os
import resource

import jax
import numpy as np
import pytest
import recipe
from jax._src import compiler

import styleprompter_jax as sp
from styleprompter_jax.cli import main
from styleprompter_jax.convert.reading.torch_file import write_torch
from styleprompter_jax.editing.directions import Direction
from styleprompter_jax.models.encoders.swin import SwinConfig
from styleprompter_jax.models.generators.stylegan2 import GeneratorConfig
from styleprompter_jax.models.inverter import StylePrompter, StylePrompterConfig
from styleprompter_jax.models.refiners.smart import SmartConfig
from styleprompter_jax.store import model_folder

if jax.__version_info__ >= (0, 10):  # JAX 0.7 aborts at a flag that it does not know
    # Eight devices on two busy cores can wait for each other longer than XLA's 40 s.
    patient = "--xla_cpu_collective_call_terminate_timeout_seconds=600"
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {patient}"
jax.config.update("jax_num_cpu_devices", 8)  # before anything asks for a device
# Commands then use one device; tests/test_devices.py has the tests on all.
jax.config.update("jax_default_device", jax.local_devices()[0])
# Tests run each program once or twice, so they compile with few optimisations. Without
# XLA's new emitters of fused loops, a program compiles in two thirds of the time.
jax.config.update("jax_disable_most_optimizations", True)
_compile_options = compiler.get_compile_options
_QUICK = {"xla_cpu_use_fusion_emitters": False}
try:
    jax.jit(abs).lower(1.0).compile(compiler_options=_QUICK)
except jax.errors.JaxRuntimeError:  # JAX 0.12 does not have this option
    _QUICK = {}


def _quick_options(*args, env_options_overrides=None, **options):
    overrides = dict(env_options_overrides or {})
    if jax.config.read("jax_disable_most_optimizations"):
        overrides = _QUICK | overrides
    return _compile_options(*args, env_options_overrides=overrides, **options)


# JAX has no public setting for the options of all programs.
compiler.get_compile_options = _quick_options


def pytest_addoption(parser):
    parser.addoption(
        "--differences",
        action="store_true",
        help="print how far the results are from those of the published code",
    )


def pytest_terminal_summary(terminalreporter, config):
    if config.getoption("differences"):
        terminalreporter.write_line("| fixture | largest difference of each array |")
        terminalreporter.write_line("|---|---|")
        for case in sorted({case for case, _ in recipe.differences}):
            found = (
                f"{name} {error:.1e}"
                for (of, name), error in sorted(recipe.differences.items())
                if of == case
            )
            terminalreporter.write_line(f"| {case} | {', '.join(found)} |")


# The longest tests come first, so that no worker ends alone. Then come the files with
# the most slow tests.
FIRST = ("test_training.py", "test_published_training.py")


def pytest_collection_modifyitems(items):
    slow = collections.Counter(
        item.path for item in items if item.get_closest_marker("slow")
    )
    items.sort(key=lambda item: (item.path.name not in FIRST, -slow[item.path]))


def pytest_collection_finish():
    """Rarer rounds of the garbage collector, which leave out all that is imported.

    Tracing makes many objects, and a fifth of its time went to these rounds.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000)


TINY = StylePrompterConfig(
    encoder=SwinConfig(
        image_size=32,
        patch_size=4,
        embed_dim=8,
        depths=(2, 1),
        num_heads=(1, 2),
        window_size=4,
        num_tokens=8,
        head_dim=16,
        w_dim=16,
    ),
    refiner=SmartConfig(refined_layers=(4,), num_heads=2, ffn_dim=16),
    generator=GeneratorConfig(
        image_size=32, channels=(8, 8, 8, 8), z_dim=16, w_dim=16, mapping_layers=2
    ),
)

# Of the fixture styleprompter_256.
PUBLISHED = StylePrompterConfig(
    encoder=SwinConfig(num_tokens=14),
    refiner=SmartConfig(refined_layers=(4,)),
    generator=GeneratorConfig(image_size=256),
)


def random_variables(config, seed=0):
    """Variables of a model in which every part makes a difference.

    Drawn here, from the names: compiling `init` would take half a minute.
    """
    shapes = model_folder.model_shapes(config)
    rng = np.random.default_rng(seed)

    def draw(path, leaf):
        *parents, name = (entry.key for entry in path)
        noise = rng.standard_normal(leaf.shape).astype(np.float32)
        if name in ("noise_const", "const"):
            return noise
        if name == "kernel" and "generator" in parents:
            return noise * np.float32(100 if "mapping" in parents else 1)
        if name == "kernel":
            # SMART multiplies three of its kernels: kept from swamping the image.
            gain = np.float32(0.5 if "smart" in parents else 1)
            return noise * gain / np.sqrt(np.float32(np.prod(leaf.shape[:-1])))
        one = name in ("scale", "logit_scale", "var") or "affine" in parents
        return np.float32(one) + np.float32(0.2) * noise

    return jax.tree_util.tree_map_with_path(draw, shapes)


def random_directions(seed=0):
    """Two directions of the tiny model, one for each shape."""
    rng = np.random.default_rng(seed)
    return {
        "smile": Direction(
            rng.standard_normal(16), range=(-4, 2), strength=3, origin="a test"
        ),
        "hat": Direction(rng.standard_normal((8, 16)), layers=(2, 3), beta=(0.5, 2)),
    }


@pytest.fixture(scope="session")
def tiny_variables():
    """Variables of TINY; not to be changed in place."""
    return random_variables(TINY)


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory, tiny_variables):
    """A model folder of TINY with two directions."""
    return model_folder.save_model(
        tmp_path_factory.mktemp("models") / "tiny",
        TINY,
        tiny_variables,
        directions=random_directions(),
    )


@pytest.fixture(scope="module")
def model(tiny_folder):
    """The model of the tiny folder, loaded."""
    return sp.load(tiny_folder)


@pytest.fixture(scope="module")
def server(model):
    """A client of the studio's application, in process."""
    from starlette.testclient import TestClient
    from studio_user import HERE, LIMITS

    from styleprompter_jax.web.server import make_app

    with TestClient(make_app(model, limits=LIMITS), base_url=HERE) as client:
        yield client


@pytest.fixture
def user(server):
    """A user of the studio."""
    from studio_user import User

    return User(server)


@pytest.fixture
def links(monkeypatch, tmp_path):
    """A server of files, and an empty cache."""
    from link_server import Links

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with Links() as server:
        yield server


@pytest.fixture(scope="session")
def published_folder(tmp_path_factory):
    return write_published(tmp_path_factory.mktemp("published"))


def write_published(root):
    """The published checkpoint, converted from a file by the command."""
    state = recipe.state_dict("styleprompter_256")
    tree = {
        "latent_avg": state.pop("latent_avg"),
        "state_dict": state,
        "opts": recipe.manifest("styleprompter_256")["opts"],
    }
    write_torch(root / "official.pt", tree)
    assert main(["convert", str(root / "official.pt"), str(root / "model")]) == 0
    (root / "official.pt").unlink()
    return root / "model"


@pytest.fixture(scope="session")
def published(published_folder):
    """The module of PUBLISHED and its variables."""
    config, variables, _ = model_folder.load_model(published_folder)
    assert config == PUBLISHED
    return StylePrompter(config), variables


@contextlib.contextmanager
def disk_full_after(count):
    """No file grows beyond this many bytes: the nearest to a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (count, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def optimized():
    """For tests that compute more than they compile: as fast as users have it."""
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", True)


@pytest.fixture(scope="session", autouse=True)
def compilation_cache(tmp_path_factory):
    """One cache for all processes of the session: a program is compiled once.

    Also keeps the command line's cache out of the user's folder.
    """
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent  # the folder that the workers share
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "jax_compilation_cache_dir": str(root / "xla"),
            "jax_persistent_cache_min_compile_time_secs": 0.1,
            # With a limit, JAX locks the folder, and nobody reads a half-written file.
            "jax_compilation_cache_max_size": 2**34,
            "jax_disable_most_optimizations": True,
        }.items():
            jax.config.update(name, value)
            patch.setenv(name.upper(), str(value))
        # XLA has read this variable in our process, but not in those that tests start.
        flags = [f"--{name}={value}".lower() for name, value in _QUICK.items()]
        flags = [*os.environ.get("XLA_FLAGS", "").split(), *flags]
        patch.setenv("XLA_FLAGS", " ".join(flags))
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield
