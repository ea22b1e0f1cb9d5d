"""Networks, directions, classifiers and the protocol of `evaluate` and `compare`."""

import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from styleprompter_jax.app.decoding import Decoding
from styleprompter_jax.app.stored import described
from styleprompter_jax.convert.directions import named_directions
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.fetch import local_copy
from styleprompter_jax.core.paths import AnyPath, local_path
from styleprompter_jax.editing.directions import Direction
from styleprompter_jax.evaluation import classifier as classifiers
from styleprompter_jax.evaluation import protocol
from styleprompter_jax.export.folder import is_export
from styleprompter_jax.images.files import FILTER
from styleprompter_jax.inversion.devices import Devices, of_this_host
from styleprompter_jax.inversion.pipeline import StylePrompter
from styleprompter_jax.losses import PERCEPTUAL
from styleprompter_jax.ops.ssim import ms_ssim_weights
from styleprompter_jax.store import model_folder, network_folder
from styleprompter_jax.store.places import MANIFEST, local_folder, pin

# The metrics of an image that need a network, by the kind of the network.
NEEDED = {loss.kind: loss.metric for loss in PERCEPTUAL.values()}


def without_networks(
    found: Collection[str], needed: Mapping[str, str] = NEEDED
) -> dict[str, str]:
    """Returns the metrics whose network is missing, and how to get them.

    Args:
        found: kinds of the given networks.
        needed: metrics by the kind of network that they need.
    """
    return {
        name: f"needs a network of the kind {kind}: convert the published file with "
        "`styleprompter convert FILE FOLDER`, and give the folder to --networks; "
        "docs/weights.md lists the files"
        for kind, name in needed.items()
        if kind not in found
    }


def without_edits(
    has_directions: bool, classifier: classifiers.Classifier | None = None
) -> dict[str, str]:
    """Returns why no edits were judged, and what they need."""
    if not has_directions:
        why = "the model has no directions: find some with `styleprompter directions`"
    elif classifier:
        why = (
            f"the classifier knows only {', '.join(classifier.values)}, and no "
            "direction has such a name: give another one to --classifier"
        )
    else:
        why = (
            "needs a classifier: name a bundled one (--classifier "
            f"{' or '.join(model_folder.BUNDLED_FOR)}), or train one with "
            "`python -m styleprompter_jax.cli.train_classifier`"
        )
    return {"edits": why}


def load_networks(named: Sequence[AnyPath]) -> tuple[list[str], dict]:
    """Loads fixed networks onto the devices; returns their places, and them by kind.

    Raises:
        StylePrompterError: if a folder cannot be read, or two networks have one kind.
    """
    places, found = [pin(place) for place in named], {}
    devices = Devices(of_this_host())
    for place in places:
        kind = network_folder.NETWORKS[network_folder.network_name(place)].kind
        if kind in found:
            raise StylePrompterError(
                f"--networks names two networks of the kind {kind}: remove one of them."
            )
        module, variables = network_folder.load_network(place, kind)
        found[kind] = module, devices.replicate(variables)
    return places, found


def _network_hashes(places: Sequence[str]) -> dict[str, dict]:
    """Returns the source and the SHA-256 of the files of each network, by its name."""
    return {
        network_folder.network_name(at): hashes(local_folder(at)) | {"source": at}
        for at in places
    }


def conditions(
    size: int,
    shape: tuple[int, int],
    places: Sequence[str],
    classifier: Path | None,
    decoding: Decoding,
) -> dict[str, Any]:
    """Returns the part of a protocol that all measurements share.

    Args:
        size: width of the compared images.
        shape: height and width of the compared images.
        places: places of the networks.
        classifier: file of the classifier that judges edits, if any.
        decoding: options for rendering.
    """
    return {
        "size": size,
        "resizing": f"PIL {FILTER.name.lower()}, antialiased",
        "mse": "on the scale of [-1, 1]",
        "ms_ssim_scales": len(ms_ssim_weights(min(shape))),
        "networks": _network_hashes(places),
        "classifier": classifier and protocol.sha256(classifier),
        "batch_size": decoding.batch_size,
        "dtype": decoding.dtype,
        "versions": protocol.versions(),
        "device": protocol.device(),
    }


def directions_of(
    names: Sequence[AnyPath] | None, model: StylePrompter
) -> tuple[dict[str, Direction], dict[str, dict | None]]:
    """Returns directions by their names, and the file of each for a protocol.

    Args:
        names: names of the model's directions, or files; None for all of the model.
        model: the model.

    Returns:
        The directions, and for each the file with its SHA-256; None for a direction of
        the model, whose files the protocol has.

    Raises:
        StylePrompterError: if a direction does not exist, or two have one name.
    """
    if names is None:
        return model.directions, dict.fromkeys(model.directions)
    shape = model.config.generator.num_codes, model.config.generator.w_dim
    found = named_directions(names, model.directions, *shape)
    return found, {
        name: None if os.fspath(given) in model.directions else described(given)
        for name, given in zip(found, names, strict=True)
    }


def classifier_of(given: AnyPath | None, data: str | None) -> Path | None:
    """Returns the file of the classifier that judges edits.

    Args:
        given: the file, or "avatars" or "cells" for a bundled one.
        data: the dataset of the images, which may have a bundled one.
    """
    name = os.fspath(given) if given else data
    if given and name not in model_folder.BUNDLED_FOR:
        return local_copy(given)
    bundled = model_folder.bundled_for(name) if name else None
    return bundled / classifiers.CLASSIFIER if bundled else None


def check_judged(
    directions: Sequence[str],
    named: Mapping[str, Mapping],
    judge: classifiers.Classifier | None,
    known: Mapping[str, Mapping],
) -> None:
    """Refuses given directions whose edits cannot be judged.

    Args:
        directions: the directions, as the call names them.
        named: by model, the given directions by their names.
        judge: the classifier, if any.
        known: by model, the directions that are judged.
    """
    if judge is None:
        raise StylePrompterError(
            f"--direction {directions[0]} cannot be measured without a classifier of "
            "edits: give one to --classifier, or leave out --direction."
        )
    for name, own in named.items():
        if lost := sorted(own.keys() - known[name].keys()):
            raise StylePrompterError(
                f"--direction {lost[0]} cannot be measured, because the classifier "
                f"knows only {', '.join(judge.values)}: leave it out, or give another "
                "--classifier."
            )


def hashes_of(model: StylePrompter) -> dict[str, str]:
    """Returns the SHA-256 of each file that a loaded model was read from."""
    if is_export(model.source):
        # The manifest has the SHA-256 of all other files.
        return {MANIFEST: protocol.sha256(local_path(model.source) / MANIFEST)}
    return hashes(model_folder.find_model(model.source))


def hashes(folder: Path) -> dict[str, str]:
    """Returns the SHA-256 of each file of a model's or network's folder."""
    files = (folder / name for name in (model_folder.MODEL, model_folder.DIRECTIONS))
    return {file.name: protocol.sha256(file) for file in files if file.is_file()}
