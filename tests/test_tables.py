"""Tables of labels as people keep them."""

import hashlib
import os

import numpy as np
import pytest

from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.data.labels import ambiguity, as_attribute
from styleprompter_jax.data.tables import find_picture, read_table
from styleprompter_jax.editing.directions import directions_from_labels
from styleprompter_jax.editing.latents import Latents
from styleprompter_jax.search.labelled import encode_csv, read_csv, stored_codes

HEADER, ROWS = ["image", "smile", "hat"], [["0.png", "0", "1"], ["1.png", "1", "-1"]]
COMMAS = "image,smile,hat\n0.png,0,1\n1.png,1,-1\n"


@pytest.mark.parametrize(
    "text",
    [
        COMMAS,
        COMMAS.replace(",", ";"),
        COMMAS.replace(",", "\t"),
        COMMAS.replace(",", ", "),
        COMMAS.replace(",", " ,\t"),
        COMMAS.replace("\n", "\r\n"),
        COMMAS.replace("\n", "\r"),
        COMMAS.replace("\n", ",\n"),
        COMMAS.replace("\n", ";;\n").replace(",", ";"),
        COMMAS.replace("\n", "\n,,\n\n"),
        COMMAS.rstrip(),
        f"sep=,\n{COMMAS}",
        f"sep=|\r\n{COMMAS.replace(',', '|')}",
        f'"image","smile","hat"\n{COMMAS.partition(chr(10))[2]}',
    ],
    ids=repr,
)
def test_tables_of_many_kinds(text, tmp_path):
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"):
        (tmp_path / "a.csv").write_bytes(text.encode(encoding))
        assert read_table(tmp_path / "a.csv") == (HEADER, ROWS)


def test_a_comma_may_be_of_numbers_or_quoted(tmp_path):
    file = tmp_path / "a.csv"
    file.write_text('image;smile\n"a,b.png";0,5\n"c\nd.png";1\n')
    assert read_table(file)[1] == [["a,b.png", "0,5"], ["c\nd.png", "1"]]
    file.write_text("image;x,y\na.png;1\n")
    assert read_table(file)[0] == ["image", "x,y"]


def test_lists_of_celeba(tmp_path):
    file = tmp_path / "list_attr_celeba.txt"
    file.write_text("2\n5_o_Clock_Shadow Smiling \n1.jpg -1  1\n2.jpg  1 -1\n")
    names, attributes = read_csv(str(file))
    assert names == ("1.jpg", "2.jpg")
    assert attributes["5_o_Clock_Shadow"].tolist() == [False, True]
    assert attributes["Smiling"].tolist() == [True, False]
    file.write_text("2\n5_o_Clock_Shadow Smiling \n1.jpg -1  1\n2.jpg  1\n")
    with pytest.raises(StylePrompterError, match=r"row of '2\.jpg' has 2 columns"):
        read_csv(str(file))


def test_tables_that_are_refused(tmp_path):
    file = tmp_path / "a.csv"
    for content, words in (
        (b"image,l\xe4cheln\n0.png,1\n", "byte 7 is not valid in utf-8"),
        (b"\xff\xfea\0b", "not valid in utf-16"),
        (b"image,smile,smile\na,1,1\n", "two columns 'smile'"),
        (b"image,smile\na\n", "of 'a' has 1 column, but"),
        (b'image,smile\n"a,1\n', "in line 2 .*correct or remove"),
        (b"image,smile\na,1,1\n", "row of 'a' has 3"),
        (b"image,smile,\na,1,1\nb,0\n", "row of 'b' has 2"),
        (b"image smile\na 1\n", "contains no labels"),
        (b"", "contains no labels"),
        (b",,,\n,,\n", "contains no labels"),
    ):
        file.write_bytes(content)
        with pytest.raises(StylePrompterError, match=words) as error:
            read_table(file)
        assert str(file) in str(error.value) and str(error.value).isprintable()
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(StylePrompterError, match=r"pipe\.csv is a folder or device"):
        read_table(tmp_path / "pipe.csv")


@pytest.mark.parametrize(
    "column",
    [
        *("1 0 1", "1 -1 1", "1.0 0.0 1.", "+1 -1 1", "true FALSE True", "T F T"),
        *("yes no YES", "y n Y", "on off On", "1 0.000 1"),
        *("Y no 1", "true 0 1", "YES -1 on", "t OFF 1.0"),
    ],
)
def test_what_is_on_or_off(column):
    labels = as_attribute(column.split())
    assert labels.dtype == bool and labels.tolist() == [True, False, True]
    for unknown in (
        *("", " ", "NA", "n/a", "nan", "NaN", "<NA>", "null"),
        *("None", "?", "-", "unknown", "#N/A"),
    ):
        labels = as_attribute([*column.split(), unknown])
        np.testing.assert_array_equal(labels, [1, 0, 1, np.nan])


def test_what_is_a_class():
    for column in (
        "red blue red",
        "-1 0 1",
        "2 1 0",
        "yes no maybe",
        "none red 0",
        "? - a",
        "Red red 1",
    ):
        assert as_attribute(column.split()).tolist() == column.split()
    assert as_attribute(["red", "NA", "", "blue"]).tolist() == ["red", "", "", "blue"]
    for column in (["", "na"], ["?", "-"], ["none", "unknown"], ["-", ""]):
        assert as_attribute(column).tolist() == ["", ""]


def test_what_is_not_clear():
    for column, words in (
        (["0.9", "1", "", "0.5"], "contains 0.5"),
        (["0,9", "1"], "contains 0,9"),
        (["1e-3", "1"], "contains 1e-3"),
        (["1", "0", "-1", ""], "contains -1, 0 and 1"),
        (["1.0", "0.0", "-1.0"], "contains -1, 0 and 1"),
        (["1", "0", "-1", "None"], "contains -1, 0 and 1"),
        (["-1", "0", "-1"], "contains -1 and 0, and"),
        (["-1", "0", "Yes"], "contains -1, 0 and yes"),
        (["inf", "-inf", "0"], "contains -inf"),
        (["1", "no", "0.5", "?"], "contains 0.5"),
    ):
        assert ambiguity(as_attribute(column)).startswith(words)
    for column in (["1.0", "2"], ["0.9", "red"], ["1", "0"], ["", ""], ["v1.5"]):
        assert ambiguity(as_attribute(column)) is None


def test_a_direction_of_what_is_known_for_some():
    """Images without a known value have arbitrary codes, which do not count."""
    rng = np.random.default_rng(0)
    smile, step = rng.integers(0, 2, 40).astype(float), rng.standard_normal((8, 16))
    codes = smile[:, None, None] * step
    smile[30:] = np.nan
    codes[30:] = 9
    found = directions_from_labels(codes, {"smile": smile})
    np.testing.assert_allclose(found["smile"].vector, step, atol=1e-5)
    with pytest.raises(StylePrompterError, match="'smile' must be on in some"):
        directions_from_labels(codes[20:], {"smile": np.r_[np.ones(10), smile[30:]]})


def test_pictures_of_a_table_of_windows(tmp_path):
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "0.png").touch()
    (tmp_path / "odd\\name.png").touch()
    assert find_picture(tmp_path, ".\\x\\0.png").is_file()
    assert find_picture(tmp_path, "x/0.png").is_file()
    assert find_picture(tmp_path, "odd\\name.png").is_file()
    file = tmp_path / "a.csv"
    file.write_text("image,smile\n.\\x\\0.png,1\n1.png,0\n")
    codes = np.arange(2 * 8 * 16.0).reshape(2, 8, 16)
    Latents(codes).save(tmp_path / "a.npz", names=["1", "x/0"])
    found, _, _ = stored_codes(str(tmp_path / "a.npz"), str(file), None)
    np.testing.assert_array_equal(found, codes[::-1])
    file.write_text("image,smile\n,1\n1.png,0\n")
    with pytest.raises(StylePrompterError, match="does not hold its latents"):
        stored_codes(str(tmp_path / "a.npz"), str(file), None)
    file.write_text("image,smile\n0.png,0.9\n1.png,0.1\n")
    with pytest.raises(
        StylePrompterError, match=r"'smile' contains 0\.1, which is not"
    ):
        encode_csv(None, str(file), None, 4)
    (tmp_path / "1.png").touch()
    for rows, words in (
        ("smile\nx/0.png,1\n1.png,1\n", "'smile' must be on in some"),
        ("smile\nx/0.png,?\n1.png,-\n", "'smile' has fewer than two"),
        ("smile,hat\nx/0.png,1,1\n1.png,0,0\n", "not separate smile, hat"),
        ("h,h_a\nx/0.png,a,1\n1.png,b,0\n", "give a direction 'h_a'"),
    ):
        file.write_text(f"image,{rows}")
        for find in (
            lambda: encode_csv(None, str(file), None, 4),  # before any is read
            lambda: stored_codes(str(tmp_path / "a.npz"), str(file), None),
        ):
            with pytest.raises(StylePrompterError, match=rf"a\.csv: .*{words}"):
                find()


def test_latents_of_a_table_are_found_by_the_images(tmp_path):
    """The names in latents depend on the folders that `invert` was given."""
    (tmp_path / "photos").mkdir()
    for k in range(3):
        (tmp_path / "photos" / f"{k}.png").write_bytes(bytes([k]))
    images = [hashlib.sha256(bytes([k])).hexdigest() for k in range(2)]
    codes, stored = np.arange(2 * 8 * 16.0).reshape(2, 8, 16), str(tmp_path / "a.npz")
    Latents(codes).save(stored, names=["0", "2"], images=images)
    file = tmp_path / "a.csv"
    file.write_text("image,smile\nphotos\\1.png,1\nphotos/0.png,0\n")
    found, _, _ = stored_codes(stored, str(file), None)
    np.testing.assert_array_equal(found, codes[::-1])
    file.write_text("image,smile\n2.png,1\nphotos/0.png,0\n")  # 2.png is not there
    np.testing.assert_array_equal(stored_codes(stored, str(file), None)[0], found)
    (tmp_path / "photos" / "a.csv").write_text("image,smile\n0.png,1\n2.png,0\n")
    with pytest.raises(StylePrompterError, match=r"names 2\.png, but .*run `invert`"):
        stored_codes(stored, str(tmp_path / "photos" / "a.csv"), None)
