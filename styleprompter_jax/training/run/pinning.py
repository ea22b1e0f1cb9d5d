"""The models that a config names, and the commits that a run used."""

from collections.abc import Mapping
from typing import Any

from styleprompter_jax import losses
from styleprompter_jax.core.paths import scheme
from styleprompter_jax.store.places import pin

SOURCES = "sources"  # the key in a run's record


def pin_models(config: Any, known: Mapping[str, str]) -> tuple[Any, dict[str, str]]:
    """Returns a config that names every model on the Hub with its commit.

    Args:
        config: an ml_collections ConfigDict; stays as it is.
        known: by name, the pinned names of an earlier call, which this call uses too.

    Returns:
        The config, and the pinned names by those in ``config``.

    Raises:
        StylePrompterError: if there is no such model, or the Hub does not answer.
    """
    pinned, sources = config.copy_and_resolve_references(), {}
    loss = pinned.get("loss") or {}
    keys = [(pinned, "init_from"), (pinned, "init_trunk")]
    keys += [(loss, f"{name}_weights") for name in losses.PERCEPTUAL]
    for part, key in keys:
        name = part.get(key)
        if name and scheme(name):
            sources[name] = part[key] = known.get(name) or pin(name)
    return pinned, sources


def known_sources(record: Mapping) -> dict[str, str]:
    """Returns the result of `pin_models` for a run, from its record."""
    sources = record.get(SOURCES)
    if not isinstance(sources, dict):
        return {}
    return {key: name for key, name in sources.items() if isinstance(name, str)}
