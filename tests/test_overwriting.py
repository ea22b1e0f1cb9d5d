"""A model is written over another model, and over nothing else."""

import shutil

import pytest
from conftest import TINY

from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.store import model_folder
from styleprompter_jax.store.overwriting import check_place


@pytest.mark.parametrize("text", ['{"architectures": ["Bert"]}', '{"version": 1}', "{"])
def test_the_model_of_another_program_stays(tmp_path, tiny_variables, text):
    (tmp_path / "config.json").write_text(text)
    (tmp_path / "model.safetensors").write_text("theirs")
    with pytest.raises(StylePrompterError, match="is not a model folder"):
        model_folder.save_model(tmp_path, TINY, tiny_variables)
    assert (tmp_path / "config.json").read_text() == text
    assert (tmp_path / "model.safetensors").read_text() == "theirs"
    for name in ("avatars64", "cells64"):  # of versions 1 and 2
        shutil.copy(model_folder.BUNDLED / name / "config.json", tmp_path)
        check_place(tmp_path, replace=True)
    model_folder.save_model(tmp_path, TINY, tiny_variables)
    for text in ("{", '{"version": 99, "generator": {}}'):  # ours, damaged or later
        (tmp_path / "config.json").write_text(text)
        check_place(tmp_path, replace=True)
