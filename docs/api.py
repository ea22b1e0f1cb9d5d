"""Writes docs/api.md from the docstrings, read from the sources without importing them.

python docs/api.py
"""

import ast
import re
import textwrap
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "styleprompter_jax"
PAGE = Path(__file__).with_name("api.md")

HEAD = """\
# The Python interface

Scripts and notebooks may rely on `import styleprompter_jax as sp` and on the names
below. `python docs/api.py` writes this page from the docstrings. `styleprompter COMMAND
--help` lists the options of a command. Images are float32 (b, s, s, 3) in [-1, 1],
unless a docstring gives another range. n is the number of W+ codes.
"""

# Beside what `sp` names: what one gets hold of through a model.
BEYOND = {
    "What a model holds": [
        ("editing.directions", "Direction"),
        ("models.inverter", "StylePrompterConfig"),
        ("models.encoders.swin", "SwinConfig"),
        ("models.encoders.swin", "SwinEncoder"),
        ("models.encoders.psp", "PspConfig"),
        ("models.encoders.psp", "PspEncoder"),
        ("models.refiners.smart", "SmartConfig"),
        ("models.refiners.smart", "Smart"),
        ("models.refiners.conv", "ConvConfig"),
        ("models.refiners.conv", "ConvRefiner"),
        ("models.generators.stylegan2", "GeneratorConfig"),
        ("models.generators.stylegan2", "Generator"),
    ],
    "Measuring": [
        ("evaluation.evaluate", "evaluate"),
        ("evaluation.evaluate", "measure"),
        ("evaluation.classifier", "load_classifier"),
        ("evaluation.editability", "editability"),
    ],
    "Keeping directions": [("store.direction_files", "save_directions")],
    "What the commands do": [
        ("app.invert", "invert"),
        ("app.edit", "edit"),
        ("app.mix", "mix"),
        ("app.evaluate", "evaluate"),
        ("app.compare", "compare"),
        ("app.directions", "find_directions"),
        ("app.convert", "convert"),
        ("app.convert", "export"),
        ("app.push", "push"),
        ("app.pack", "pack"),
        ("app.align", "align"),
        ("app.unalign", "unalign"),
        ("app.decoding", "Decoding"),
        ("app.pictures", "Made"),
    ],
}


def make_page() -> str:
    """The whole page."""
    parts = [HEAD]
    for name, module in public_names().items():
        parts += entry(f"sp.{name}", definition(module, name))
    for title, names in BEYOND.items():
        parts.append(f"## {title}\n")
        for module, name in names:
            node = definition(module, name)
            parts += entry(f"styleprompter_jax.{module}.{name}", node, level=3)
    return "\n".join(parts)


def public_names() -> dict[str, str]:
    """The names of the package and the modules that define them."""
    init = ast.parse((PACKAGE / "__init__.py").read_text())
    lazy = next(
        node.value
        for node in init.body
        if isinstance(node, ast.Assign) and node.targets[0].id == "_LAZY"
    )
    return ast.literal_eval(lazy) | {"StylePrompterError": "core.errors"}


def definition(module: str, name: str) -> ast.ClassDef | ast.FunctionDef:
    """The class or function of a module."""
    file = PACKAGE / f"{module.replace('.', '/')}.py"
    tree = ast.parse(file.read_text())
    return next(node for node in tree.body if getattr(node, "name", None) == name)


def entry(title: str, node, level: int = 2) -> list[str]:
    """What the page says of a class or function: lines of Markdown."""
    lines = [f"{'#' * level} `{title}`\n"]
    if isinstance(node, ast.FunctionDef):
        return [*lines, code(signature(node)), *prose(node)]
    init = next((m for m in node.body if getattr(m, "name", "") == "__init__"), None)
    if init:
        lines.append(code(signature(init, node.name)))
    elif fields := [part for part in node.body if isinstance(part, ast.AnnAssign)]:
        lines.append(code("\n".join(map(ast.unparse, fields))))
    lines += prose(node)
    for method in node.body:
        if isinstance(method, ast.FunctionDef) and is_public(method):
            decorators = {ast.unparse(d) for d in method.decorator_list}
            if decorators & {"property", "functools.cached_property"}:
                returned = ast.unparse(method.returns) if method.returns else ""
                lines.append(f"**`.{method.name}`**: `{returned}`\n")
            else:
                lines.append(f"**`.{method.name}`**\n\n{code(signature(method))}")
            lines += prose(method)
    return lines


def is_public(method: ast.FunctionDef) -> bool:
    """Whether it is for users; Flax's `setup` is not."""
    return method.name != "setup" and not method.name.startswith("_")


def signature(node: ast.FunctionDef, name: str = "") -> str:
    """name(arguments) -> result, on one line or with one argument a line."""
    name, given = name or node.name, arguments(node.args)
    returned = f" -> {unquoted(node.returns)}" if node.returns else ""
    line = f"{name}({', '.join(given)}){returned}"
    if len(line) <= 88:
        return line
    given = "".join(f"    {argument},\n" for argument in given)
    return f"{name}(\n{given}){returned}"


def arguments(given: ast.arguments) -> list[str]:
    """Each argument as it is written, without self and cls."""

    def written(argument, default=None):
        text = argument.arg
        if argument.annotation:
            text += f": {unquoted(argument.annotation)}"
        if default is None:
            return text
        equals = " = " if argument.annotation else "="
        return text + equals + ast.unparse(default)

    defaults = [None] * (len(given.args) - len(given.defaults)) + given.defaults
    found = [written(*pair) for pair in zip(given.args, defaults, strict=True)]
    found = [text for text in found if text not in ("self", "cls")]
    if given.vararg or given.kwonlyargs:
        found.append(f"*{given.vararg.arg if given.vararg else ''}")
    keywords = zip(given.kwonlyargs, given.kw_defaults, strict=True)
    found += [written(*pair) for pair in keywords]
    return found + ([f"**{given.kwarg.arg}"] if given.kwarg else [])


def unquoted(annotation: ast.expr) -> str:
    return ast.unparse(annotation).strip("'")


def code(text: str) -> str:
    """A block of code, with the quotes of the sources' style."""
    quoted = text.replace("'", '"')
    return f"```python\n{quoted}\n```\n"


def prose(node) -> list[str]:
    """A docstring as Markdown: its sections become lists."""
    lines = []
    for block in (ast.get_docstring(node) or "").split("\n\n"):
        head, _, body = block.partition("\n")
        if head in ("Args:", "Attributes:"):
            lines.append(f"{head}\n")
            for item in re.split(r"\n(?=\S)", textwrap.dedent(body)):
                names, _, text = item.partition(":")
                lines.append(f"- `{names}`: {flat(text)}")
            lines.append("")
        elif head in ("Returns:", "Raises:"):
            text = flat(body).replace("StylePrompterError: ", "`StylePrompterError` ")
            lines.append(f"{head} {text}\n")
        elif block:
            lines.append(f"{block}\n")
    return lines


def flat(text: str) -> str:
    return " ".join(text.split())


if __name__ == "__main__":
    PAGE.write_text(make_page())
