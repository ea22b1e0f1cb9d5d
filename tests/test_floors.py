"""The house of CONTRIBUTING.md: each floor imports from those below it; tidy files."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "styleprompter_jax"
CODE = ("styleprompter_jax", "tests", "benchmarks", "docs")
# From the ground up; modules on the same floor do not import each other.
FLOORS = (
    {"version", "large_pages"},
    {"core"},
    {"ops"},
    {"images", "models", "editing"},
    {"losses"},
    {"data", "store", "configs"},
    {"export"},
    {"convert", "training", "inversion"},
    {"evaluation", "search"},
    {"app"},
    {"web"},
    {"cli", "demo"},
    {"moved", "__main__"},
)
# The package itself says only where its names are.
ROOM = {name: floor for floor, names in enumerate(FLOORS) for name in names}


def imported(source: str):
    """Yields the package's files and folders that code imports, by name."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            # "from styleprompter_jax import bundle" is of bundle.
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            package, _, rest = name.partition(".")
            if package == PACKAGE.name and rest:
                yield rest.split(".")[0]


def arrows():
    """(file, its room, a room that it imports), for all code of the package."""
    for file in sorted(PACKAGE.rglob("*.py")):
        parts = file.relative_to(PACKAGE).parts
        room = parts[0].removesuffix(".py")
        if room != "__init__":
            for other in imported(file.read_text()):
                if other != room:
                    yield "/".join(parts), room, other


def test_no_arrow_runs_up():
    found = list(arrows())
    assert len(found) > 300  # it does read the code
    wrong = [
        f"{file} imports {other}"
        for file, room, other in found
        if not ROOM.get(other, len(FLOORS)) < ROOM.get(room, len(FLOORS))
    ]
    assert not wrong, "\n".join(wrong)


def test_every_room_has_a_floor():
    rooms = {path.name.removesuffix(".py") for path in PACKAGE.iterdir()}
    code = {room for room in rooms if (PACKAGE / room).is_dir() or
            (PACKAGE / f"{room}.py").is_file()}  # fmt: skip
    assert code - {"__init__", "__pycache__", "bundled"} == ROOM.keys()


# Below these, no code speaks to a person or ends the program.
FRONT_ENDS = {"cli", "demo", "__main__"}


def spoken(source: str):
    """Yields the parts of code that belong to a front end: print, argparse, exit."""
    tree = ast.parse(source)
    # Bytes for another program of ours, through a pipe, are not text for a user.
    piped = {node.value for node in ast.walk(tree)
             if isinstance(node, ast.Attribute) and node.attr == "buffer"}  # fmt: skip
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id="print" | "input" | "exit" as name)):
                yield f"{name}()"
            case ast.Import(names=names) if any(n.name == "argparse" for n in names):
                yield "argparse"
            case ast.ImportFrom(module="argparse"):
                yield "argparse"
            case ast.Attribute(value=ast.Name(id="sys"), attr=name):
                if name in ("exit", "stdout", "stderr") and node not in piped:
                    yield f"sys.{name}"


def test_front_ends_alone_speak_to_people():
    wrong = [
        f"{file.relative_to(PACKAGE)}: {what}"
        for file in sorted(PACKAGE.rglob("*.py"))
        if file.relative_to(PACKAGE).parts[0].removesuffix(".py") not in FRONT_ENDS
        for what in spoken(file.read_text())
    ]
    assert not wrong, "\n".join(wrong)


def test_what_is_spoken_is_seen():
    source = """
import argparse
def run(args):
    print(1, file=sys.stderr)
    sys.stdout.buffer.write(data)
    sys.exit(2)
"""
    assert sorted(spoken(source)) == ["argparse", "print()", "sys.exit", "sys.stderr"]


def test_imports_are_seen():
    source = """
import styleprompter_jax.ops.ssim
from styleprompter_jax import bundle
from styleprompter_jax.images.sheets import sheet
def later():
    from styleprompter_jax.data import avatars
"""
    assert list(imported(source)) == ["ops", "bundle", "images", "data"]


def code():
    """(name, text) of all files of Python."""
    for folder in CODE:
        for file in sorted((ROOT / folder).rglob("*.py")):
            yield file.relative_to(ROOT).as_posix(), file.read_text()


def test_no_file_is_long():
    lengths = {name: text.count("\n") for name, text in code()}
    assert len(lengths) > 250
    assert not {name: n for name, n in lengths.items() if n > 400}


def sections(docstring: str):
    """(the title of a section, spaces of its first line) of a cleaned docstring."""
    title = "^(Args|Attributes|Raises|Returns|Yields):\n( *)"
    return re.findall(title, docstring, flags=re.MULTILINE)


def test_sections_of_docstrings_are_4_spaces_in():
    wrong = []
    for name, text in code():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module):
                for title, spaces in sections(ast.get_docstring(node) or ""):
                    if len(spaces) != 4:
                        wrong.append(f"{name}: {getattr(node, 'name', '')}, {title}")
    assert not wrong, "\n".join(wrong)


def test_sections_are_seen():
    text = "What.\n\nArgs:\n  x: it.\n\nRaises:\n    ValueError: if.\n"
    assert sections(text) == [("Args", "  "), ("Raises", "    ")]
