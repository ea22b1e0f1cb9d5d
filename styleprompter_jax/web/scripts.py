"""Code that makes the same results without the studio: Python, and commands.

The server does not know the names of uploads, so it calls them photo_1.png and so on.
"""

import dataclasses
import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from styleprompter_jax.web.limits import Refused

Weighted = Sequence[tuple[str, float]]
LINES = 4000  # of a script: each mix joins two, so mixes of mixes double it


@dataclasses.dataclass(frozen=True)
class Script:
    """Code that makes some latents.

    Attributes:
        python: lines that assign ``latents``, given ``model``.
        photo: the name of the encoded file; "" without one.
        before: commands that come before the last one.
        given: the input of the last command; "" if no command makes such latents.
        tuning: the option of `invert` that tunes; "" without tuning.
        fitting: the refiner's options of the last command's fit or tuning; None without
            one.

    Raises:
        Refused: if it has more than `LINES` lines.
    """

    python: tuple[str, ...]
    photo: str = ""
    before: tuple[str, ...] = ()
    given: str = ""
    tuning: str = ""
    fitting: list[str] | None = None

    def __post_init__(self) -> None:
        if len(self.python) > LINES:
            raise Refused(
                400,
                "These latents have too many mixes and edits behind them: the code "
                f"that makes them would have more than {LINES:,} lines.",
            )


def encoded(photo: str, size: int, points: Any, passes: int | None = None) -> Script:
    """Returns the code that encodes a photograph.

    Args:
        photo: the name of the photograph.
        size: side of the crop.
        points: (5, 2), the points of an aligned face; None for other images.
        passes: passes of the encoder; None for the model's own number.
    """
    more = f" --iterations {passes}" if passes else ""
    reading = (
        "images = sp.read_images([{!r}], model.image_size)",
        f"latents = model.encode(images{f', iterations={passes}' if passes else ''})",
    )
    if points is None:
        lines = reading[0].format(photo), reading[1]
        return Script(lines, photo, (), f"--input {photo}{more}")
    name = photo.partition(".")[0]
    marks = json.dumps({"pixels": [[round(float(v), 2) for v in p] for p in points]})
    file, folder = f"{name}.json", f"{name}_crop"
    crop = f"{folder}/{name}.png"
    return Script(
        (
            "from pathlib import Path",
            "from styleprompter_jax.app.align import align",
            f"Path({file!r}).write_text({marks!r})",
            f"align([{photo!r}], {folder!r}, landmarks={file!r}, size={size})",
            reading[0].format(crop),
            reading[1],
        ),
        crop,
        (
            f"echo {shlex.quote(marks)} > {file}",
            f"styleprompter align --input {photo} --landmarks {file} --size {size} "
            f"--output {folder}",
        ),
        f"--input {crop}{more}",
    )


def sampled(seed: int, truncation: float, z_dim: int) -> Script:
    """Returns the code that samples latents."""
    return Script(
        (
            "import numpy as np",
            f"z = np.random.default_rng({seed}).standard_normal((1, {z_dim}), 'f4')",
            f"codes = np.asarray(model.mapping(z, truncation_psi={truncation!r}))",
            "if codes.ndim == 2:",
            "    codes = codes[:, None].repeat(model.config.generator.num_codes, 1)",
            "latents = sp.Latents(codes)",
        )
    )


def fitted(script: Script, steps: int, refine: bool, options: Mapping) -> Script:
    """Returns the code that fits latents to their image."""
    arguments = ", ".join([f"images, latents, {steps}", *_arguments(refine, options)])
    line = f"latents = model.optimize({arguments})"
    # A command fits codes once, and before it tunes.
    can = script.given and script.fitting is None
    return dataclasses.replace(
        script,
        python=(*script.python, line),
        given=f"{script.given} --optimize {steps}" if can else "",
        fitting=_refining(refine, options),
    )


def tuned(script: Script, steps: int, refine: bool, options: Mapping) -> Script:
    """Returns the code that tunes the generator to an image."""
    arguments = ", ".join([f"targets, latents, {steps}", *_arguments(refine, options)])
    lines = (
        f"targets = sp.read_images([{script.photo!r}], model.config.shown_shape)",
        f"latents = model.tune({arguments}).latents",
    )
    refining = _refining(refine, options)
    # A command tunes once, with the options of its fit.
    can = not script.tuning and script.fitting in (None, refining)
    return dataclasses.replace(
        script,
        python=(*script.python, *lines),
        given=script.given if can else "",
        tuning=f"--tune {steps}",
        fitting=refining,
    )


def mixed(script: Script, other: Script, share: Sequence[float]) -> Script:
    """Returns the code that mixes in the codes of other latents."""
    shares = [round(float(value), 4) for value in share]
    # The mixes in `script` must not overwrite these codes.
    others = f"others_{1 + sum(line.startswith('others_') for line in script.python)}"
    return Script(
        (
            *other.python,
            f"{others} = latents",
            *script.python,
            "import dataclasses",
            "from styleprompter_jax.editing.mixing import mix",
            f"codes = mix(latents.w_plus, {others}.w_plus, {shares})",
            "latents = dataclasses.replace(latents, w_plus=codes)",
        ),
        script.photo,
    )


def edited(script: Script, weighted: Weighted) -> Script:
    """Returns the code that edits latents along directions."""
    if not weighted:
        return script
    parts = [f"    (model.directions[{name!r}], {w!r})," for name, w in weighted]
    return Script(
        (
            *script.python,
            "from styleprompter_jax.app.joined import joined",
            "moves = [",
            *parts,
            "]",
            "latents = latents.edit(joined(model, moves), 1.0)",
        ),
        script.photo,
    )


def python(
    model: str, script: Script, refine: bool, options: Mapping[str, Any], result: str
) -> str:
    """Returns a complete program in Python.

    Args:
        model: the name of the model.
        script: code that makes the latents.
        refine: whether to refine.
        options: all options of the refiner.
        result: the name of the file to write.
    """
    imports = dict.fromkeys(filter(_is_import, script.python))
    standard = sorted(line for line in imports if "styleprompter" not in line)
    own = sorted(line for line in imports if "styleprompter" in line)
    body = [line for line in script.python if not _is_import(line)]
    arguments = ", ".join(["latents", *_arguments(refine, options)])
    lines = [
        *standard,
        *([""] if standard else []),
        "import styleprompter_jax as sp",
        *own,
        "",
        f"model = sp.load({model!r})",
        *body,
        f"sp.write_images(model.decode({arguments}), [{result!r}])",
    ]
    return "\n".join(lines) + "\n"


def _arguments(refine: bool, options: Mapping[str, Any]) -> list[str]:
    if not refine:
        return ["refine=False"]
    return [f"{name}={value!r}" for name, value in options.items()]


def _is_import(line: str) -> bool:
    return line.startswith(("import ", "from "))


def command(
    model: str,
    script: Script,
    weighted: Weighted,
    refine: bool,
    options: Mapping[str, Any],
) -> str:
    """Returns commands that do the same; "" if no commands can.

    Args:
        model: the name of the model.
        script: code that makes the latents before the edits.
        weighted: names of directions, and strengths.
        refine: whether to refine.
        options: the options of the refiner that the user chose.
    """
    if not script.given:
        return ""
    named = f"--model {shlex.quote(model)}"
    refining, before = _refining(refine, options), list(script.before)
    given = [script.given, script.tuning] if script.tuning else [script.given]
    # A command fits, tunes and shows with the same options.
    apart = script.fitting not in (None, refining)
    if apart and not weighted:
        return ""  # only `edit` reads the latents of another command
    if weighted and (apart or script.tuning):
        kept = ["--features"] if refine else []
        fitting = ["styleprompter", "invert", named, *given, *(script.fitting or [])]
        before.append(_joined_lines([*fitting, *kept, "--output fitted"]))
        given = ["--latents fitted/latents.npz"]
    words = ["styleprompter", "edit" if weighted else "invert", named, *given]
    if len(weighted) == 1:
        ((name, weight),) = weighted
        # argparse takes -1e-05 for a value only after "=".
        words += [f"--direction {shlex.quote(name)}", f"--strength={weight!r}"]
    elif weighted:
        parts = " ".join(shlex.quote(f"{name}:{w!r}") for name, w in weighted)
        words += [f"--direction {parts}", "--together --strength 1"]
    words += [*refining, "--output results"]
    return "\n".join([*before, _joined_lines(words)]) + "\n"


def _refining(refine: bool, options: Mapping[str, Any]) -> list[str]:
    if not refine:
        return ["--no-refine"]
    return ["--refiner " + " ".join(map(_option, options.items()))] if options else []


def _joined_lines(words: Sequence[str]) -> str:
    """Returns a call on several lines."""
    return " \\\n    ".join([" ".join(words[:2]), *words[2:]])


def _option(named: tuple[str, Any]) -> str:
    name, value = named
    values = value if isinstance(value, Sequence) else [value]
    return shlex.quote(f"{name}=" + ",".join(f"{number!r}" for number in values))
