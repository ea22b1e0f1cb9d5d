"""A model to the Hugging Face Hub, with a card."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from flax.traverse_util import flatten_dict

from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.files import read_bytes
from styleprompter_jax.core.json_files import read_json
from styleprompter_jax.core.paths import AnyPath, scheme
from styleprompter_jax.core.sums import sha256
from styleprompter_jax.models.inverter import StylePrompterConfig
from styleprompter_jax.store import hub, model_folder
from styleprompter_jax.store.card import CARD, Facts, make_card
from styleprompter_jax.store.places import pin

NOTICE, METRICS, RUN = "NOTICE", "metrics.json", "config.json"
_TEXT = 2**20  # bytes of a card or notice
_AVATARS = model_folder.BUNDLED / "avatars64"


@dataclasses.dataclass(frozen=True)
class Pushed:
    """Where a model is now: by the name that `load` takes, and as a page."""

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
        model: which model, as `load` takes it.
        target: "hf://USER/NAME[/FOLDER]"; the repository is made if it is not there.
        private: nobody else may see the repository; refuses one that is public.
        metrics: metrics.json of `evaluate`, whose figures the card shows; by default
            the one in the model folder, if there is one.

    Raises:
        StylePrompterError: if the model is damaged, the figures are of another, or it
            cannot be uploaded.
    """
    repository = hub.parse(target)
    source = pin(model)
    folder = model_folder.find_model(source)
    config, variables, directions = model_folder.load_model(source)  # is whole
    files = {name: folder / name for name in model_folder.PARTS}
    files = {name: path for name, path in files.items() if path.is_file()}
    own = folder / CARD
    if own.is_file() and not scheme(source):
        card = read_bytes(own, _TEXT)
    else:
        run_record = _run_record(folder)
        figures, measured_on = _figures(folder, metrics)
        facts = Facts(
            name=str(dataclasses.replace(repository, revision="")),
            source=source
            if scheme(source) or folder.parent == model_folder.BUNDLED
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
    """Each part, the side of its images, and how many parameters it has."""
    found = []
    for part, tree in variables["params"].items():
        size = getattr(config.parts[part], "image_size", config.generator.image_size)
        count = sum(np.size(array) for array in flatten_dict(tree).values())
        found.append((part, size, count))
    return found


def _run_record(folder: Path) -> dict:
    """The config of the training that wrote the folder; {} where there is none."""
    try:
        record = read_json(folder.parent / RUN)
    except StylePrompterError:
        return {}
    known = isinstance(record.get("stage"), str) and isinstance(
        record.get("data"), dict
    )
    return record if known else {}


def _training(record: dict) -> list[tuple[str, str]]:
    """What others may know of a training: no path of the trainer's machine."""
    if not record:
        return []
    name = str(record["data"].get("name"))
    private = name in ("folder", "array_record")
    rows = [("stage", record["stage"])]
    rows += [("data", "pictures of a folder" if private else name)]
    rows += [(k, str(record[k])) for k in ("total_steps", "batch_size") if k in record]
    start = str(record.get("init_from") or "")
    start = record.get("sources", {}).get(start, start)
    if (
        scheme(start)
        or (model_folder.BUNDLED / Path(start).name / model_folder.CONFIG).is_file()
    ):
        rows += [("began with", start if scheme(start) else Path(start).name)]
    return rows


def _notice(folder: Path, record: dict) -> str:
    """Licence and attribution: the folder's own, or the avatars' if it is of them."""
    if (folder / NOTICE).is_file():
        return read_bytes(folder / NOTICE, _TEXT).decode(errors="replace")
    data = str(record.get("data", {}).get("name"))
    if data.partition("/")[0] == "avatars" or record.get("init_from") == "avatars64":
        return read_bytes(_AVATARS / NOTICE, _TEXT).decode()
    return ""


def _figures(folder: Path, given: AnyPath | None) -> tuple[dict, str]:
    """What `evaluate` measured of this model: numbers by part, and of which images."""
    file = Path(given) if given else folder / METRICS
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
            f"{file} is no result of `styleprompter evaluate`: name its metrics.json."
        ) from error
    if digest != sha256(folder / model_folder.MODEL):
        raise StylePrompterError(
            f"{file} is of another model than {folder}: run `styleprompter evaluate` "
            "with this one, or remove the file."
        )
    whose = f"of {data}, split {images.get('split')}" if data else "of one's own"
    return figures, f"{count:,} images {whose}"
