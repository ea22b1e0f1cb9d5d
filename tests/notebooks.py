"""Runs the code of a notebook in this process, as IPython would in its own.

It supports only the part of IPython's language that colabs/ use: calls of
`%styleprompter` with {expressions}, on several lines that end in a backslash. It skips
the first cell, which installs the package on Colab; `on_colab.py` runs this cell.
"""

import ast
import json
import re
import shlex
from pathlib import Path

COLABS = Path(__file__).parents[1] / "colabs"
REPOSITORY = "https://github.com/styleprompter-jax/styleprompter_jax"
REFUSED = "# To be refused:"  # on the line before a command that must fail
_COMMAND = re.compile(
    rf"^(?P<refused>{REFUSED}\n)?(?P<indent> *)%styleprompter (?P<line>(?:.*\\\n)*.*)$",
    re.MULTILINE,
)
_PARAMETER = re.compile(r"^(\w+) = (.*?)  # @param (.*)$", re.MULTILINE)


def cells(path: Path, kind: str = "code") -> list[str]:
    """The sources of a notebook's cells of one kind."""
    notebook = json.loads(path.read_text())
    return ["".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == kind]


def parameters(path: Path) -> dict[str, tuple[str, str]]:
    """Returns the form fields of a notebook: {name: (default, comment for Colab)}."""
    found = (_PARAMETER.findall(source) for source in cells(path))
    return {name: (value, form) for cell in found for name, value, form in cell}


def to_python(source: str) -> str:
    """The source of a cell with its commands as calls of `_command`."""

    def call(match):
        line = re.sub(r"\\\n *", "", match["line"])
        return f"{match['indent']}_command(f{line!r}, {match['refused'] is not None})"

    return _COMMAND.sub(call, source)


def filled(path: Path, values: dict) -> list[str]:
    """The code cells with form fields set by name."""
    unknown = values.keys() - parameters(path).keys()
    assert not unknown, f"{path.name} has no fields {unknown}"
    sources = cells(path)
    for name, value in values.items():
        field = re.compile(rf"^{name} = .*?(?=  # @param)", re.MULTILINE)
        line = f"{name} = {value!r}"
        sources = [field.sub(lambda _, line=line: line, source) for source in sources]
    return sources


def run(path: Path, values: dict) -> dict:
    """Runs all code cells but the first from top to bottom.

    Args:
        path: the notebook.
        values: form fields to set, by name.

    Returns:
        The notebook's variables.
    """
    namespace = {"__name__": "__main__", "_command": command}
    for number, source in enumerate(filled(path, values)[1:], start=1):
        execute(to_python(source), f"{path.name}, cell {number}", namespace)
    return namespace


def execute(source: str, name: str, namespace: dict) -> None:
    """Runs a cell, and makes the image that it would show."""
    tree, last = ast.parse(source), None
    if isinstance(tree.body[-1], ast.Expr):
        last = ast.Expression(tree.body.pop().value)
    exec(compile(tree, name, "exec"), namespace)
    if last is not None:
        value = eval(compile(last, name, "eval"), namespace)
        getattr(value, "_repr_png_", lambda: None)()


def command(line: str, refused: bool) -> None:
    """A call of the command line in this process; fails unless it ends as it should."""
    from styleprompter_jax.cli import main

    assert bool(main(shlex.split(line))) == refused, line
