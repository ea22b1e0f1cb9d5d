"""Writes the README.md of a model on the Hub, from known facts only."""

import dataclasses
import re
from collections.abc import Mapping, Sequence

CARD = "README.md"
# Marks a card as ours, which the next upload may replace.
MARK = "<!-- By styleprompter push, which replaces it while this line is here. -->"
_HEAD = """\
---
library_name: styleprompter_jax
license: {licence}
pipeline_tag: image-to-image
tags:
- stylegan2
- gan-inversion
- image-editing
- jax
- flax
---
{mark}

# {title}

A model of [styleprompter_jax](https://github.com/styleprompter-jax/styleprompter_jax),
StylePrompter in JAX: it {does}.

```python
import styleprompter_jax as sp

model = sp.load("{name}")
{use}
```
"""
_INVERTS = """\
x = sp.read_images(["face.png"], model.image_size)
y, latents = model.invert(x{options})
sp.write_images(y, ["inverted.png"])"""
_SAMPLES = """\
w = model.mapping(z, truncation_psi=0.7)  # z: normal, (b, {z_dim})
y = model.synthesize(w)"""


@dataclasses.dataclass(frozen=True)
class Facts:
    """The facts in a model card.

    Attributes:
        name: the name of the model on the Hub, "hf://USER/NAME/FOLDER".
        source: the name of the uploaded model, if it is public; otherwise "".
        parts: (name, side of the images or "", number of parameters) of each part.
        z_dim: size of the generator's input.
        directions: (name, strength, origin) of each direction.
        training: facts of the training run beside the model: ("stage", "encoder"), ...
        figures: results of `evaluate`: {part: {metric: number}}.
        measured_on: a description of the images of the figures.
        notice: the text of licence and attribution; "" if unknown.
    """

    name: str
    source: str
    parts: Sequence[tuple[str, object, int]]
    z_dim: int
    directions: Sequence[tuple[str, float, str]] = ()
    training: Sequence[tuple[str, str]] = ()
    figures: Mapping[str, Mapping[str, float]] = dataclasses.field(default_factory=dict)
    measured_on: str = ""
    notice: str = ""


def make_card(facts: Facts) -> str:
    """Returns the card in Markdown, with the metadata that the Hub reads."""
    parts = [part for part, _, _ in facts.parts]
    inverts = "encoder" in parts
    has_refiner = bool(set(parts) - {"encoder", "generator"})
    options = "" if has_refiner else ", refine=False"
    head = _HEAD.format(
        licence=_licence(facts.notice),
        mark=MARK,
        title=_cell(facts.name.split("/")[-1]),
        does="inverts images into StyleGAN2, and edits them"
        if inverts
        else "generates images, and has no encoder",
        name=facts.name,
        use=(_INVERTS if inverts else _SAMPLES).format(
            options=options, z_dim=facts.z_dim
        ),
    )
    rows = [(part, f"{size} px", f"{count:,}") for part, size, count in facts.parts]
    lines = [head, "## Parts\n", *_table(("part", "images", "parameters"), rows)]
    if facts.source:
        lines += [f"The same as `{facts.source}`.\n"]
    if facts.directions:
        rows = [(name, f"{s:g}", origin) for name, s, origin in facts.directions]
        lines += ["## Directions\n"]
        lines += _table(("direction", "strength", "found from"), rows)
    if facts.training:
        lines += ["## Training\n", *_table(("", ""), facts.training)]
    if facts.figures:
        lines += ["## Figures\n", f"`styleprompter evaluate`, {facts.measured_on}:\n"]
        names = list(dict.fromkeys(name for f in facts.figures.values() for name in f))
        figures = [
            (name, *(_number(f.get(name)) for f in facts.figures.values()))
            for name in names
        ]
        lines += _table(("metric", *facts.figures), figures)
    lines += ["## Licence and attribution\n"]
    if facts.notice:
        lines += [f"```\n{facts.notice.strip().replace('```', '')}\n```\n"]
    else:
        lines += ["Not stated. Ask the publisher of the model.\n"]
    return "\n".join(lines)


def _licence(notice: str) -> str:
    """Returns the Hub's short name of a licence."""
    if not notice:
        return "unknown"
    return "cc-by-4.0" if "CC BY 4.0" in notice else "other"


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    lines += ["| " + " | ".join(map(_cell, row)) + " |" for row in rows]
    return [*lines, ""]


def _cell(value: object) -> str:
    """Escapes text, so that it stays in its cell and makes no link, tag or image."""
    text = " ".join(str(value).split())
    return re.sub(r"([\\`*_{}\[\]<>|#!&])", r"\\\1", text)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
