"""The site builds without a broken link, and its prose follows the style."""

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

pytest.importorskip("material", reason="the extra dev has it")
pytest.importorskip("proselint", reason="the extra dev has it")


@pytest.fixture(scope="module")
def prose():
    return runpy.run_path(str(ROOT / "docs" / "prose.py"))


def test_site_builds_strictly(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-d", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    home = (tmp_path / "index.html").read_text()
    assert 'href="start/"' in home and "blob/main/LICENSE" in home


def test_prose_follows_the_style(prose):
    found = {page.name: prose["findings"](page) for page in prose["PAGES"]}
    assert not any(found.values()), found


@pytest.mark.parametrize(
    "sentence",
    [
        "Asked for were nine rows.",
        "What cannot be read is left out.",
        "To optimise them for each picture is slow.",
        "There are so many of them.",
        "A mask is no picture.",
        "Bring one's own pictures.",
        "It prints what it found.",
        f"It is {'long and ' * 25}long.",
    ],
)
def test_the_style_finds_its_habits(prose, sentence, tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"# A page\n\nThe first line is fine. {sentence}\n")
    assert prose["findings"](page)[0].startswith("3: ")


def test_the_style_takes_plain_sentences_and_code(prose, tmp_path):
    page = tmp_path / "page.md"
    page.write_text("What is it? `one's` is code.\n\n```\nso many lines\n```\n")
    assert prose["findings"](page) == []
