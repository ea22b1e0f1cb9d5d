"""Redirects imports of version 0.1's modules, so that old scripts keep working."""

import importlib
import importlib.abc
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

_PACKAGE = __name__.rpartition(".")[0]
# The modules that documents, notebooks and examples of version 0.1 used.
_NEW_NAMES = {
    "bundle": "store.model_folder",
    "compilation_cache": "core.compilation_cache",
    "convert.torch_file": "convert.reading.torch_file",
    "errors": "core.errors",
    "fitting": "search.pairs",
    "latents": "editing.latents",
    "models.discriminator": "models.discriminators.stylegan2",
    "models.smart": "models.refiners.smart",
    "models.style_prompter": "models.inverter",
    "models.stylegan2": "models.generators.stylegan2",
    "models.swin": "models.encoders.swin",
    "networks": "store.network_folder",
    "pipeline": "inversion.pipeline",
    "training.losses": "losses",
}


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds the current module for a name of version 0.1."""

    def find_spec(
        self, fullname: str, path: Any = None, target: Any = None
    ) -> ModuleSpec | None:
        package, _, name = fullname.partition(".")
        if package == _PACKAGE and name in _NEW_NAMES:
            return ModuleSpec(fullname, self)
        return None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        name = spec.name.partition(".")[2]
        module = importlib.import_module(f"{_PACKAGE}.{_NEW_NAMES[name]}")
        spec.loader_state = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        # The module has run already. Python gave it the spec of the old name.
        spec: Any = module.__spec__
        module.__spec__ = spec.loader_state


def redirect() -> None:
    """Makes the names of version 0.1 importable; a second call changes nothing."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.append(_Finder())
