"""A workdir with damaged or foreign files, when a run resumes."""

import json
import os

import pytest

from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.training.run import workdir
from styleprompter_jax.training.run.report import Report


def start(folder, step=2):
    with Report(folder, step=step, evaluate=True, total_steps=9, batch_size=1):
        pass


def test_a_bad_byte_costs_its_line_alone(tmp_path):
    rows = [{"step": k, "split": "train", "loss": 1.5} for k in range(4)]
    good = [json.dumps(row).encode() + b"\n" for row in rows]
    bad = [
        b'{"step": 1, "split": "tr\xffin"}\n',
        b'{"step": 1, "split": "train", "loss": 1e999}\n',
        b'{"step": "1"}\n',
        b'{"step": true}\n',
        b"[1]\n",
        b"1\n",
        b"\n",
        bytes(4096) + b"\n",
        b"[" * 100_000 + b"\n",
        b'{"step": 2, "split": "validation"}\n',
        b'{"st',
    ]
    file = tmp_path / "metrics.jsonl"
    file.write_bytes(b"".join([*good[:2], *bad[:5], *good[2:], *bad[5:]]))
    start(tmp_path)
    assert file.read_bytes() == b"".join(good[:3])


def test_metrics_that_are_no_file(tmp_path):
    file = tmp_path / "metrics.jsonl"
    os.mkfifo(file)
    with pytest.raises(StylePrompterError, match=r"metrics\.jsonl is a folder or dev"):
        start(tmp_path)
    file.unlink()
    file.symlink_to("/dev/zero")
    with pytest.raises(StylePrompterError, match=r"metrics\.jsonl is a folder or dev"):
        start(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "[" * 100_000, '{"a": NaN}', '"\xff"'])
def test_a_config_that_is_none(text, tmp_path):
    (tmp_path / "config.json").write_text(text, encoding="latin-1")
    (tmp_path / "model_best").mkdir()
    (tmp_path / "model_best" / "validation.json").write_text(text, encoding="latin-1")
    with pytest.raises(StylePrompterError, match=r"config\.json.*: remove it"):
        workdir.check_config(tmp_path, {"stage": "encoder"})
    assert workdir.BestModel(tmp_path).score() == float("inf")


def test_a_config_that_is_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "config.json")
    with pytest.raises(StylePrompterError, match=r"config\.json is a folder or device"):
        workdir.check_config(tmp_path, {"stage": "encoder"})
    with pytest.raises(StylePrompterError, match="is not a folder"):
        workdir.check_config(tmp_path / "config.json", {"stage": "encoder"})
