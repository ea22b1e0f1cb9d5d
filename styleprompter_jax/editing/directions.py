"""Directions in W+: steps in the codes of an image that change an attribute.

Axes: ``b`` images, ``n`` codes, ``w_dim`` channels of a code, ``r`` rank of a response,
``m`` samples, ``p`` columns of a design matrix.
"""

import dataclasses
import functools
import operator
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from styleprompter_jax.core.arrays import as_numbers
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.names import check_names
from styleprompter_jax.core.values import real, shown, whole
from styleprompter_jax.editing.responses import Response

_MOST_CODES = 2**15  # more codes than any generator has


@dataclasses.dataclass(frozen=True, eq=False)
class Direction:
    """A direction; an edit adds ``strength * vector`` to the codes.

    Attributes:
        vector: float32 (w_dim,), the same for every code, or (n, w_dim).
        layers: indices of the codes that it changes; None means all.
        range: the smallest and largest strengths that were found to work.
        strength: default strength of an edit and of its reverse.
        beta: SMART's option "beta", which becomes a part of `options`. In
            `dataclasses.replace` it wins over the old options; new options that
            contain "beta" win over it.
        origin: a description, for people, of how the direction was found.
        response: a step that depends on the codes, added to ``vector``; None adds
            nothing.
        options: the refiner's options for such edits, see `StylePrompter.decode`:
            {"beta": (0.5, 0.5)}. The refiner has defaults for other options.

    Raises:
        StylePrompterError: if a field has a wrong type or shape, or is not finite.
    """

    vector: np.ndarray
    layers: tuple[int, ...] | None = None
    range: tuple[float, float] = (-3.0, 3.0)
    strength: float = 1.0
    beta: dataclasses.InitVar[tuple[float, float] | None] = None
    origin: str = ""
    response: Response | None = None
    options: Mapping[str, float | tuple[float, ...]] = dataclasses.field(
        default_factory=dict
    )

    def __post_init__(self, beta: Any) -> None:
        vector = np.asarray(as_numbers(self.vector, "A direction's numbers"))
        if vector.ndim not in (1, 2) or not np.isfinite(vector).all():
            raise StylePrompterError(
                f"A direction has the shape {list(vector.shape)}: it must be a finite "
                "[w_dim] or [n, w_dim]."
            )
        if not isinstance(self.origin, str):
            raise StylePrompterError(
                f"A direction's origin is {shown(self.origin)}: it must be text."
            )
        if not isinstance(self.response, Response | None):
            raise StylePrompterError(
                f"A direction's response is {shown(self.response)}: it must be a "
                "Response or None."
            )
        layers = check_layers(self.layers, _MOST_CODES)
        for name, value in (
            ("vector", vector),
            ("layers", None if layers is None else tuple(layers)),
            ("range", _pair(self.range, "A direction's range")),
            ("strength", real(self.strength, "A direction's strength")),
            ("options", _plain(self.options, beta)),
        ):
            object.__setattr__(self, name, value)

    def per_code(
        self, num_codes: int, layers: Sequence[int] | None = None
    ) -> np.ndarray:
        """Returns float32 (n, w_dim), the vector for each of n codes.

        Codes that do not change have 0.

        Args:
            num_codes: n.
            layers: the codes to change, instead of the direction's own.
        """
        vector = np.broadcast_to(self.vector, (num_codes, self.vector.shape[-1]))
        return vector * self._chosen(num_codes, layers)

    def step(
        self, codes: jax.Array | np.ndarray, layers: Sequence[int] | None = None
    ) -> jax.Array | np.ndarray:
        """Computes the step (b or 1, n, w_dim) of an edit of strength 1.

        Args:
            codes: codes of images (b, n, w_dim).
            layers: the codes to change, instead of the direction's own.
        """
        num_codes = codes.shape[1]
        if self.response is None:
            return self.per_code(num_codes, layers)[None]
        step = self.vector + self.response(codes)
        return step * self._chosen(num_codes, layers)

    def _chosen(self, num_codes: int, layers: Sequence[int] | None) -> np.ndarray:
        """Returns (n, 1), 1 for the codes to change and 0 for the others."""
        layers = self.layers if layers is None else layers
        chosen = np.zeros((num_codes, 1), np.float32)
        chosen[slice(None) if layers is None else list(layers)] = 1
        return chosen


def _pair(value: Any, name: str) -> tuple[float, float]:
    try:
        first, second = value
    except (TypeError, ValueError) as error:
        raise StylePrompterError(
            f"{name} is {shown(value)}: it must be two numbers."
        ) from error
    return real(first, name), real(second, name)


# The value of this option when SMART was the only refiner.
_BETA = 1.0, 1.0
Direction.beta = property(  # type: ignore[attr-defined]  # an InitVar
    lambda self: self.options.get("beta", _BETA)
)


def check_layers(layers: Sequence[int] | None, num_codes: int) -> list[int] | None:
    """Returns indices of codes as a list; None, which means all, does not change.

    Raises:
        StylePrompterError: if an entry is not an index of ``num_codes`` codes.
    """
    if layers is None:
        return None
    if isinstance(layers, str | bytes) or np.ndim(layers) != 1:
        raise StylePrompterError(f"layers is {shown(layers)}: give a list of indices.")
    name = "An index in layers (--layers)"
    return [whole(layer, name, 0, num_codes - 1) for layer in layers]


def combine(
    weighted: Sequence[tuple[Direction, float]],
    num_codes: int,
    layers: Sequence[int] | None = None,
    options: Mapping[str, float | tuple[float, ...]] = {},
) -> Direction:
    """Combines several directions to one.

    Args:
        weighted: directions, each with its strength in an edit of strength 1; not all
            strengths are 0.
        num_codes: n.
        layers: the codes to change, instead of each direction's own.
        options: the refiner's own values, for directions without these options.

    Returns:
        A direction of (n, w_dim). In its range and at its strength, each direction
        stays within its own; if no strength is in all ranges, the range has its low
        end above its high end. Each option of the refiner has the smallest value among
        the directions.
    """
    responses = [
        (d.response, weight * d._chosen(num_codes, layers))
        for d, weight in weighted
        if d.response is not None
    ]
    # A weight of 0 sets no limit. With a negative weight, the low end is the limit.
    moved = [(d, weight) for d, weight in weighted if weight]
    lows, highs = zip(
        *(sorted(np.divide(d.range, weight)) for d, weight in moved), strict=True
    )
    return Direction(
        functools.reduce(
            operator.add, (w * d.per_code(num_codes, layers) for d, w in weighted)
        ),
        range=(max(lows), min(highs)),
        strength=min(d.strength / abs(weight) for d, weight in moved),
        options=_least([{**options, **d.options} for d, _ in moved]),
        response=_joined(responses) if responses else None,
    )


class _Options(dict):
    """Checked options; by this type, a direction knows options of an old direction."""


def _plain(options: Mapping, beta: Any) -> _Options:
    """Returns options of a refiner as Python numbers and tuples of them."""
    if not isinstance(options, Mapping):
        raise StylePrompterError(
            f"A direction's options are {shown(options)}: give numbers by name."
        )
    plain = _Options()
    for name, value in options.items():
        check = functools.partial(real, name=f"A direction's {name}")
        plain[str(name)] = tuple(map(check, value)) if np.ndim(value) else check(value)
    pair = _BETA if beta is None else _pair(beta, "A direction's beta")
    if beta is not None and isinstance(options, _Options):
        plain.pop("beta", None)  # `dataclasses.replace` passes the old options
    return plain if pair == _BETA else _Options({"beta": pair, **plain})


def _least(options: Sequence[Mapping]) -> dict:
    """Returns the smallest value of each named option, number by number."""
    names = dict.fromkeys(name for one in options for name in one)
    return {
        name: np.min([one[name] for one in options if name in one], axis=0)
        for name in names
    }


def _joined(responses: Sequence[tuple[Response, np.ndarray]]) -> Response:
    """Returns the sum of responses, each with the factors (n, 1) of its writes."""
    return Response(
        np.concatenate([response.reads for response, _ in responses]),
        np.concatenate([response.offsets for response, _ in responses]),
        np.concatenate([factors * response.writes for response, factors in responses]),
    )


def attribute_directions(name: str, labels: np.ndarray, source: str = "") -> list[str]:
    """Returns the names of an attribute's directions; see `directions_from_labels`.

    Raises:
        StylePrompterError: if a name is not valid; the message names ``source``.
    """
    names = [name]
    if labels.dtype.kind == "U":
        names = [f"{name}_{value}" for value in _values(labels)]
    check_names(names, source)
    return names


def _values(labels: np.ndarray) -> list[str]:
    return [str(value) for value in np.unique(labels) if value]


def directions_from_labels(
    codes: np.ndarray, attributes: Mapping[str, np.ndarray], origin: str = "labels"
) -> dict[str, Direction]:
    """Finds directions of labelled attributes by linear regression.

    The regression of the codes uses all attributes at once. So if glasses and beard
    often occur together in the data, each gets only its own effect. A coefficient is
    the step from "off" to "on": strength 1 turns an attribute on, and -1 turns it off.

    Args:
        codes: (m, n, w_dim).
        attributes: the labels (m,) of each attribute, by name. Booleans, or 1, 0 and
            NaN for unknown labels, give a direction NAME. Strings give a direction
            NAME_VALUE for each value: the step from the average of the other values to
            this value. "" means that the attribute does not apply to a sample.
        origin: a description to store with each direction.

    Raises:
        StylePrompterError: if an attribute has only one value, the labels do not
            separate two attributes, or the name of a direction would not be valid.
    """
    codes = np.asarray(as_numbers(codes, "The codes"))
    if codes.ndim != 3:
        raise StylePrompterError(
            f"The codes have the shape {list(codes.shape)}: it must be [m, n, w_dim]."
        )
    m = len(codes)
    design, steps = label_design(attributes, m)
    coefficients = np.linalg.lstsq(design, codes.reshape(m, -1), rcond=None)[0]
    coefficients = coefficients.reshape(-1, *codes.shape[1:])
    return {
        name: Direction(
            sum(weight * coefficients[column] for column, weight in step.items()),
            range=(-1.5, 1.5),
            origin=origin,
        )
        for name, step in steps.items()
    }


def label_design(
    attributes: Mapping[str, np.ndarray], m: int
) -> tuple[np.ndarray, dict[str, dict[int, float]]]:
    """Makes the design matrix (m, p) of the regression.

    Returns:
        The matrix, and for each direction the weights of columns whose coefficients
        make its vector.

    Raises:
        StylePrompterError: for the same faults of labels as `directions_from_labels`.
    """
    columns, steps = [np.ones(m)], {}
    for name, labels in attributes.items():
        labels = np.asarray(labels)
        if labels.shape != (m,):
            raise StylePrompterError(
                f"The labels of {name!r} have the shape {list(labels.shape)}, but "
                f"there are {m} codes: give one label for each code."
            )
        names = attribute_directions(name, labels)
        if twice := [step for step in names if step in steps]:
            raise StylePrompterError(
                f"Two attributes give a direction {twice[0]!r}: remove one of them."
            )
        if labels.dtype.kind != "U":
            known = ~np.isnan(labels.astype(np.float32))
            if len(np.unique(labels[known])) != 2:
                raise StylePrompterError(
                    f"{name!r} must be on in some samples and off in others: remove it "
                    "or give more samples."
                )
            if not known.all():
                columns.append(~known)
            steps[names[0]] = {len(columns): 1.0}
            columns.append(known & (labels == 1))
            continue
        values = _values(labels)
        if len(values) < 2:
            raise StylePrompterError(
                f"{name!r} has fewer than two values: remove it or give more samples."
            )
        if (labels == "").any():
            columns.append(labels == "")
        # Effect coding: the coefficients of the values have the sum zero, which gives
        # the last one.
        first, k = len(columns), len(values)
        for value in values[:-1]:
            columns.append((labels == value) * 1.0 - (labels == values[-1]))
        for i, step in enumerate(names):
            # The step from the mean of the other values, -c / (k - 1), to c.
            gain = k / (k - 1)
            own = {first + i: gain}
            last = dict.fromkeys(range(first, first + k - 1), -gain)
            steps[step] = own if i < k - 1 else last

    design = np.stack(columns, 1).astype(np.float64)
    if np.linalg.matrix_rank(design) < design.shape[1]:
        raise StylePrompterError(
            f"The labels of {m} samples do not separate {', '.join(attributes)}, "
            "because some occur only together: remove one or give more samples."
        )
    return design, steps
