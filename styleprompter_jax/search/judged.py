"""Fits directions to the verdicts of a classifier.

    found = fit_to_classifier(model, images, load_classifier(), ["smile"])

Labels give the mean change of the codes with an attribute. But the right change depends
on the image, and SMART copies details of the unedited image. Here, a classifier judges
the edited image itself, and the gradient goes through the generator and SMART.

A fit that may choose any codes finds images that fool the classifier. For this reason,
each step stays within the principal components of the images' codes. The classifier
sees the edited images shifted, mirrored, blurred, noisy, and lighter or darker. To
measure the result, use a classifier that the fit did not use.

Axes: b images of a step, m images, n codes, k principal components, r rank.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import optax

from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.names import check_names
from styleprompter_jax.core.programs import by_size
from styleprompter_jax.core.progress import Progress
from styleprompter_jax.core.seeds import key_of
from styleprompter_jax.core.spelling import another_spelling
from styleprompter_jax.core.values import real, whole
from styleprompter_jax.editing.directions import Direction, check_layers
from styleprompter_jax.inversion import calls
from styleprompter_jax.inversion.pipeline import StylePrompter
from styleprompter_jax.models import inverter
from styleprompter_jax.ops import descent
from styleprompter_jax.search.pairs import checked_images, in_batches, rendered
from styleprompter_jax.search.regression import principal, regressed

log = logging.getLogger(__name__)


class Judge(Protocol):
    """A differentiable classifier; see `evaluation.classifier.Classifier`."""

    values: dict[str, tuple]
    params: Any

    @staticmethod
    def varied_logits(params: Any, images: jax.Array, key: jax.Array) -> Any:
        """Computes logits (b, outputs) of images that are changed at random."""

    def verdicts(self, images: Any) -> dict[str, np.ndarray]:
        """Returns the most likely value (b,) of each attribute of images."""


class _Goal(NamedTuple):
    """The edits of m images that one direction makes.

    Attributes:
        name: of the direction.
        values: of the attribute.
        columns: the first and the end of the attribute's logits.
        rows: images to edit.
        own: (m,), the index of each image's value.
        wanted: (m,), the index of the value that an edit leads to.
        sign: (m,), of the direction: -1 switches an attribute off.
    """

    name: str
    values: tuple
    columns: tuple[int, int]
    rows: np.ndarray
    own: np.ndarray
    wanted: np.ndarray
    sign: np.ndarray

    def change(self, scores: np.ndarray) -> np.ndarray:
        """Computes the step of each row's edit between the mean scores of values."""
        means = np.zeros((len(self.values), scores.shape[1]))
        for k in np.unique(self.own):
            means[k] = scores[self.own == k].mean(0)
        own, wanted, sign = (x[self.rows] for x in (self.own, self.wanted, self.sign))
        return sign[:, None] * (means[wanted] - means[own])


class _How(NamedTuple):
    """The static arguments of a compiled step."""

    module: inverter.StylePrompter
    refine: tuple[bool, ...]
    size: tuple[int, int]  # height and width of the images
    logits: Callable
    keep: float


def fit_to_classifier(
    model: StylePrompter,
    images: Any,
    classifier: Judge,
    attributes: Sequence[str] = (),
    *,
    steps: int = 100,
    batch_size: int = 8,
    learning_rate: float = 0.05,
    keep: float = 0.02,
    rank: int = 16,
    layers: Sequence[int] | None = None,
    seed: int = 0,
    origin: str = "a classifier",
    **options: Any,
) -> dict[str, Direction]:
    """Fits a direction for each value of attributes that a classifier knows.

    The fit starts from the difference of the mean codes of two values, and continues
    with Adam. The loss is the cross-entropy of the classifier without the refiner and,
    if the model has a refiner, with it. An attribute that is on or off gives a
    direction NAME, which strength 1 switches on, and -1 off. Another attribute gives a
    direction NAME_VALUE for each value.

    Args:
        model: a model with an encoder.
        images: images (m, s, s, 3) in [-1, 1], s = model.image_size.
        classifier: the classifier; it also gives the values of the images.
        attributes: attributes of the classifier; () for all.
        steps: steps of gradient descent for each direction.
        batch_size: images in a step.
        learning_rate: learning rate of the first step, in deviations of the codes; it
            falls to zero along a cosine.
        keep: weight of the squared length of an edit, in deviations of the codes.
        rank: largest rank of the direction's response to the codes. An attribute of v
            values needs at most v - 2.
        layers: indices of the codes to change; None for all.
        seed: seed of the order of the images, and of their variation.
        origin: a note that the direction stores.
        options: options of the refiner for the edit, which the direction stores; by
            default the refiner's own for edits: SMART's beta is (0.5, 0.5).

    Raises:
        StylePrompterError: if the model has no encoder, or a number is out of its
            range; if the classifier does not know an attribute, or sees a value in none
            of the images; if images are fewer than 10, do not have the model's size or
            are not finite; if there are options, but no refiner.
    """
    images = checked_images(model, images)
    m, n = len(images), model.config.generator.num_codes
    steps, rank = whole(steps, "steps"), whole(rank, "rank")
    seed, layers = whole(seed, "seed"), check_layers(layers, n)
    batch_size = min(whole(batch_size, "batch_size", 1), m)
    learning_rate = real(learning_rate, "learning_rate", 0)
    keep = real(keep, "keep", 0)
    refiner = model.config.refiner
    options = calls.check_edit_options(model.config, options)
    verdicts = in_batches(classifier.verdicts, images, batch_size)
    goals = list(_goals(classifier.values, verdicts, attributes))
    latents = in_batches(model.encode, images, batch_size)
    components = principal(np.asarray(latents.w_plus))
    scores = components.scores
    if not scores.size:
        raise StylePrompterError(
            f"There are {m} images: give at least 10 that differ (--data, --count)."
        )
    chosen = np.isin(np.arange(n), range(n) if layers is None else layers)
    axes = (components.axes * chosen[:, None]).astype(np.float32)
    how = _How(
        inverter.StylePrompter(model.config),
        (False,) if refiner is None else (False, True),
        model.config.input_shape[:2],
        classifier.varied_logits,
        keep,
    )
    constants = model.variables, classifier.params, axes, options
    found = {}
    for goal in goals:
        change = goal.change(scores)
        most = sum(value != "" for value in goal.values) - 2
        vector, reads, offsets, writes = regressed(
            scores[goal.rows], change, min(rank, most)
        )
        read = (scores @ reads.T - offsets).astype(np.float32)
        fitted = jax.tree.map(jnp.float32, {"vector": vector, "writes": writes})
        state, rng = descent.start(fitted), np.random.default_rng(seed)
        key, b = key_of(seed), min(batch_size, len(goal.rows))
        bar = Progress(
            descent.rates(learning_rate, steps),
            total=steps,
            unit="step",
            desc=goal.name,
            leave=False,
        )
        with bar:
            for k, rate in enumerate(bar):
                rows = rng.choice(goal.rows, b, replace=False)
                batch = latents[rows], read[rows], goal.wanted[rows], goal.sign[rows]
                now = rate, jax.random.fold_in(key, k)
                fitted, state = _step(
                    b, how, goal.columns, constants, fitted, state, batch, now
                )
        vector, writes = (np.tensordot(x, axes, 1) for x in fitted.values())
        found[goal.name] = Direction(
            vector,
            None if layers is None else tuple(layers),
            range=(-1.5, 1.5),
            options=options,
            origin=origin,
            response=components.response(reads, offsets, writes)
            if len(offsets)
            else None,
        )
        log.info("%s: fitted to %d images.", goal.name, len(goal.rows))
    return found


def _goals(
    values: Mapping[str, tuple], verdicts: Mapping, wanted: Sequence[str]
) -> Iterator[_Goal]:
    """Yields the goal of each direction.

    The value "" means that an attribute is not visible. It is neither a goal nor the
    start of an edit.
    """
    if unknown := [name for name in wanted if name not in values]:
        raise StylePrompterError(
            f"The classifier does not know {unknown[0]!r}: it knows "
            f"{', '.join(values)}.{another_spelling(unknown[0], values)}"
        )
    ends = np.cumsum([len(known) for known in values.values()]).tolist()
    for (name, known), end in zip(values.items(), ends, strict=True):
        if wanted and name not in wanted:
            continue
        own = np.array([known.index(value) for value in verdicts[name].tolist()])
        visible = np.array([value != "" for value in known])
        if visible.sum() < 2:
            raise StylePrompterError(
                f"The classifier knows only one visible value of {name}: name other "
                "attributes."
            )
        if unseen := [known[k] for k in np.flatnonzero(visible) if k not in own]:
            raise StylePrompterError(
                f"The classifier sees {name} {unseen[0]!r} in none of {len(own)} "
                "images: give more images, or name other attributes."
            )
        switch = known == (False, True)
        for target in np.flatnonzero(visible)[switch:].tolist():
            aims = 1 - own if switch else np.full_like(own, target)
            direction = name if switch else f"{name}_{known[target]}"
            check_names([direction], "The classifier")
            yield _Goal(
                direction,
                known,
                (end - len(known), end),
                np.flatnonzero(visible[own] & (own != aims)),
                own,
                aims,
                np.where(aims == target, 1, -1).astype(np.float32),
            )


@by_size(static_argnums=(0, 1))
def _step(
    how: Any,
    columns: Any,
    constants: Any,
    fitted: Any,
    state: Any,
    batch: Any,
    now: Any,
) -> tuple[Any, Any]:
    variables, params, axes, options = constants
    latents, read, wanted, sign = batch
    rate, key = now

    def loss(fitted: Any) -> Any:
        step = fitted["vector"] + read @ fitted["writes"]
        total: Any = how.keep * jnp.square(step).sum(1).mean()
        codes = latents.w_plus + jnp.einsum("b,bk,knw->bnw", sign, step, axes)
        for refine in how.refine:
            edited = rendered(how, variables, latents, codes, refine, **options)
            logits = how.logits(params, edited, key)[:, slice(*columns)]
            entropy = optax.softmax_cross_entropy_with_integer_labels(logits, wanted)
            total += entropy.mean()
        return total

    return descent.descend(fitted, jax.grad(loss)(fitted), state, rate)
