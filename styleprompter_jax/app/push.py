"""`styleprompter push`: a model to the Hugging Face Hub, with a card."""

import dataclasses
from pathlib import Path

import numpy as np
from flax.traverse_util import flatten_dict

from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.files import read_bytes
from styleprompter_jax.core.json_files import read_json
from styleprompter_jax.core.paths import scheme
from styleprompter_jax.evaluation.protocol import sha256
from styleprompter_jax.store import hub, model_folder
from styleprompter_jax.store.card import CARD, Facts, make_card
from styleprompter_jax.store.places import pin

NOTICE, METRICS, RUN = "NOTICE", "metrics.json", "config.json"
_TEXT = 2**20  # bytes of a card or notice
_AVATARS = model_folder.BUNDLED / "avatars64"


def run(args):
    target = hub.parse(args.target)
    source = pin(args.model)
    folder = model_folder.find_model(source)
    config, variables, directions = model_folder.load_model(source)  # is whole
    files = {name: folder / name for name in model_folder.PARTS}
    files = {name: path for name, path in files.items() if path.is_file()}
    own = folder / CARD
    if own.is_file() and not scheme(source):
        card = read_bytes(own, _TEXT)
    else:
        run_record = _run_record(folder)
        figures, measured_on = _figures(folder, args.metrics)
        facts = Facts(
            name=str(dataclasses.replace(target, revision="")),
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
        target, files | {CARD: card}, stale=model_folder.PARTS, private=args.private
    )
    print(f"{done} holds the model: {hub.page(done)}")


def _parts(config, variables) -> list[tuple[str, object, int]]:
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


def _figures(folder: Path, given: str | None) -> tuple[dict, str]:
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
