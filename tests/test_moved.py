"""Scripts that import modules by the names that they had in version 0.1."""

import importlib

import pytest

from styleprompter_jax import moved


@pytest.mark.parametrize("old, new", moved._NEW_NAMES.items())
def test_an_old_name_is_the_new_module(old, new):
    old = importlib.import_module(f"styleprompter_jax.{old}")
    assert old.__name__ == old.__spec__.name == f"styleprompter_jax.{new}"


def test_as_scripts_write_it():
    from styleprompter_jax.pipeline import load

    from styleprompter_jax import bundle
    from styleprompter_jax.models import swin

    assert bundle.load_model and swin.SwinConfig and load
