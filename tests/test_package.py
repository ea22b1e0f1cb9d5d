"""The package as people install it: whole, outside of a checkout, on any system."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import textwrap
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import styleprompter_jax as sp
from styleprompter_jax.convert.reading.torch_file import write_torch

ROOT = Path(__file__).parents[1]
BUILD = "from setuptools import build_meta; build_meta.build_{}({!r})"
# Other entries of a checkout, beside its files.
LEFT_OUT = shutil.ignore_patterns(
    ".*", "__pycache__", "*.egg-info", "build", "dist", "runs"
)
# Modules that Python has on some systems only.
HIDDEN = "fcntl", "grp", "pty", "pwd", "resource", "syslog", "termios", "tty"

pytestmark = pytest.mark.slow


def run(*command, **options):
    """The output of a program that must end well, and has nothing of this checkout."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    environment |= {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"} | options.pop("env", {})
    result = subprocess.run(
        [str(word) for word in command],
        env=environment,
        capture_output=True,
        text=True,
        **options,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """(sdist, wheel); the wheel is built from the sdist."""
    root = tmp_path_factory.mktemp("built")
    shutil.copytree(ROOT, root / "checkout", symlinks=True, ignore=LEFT_OUT)
    run(sys.executable, "-c", BUILD.format("sdist", ".."), cwd=root / "checkout")
    (sdist,) = root.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(root / "unpacked", filter="data")
    (unpacked,) = (root / "unpacked").iterdir()
    run(sys.executable, "-c", BUILD.format("wheel", str(root)), cwd=unpacked)
    (wheel,) = root.glob("*.whl")
    return sdist, wheel


@pytest.fixture(scope="module")
def scripts(built, tmp_path_factory):
    """The programs of an environment with the wheel and this environment's packages."""
    root = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", "--without-pip", root)
    folder = root / ("Scripts" if os.name == "nt" else "bin")
    pip = (sys.executable, "-m", "pip", "--python", folder / "python")
    run(*pip, "install", "--quiet", "--no-index", "--no-deps", built[1])
    # Only a line in its path, so that links to a checkout are not installed.
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    place = Path(run(folder / "python", "-c", code).strip())
    there = {sysconfig.get_path(kind) for kind in ("purelib", "platlib")}
    (place / "packages.pth").write_text("\n".join(sorted(there)) + "\n")
    return folder


def sources():
    """The files of the package that belong to the project, by their installed names."""
    listed = ["git", "ls-files", "-z", "--", "styleprompter_jax", "configs"]
    if (ROOT / ".git").exists():
        names = run(*listed, cwd=ROOT).split("\0")[:-1]
        names.remove("styleprompter_jax/configs")  # a link to configs/
    else:
        names = [
            path.relative_to(ROOT).as_posix()
            for folder in ("styleprompter_jax", "configs")
            for path in (ROOT / folder).rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        ]
    return {f"styleprompter_jax/{n}" if n[:8] == "configs/" else n for n in names}


def test_every_source_is_in_sdist_and_wheel(built):
    sdist, wheel = built
    names = zipfile.ZipFile(wheel).namelist()
    assert {name for name in names if ".dist-info/" not in name} == sources()
    (info,) = {name.split("/")[0] for name in names if ".dist-info/" in name}
    for name in ("licenses/LICENSE", "licenses/NOTICE", "entry_points.txt"):
        assert f"{info}/{name}" in names
    with tarfile.open(sdist) as archive:
        found = {name.partition("/")[2] for name in archive.getnames()}
    assert sources() <= found
    tops = ("train.py", "configs/tiny.py", "setup.cfg", "pyproject.toml", "README.md")
    assert {*tops, "tests/conftest.py", "docs/training.md", "LICENSE"} <= found


def test_installed_it_does_all_of_it(scripts, tmp_path):
    """From an empty folder, with an empty home."""
    program, home = scripts / "styleprompter", tmp_path / "home"
    home.mkdir()

    def call(*words):
        environment = {"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache")}
        return run(*words, cwd=tmp_path, env=environment)

    assert call(program, "--version").strip() == sp.__version__
    assert "avatars_generator" in call(program, "train", "--help")
    # The three stages in both ways, and a user's own config, as in a checkout.
    (tmp_path / "mine.py").write_text(
        "from configs import tiny\n\n\n"
        "def get_config():\n"
        "    config = tiny.get_config('generator')\n"
        "    config.total_steps = 1\n"
        "    return config\n"
    )
    out = call(program, "train", "--config=mine.py", "--workdir=~/generator")
    assert out.splitlines()[-1] == f"The model is in {home / 'generator' / 'model'}"
    (tmp_path / "stages.py").write_text(
        textwrap.dedent("""
            import styleprompter_jax as sp

            model = "~/generator/model"
            for stage in ("encoder", "smart"):
                config = sp.get_config(f"tiny:{stage}")
                config.init_from, config.total_steps = str(model), 1
                model = sp.train(config, f"~/{stage}")
            assert sp.load(model).config.smart is not None
            print(sp.__file__)
        """)
    )
    assert str(scripts.parent) in call(scripts / "python", "stages.py")
    assert not (tmp_path / "~").exists()
    model = home / "smart" / "model"
    # A direction from a file of PyTorch, and images along it.
    write_torch(tmp_path / "wide.pt", {"wide": np.ones(16, np.float32)})
    assert "knows wide" in call(program, "convert", "wide.pt", model)
    Image.new("RGB", (40, 40), "red").save(tmp_path / "a.png")
    given = ("--model", model, "--input", "a.png", "--batch-size", 1)
    call(program, "invert", *given, "--output", "inverted")
    assert {"a.png", "latents.npz"} <= {
        p.name for p in (tmp_path / "inverted").iterdir()
    }
    call(program, "edit", *given, "--output", "edited", "--direction", "wide")
    assert (tmp_path / "edited" / "a_wide_+3.png").is_file()


def test_nothing_of_one_system_is_needed_to_import(tmp_path):
    """Not run on macOS and Windows; but without the modules that these do not have."""
    code = f"""
        import importlib, pkgutil, sys, warnings

        class Hidden:
            def find_spec(self, name, path=None, target=None):
                if name in {HIDDEN}:
                    raise ModuleNotFoundError(name, name=name)

        sys.meta_path.insert(0, Hidden())
        for name in {HIDDEN}:
            sys.modules.pop(name, None)
        warnings.simplefilter("ignore")  # filelock's, that its locks are files
        import styleprompter_jax as sp

        for module in pkgutil.walk_packages(sp.__path__, "styleprompter_jax."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
        from styleprompter_jax.core.lock import folder_lock

        config = sp.get_config("avatars_generator:sharpen")
        model = sp.load("avatars64")
        codes = sp.Latents(model.mapping([[0.0] * 512])[:, None].repeat(10, 1))
        smile = codes.edit(model.directions["smile"], 1.0)
        with folder_lock("model"):
            model.save("copy")
        sp.load("copy")
        assert not set({HIDDEN}) & sys.modules.keys()
    """
    run(
        *(sys.executable, "-c", textwrap.dedent(code)),
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "HOME": str(tmp_path)},
    )
    assert [path.name for path in tmp_path.iterdir()] == ["copy"]
