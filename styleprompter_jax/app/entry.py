"""An entry of `compare`: a model and a procedure, and the text that names them."""

import contextlib
import dataclasses
import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax

from styleprompter_jax.app.decoding import Decoding
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.values import parsed_whole, shown, whole
from styleprompter_jax.evaluation.comparison import Procedure
from styleprompter_jax.inversion import calls
from styleprompter_jax.inversion.passes import check_iterations
from styleprompter_jax.inversion.pipeline import StylePrompter

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Entry:
    """A row of the comparison: a model and a procedure.

    Attributes:
        title: the text of the entry.
        name: name or path of the model.
        procedure: the way from images to latents.
        refine: False skips the refiner; None uses the value of the call.
        beta: the refiner's weights for inversions and edits; None uses the call's. An
            edit is compared with the inversion at full weights, see `editability`.
        latents: a file that `invert` wrote, which replaces the procedure; or None.
    """

    title: str
    name: str
    procedure: Procedure
    refine: bool | None = None
    beta: tuple[float, float] | None = None
    latents: str | None = None

    def decoding(self, given: Decoding) -> Decoding:
        """Returns the options of the call; the options of the entry replace them.

        The refiner has no options where it is skipped.
        """
        refine = given.refine if self.refine is None else self.refine
        refiner = {**given.refiner, **({"beta": self.beta} if self.beta else {})}
        refiner = {} if refine is False else refiner
        return dataclasses.replace(given, refine=refine, refiner=refiner)

    def without_passes(self) -> "Entry":
        """Returns the entry without passes of an encoder, which it does not use."""
        procedure = dataclasses.replace(self.procedure, iterations=None)
        return dataclasses.replace(self, procedure=procedure)

    @contextlib.contextmanager
    def naming(self) -> Iterator[None]:
        """Adds the text of the entry to the errors of a block."""
        try:
            yield
        except StylePrompterError as error:
            raise StylePrompterError(f"{self.title}: {error}") from error

    @classmethod
    def parse(cls, text: str, iterations: int | None = None) -> "Entry":
        """Parses "MODEL", "MODEL,tune=350" or "MODEL,beta=0.5:1,optimize=50".

        Args:
            text: the entry.
            iterations: passes of a ReStyle encoder, if the entry does not set them.

        Raises:
            StylePrompterError: for an unknown option, or a wrong value.
        """
        name, *options = text.split(",")
        if not name:
            raise StylePrompterError(
                f"{text!r} names no model: write MODEL or MODEL,OPTION=X."
            )
        found: dict[str, Any] = {}
        for option in options:
            key, equals, value = option.partition("=")
            if not equals or key not in _OPTIONS:
                raise StylePrompterError(
                    f"{option!r} in {text!r} is not an option of a model: write "
                    f"MODEL,OPTION=X with {', '.join(_OPTIONS)}, each at most once."
                )
            if key in found:
                raise StylePrompterError(
                    f"{key} is given twice in {text!r}: remove one of them."
                )
            found[key] = _OPTIONS[key](value, f"{key} of {_short(text)}")
        own = {key: found.pop(key, None) for key in ("refine", "beta", "latents")}
        if own["latents"] and found:
            raise StylePrompterError(
                f"{text!r} has latents and {', '.join(found)}, but stored latents are "
                "measured as they are: remove one of them."
            )
        if own["refine"] is False and own["beta"]:
            raise StylePrompterError(
                f"{text!r} has a beta of the refiner that refine=no skips: remove one "
                "of them."
            )
        found.setdefault("iterations", iterations)
        return cls(text, name, Procedure(**found), **own)


def warn_of_equals(
    entries: Sequence[Entry],
    loaded: Mapping[str, StylePrompter],
    decoding: Decoding,
    known: Mapping[str, Mapping],
) -> None:
    """Warns of entries that spell the same model and procedure in two ways.

    Args:
        entries: the entries.
        loaded: the models by name.
        decoding: the options of the call.
        known: the directions that are measured, by name of the model.
    """
    titles: dict[str, str] = {}
    for entry in entries:
        config, how = loaded[entry.name].config, entry.decoding(decoding)
        used = calls.check_options(config, how.refiner, 1)
        passes = check_iterations(config, entry.procedure.iterations)
        settings = [
            entry.name,
            entry.latents,
            dataclasses.replace(entry.procedure, iterations=passes),
            calls.refines(config, how.refine, how.refiner)
            and jax.tree.map(float, used),
            # An edit takes the options of its direction for those that are not given.
            bool(known[entry.name]) and how.refiner,
        ]
        other = titles.setdefault(repr(settings), entry.title)
        if other != entry.title:
            log.warning(
                "%r and %r are the same model with the same options, so their numbers "
                "agree: leave out one of them.",
                other,
                entry.title,
            )


def _short(text: str) -> str:
    """Returns an entry in quotes; a very long one, such as a number, is cut."""
    return repr(text) if len(text) <= 200 else shown(text)


def _steps(value: str, name: str) -> int:
    number = parsed_whole(value)
    return whole(value if number is None else number, name, 1, 2**31 - 1)


def _yes_or_no(value: str, name: str) -> bool:
    if value not in ("yes", "no"):
        raise StylePrompterError(f"{name} is {value!r}: choose yes or no.")
    return value == "yes"


def _pair(value: str, name: str) -> tuple[float, float]:
    texts = value.split(":")
    try:
        first, second = map(float, texts if len(texts) > 1 else texts * 2)
    except ValueError:
        first = second = math.nan
    if not math.isfinite(first + second):
        raise StylePrompterError(
            f"{name} is {value!r}: give a number, or two as in 1:0.5."
        )
    return first, second


def _file(value: str, name: str) -> str:
    if not value:
        raise StylePrompterError(f"{name} is empty: name a file that `invert` wrote.")
    return value


_OPTIONS: dict[str, Callable] = {
    "iterations": _steps,
    "optimize": _steps,
    "tune": _steps,
    "refine": _yes_or_no,
    "beta": _pair,
    "latents": _file,
}
