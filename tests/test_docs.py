"""The programs accept the commands in the documentation."""

import ast
import configparser
import functools
import importlib.util
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import styleprompter_jax as sp
from styleprompter_jax.cli import make_parser, parse
from styleprompter_jax.convert.directions import _SUFFIXES as DIRECTION_FILES
from styleprompter_jax.editing.latents import Latents
from styleprompter_jax.training.config import get_config, override
from styleprompter_jax.training.settings import KNOWN

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/*.md"))]
CONFIGS = sorted(ROOT.glob("configs/[a-z]*.py"))
REPOSITORY = "git+https://github.com/styleprompter-jax/styleprompter_jax"

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`([^`]+)`")
# Programs whose calls are looked at: a line that begins so is one.
_HEADS = ("styleprompter", "python", "make", "pip", "git")
# Options of other programs that a page speaks of.
_FOREIGN = {"--stylegan_weights", "--clear-output", "--inplace"}

page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of a page in one language; "" where none is named."""
    return [body for name, body in _FENCE.findall(text) if name == language]


def commands(text: str) -> list[str]:
    """The calls in a text, one a line, without variables of the shell before them."""
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    lines = [re.sub(r"^\s*([A-Z_]+=\S+ )*", "", line) for line in lines]
    return [line for line in lines if line.split(" ")[0] in _HEADS]


def subparsers():
    return next(a for a in make_parser()._actions if a.dest == "command").choices


@functools.cache
def known_options() -> set[str]:
    """Every --option that a program of this project takes."""
    found = {
        option for p in subparsers().values() for option in p._option_string_actions
    }
    programs = [*ROOT.glob("tests/*.py"), *ROOT.glob("benchmarks/*.py")]
    programs += ROOT.glob("styleprompter_jax/cli/*.py")
    return found.union(*map(options_of, programs))


def options_of(program: Path) -> set[str]:
    """The options that a file gives to a parser; one that it quotes alone is none."""
    return {
        argument.value
        for call in ast.walk(ast.parse(program.read_text()))
        if isinstance(call, ast.Call)
        and getattr(call.func, "attr", "") in ("add_argument", "addoption")
        for argument in call.args
        if isinstance(argument, ast.Constant) and str(argument.value).startswith("--")
    }


def test_an_option_that_is_quoted_is_not_known():
    assert "--of-nothing" not in known_options()
    assert {"--help", "--kills", "--differences", "--strength"} <= known_options()


@functools.cache
def config_keys() -> set[str]:
    """Every key of every config, and every part of one, with dots."""

    def walk(config, prefix):
        for key, value in config.items():
            yield prefix + key
            if hasattr(value, "items"):
                yield from walk(value, f"{prefix}{key}.")

    found = set()
    for file in CONFIGS:
        module = importlib.import_module(f"configs.{file.stem}")
        stages = ("generator", "encoder", "smart") if file.stem == "tiny" else (None,)
        for stage in stages:
            config = module.get_config(stage) if stage else module.get_config()
            found |= set(walk(config, ""))
    return found


def check(command: str) -> None:
    """Fails if a program would not take this call."""
    head, *words = shlex.split(command, comments=True)
    if head == "styleprompter":
        try:
            args = parse(words)
        except SystemExit as error:
            assert not error.code, command
            return
        if args.command == "train":
            override(get_config(args.config), args.overrides)
    elif head == "python" and words[0] == "train.py":
        if "..." in words:
            keys = {m[1] for m in re.finditer(r"--config\.([\w.]+)=", command)}
            assert keys <= config_keys(), command
        else:
            check(f"styleprompter train {shlex.join(words[1:])}")
    elif head == "python" and words[0] == "-c":
        check_python(words[1])
    elif head == "python":
        name, *options = words[1:] if words[0] == "-m" else words
        file = f"{name.replace('.', '/')}.py" if words[0] == "-m" else name
        file = "tests/conftest.py" if name == "pytest" else file
        assert name == "venv" or (ROOT / file).is_file(), command
        options = {option.split("=")[0] for option in options if option[:2] == "--"}
        assert not options or options <= options_of(ROOT / file), command
    elif head == "make":
        targets = [word for word in words if "=" not in word]
        makefile = (ROOT / "Makefile").read_text()
        assert all(f"\n{target}:" in makefile for target in targets), command
    elif head == "pip":
        # A bare name would ask a package index, where the package is not.
        places = (REPOSITORY, "./styleprompter_jax", "--no-index")
        named = "styleprompter_jax" in command
        assert not named or any(place in command for place in places), command
        setup = configparser.ConfigParser()
        setup.read(ROOT / "setup.cfg")
        extras = {
            e for group in re.findall(r"\[(.*?)\]", command) for e in group.split(",")
        }
        assert extras <= setup["options.extras_require"].keys(), command


def check_python(source: str, modules: bool = True) -> None:
    """Fails for code that does not parse, or uses missing names.

    Args:
        source: the code.
        modules: whether it may import from within the package.
    """
    owners = {
        "sp": set(sp.__all__),
        "model": {*dir(sp.StylePrompter), "config", "directions"},
        "latents": {*dir(Latents), *Latents.__dataclass_fields__},
    }
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute):
            owner = getattr(node.value, "id", None)
            assert node.attr in owners.get(owner, {node.attr}), f"{owner}.{node.attr}"
            assert not node.attr.startswith("_") or node.attr[:2] == "__", node.attr
        elif isinstance(node, ast.ImportFrom) and node.module.startswith(
            "styleprompter"
        ):
            assert modules, f"from {node.module} import ..."
            module = importlib.import_module(node.module)
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                known = hasattr(module, alias.name) or importlib.util.find_spec(name)
                assert known, name
        elif isinstance(node, ast.Import):
            names = {a.name for a in node.names if a.name.startswith("styleprompter")}
            assert names <= {"styleprompter_jax"}, names


@page
def test_commands(page):
    text = page.read_text()
    found = commands("\n".join(blocks(text, "")))
    prose = _FENCE.sub("", text)
    inline = [" ".join(code.split()) for code in _INLINE.findall(prose)]
    found += [code for code in inline if code.startswith(("make ", "python ", "pip "))]
    for command in found:
        check(command)
    for code in inline:
        if match := re.match(r"styleprompter ([a-z]+)\b", code):
            assert match[1] in subparsers(), code
        options = re.findall(r"(?<![\w-])--[a-z][a-z0-9_-]*", code)
        keys = re.findall(r"--config\.([\w.]+)=", code)
        unknown = set(options) - known_options() - _FOREIGN - {"--config", "--help"}
        assert not unknown and set(keys) <= config_keys(), code


def test_commands_of_the_configs():
    for file in CONFIGS:
        for command in commands(ast.get_docstring(ast.parse(file.read_text()))):
            check(command)


def test_every_key_of_a_config_is_explained():
    text = (ROOT / "docs" / "training.md").read_text()
    codes = " ".join(_INLINE.findall(_FENCE.sub("", text)))
    named = set(re.findall(r"\w+", codes))
    assert {key for key in KNOWN if key.split(".")[-1] not in named} == set()


def test_every_option_of_a_command_is_named():
    named = set(re.findall(r"--[\w-]+", "".join(page.read_text() for page in PAGES)))
    taken = {o for p in subparsers().values() for o in p._option_string_actions}
    assert {option for option in taken if option.startswith("--")} <= named


def test_every_kind_of_file_of_a_direction_is_listed():
    told = [(ROOT / f"docs/{name}.md").read_text() for name in ("editing", "weights")]
    for text in (*told, subparsers()["edit"].format_help()):
        assert all(kind in text for kind in DIRECTION_FILES)


def test_every_request_of_the_studio_is_listed():
    pytest.importorskip("starlette", reason="the extra studio has it")
    from styleprompter_jax.web.api import ENDPOINTS

    text = (ROOT / "docs" / "studio.md").read_text()
    for one in ENDPOINTS:
        assert re.sub(r"\{\w+\}", "ID", one.path) in text, one.path


@page
def test_python(page):
    for source in blocks(page.read_text(), "python"):
        if page.name != "api.md":  # signatures
            check_python(source)


@page
def test_what_is_named_is_there(page):
    text = page.read_text()
    for target in re.findall(r"\]\(([^)#\s]+)", text):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target
    tests = "\n".join(file.read_text() for file in ROOT.glob("tests/*.py"))
    for code in _INLINE.findall(text):
        if re.fullmatch(r"test_\w+", code):
            assert f"def {code}(" in tests, code
        if re.fullmatch(
            r"(configs|colabs|docs|tests|benchmarks|ops)/[\w/]+\.\w+", code
        ):
            places = ROOT / code, ROOT / "styleprompter_jax" / code
            assert any(place.exists() for place in places), code


def test_the_page_of_the_interface_is_current():
    """After a change of a docstring: python docs/api.py."""
    made = runpy.run_path(str(ROOT / "docs" / "api.py"))["make_page"]()
    assert (ROOT / "docs" / "api.md").read_text() == made
    assert "**`.sha256`**: `str`" in made  # a cached property is not called


@pytest.mark.parametrize("name", ["soak_training", "soak_buckets"])
def test_soaks_start(name):
    """`make soak` starts them by their paths: the checkout is not on Python's path."""
    command = [sys.executable, f"tests/{name}.py", "--help"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
