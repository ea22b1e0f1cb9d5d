"""An exported model in the place of the model that it was made from.

    model = load("exports/faces")   # the folder of `styleprompter export`

It encodes and decodes by the exported programs. So every command checks them.
"""

from typing import Any, NoReturn

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.paths import local_path
from styleprompter_jax.core.values import whole
from styleprompter_jax.editing.latents import Latents
from styleprompter_jax.export.folder import Export, read_export
from styleprompter_jax.export.programs import DECODE, EDIT, ENCODE, MAP, SYNTHESIZE
from styleprompter_jax.inversion import calls
from styleprompter_jax.inversion.devices import Devices
from styleprompter_jax.inversion.passes import check_iterations
from styleprompter_jax.inversion.pipeline import StylePrompter


class ExportedModel(StylePrompter):
    """A model whose programs were exported; see `StylePrompter`.

    It has no weights: it cannot be tuned, trained, saved or fitted to images.

    Args:
        export: the opened folder.
        source: its name, for messages.
    """

    def __init__(self, export: Export, source: str):
        self._export, self.source = export, source
        self.config, self.directions = export.config, export.directions
        self.devices = Devices()  # the runtime chooses

    @classmethod
    def opened(cls, folder: str, dtype: str = "float32") -> "ExportedModel":
        """Opens a folder of `styleprompter export`; it computes in float32."""
        if dtype != "float32":
            raise StylePrompterError(
                f"{folder} is an exported model, which computes in float32: leave out "
                "dtype (--dtype), or use the model that it was exported from."
            )
        return cls(read_export(local_path(folder)), folder)

    def call(self, program: str, **inputs: Any) -> list:
        """Calls a program by name; returns its outputs in order.

        Args:
            program: one of `export.programs.NAMES`.
            inputs: arrays by name, with the batch as the first axis.
        """
        known = self._export.programs[program]
        given = {
            name: np.asarray(inputs[name], each.dtype)
            for name, each in known.inputs.items()
        }
        return self._export.run(program, given)

    def passes(self, images: Any, iterations: int | None = None) -> list[Latents]:
        """Encodes images; see `StylePrompter.passes`."""
        count = check_iterations(self.config, iterations)
        images = np.asarray(calls.check_images(self.config, images))
        before: dict[str, Any] = {}
        found: list[Latents] = []
        if calls.require(self.config, "encoder").passes:
            mean = self._mean_codes()
            before["before"] = np.broadcast_to(mean, (len(images), *mean.shape))
        for _ in range(count):
            w_plus, *features = self.call(ENCODE, image=images, **before)
            found.append(Latents(w_plus, tuple(features)))
            if before:
                before["before"] = w_plus
        return found

    def decode(
        self,
        latents: Latents,
        *,
        refine: bool | None = None,
        noise_mode: str = "const",
        rng: Any = None,
        **options: Any,
    ) -> jax.Array:
        """Renders latents; see `StylePrompter.decode`. The noise is the stored one."""
        refine = calls.refines(self.config, refine, options)
        inputs = calls.check_latents(self.config, latents, refine)
        count = len(inputs)
        options = calls.check_options(self.config, options, count)
        if noise_mode != "const":
            raise StylePrompterError(
                f"{self.source} is an exported model, which renders with its stored "
                "noise: leave out noise_mode (--noise-mode), or use the model itself."
            )
        if any(change is not None for _, change in latents.by_change()):
            self._lacks("decode latents of tuned generators")
        if refine and DECODE not in self._export.programs:
            self._lacks("refine without an encoder (refine=False, --no-refine)")
        if not refine:
            return jnp.asarray(self.call(SYNTHESIZE, w_plus=inputs.w_plus)[0])
        given = {f"features_{k}": one for k, one in enumerate(inputs.features)}
        for name, value in options.items():
            parts = value if isinstance(value, tuple) else (value,)
            joined = np.stack([np.broadcast_to(x, (count,)) for x in parts], 1)
            given[name] = joined if isinstance(value, tuple) else joined[:, 0]
        return jnp.asarray(self.call(DECODE, w_plus=inputs.w_plus, **given)[0])

    def edited(self, w_plus: Any, strengths: Any) -> np.ndarray:
        """Moves codes (b, n, w_dim) by strengths (b, d), one for each direction."""
        return self.call(EDIT, w_plus=w_plus, strengths=strengths)[0]

    def mapping(
        self, z: Any, truncation_psi: float = 1.0, truncation_cutoff: int | None = None
    ) -> jax.Array:
        """Maps z to codes (b, n, w_dim); see `StylePrompter.mapping`."""
        z, psi = calls.check_z(self.config, z, truncation_psi)
        count, n = len(z), self.config.generator.num_codes
        cutoff = n if truncation_cutoff is None else truncation_cutoff
        cutoff = whole(cutoff, "truncation_cutoff")
        psi = np.broadcast_to(np.reshape(psi, -1), (count,))
        (w_plus,) = self.call(MAP, z=z, psi=psi)
        if cutoff < n:
            (whole_w,) = self.call(MAP, z=z, psi=np.ones(count))
            w_plus = np.where(np.arange(n)[:, None] < cutoff, w_plus, whole_w)
        return jnp.asarray(w_plus)

    def synthesize(
        self, w_plus: Any, noise_mode: str = "const", rng: Any = None
    ) -> jax.Array:
        """Renders codes; see `StylePrompter.synthesize`."""
        codes = calls.check_codes(self.config, w_plus)
        return self.decode(Latents(codes), refine=False, noise_mode=noise_mode)

    def _mean_codes(self) -> np.ndarray:
        """Returns the mean code of each layer, (n, w_dim)."""
        z = np.zeros((1, self.config.generator.z_dim))
        return np.asarray(self.call(MAP, z=z, psi=np.zeros(1))[0][0])

    @property
    def const(self) -> dict:
        """Returns the mean codes alone."""
        return {"latent_avg": jnp.asarray(self._mean_codes())}

    @property
    def sha256(self) -> str:  # type: ignore[override]  # known without the weights
        """The SHA-256 of the weights that the model was exported from."""
        return self._export.sha256

    @property
    def generator_sha256(self) -> str:  # type: ignore[override]
        """Not known: "", because the weights are inside the programs."""
        return ""

    @property
    def params(self) -> dict:
        """Raises the error of a model without weights."""
        self._lacks("give its weights")

    @property
    def variables(self) -> dict:
        """Raises the error of a model without weights."""
        self._lacks("give its weights")

    @property
    def module(self) -> nn.Module:
        """Raises the error of a model without weights."""
        self._lacks("give its module")

    @property
    def average_image(self) -> jax.Array:  # type: ignore[override]  # not stored
        """Raises the error of a model without weights."""
        self._lacks("give its average image")

    def optimize(self, *args: Any, **options: Any) -> Latents:
        """Raises the error of a model without weights."""
        self._lacks("fit codes to images (--optimize)")

    def tune(self, *args: Any, **options: Any) -> Any:
        """Raises the error of a model without weights."""
        self._lacks("be tuned (--tune)")

    def save(self, folder: Any, dtype: str | None = None) -> None:
        """Raises the error of a model without weights."""
        self._lacks("be saved as a model")

    def _lacks(self, what: str) -> NoReturn:
        raise StylePrompterError(
            f"{self.source} is an exported model, which cannot {what}: use the model "
            "that it was exported from."
        )
