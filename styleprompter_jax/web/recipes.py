"""Looks up and checks the ids and names in recipes.

Axes: n codes.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from styleprompter_jax.app.joined import joined
from styleprompter_jax.core.refusal import quoted
from styleprompter_jax.editing import mixing
from styleprompter_jax.editing.directions import check_layers
from styleprompter_jax.editing.generator_change import GeneratorChange
from styleprompter_jax.editing.latents import Latents
from styleprompter_jax.images.files import to_uint8
from styleprompter_jax.inversion.pipeline import StylePrompter
from styleprompter_jax.ops.framing import framed
from styleprompter_jax.web import bodies, scripts
from styleprompter_jax.web.batcher import Work
from styleprompter_jax.web.limits import Refused
from styleprompter_jax.web.scripts import Script
from styleprompter_jax.web.sessions import Client
from styleprompter_jax.web.things import Codes


class Ready(NamedTuple):
    """A checked recipe.

    Attributes:
        codes: the stored latents of the recipe.
        latents: the latents after mix and edits.
        refine: whether the refiner is used.
        options: all options of the refiner.
        given: the options that the recipe names.
        weighted: names of directions, and strengths.
        script: code that makes the latents before the edits.
    """

    codes: Codes
    latents: Latents
    refine: bool
    options: dict[str, Any]
    given: dict[str, Any]
    weighted: scripts.Weighted
    script: Script


class Recipes:
    """Checks recipes for a model.

    Args:
        model: the model.
    """

    def __init__(self, model: StylePrompter):
        self._model = model
        refiner = model.config.refiner
        self._own = dict(refiner.options) if refiner is not None else {}

    def ready(self, client: Client, recipe: bodies.Recipe) -> Ready:
        """Checks a recipe of a client, and applies its mix and edits.

        Raises:
            StylePrompterError: if an id or a name is unknown, or a value is wrong.
        """
        model, codes = self._model, client.find(recipe.latents, Codes)
        latents, script = codes.latents, codes.script
        if recipe.mix is not None:
            other = client.find(recipe.mix.latents, Codes)
            share = self._share(recipe.mix)
            own, others = (np.asarray(x.w_plus) for x in (latents, other.latents))
            mixed = mixing.mix(own, others, share)
            latents = dataclasses.replace(latents, w_plus=mixed)
            script = scripts.mixed(script, other.script, share.tolist())
        known, edits = model.directions, recipe.edits
        if unknown := sorted(edits.keys() - known.keys()):
            raise Refused(400, f"The model has no direction {quoted(unknown[0])}.")
        weighted = [(name, edits[name]) for name in known if edits.get(name)]
        asked: dict[str, Any] = {}
        if weighted:
            direction, strength = known[weighted[0][0]], weighted[0][1]
            if len(weighted) > 1:
                pairs = [(known[name], w) for name, w in weighted]
                direction, strength = joined(model, pairs), 1.0
            latents = latents.edit(direction, strength)
            if not np.isfinite(latents.w_plus).all():
                raise Refused(
                    400,
                    "These edits give codes beyond float32: use smaller strengths.",
                )
            asked = model.options_of(direction)
        given = self._given(recipe)
        options = {k: _plain(v) for k, v in (self._own | asked | given).items()}
        refine = self._refine(codes, recipe.refine)
        return Ready(codes, latents, refine, options, given, weighted, script)

    def rendering(self, ready: Ready) -> tuple[Work, Any]:
        """Returns the batcher's work for a recipe, which gives uint8 (1, h, w, 3)."""
        refine, model = ready.refine, self._model
        rows: dict[str, Any] = {"w_plus": np.asarray(ready.latents.w_plus)}
        if refine:
            rows["features"] = tuple(ready.latents.features)
            # These are arrays, so that each row of a batch has its own values.
            rows["options"] = {
                name: tuple(np.full(1, number, np.float32) for number in value)
                if isinstance(value, tuple)
                else np.full(1, value, np.float32)
                for name, value in ready.options.items()
            }

        change = _change(ready.latents)

        def run(rows: Any) -> np.ndarray:
            latents = Latents(rows["w_plus"], rows.get("features", ()))
            if change is not None:
                latents = latents.changed(change)
            options = rows.get("options", {})
            images = model.decode(latents, refine=refine, **options)
            return to_uint8(framed(images, *model.config.shown_shape))

        # The program of a tuned generator also has the changed parameters as inputs.
        changed = change and tuple(sorted(change.deltas))
        return Work(("decode", refine, changed), change and id(change), run), rows

    def all_of(self, latents: Latents) -> Iterator[tuple[Work, Any]]:
        """Yields every kind of decoding that these latents can need."""
        codes = Codes(latents, None, Script(()))
        can = self._refine(codes, None)
        options = {name: _plain(value) for name, value in self._own.items()}
        for refine in {False, can}:
            yield self.rendering(
                Ready(codes, latents, refine, options, {}, [], Script(()))
            )

    def _share(self, mix: bodies.Mix) -> np.ndarray:
        """Returns (n,): the share of the other latents in each code."""
        n = self._model.config.generator.num_codes
        layers = check_layers(mix.layers, n)
        chosen = range(n) if layers is None else layers
        return np.isin(np.arange(n), chosen).astype(np.float32) * np.float32(mix.share)

    def _given(self, recipe: bodies.Recipe) -> dict[str, Any]:
        """Returns the refiner's options in a recipe, as `decode` takes them."""
        own, given = self._own, dict[str, Any]()
        if recipe.options and self._model.config.refiner is None:
            raise Refused(400, "This model has no refiner: leave out options.")
        if recipe.options and recipe.refine is False:
            raise Refused(
                400,
                "The recipe has options of the refiner, but its refine is false: "
                "leave out one of them.",
            )
        if unknown := sorted(recipe.options.keys() - own.keys()):
            raise Refused(400, f"The refiner has no option {quoted(unknown[0])}.")
        for name, value in recipe.options.items():
            count = np.size(own[name])
            if len(value) != count:
                raise Refused(400, f"{name} is a list of {count}, not of {len(value)}.")
            given[name] = value if np.ndim(own[name]) else value[0]
        return given

    def _refine(self, codes: Codes, asked: bool | None) -> bool:
        """Returns whether to refine; by default, true if these latents allow it."""
        encoder, refiner = self._model.config.encoder, self._model.config.refiner
        needs_maps = encoder is None or bool(encoder.feature_shapes)
        there = bool(codes.latents.features) or not (needs_maps or codes.crop is None)
        can = refiner is not None and there
        if asked and refiner is None:
            raise Refused(400, "This model has no refiner: leave out refine.")
        if asked and not can:
            raise Refused(
                400,
                "These latents cannot be refined: they are sampled, and have no "
                "feature maps of an image.",
            )
        return can if asked is None else asked


def _change(latents: Latents) -> GeneratorChange | None:
    """Returns the change of the generator for the latents of one image."""
    return None if latents.changes is None else latents.changes[0]


def _plain(value: Any) -> Any:
    """Returns an option as plain Python numbers."""
    return tuple(map(float, value)) if np.ndim(value) else float(value)


def arrays(latents: Latents) -> Latents:
    """Returns the same latents as NumPy arrays."""
    return jax.tree.map(np.asarray, latents)
