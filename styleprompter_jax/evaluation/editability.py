"""Measures whether a direction changes the attribute that it names, and no other.

    latents = model.encode(images)
    result = editability(model, load_classifier(), latents, model.directions)

Axes: b images.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from styleprompter_jax.core.batches import pad, take
from styleprompter_jax.editing.directions import Direction
from styleprompter_jax.editing.latents import Latents
from styleprompter_jax.evaluation.classifier import Classifier
from styleprompter_jax.inversion.pipeline import StylePrompter


@dataclasses.dataclass(frozen=True)
class Edit:
    """The verdicts on b images before and after an edit along one direction.

    Attributes:
        edited: booleans (b,), whether the image did not show the direction's value.
        flipped: booleans (b,), whether the verdict became the wanted one.
        gain: float32 (b,), of the probability of the wanted value.
        kept: for each other attribute (b,): 1 if the image kept its verdict, else 0;
            NaN if it was not edited, or does not show the attribute before and after.
        strength: of the edit.
        options: of the refiner; {} without one.
    """

    edited: np.ndarray
    flipped: np.ndarray
    gain: np.ndarray
    kept: dict[str, np.ndarray]
    strength: float
    options: dict[str, Any]


def editability(
    model: StylePrompter,
    classifier: Classifier,
    latents: Latents,
    directions: Mapping[str, Direction],
    *,
    strengths: Mapping[str, float] | None = None,
    refine: bool | None = None,
    batch_size: int = 50,
    noise_mode: str = "const",
    rng: Any = None,
    **options: Any,
) -> dict[str, dict]:
    """Edits images along directions, and judges the change with a classifier.

    It compares an edit with the inversion of the same image, with SMART at full weight
    or without it. This inversion has the same weights for all `options`, so that
    results with different options judge the same edits against the same verdicts. A
    direction of an attribute that is on or off switches the attribute of each image,
    with the sign that this needs. A direction of one value among several edits only the
    images with another value, towards its value.

    Args:
        model: the model that renders; it needs a refiner unless `refine` is False.
        classifier: a classifier of the attributes.
        latents: latents of b images, from `model.encode`.
        directions: directions by the names of attributes ("smile"), or of attributes
            and values ("hair_color_red"); the function skips others.
        strengths: strengths of some directions, instead of their own.
        refine: False skips the refiner.
        batch_size: images rendered in a batch of one device.
        noise_mode: noise of all images, as for `StylePrompter.decode`.
        rng: key or seed of random noise, as for `StylePrompter.decode`.
        options: options of the refiner for all edits, instead of the directions' own.

    Returns:
        For each direction
            "count": number of edited images,
            "flipped": share of the edited images whose verdict became the wanted value,
            "moved": mean gain of the probability of the wanted value,
            "kept": for each other attribute, the share of edited images that kept its
                verdict, among those that show it before and after; None without such
                images,
            "strength" and, with a refiner, its options: SMART's "beta".
    """
    found = judge_edits(
        model,
        classifier,
        latents,
        directions,
        strengths=strengths,
        refine=refine,
        batch_size=batch_size,
        noise_mode=noise_mode,
        rng=rng,
        **options,
    )
    return {
        name: {
            "count": int(edit.edited.sum()),
            "flipped": _mean(edit.flipped[edit.edited]),
            "moved": _mean(edit.gain[edit.edited]),
            "kept": {k: _mean(v[~np.isnan(v)]) for k, v in edit.kept.items()},
            "strength": edit.strength,
            **edit.options,
        }
        for name, edit in found.items()
    }


def judged(
    classifier: Classifier, directions: Mapping[str, Direction]
) -> dict[str, Direction]:
    """Returns the directions whose names the classifier understands."""
    return {
        name: direction
        for name, direction in directions.items()
        if _meaning(name, classifier.values) is not None
    }


def judge_edits(
    model: StylePrompter,
    classifier: Classifier,
    latents: Latents,
    directions: Mapping[str, Direction],
    *,
    strengths: Mapping[str, float] | None = None,
    refine: bool | None = None,
    batch_size: int = 50,
    noise_mode: str = "const",
    rng: Any = None,
    **options: Any,
) -> dict[str, Edit]:
    """Makes the edits of `editability`; returns the verdicts on each image."""
    batch_size = min(batch_size, len(latents)) * model.devices.count
    how: dict[str, Any] = dict(refine=refine, noise_mode=noise_mode, rng=rng)

    def judge(latents: Latents, **options: Any) -> dict[str, np.ndarray]:
        rows = []
        for k in range(0, len(latents), batch_size):
            part = latents[k : k + batch_size]
            images = model.decode(pad(part, batch_size), **how, **options)
            rows.append(take(classifier.probabilities(images), len(part)))
        return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}

    before = judge(latents)
    results = {}
    for name, direction in directions.items():
        meaning = _meaning(name, classifier.values)
        if meaning is None:
            continue
        strength = (strengths or {}).get(name, direction.strength)
        signs = _signs(meaning, before, classifier.values)
        used = model.options_of(direction) | options
        after = judge(latents.edit(direction, signs * strength), **used)
        weights: dict[str, Any] = {}
        refiner = model.config.refiner
        if refine is not False and refiner is not None:
            weights = {**refiner.options, **used}
        results[name] = Edit(
            *_compare(meaning, before, after, classifier.values),
            float(strength),
            {k: np.asarray(v).tolist() for k, v in weights.items()},
        )
    return results


def agreement(
    classifier: Classifier, batches: Iterable, attributes: Mapping[str, np.ndarray]
) -> dict[str, float]:
    """Returns, for each attribute, the share of verdicts that equal the label.

    Args:
        classifier: the classifier; the function skips its attributes without labels.
        batches: batches of images (b, s, s, 3) in [-1, 1].
        attributes: labels of all images, by attribute. Labels that are no value of the
            classifier, such as "" for an unknown one, do not count.
    """
    verdicts = [classifier.verdicts(images) for images in batches]
    shares = {}
    for name, labels in attributes.items():
        known = np.isin(labels, classifier.values.get(name, ()))
        if known.any():
            found = np.concatenate([part[name] for part in verdicts])
            shares[name] = float(np.mean((found == labels)[known]))
    return shares


def _meaning(name: str, values: Mapping[str, tuple]) -> tuple[str, str | bool] | None:
    """Returns the attribute and the value in a direction's name, or None."""
    if set(values.get(name, ())) == {False, True}:
        return name, True
    for attribute, known in values.items():
        value = name.removeprefix(f"{attribute}_")
        if value != name and value in known:
            return attribute, value
    return None


def _signs(
    meaning: Any, probabilities: Mapping[str, np.ndarray], values: Mapping
) -> np.ndarray:
    """Returns (b,): 1 towards the direction's value, -1 away from it."""
    attribute, value = meaning
    chosen = probabilities[attribute].argmax(1)
    has_it = chosen == values[attribute].index(value)
    return np.where(has_it & (value is True), -1.0, 1.0)


def _compare(
    meaning: Any,
    before: Mapping[str, np.ndarray],
    after: Mapping[str, np.ndarray],
    values: Mapping,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Returns the first fields of `Edit`."""
    attribute, value = meaning
    known = {name: np.asarray(v) for name, v in values.items()}
    old = {name: known[name][p.argmax(1)] for name, p in before.items()}
    new = {name: known[name][p.argmax(1)] for name, p in after.items()}
    if value is True:
        edited, wanted = np.ones(len(old[attribute]), bool), ~old[attribute]
    else:
        edited = (old[attribute] != value) & (old[attribute] != "")
        wanted = np.full(len(edited), value)
    column = (known[attribute][:, None] == wanted).argmax(0)
    rows = np.arange(len(column))
    gain = (after[attribute] - before[attribute])[rows, column]
    kept = {}
    for name in known:
        if name != attribute:
            seen = edited & (old[name] != "") & (new[name] != "")
            kept[name] = np.where(seen, old[name] == new[name], np.nan)
    return edited, new[attribute] == wanted, gain, kept


def _mean(values: np.ndarray) -> float | None:
    return float(values.mean()) if len(values) else None
