"""Inverts images on the machines of a Ray cluster; Ray Data is the engine.

The images are divided into units. An actor inverts a unit and writes one shard, so
machines send no pixels to each other. Ray Data starts the actors, gives a unit to each
free actor, repeats the units of lost machines, and shows the progress. A shard's name
depends only on its images, so a repeated unit replaces its own shard.
"""

import dataclasses
import json
import logging
import os
import platform
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from styleprompter_jax.app.decoding import Decoding
from styleprompter_jax.app.pictures import Made, list_inputs, suffix_of
from styleprompter_jax.app.ray_cluster import connected, slots_of
from styleprompter_jax.core import buckets
from styleprompter_jax.core.batches import pad, take
from styleprompter_jax.core.compilation_cache import use_compilation_cache
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.fetch import local_copy
from styleprompter_jax.core.paths import AnyPath
from styleprompter_jax.core.results import ACCOUNT, sheet_sums
from styleprompter_jax.core.sums import arrays_sha256, sha256
from styleprompter_jax.data.sources import ARRAY_RECORD, ArrayRecordSource
from styleprompter_jax.editing.latents import Latents, concatenate
from styleprompter_jax.export.folder import is_export
from styleprompter_jax.images.batches import read_ahead, threads
from styleprompter_jax.images.files import image_content, to_uint8
from styleprompter_jax.images.find import EXTENSIONS
from styleprompter_jax.images.inputs import InputReader
from styleprompter_jax.inversion import calls
from styleprompter_jax.inversion.passes import check_iterations
from styleprompter_jax.store import model_folder, shards
from styleprompter_jax.store.places import pin
from styleprompter_jax.store.shard_folder import BucketShards, LocalShards, shard_folder

UNIT = 128  # number of images in a shard

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Sharded(Made):
    """The shards of this call, and the images in them.

    Attributes:
        count: number of images that this call inverted.
        before: number of images in shards that earlier calls finished.
    """

    count: int
    before: int


@dataclasses.dataclass(frozen=True)
class Plan:
    """The settings of all actors.

    Attributes:
        model: the name by which each machine finds the model.
        run: see `shards.write_shard`.
        folder: the folder of the shards.
        decoding: options for rendering.
        skip_bad: skip images that cannot be read.
    """

    model: str
    run: dict[str, Any]
    folder: LocalShards | BucketShards
    decoding: Decoding
    skip_bad: bool


def invert_on_ray(
    model: AnyPath,
    inputs: Sequence[AnyPath],
    output: AnyPath,
    *,
    address: str | None = None,
    features: bool = False,
    optimize: int = 0,
    input_kind: str | None = None,
    decoding: Decoding = Decoding(),
    format: str = "png",
    skip_bad: bool = False,
) -> Sharded:
    """Inverts the images that are not in a finished shard of the output.

    Args:
        model: a name as `load` takes it. Each machine must find the model by this name.
        inputs: files, folders and globs of images, and files of `pack`. Each machine
            must find them by the same paths. They may be in buckets.
        output: folder of the shards, which all machines share; it may be in a bucket.
        address: address of a Ray cluster, as `ray.init` takes it; None starts Ray on
            this machine.
        features: also store SMART's feature maps.
        optimize: steps of gradient descent that fit the codes of each image.
        input_kind: kind of the files; see `app.invert`.
        decoding: options for rendering.
        format: format of the inversions: "png", "jpg" or "webp".
        skip_bad: skip images that cannot be read, with a warning for each.

    Raises:
        StylePrompterError: if the output has shards of another run, an image cannot be
            read, a shard cannot be written, or Ray fails. Finished shards stay.
    """
    folder = shard_folder(output)
    plan = make_plan(
        model,
        folder,
        features=features,
        optimize=optimize,
        input_kind=input_kind,
        decoding=decoding,
        format=format,
        skip_bad=skip_bad,
    )
    local = folder.folder if isinstance(folder, LocalShards) else None
    found = _sources(inputs, local)
    with folder.owned():
        done = folder.finished(plan.run)
        units = [
            {"sources": [source for source in unit if source not in done]}
            for unit in (found[k : k + UNIT] for k in range(0, len(found), UNIT))
        ]
        units = [unit for unit in units if unit["sources"]]
        reports = []
        for report in _run(units, plan, address) if units else ():
            folder.check()
            reports.append(report)
    skipped = [reason for report in reports for reason in report["skipped"]]
    files = [folder.path(report["shard"]) for report in reports if report["count"]]
    before = sum(source in done for source in found)
    return Sharded(files, skipped, sum(r["count"] for r in reports), before)


def make_plan(
    model: AnyPath,
    folder: LocalShards | BucketShards,
    *,
    features: bool,
    optimize: int,
    input_kind: str | None,
    decoding: Decoding,
    format: str,
    skip_bad: bool,
) -> Plan:
    """Checks the arguments of `invert_on_ray`, and reads the model."""
    if decoding.noise_mode == "random":
        raise StylePrompterError(
            "Random noise depends on the batch of an image, and the engine chooses the "
            'batches: use noise_mode "const" or "none".'
        )
    source = _absolute(pin(model))
    if is_export(source):
        raise StylePrompterError(
            f"{source} is an exported model, which Ray's machines cannot run: leave "
            "out the engine (--engine ray), or name the model that it was exported "
            "from."
        )
    config, variables, _ = model_folder.load_model(source)
    kind = InputReader(config.input_shape, input_kind).kind
    calls.require(config, "encoder")
    suffix_of(format)  # refuses an unknown one
    run = {
        "model": arrays_sha256(model_folder.flat_arrays(variables)),
        "input_kind": kind,
        "refine": calls.refines(config, decoding.refine, decoding.refiner),
        "refiner": dict(decoding.refiner),
        "noise_mode": decoding.noise_mode,
        "dtype": decoding.dtype,
        "iterations": check_iterations(config, decoding.iterations),
        "optimize": optimize,
        "features": features,
        "format": format,
    }
    return Plan(source, run, folder, decoding, skip_bad)


def _absolute(name: str) -> str:
    """Returns a name that finds the same model in any working folder."""
    return os.path.abspath(name) if os.path.isdir(name) else name


def _sources(inputs: Sequence[AnyPath], output: Path | None) -> list[str]:
    """Returns the name of each image: its path, or its packed file and "#NUMBER"."""
    local = [entry for entry in inputs if not buckets.in_bucket(entry)]
    there = dict.fromkeys(entry for entry in inputs if buckets.in_bucket(entry))
    places = [str(path.absolute()) for path in list_inputs(local, output, warn=True)]
    places += [name for entry in there for name in _in_bucket(entry)]
    found: list[str] = []
    for place in dict.fromkeys(places):
        if place.endswith(ARRAY_RECORD):
            count = len(ArrayRecordSource(local_copy(place)))
            found += [f"{place}#{k}" for k in range(count)]
        else:
            found.append(place)
    for name in found:
        try:
            name.encode()
        except UnicodeEncodeError as error:
            raise StylePrompterError(
                f"{name!a} is not valid UTF-8, which shards need: rename the file."
            ) from error
    return found


def _in_bucket(entry: AnyPath) -> list[str]:
    """Returns the addresses of the images and packed files below an address."""
    address, known = buckets.parse(entry), EXTENSIONS | {ARRAY_RECORD}
    found = sorted(buckets.listing(address))
    sheets = _sheets(address, found)
    names = [
        name
        for name in found
        if Path(name).suffix.lower() in known and name not in sheets
    ]
    if found and not names:
        raise StylePrompterError(
            f"{address} has no images and no packed files: name another folder."
        )
    return [str(address / name) for name in names] or [str(address)]


def _sheets(address: buckets.Address, found: Sequence[str]) -> set[str]:
    """Returns the objects below an address that are sheets of results."""
    sheets = set()
    for account in (name for name in found if Path(name).name == ACCOUNT):
        for name, sums in sheet_sums(local_copy(str(address), account)).items():
            sheet = account.removesuffix(ACCOUNT) + name
            if sheet in found and sha256(local_copy(str(address), sheet)) in sums:
                sheets.add(sheet)
    return sheets


def _run(units: list[dict], plan: Plan, address: str | None) -> Iterator[dict]:
    """Yields the report of each unit."""
    with connected(address) as ray:
        slots, resources = slots_of(ray)
        actors = ray.data.ActorPoolStrategy(
            size=min(slots, len(units)), max_tasks_in_flight_per_actor=1
        )
        reports = ray.data.from_items(units, override_num_blocks=len(units)).map(
            Worker, fn_constructor_args=(plan,), compute=actors, **resources
        )
        for row in reports.iter_rows():
            report = json.loads(row["report"])
            if problem := report.get("problem"):
                raise StylePrompterError(problem)
            for reason in report["skipped"]:
                log.warning("Skipped: %s", reason)
            yield report


class Worker:
    """An actor: it loads the model at its first unit, and inverts one unit per call."""

    def __init__(self, plan: Plan):
        self._plan = plan
        self._model: Any = None
        self._packed: dict[str, ArrayRecordSource] = {}

    def __call__(self, unit: dict) -> dict:
        """Inverts a unit; returns {"report": JSON}."""
        try:
            report = self._invert(list(unit["sources"]))
        except StylePrompterError as error:
            # Return the error: Ray would wrap an exception, and might repeat the unit.
            report = {"problem": str(error)}
        return {"report": json.dumps(report)}

    def _invert(self, sources: list[str]) -> dict:
        plan, name = self._plan, shards.shard_name(sources)
        model, decoding = self._loaded(), plan.decoding
        size = decoding.batch(model, UNIT)
        reader = InputReader(model.config.input_shape, plan.run["input_kind"])
        kept: list[Latents] = []
        skipped: list[str] = []
        written: list[str] = []
        waiting: list = []

        def read(index: int) -> Any:
            try:
                return self._read(reader, sources[index])
            except StylePrompterError as error:
                if not plan.skip_bad:
                    raise
                return error

        with threads() as pool:
            for part, found in read_ahead(read, len(sources), size):
                good = [x for x in found if not isinstance(x, StylePrompterError)]
                skipped += [str(x) for x in found if isinstance(x, StylePrompterError)]
                written += [
                    source
                    for source, x in zip(sources[part], found, strict=True)
                    if not isinstance(x, StylePrompterError)
                ]
                if not good:
                    continue
                images = pad(reader.to_array(np.stack(good)), size)
                latents = model.encode(images, decoding.iterations)
                latents = decoding.fit(model, images, latents, plan.run["optimize"])
                made = model.shown(model.decode(latents, **decoding.options()))
                maps = latents.features if plan.run["features"] else ()
                kept.append(take(Latents(latents.w_plus, maps), len(good)))
                for pixels in to_uint8(take(made, len(good))):
                    waiting.append(
                        pool.submit(image_content, pixels, plan.run["format"])
                    )
            encoded = [future.result() for future in waiting]
        if kept:
            with plan.folder.file(name) as path:
                shards.write_shard(path, plan.run, written, encoded, concatenate(kept))
        return {"shard": name, "count": len(written), "skipped": skipped}

    def _loaded(self) -> Any:
        if self._model is None:
            use_compilation_cache()
            model = self._plan.decoding.loaded(self._plan.model)
            if model.sha256 != self._plan.run["model"]:
                raise StylePrompterError(
                    f"{self._plan.model} is another model on {platform.node()}: "
                    "copy the same model to each machine."
                )
            self._model = model
        return self._model

    def _read(self, reader: InputReader, source: str) -> np.ndarray:
        file, mark, index = source.rpartition("#")
        if not (mark and file.endswith(ARRAY_RECORD)):
            return reader.read(local_copy(source))
        if file not in self._packed:
            self._packed[file] = ArrayRecordSource(local_copy(file))
        pixels = self._packed[file][int(index)]["image"]
        return reader.fit(pixels, f"Image {index} of {file}")
