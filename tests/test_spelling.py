"""Names that look the same, and globs that match nothing: the message says why."""

import unicodedata

import numpy as np
import pytest
from PIL import Image

from styleprompter_jax.convert.directions import find_direction
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.files import read_bytes
from styleprompter_jax.core.spelling import another_path, another_spelling, told_apart
from styleprompter_jax.editing.directions import Direction
from styleprompter_jax.images.files import read_image
from styleprompter_jax.images.find import find_images

ONE, TWO = "caf\u00e9", "cafe\u0301"  # both look like this: café


@pytest.mark.parametrize(("there", "wanted"), [(ONE, TWO), (TWO, ONE)])
def test_two_spellings_are_told_apart(tmp_path, there, wanted):
    (tmp_path / there).mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / there / f"{there}.png")
    for path in (f"{wanted}/{there}.png", f"{there}/{wanted}.png", f"{wanted}/*.png",
                 f"{there}/{wanted}*"):  # fmt: skip
        reads = [find_images] if "*" in path else [find_images, read_image]
        for read in [*reads, lambda path: read_bytes(path, 100)]:
            if read not in reads and "*" in path:
                continue
            with pytest.raises(StylePrompterError, match="looks the same") as error:
                read(tmp_path / path)
            said = str(error.value)
            assert f"{there!a}"[1:-1] in said and f"{wanted!a}"[1:-1] in said
    assert another_path(tmp_path / there / "tea.png") == ""
    assert another_path(tmp_path / there / "th\u00e9.png") == ""
    known = {there: Direction(np.zeros(4)), "smile": Direction(np.zeros(4))}
    with pytest.raises(StylePrompterError, match=r"no direction.*looks the same"):
        find_direction(wanted, known, 6, 4)
    assert another_spelling("smile", known) == another_spelling("hat", known) == ""
    assert unicodedata.normalize("NFC", told_apart(TWO)) == rf"{ONE} ('cafe\u0301')"
    assert told_apart("cafe") == "cafe"


@pytest.mark.parametrize(
    ("pattern", "match"),
    [
        (
            "photos [2020]/*.png",
            r"\[2020\] matches one.*photos \[\[\]2020\]/\*\.png",
        ),
        ("photo [[]1].jpg", r"matches no file"),
        ("a [1].png", r"\[1\] matches one of the characters.*a \[\[\]1\]\.png"),
        ("b*.png", r"b\*\.png matches no file\.$"),
    ],
)
def test_a_glob_says_why_it_matches_nothing(tmp_path, pattern, match):
    (tmp_path / "photos [2020]").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "photos [2020]" / "a.png")
    with pytest.raises(StylePrompterError, match=match) as error:
        find_images(tmp_path / pattern)
    assert "\n" not in str(error.value)
    if "write " in (said := str(error.value)) and "2020" in said:
        written = said.split("write ")[1].removesuffix(".")
        assert len(find_images(written).images) == 1
