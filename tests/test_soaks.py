"""Samples of `make soak`, the programs that damage files at random."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    ("name", "count", "said"),
    [("soak_files", 350, "read"), ("soak_damage", 120, "as before")],
)
def test_damaged_files(name, count, said):
    program = Path(__file__).with_name(f"{name}.py")
    child = subprocess.run(
        [sys.executable, str(program), str(count)],
        env=os.environ | {"PYTHONPATH": str(program.parents[1])},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert child.returncode == 0, child.stdout + child.stderr
    assert "refused" in child.stdout and said in child.stdout
