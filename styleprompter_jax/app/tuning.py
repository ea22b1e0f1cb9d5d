"""Tunes generators to images, and stores each change in a file."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import flax.linen as nn
import numpy as np

from styleprompter_jax.app.decoding import Decoding
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.paths import AnyPath
from styleprompter_jax.core.progress import Progress
from styleprompter_jax.core.results import Results
from styleprompter_jax.core.sums import arrays_sha256, json_sha256
from styleprompter_jax.core.values import real, whole
from styleprompter_jax.editing.directions import check_layers
from styleprompter_jax.editing.generator_change import GeneratorChange
from styleprompter_jax.editing.latents import Latents
from styleprompter_jax.images.inputs import InputReader
from styleprompter_jax.inversion import calls
from styleprompter_jax.inversion.pipeline import StylePrompter
from styleprompter_jax.store.model_folder import flat_arrays
from styleprompter_jax.store.network_folder import load_network
from styleprompter_jax.store.places import pin


class Tuner:
    """Tunes the generators of a model; the constructor checks the arguments.

    Args:
        model: the model with the original generator.
        decoding: options for rendering; the locality term uses the seed too.
        steps: the largest number of steps, 1 or more.
        input_kind: kind of the inverted files, see `images.inputs`.
        layers: indices of the codes whose layers are tuned; None for all.
        locality: weight of the locality term.
        network: folder of a network for LPIPS; None for 1 - SSIM.
        half: store the changes in float16.

    Raises:
        StylePrompterError: if a number is out of its range, the files are not colour
            images, or the network cannot be read.
    """

    def __init__(
        self,
        model: StylePrompter,
        decoding: Decoding,
        steps: int,
        *,
        input_kind: str = "picture",
        layers: Sequence[int] | None = None,
        locality: float = 0.0,
        network: AnyPath | None = None,
        half: bool = False,
    ):
        self._model, self._dtype = model, "float16" if half else "float32"
        if input_kind != "picture":
            raise StylePrompterError(
                "A generator is tuned to pictures, and not to files of the kind "
                f"{input_kind!r}: leave out tune (--tune), or invert pictures."
            )
        height, width = calls.target_size(model.config)
        self._read = InputReader((height, width, 3))
        self._options: dict[str, Any] = dict(
            steps=whole(steps, "steps", 1),
            layers=check_layers(layers, model.config.generator.num_codes),
            locality=real(locality, "locality (--locality)", 0),
            batch_size=decoding.batch_size,
            seed=decoding.seed,
            **decoding.fitting(),
        )
        self._network: tuple[nn.Module, Mapping] | None = None
        digest = ""
        if network is not None:
            module, variables = load_network(pin(network), "lpips")
            self._network = module, model.devices.replicate(variables)
            digest = arrays_sha256(flat_arrays(variables))
        self._digest = digest
        self._compiled = False

    def targets(self, paths: Sequence[Path], images: np.ndarray) -> np.ndarray:
        """Reads images at the size of the generator's images.

        Args:
            paths: m files.
            images: (m or more, h, w, 3), the inputs of the encoder.

        Returns:
            (m, t, t', 3) in [-1, 1]: the inputs themselves if they have this size.
        """
        if images.shape[1:] == self._read.shape:
            return images[: len(paths)]
        return self._read.to_array(np.stack([self._read(path) for path in paths]))

    def __call__(
        self,
        images: np.ndarray,
        latents: Latents,
        file: Path,
        place: Results,
    ) -> Latents:
        """Tunes a generator and stores its change.

        Args:
            images: (b, t, t', 3), as `StylePrompter.tune` takes them.
            latents: the latents of these images.
            file: file of the change. If it exists, and has the change for the same
                images and options, this method reads it and does not tune again.
            place: the folder of the results.

        Returns:
            The latents with the change.
        """
        origin = self._origin(images, latents)
        if (change := self._kept(file, origin)) is None:
            steps = self._options["steps"]
            title = file.stem if self._compiled else f"{file.stem}, compiling the step"
            bar = Progress(desc=title, total=steps, unit="step", leave=False)

            def told(step: int, loss: float) -> None:
                self._compiled = True
                bar.set_description(file.stem, refresh=False)
                bar.set_postfix(loss=f"{loss:.4g}", refresh=False)
                bar.update()

            with bar:
                tuned = self._model.tune(
                    images,
                    latents,
                    network=self._network,
                    told=told,
                    **self._options,
                )
            # The images must use the rounded numbers of the file.
            change = dataclasses.replace(tuned.change, origin=origin)
            change = change.rounded(self._dtype)
            with place.writing(file):
                change.save(file)
        return latents.changed(change)

    def _kept(self, file: Path, origin: str) -> GeneratorChange | None:
        """Returns the change in a file if this call would make the same change."""
        if not file.is_file():
            return None
        try:
            found = GeneratorChange.load(file)
        except StylePrompterError:  # another file, which the call may replace
            return None
        same = (found.origin, found.model) == (origin, self._model.sha256)
        return found if same else None

    def _origin(self, images: np.ndarray, latents: Latents) -> str:
        """Returns a digest of all values that determine the change."""
        arrays = {"images": images, "w_plus": latents.w_plus}
        arrays |= {f"features_{k}": maps for k, maps in enumerate(latents.features)}
        used = {k: np.asarray(v).tolist() for k, v in self._options.items()}
        return json_sha256(
            [self._model.sha256, self._digest, self._dtype, used, arrays_sha256(arrays)]
        )
