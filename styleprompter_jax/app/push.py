"""Uploads a model to the Hugging Face Hub, with a model card."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from flax.traverse_util import flatten_dict

from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.fetch import local_copy
from styleprompter_jax.core.files import read_bytes
from styleprompter_jax.core.json_files import read_json
from styleprompter_jax.core.paths import AnyPath, scheme
from styleprompter_jax.core.sums import sha256
from styleprompter_jax.data.sources import OWN
from styleprompter_jax.models.inverter import StylePrompterConfig
from styleprompter_jax.store import hub, model_folder
from styleprompter_jax.store.card import CARD, Facts, make_card
from styleprompter_jax.store.places import pin

NOTICE, METRICS, RUN = "NOTICE", "metrics.json", "config.json"
_TEXT = 2**20  # largest size of a card or notice in bytes


@dataclasses.dataclass(frozen=True)
class Pushed:
    """The place of an uploaded model.

    Attributes:
        name: the name that `load` takes.
        page: the address of the web page.
    """

    name: str
    page: str


def push(
    model: AnyPath,
    target: str,
    *,
    private: bool = False,
    metrics: AnyPath | None = None,
) -> Pushed:
    """Uploads a model and its card.

    Args:
        model: name or path of the model, as `load` takes it.
        target: "hf://USER/NAME[/FOLDER]"; the function makes a missing repository.
        private: make the repository private; refuse a public one.
        metrics: metrics.json of `evaluate`; the card shows its figures. None for the
            file in the model folder, if there is one.

    Raises:
        StylePrompterError: if the model is damaged, the figures belong to another
            model or have no card to show them, or the upload fails.
    """
    repository = hub.parse(target)
    source = pin(model)
    folder = model_folder.find_model(source)
    own = folder / CARD
    by_hand = own.is_file() and not scheme(source)
    if by_hand and metrics:
        raise StylePrompterError(
            f"{own} is the model's card, and `push` adds no figures to it: remove "
            f"{CARD}, or leave out --metrics."
        )
    # Also checks that the model is complete.
    config, variables, directions = model_folder.load_model(source)
    files = {name: folder / name for name in model_folder.PARTS}
    files = {name: path for name, path in files.items() if path.is_file()}
    if by_hand:
        card = read_bytes(own, _TEXT)
    else:
        run_record = _run_record(folder)
        figures, measured_on = _figures(folder, metrics)
        facts = Facts(
            name=str(dataclasses.replace(repository, revision="")),
            source=source
            if _is_public(source) or folder.parent == model_folder.BUNDLED
            else "",
            parts=_parts(config, variables),
            z_dim=config.generator.z_dim,
            directions=[(k, d.strength, d.origin) for k, d in directions.items()],
            training=_training(run_record),
            figures=figures,
            measured_on=measured_on,
            notice=_notice(folder, run_record),
        )
        card = make_card(facts).encode()
    done = hub.upload(
        repository, files | {CARD: card}, stale=model_folder.PARTS, private=private
    )
    return Pushed(str(done), hub.page(done))


def _parts(
    config: StylePrompterConfig, variables: Mapping
) -> list[tuple[str, object, int]]:
    """Returns each part, the side of its images, and its number of parameters."""
    found = []
    for part, tree in variables["params"].items():
        size = getattr(config.parts[part], "image_size", config.generator.image_size)
        count = sum(np.size(array) for array in flatten_dict(tree).values())
        found.append((part, size, count))
    return found


def _run_record(folder: Path) -> dict:
    """Reads the config of the training that wrote the folder; {} without a config."""
    try:
        record = read_json(folder.parent / RUN)
    except StylePrompterError:
        return {}
    known = isinstance(record.get("stage"), str) and isinstance(
        record.get("data"), dict
    )
    return record if known else {}


def _training(record: dict) -> list[tuple[str, str]]:
    """Returns the public facts of a training, without the user's paths and buckets."""
    if not record:
        return []
    name = str(record["data"].get("name"))
    rows = [("stage", record["stage"])]
    rows += [("data", "images of a folder" if name in OWN else name)]
    rows += [(k, str(record[k])) for k in ("total_steps", "batch_size") if k in record]
    start = str(record.get("init_from") or "")
    start = record.get("sources", {}).get(start, start)
    name = Path(start).name
    if _is_public(start):
        rows += [("began with", start)]
    elif (model_folder.BUNDLED / name / model_folder.CONFIG).is_file():
        rows += [("began with", name)]
    return rows


def _is_public(name: str) -> bool:
    """Returns whether a model's name is one on the Hub, and not a path or a bucket."""
    return scheme(name) == "hf"


def _notice(folder: Path, record: dict) -> str:
    """Reads licence and attribution of the folder, or of the bundled models it uses.

    A training uses a bundled model if it began with it, or trained on its dataset.
    Returns "" without a notice.
    """
    if (folder / NOTICE).is_file():
        return read_bytes(folder / NOTICE, _TEXT).decode(errors="replace")
    used = [
        model_folder.bundled_for(str(record.get("data", {}).get("name"))),
        *(
            model_folder.BUNDLED / name
            for name in model_folder.BUNDLED_FOR.values()
            if name in (record.get("init_from"), record.get("init_trunk"))
        ),
    ]
    folders = dict.fromkeys(folder for folder in used if folder)
    texts = (read_bytes(folder / NOTICE, _TEXT).decode() for folder in folders)
    return "\n".join(texts)


def _figures(folder: Path, given: AnyPath | None) -> tuple[dict, str]:
    """Reads the metrics of this model, as `evaluate` wrote them.

    Returns:
        Numbers by part, and a description of the images.
    """
    file = local_copy(given) if given else folder / METRICS
    if not given and not file.is_file():
        return {}, ""
    results = read_json(file)
    try:
        digest = results["protocol"]["model"]["sha256"][model_folder.MODEL]
        images = results["protocol"]["images"]
        figures = {
            part: {k: v for k, v in values.items() if isinstance(v, int | float)}
            for part, values in results["unquantised"].items()
        }
        count, data = int(images["count"]), images.get("data")
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise StylePrompterError(
            f"{file} is not a metrics.json of `styleprompter evaluate`: name that file."
        ) from error
    if digest != sha256(folder / model_folder.MODEL):
        raise StylePrompterError(
            f"{file} belongs to another model than {folder}: run `styleprompter "
            "evaluate` with this model, or remove the file."
        )
    whose = f"of {data}, split {images.get('split')}" if data else "from local files"
    return figures, f"{count:,} images {whose}"
