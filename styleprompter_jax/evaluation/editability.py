"""Does a direction change what it is called after, and nothing else?

    latents = model.encode(images)
    result = editability(model, load_classifier(), latents, model.directions)

Axes: b images.
"""

from collections.abc import Iterable, Mapping

import numpy as np

from styleprompter_jax.editing.directions import Direction
from styleprompter_jax.evaluation.classifier import Classifier
from styleprompter_jax.latents import Latents
from styleprompter_jax.pipeline import StylePrompter


def editability(
    model: StylePrompter,
    classifier: Classifier,
    latents: Latents,
    directions: Mapping[str, Direction],
    *,
    strengths: Mapping[str, float] | None = None,
    beta: tuple[float, float] | None = None,
    refine: bool = True,
    batch_size: int = 50,
) -> dict[str, dict]:
    """Edits images along directions, and asks a classifier what that changed.

    An edit is compared with the inversion of the same image, with SMART at full weight
    or without it. A direction of an attribute that is on or off goes towards what the
    image is not, forth or back. A direction of one value among several goes towards
    it, in the images that show another.

    Args:
        model: what renders; with SMART unless `refine` is False.
        classifier: for the attributes in question.
        latents: of b images, from `model.encode`.
        directions: by the names of attributes ("smile"), or of attributes and values
            ("hair_color_red"); others are left out.
        strengths: how far to go along some directions, in place of their own.
        beta: SMART's weights for all edits, in place of those of the directions.
        refine: False leaves SMART out.
        batch_size: images rendered at once; a last, smaller batch is compiled anew.

    Returns:
        For each direction
            "count": edited images,
            "flipped": share of those whose verdict became what was wanted,
            "moved": mean gain of the probability of what was wanted,
            "kept": for each other attribute, the share of those that kept its verdict,
                of the images that show it before and after; None if there are none,
            "strength" and, with SMART, "beta".
    """
    meanings = {name: _meaning(name, classifier.values) for name in directions}
    parts = [latents[k : k + batch_size] for k in range(0, len(latents), batch_size)]
    before = [classifier.probabilities(model.decode(p, refine=refine)) for p in parts]
    results = {}
    for name, direction in directions.items():
        if meanings[name] is None:
            continue
        strength = (strengths or {}).get(name, direction.strength)
        weights = beta or direction.beta
        after = [
            classifier.probabilities(
                model.decode(
                    part.edit(
                        direction, _signs(meanings[name], old, classifier) * strength
                    ),
                    refine=refine,
                    beta=weights,
                )
            )
            for part, old in zip(parts, before, strict=True)
        ]
        results[name] = _compare(meanings[name], before, after, classifier) | {
            "strength": float(strength)
        }
        if refine:
            results[name]["beta"] = list(weights)
    return results


def agreement(
    classifier: Classifier,
    batches: Iterable,
    labels: Iterable[Mapping[str, np.ndarray]],
) -> dict[str, float]:
    """For each attribute how often the verdict is the label.

    Args:
        classifier: its attributes that have no labels are left out.
        batches: of images (b, s, s, 3) in [-1, 1].
        labels: of each batch, (b,) for each attribute.
    """
    right = {}
    for images, attributes in zip(batches, labels, strict=True):
        for name, verdict in classifier.verdicts(images).items():
            if name in attributes:
                right.setdefault(name, []).append(verdict == attributes[name])
    return {name: _mean(np.concatenate(rows)) for name, rows in right.items()}


def _meaning(name: str, values: Mapping[str, tuple]) -> tuple[str, str | bool] | None:
    """The attribute and the value that a direction is called after."""
    if set(values.get(name, ())) == {False, True}:
        return name, True
    for attribute, known in values.items():
        value = name.removeprefix(f"{attribute}_")
        if value != name and value in known:
            return attribute, value
    return None


def _signs(meaning, probabilities, classifier) -> np.ndarray:
    """(b,): 1 towards the direction's value, -1 away from it."""
    attribute, value = meaning
    chosen = probabilities[attribute].argmax(1)
    has_it = chosen == classifier.values[attribute].index(value)
    return np.where(has_it & (value is True), -1.0, 1.0)


def _compare(meaning, before, after, classifier) -> dict:
    attribute, value = meaning
    before, after = (
        {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        for parts in (before, after)
    )
    known = {name: np.asarray(values) for name, values in classifier.values.items()}
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
    for name in known.keys() - {attribute}:
        seen = edited & (old[name] != "") & (new[name] != "")
        kept[name] = _mean((old[name] == new[name])[seen])
    return {
        "count": int(edited.sum()),
        "flipped": _mean((new[attribute] == wanted)[edited]),
        "moved": _mean(gain[edited]),
        "kept": {name: kept[name] for name in known if name in kept},
    }


def _mean(values: np.ndarray) -> float | None:
    return float(values.mean()) if len(values) else None
