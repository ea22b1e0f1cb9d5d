"""Does the work of the requests, for many clients of one model.

This module does not know HTTP; see `api.py`.
"""

import asyncio
import contextlib
import dataclasses
import functools
import io
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np

from styleprompter_jax.app.edit import write_sweep
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.refusal import quoted
from styleprompter_jax.editing.latents import Latents
from styleprompter_jax.images import align, decode
from styleprompter_jax.images.animation import check_mp4
from styleprompter_jax.images.files import to_float
from styleprompter_jax.inversion.exported import ExportedModel
from styleprompter_jax.inversion.passes import check_iterations
from styleprompter_jax.inversion.pipeline import StylePrompter
from styleprompter_jax.web import answers, bodies, photographs, scripts
from styleprompter_jax.web.batcher import Batcher, Work
from styleprompter_jax.web.jobs import OVER, Job, Jobs
from styleprompter_jax.web.limits import Limits, Refused
from styleprompter_jax.web.photographs import Photographs
from styleprompter_jax.web.recipes import Recipes, arrays
from styleprompter_jax.web.sessions import Client, Clients
from styleprompter_jax.web.things import (
    MEDIA,
    SMALL,
    Codes,
    Crop,
    File,
    Photo,
    Picture,
    as_file,
    size_of,
)

T = TypeVar("T")


class Studio:
    """A model and its clients.

    Args:
        model: the model that all clients use.
        limits: the limits of the server.
    """

    def __init__(self, model: StylePrompter, limits: Limits):
        self.model, self.limits = model, limits
        self.clients = Clients(limits, forget=_cancel_jobs)
        # Larger images keep all cores busy, as `core.cpu_devices` says.
        small = max(model.config.shown_shape) <= 128
        threads = 2 if small and jax.default_backend() == "cpu" else 1
        self.batcher = Batcher(limits.waiting, limits.batch, threads)
        self.jobs = Jobs(limits)
        self.photographs = Photographs(model, limits)
        self._recipes = Recipes(model)
        self._pool = ThreadPoolExecutor(4, thread_name_prefix="pictures")

    def begin(self) -> threading.Thread:
        """Compiles the programs for the first user, in another thread."""
        # No daemon: the end of Python aborts the process if a daemon is compiling.
        thread = threading.Thread(target=self._warm, name="warm")
        thread.start()
        return thread

    def _warm(self) -> None:
        with contextlib.suppress(Exception):  # a request meets it again, and reports it
            self._compile()

    def _compile(self) -> None:
        cfg = self.model.config
        if self.photographs.encodes:
            images = np.zeros((1, *cfg.input_shape), np.float32)
            latents = arrays(self.model.encode(images))
        else:
            shape = 1, cfg.generator.num_codes, cfg.generator.w_dim
            latents = Latents(np.zeros(shape, np.float32))
        for work, rows in self._recipes.all_of(latents):
            work.run(rows)
        _ = self.photographs.face

    def close(self) -> None:
        """Ends all work; refuses the waiting requests."""
        self.jobs.stop()
        self.batcher.stop()
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def facts(self) -> answers.ModelFacts:
        """Returns the facts about the model for clients."""
        config, model = self.model.config, self.model
        refiner, photos = config.refiner, self.photographs
        directions: list[answers.DirectionFacts] = [
            {
                "name": name,
                "range": list(direction.range),
                "strength": direction.strength,
                "options": _lists(model.options_of(direction)),
                "origin": direction.origin,
            }
            for name, direction in model.directions.items()
        ]
        return {
            "model": model.source,
            "height": photos.shown[0],
            "width": photos.shown[1],
            "codes": config.generator.num_codes,
            "encodes": photos.encodes,
            "fits": photos.encodes and not isinstance(model, ExportedModel),
            "aligns": photos.encodes and photos.square,
            "passes": config.encoder.passes if config.encoder else 0,
            "examples": photos.examples,
            "animations": _animations(),
            "refiner": None
            if refiner is None
            else {"title": refiner.title, "options": _lists(refiner.options)},
            "directions": directions,
            "upload": {
                "bytes": self.limits.upload_bytes,
                "pixels": self.limits.pixels,
            },
        }

    async def example(self, number: int) -> bytes:
        """Draws an example face, and returns it as a PNG."""
        return await self._aside(self.photographs.example, number)

    async def upload(self, client: Client, data: bytes) -> answers.Uploaded:
        """Keeps an uploaded image, if it can be read."""
        name = f"photo_{client.number()}.png"
        photo, facts = await self._aside(self.photographs.read, data, name)
        return {"picture": self._keep(client, photo), **facts}

    async def shown(self, client: Client, name: str) -> tuple[bytes, str]:
        """Returns an image and its format: a crop, or a smaller photograph."""
        picture = client.find(name, Picture)
        if isinstance(picture, Photo):
            return await self._aside(photographs.preview, picture), "jpg"
        assert isinstance(picture, Crop)
        return await self._aside(as_file, picture.pixels, "png"), "png"

    async def align(self, client: Client, body: bodies.Align) -> answers.KeptPicture:
        """Crops a face."""
        photo = client.find(body.picture, Photo)
        crop = await self._aside(self.photographs.cut, photo, body.points)
        return {"picture": self._keep(client, crop)}

    async def encode(self, client: Client, body: bodies.Encode) -> answers.Encoded:
        """Encodes an image."""
        if not self.photographs.encodes:
            raise Refused(
                400, "This model does not encode photographs: sample instead."
            )
        picture, name = client.find(body.picture, Picture), body.picture
        if isinstance(picture, Photo):
            picture = await self._aside(self.photographs.middle, picture)
            name = self._keep(client, picture)
        assert isinstance(picture, Crop)
        passes = check_iterations(self.model.config, body.iterations)
        encode = functools.partial(self.model.encode, iterations=body.iterations)
        work = Work(("encode", passes), None, encode)
        latents = await self._compute(work, to_float(picture.seen[None]))
        script = scripts.encoded(
            picture.photo.name, len(picture.pixels), picture.points, body.iterations
        )
        kept = self._keep(client, Codes(latents, picture, script))
        return {"latents": kept, "picture": name}

    async def sample(self, client: Client, body: bodies.Sample) -> answers.KeptLatents:
        """Samples latents."""
        cfg = self.model.config.generator

        def draw() -> np.ndarray:
            normal = np.random.default_rng(body.seed).standard_normal
            z = normal((1, cfg.z_dim), np.float32)
            codes = np.asarray(self.model.mapping(z, body.truncation))
            return codes if codes.ndim == 3 else codes[:, None].repeat(cfg.num_codes, 1)

        latents = Latents(await self._aside(draw))
        script = scripts.sampled(body.seed, body.truncation, cfg.z_dim)
        return {"latents": self._keep(client, Codes(latents, None, script))}

    async def edit(self, client: Client, recipe: bodies.Recipe) -> answers.KeptLatents:
        """Keeps the codes of a recipe as new latents."""
        ready = await self._aside(self._recipes.ready, client, recipe)
        script = scripts.edited(ready.script, ready.weighted)
        latents = arrays(ready.latents)
        codes = dataclasses.replace(ready.codes, latents=latents, script=script)
        return {"latents": self._keep(client, codes)}

    async def decode(self, client: Client, body: bodies.Rendering) -> bytes:
        """Decodes a recipe, and returns the content of an image file."""
        pixels = await self._render(client, body.recipe)
        if pixels.size <= SMALL:  # not worth another thread
            return as_file(pixels, body.format)
        return await self._aside(as_file, pixels, body.format)

    async def unalign(self, client: Client, body: bodies.Unalign) -> bytes:
        """Decodes a recipe and pastes the result into its photograph."""
        crop = client.find(body.recipe.latents, Codes).crop
        if crop is None:
            raise Refused(400, "These latents are not of a photograph.")
        if not self.photographs.square:
            raise Refused(400, "Only square images are pasted back into photographs.")
        edited = await self._render(client, body.recipe)

        def paste() -> bytes:
            photo = io.BytesIO(crop.photo.data)
            with decode.decoded(photo, photographs.PHOTO) as pixels:
                done = align.unalign(pixels, edited, crop.quad, detail=body.detail)
                return as_file(done, body.format)

        return await self._aside(paste)

    async def save(self, client: Client, name: str) -> bytes:
        """Returns latents as the content of an .npz, for `Latents.load`."""
        codes, file = client.find(name, Codes), io.BytesIO()
        if codes.latents.changes is not None:
            raise Refused(
                400,
                "Latents of a tuned generator are not one file: use `styleprompter "
                "invert --tune`, which writes them with the change of the generator.",
            )
        features = codes.latents.features
        arrays = {
            "w_plus": codes.latents.w_plus,
            **{f"features_{k}": maps for k, maps in enumerate(features)},
            "source": self.model.source,
            "generator_sha256": self.model.generator_sha256,
        }
        np.savez(file, **arrays)  # type: ignore[arg-type]  # none is allow_pickle
        return file.getvalue()

    async def script(self, client: Client, recipe: bodies.Recipe) -> answers.Code:
        """Returns code that makes the result of a recipe."""
        ready = await self._aside(self._recipes.ready, client, recipe)
        edited = scripts.edited(ready.script, ready.weighted)
        name, refine = self.model.source or "MODEL", ready.refine
        return {
            "python": scripts.python(name, edited, refine, ready.options, "result.png"),
            "command": scripts.command(
                name, ready.script, ready.weighted, refine, ready.given
            ),
        }

    async def fit(self, client: Client, body: bodies.Fit) -> answers.Started:
        """Starts a job that fits codes to their image."""
        if isinstance(self.model, ExportedModel):
            self.model.optimize()  # raises the reason: it cannot

        def work(crop: Crop, *args: Any, **options: Any) -> Latents:
            return self.model.optimize(to_float(crop.seen[None]), *args, **options)

        return self._fitting(client, body, work, scripts.fitted)

    async def tune(self, client: Client, body: bodies.Fit) -> answers.Started:
        """Starts a job that tunes the generator to an image."""
        if isinstance(self.model, ExportedModel):
            self.model.tune()  # raises the reason: it cannot

        def work(crop: Crop, *args: Any, told: Any, **options: Any) -> Latents:
            def heard(done: int, loss: float) -> None:
                told(done)

            images = to_float(crop.pixels[None])
            return self.model.tune(images, *args, told=heard, **options).latents

        return self._fitting(client, body, work, scripts.tuned)

    def _fitting(
        self,
        client: Client,
        body: bodies.Fit,
        fit: Callable[..., Latents],
        written: Callable[..., scripts.Script],
    ) -> answers.Started:
        """Starts a job that fits codes or a generator to an image."""
        recipe = dataclasses.replace(body.recipe, mix=None, edits={})
        ready = self._recipes.ready(client, recipe)
        codes, crop, refine = ready.codes, ready.codes.crop, ready.refine
        if crop is None:
            raise Refused(400, "These latents are not of an image to fit to.")
        options = ready.given if refine else {}
        script = written(codes.script, body.steps, refine, options)

        def work(job: Job) -> None:
            how = {"refine": refine, "told": job.told, **options}
            fitted = arrays(fit(crop, codes.latents, body.steps, **how))
            if fitted.changes is not None:
                # Here, because other clients would wait for the compilation.
                for decoding, rows in self._recipes.all_of(fitted):
                    decoding.run(rows)
            job.latents = self._keep(client, Codes(fitted, crop, script))

        return self._start(client, body.steps, work)

    async def sweep(self, client: Client, body: bodies.Sweep) -> answers.Started:
        """Starts a job that makes an animation."""
        if body.format == "mp4":
            check_mp4()
        if body.direction not in self.model.directions:
            raise Refused(400, f"The model has no direction {quoted(body.direction)}.")
        low, high = self.model.directions[body.direction].range
        low = low if body.low is None else body.low
        high = high if body.high is None else body.high
        strengths = np.linspace(low, high, body.frames).tolist()

        def frame(strength: float, recipe: bodies.Recipe) -> bodies.Recipe:
            edits = recipe.edits | {body.direction: strength}
            return dataclasses.replace(recipe, edits=edits)

        most = frame(max(strengths, key=abs), body.recipe)
        ready, recipe = self._recipes.ready(client, most), body.recipe
        if ready.refine:
            # At the strength 0, the direction asks for no options: a frame would jump.
            own = ready.options.items()
            options = {k: tuple(np.atleast_1d(v).tolist()) for k, v in own}
            recipe = dataclasses.replace(recipe, options=options)
        recipes = [frame(strength, recipe) for strength in strengths]

        def work(job: Job) -> None:
            frames = []
            for done, recipe in enumerate(recipes):
                job.told(done)
                ready = self._recipes.ready(client, recipe)
                future = self.batcher.submit(
                    *self._recipes.rendering(ready), patient=True
                )
                frames.append(future.result()[0])
            # The writers of animations need a file; the block removes it at its end.
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / f"sweep.{body.format}"
                write_sweep(np.stack(frames), path)
                file = File(path.read_bytes(), MEDIA[body.format])
            job.file = self._keep(client, file)
            job.done = job.total

        return self._start(client, body.frames, work)

    def _start(
        self, client: Client, total: int, work: Callable[[Job], None]
    ) -> answers.Started:
        jobs = client.all_of(Job)
        over = [name for name, job in jobs.items() if job.state in OVER]
        for name in over[: -self.limits.jobs_kept]:
            client.drop(name, jobs[name].file)
        job = self.jobs.start(total, work, jobs.values())
        return {"job": self.clients.keep(client, job, 0)}

    async def _render(self, client: Client, recipe: bodies.Recipe) -> np.ndarray:
        """Decodes a recipe to uint8 (h, w, 3)."""
        ready = self._recipes.ready(client, recipe)
        return (await self._compute(*self._recipes.rendering(ready)))[0]

    async def _compute(self, work: Work, rows: Any) -> Any:
        return await asyncio.wrap_future(self.batcher.submit(work, rows))

    async def _aside(self, work: Callable[..., T], *args: Any) -> T:
        """Does work in a thread, so that it does not block other requests."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, work, *args)

    def _keep(self, client: Client, thing: Picture | Codes | File) -> str:
        return self.clients.keep(client, thing, size_of(thing))


def _animations() -> list[str]:
    """Returns the formats of animations that this installation can write."""
    try:
        check_mp4()
    except StylePrompterError:
        return ["gif"]
    return ["gif", "mp4"]


def _cancel_jobs(client: Client) -> None:
    for job in client.all_of(Job).values():
        job.cancel()


def _lists(options: Any) -> dict[str, list[float]]:
    """Returns the options of a refiner as lists of numbers."""
    return {name: np.atleast_1d(value).tolist() for name, value in options.items()}
