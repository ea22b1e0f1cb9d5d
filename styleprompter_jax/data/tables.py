"""Reads tables of labels: CSV of any kind, and CelebA's lists."""

import csv
import json
import os
from collections.abc import Iterable
from pathlib import Path

from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.fetch import folder_of
from styleprompter_jax.core.files import TEXT, read_bytes
from styleprompter_jax.core.refusal import quoted
from styleprompter_jax.core.spelling import another_path
from styleprompter_jax.core.values import plural

ENDINGS = (".csv", ".tsv", ".txt")
_DELIMITERS = ",;\t"


def is_table(name: str) -> bool:
    """Returns whether a name is a table and not a dataset, by its extension."""
    return name.lower().endswith(ENDINGS)


def read_table(file: str | os.PathLike) -> tuple[list[str], list[list[str]]]:
    """Reads the header and the rows of a table; cells have no white space around them.

    Commas, semicolons or tabs separate the columns: the delimiter that makes all rows
    as long as the header. CelebA's lists begin with a number and the names of all
    columns but the first; spaces separate their columns.

    Args:
        file: text in UTF-8, or in UTF-16 or 32 with a byte-order mark.

    Returns:
        The header, and the rows, which have the length of the header.

    Raises:
        StylePrompterError: if the file is not such a table.
    """
    content = read_bytes(file, TEXT)
    encoding = json.detect_encoding(content)
    try:
        text = content.decode(encoding).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise StylePrompterError(
            f"{file} cannot be read as CSV, because byte {error.start} is not valid in "
            f"{encoding}: save it as UTF-8."
        ) from error
    header, rows = _celeba(text) or _csv(file, text)
    if twice := [name for k, name in enumerate(header) if name in header[:k]]:
        raise StylePrompterError(
            f"{file} has two columns {quoted(twice[0])}: rename or remove one of them."
        )
    if len(header) < 2 or not rows:
        raise StylePrompterError(
            f"{file} contains no labels: write the names of the columns in the first "
            "row (the images, then each attribute), and then a row for each image."
        )
    for row in rows:
        if len(row) != len(header):
            raise StylePrompterError(
                f"{file}: the row of {quoted(row[0])} has "
                f"{plural(len(row), 'column')}, but the first row has {len(header)}: "
                "correct the row."
            )
    return header, rows


def find_pictures(file: str | os.PathLike, names: Iterable[str]) -> list[Path]:
    """Returns the paths of the images in a table; names are relative to its folder.

    Raises:
        StylePrompterError: if an image does not exist.
    """
    folder = folder_of(file)
    paths = [find_picture(folder, name) for name in names]
    if missing := [path for path in paths if not path.is_file()]:
        more = f", and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise StylePrompterError(
            f"{file} names {missing[0]}{more}, which does not exist: write names "
            f"relative to the folder of the table.{another_path(missing[0])}"
        )
    return paths


def find_picture(folder: Path, name: str) -> Path:
    """Returns the path of a name in a table; the name may have Windows separators."""
    path = folder / name
    if "\\" in name and not path.is_file():
        return folder / name.replace("\\", "/")
    return path


def _celeba(text: str) -> tuple[list[str], list[list[str]]] | None:
    """Parses a list like CelebA's list_attr_celeba.txt; None for other text."""
    lines = [line.split() for line in text.splitlines()[:3]]
    if len(lines) < 3 or len(lines[0]) != 1 or not lines[0][0].isdecimal():
        return None
    if len(lines[2]) != len(lines[1]) + 1:
        return None
    rows = [row for line in text.splitlines()[2:] if (row := line.split())]
    return ["", *lines[1]], rows


def _csv(file: str | os.PathLike, text: str) -> tuple[list[str], list[list[str]]]:
    """Parses CSV with the delimiter that fits best; returns the header and the rows."""
    first, _, rest = text.partition("\n")
    if first.strip().lower().startswith("sep=") and len(first.strip()) == 5:
        return _parsed(file, rest, first.strip()[4])  # Excel's first line
    found = [_parsed(file, text, d) for d in _DELIMITERS if d in first] or [
        _parsed(file, text, ",")
    ]

    def fit(table: tuple[list[str], list[list[str]]]) -> bool:
        header, rows = table
        return len(header) > 1 and all(len(row) == len(header) for row in rows)

    return next(filter(fit, found), found[0])


def _parsed(
    file: str | os.PathLike, text: str, delimiter: str
) -> tuple[list[str], list[list[str]]]:
    reader = csv.reader(
        text.splitlines(keepends=True), strict=True, delimiter=delimiter
    )
    try:
        rows = [[cell.strip() for cell in row] for row in reader]
    except csv.Error as error:
        raise StylePrompterError(
            f"{file} cannot be read as CSV, because of an error in line "
            f"{reader.line_num} ({error}): correct or remove the line."
        ) from error
    header, *rows = [row for row in rows if any(row)] or [[]]
    # Spreadsheets may leave a delimiter at the end of each row.
    while header and not any(row[-1] for row in (header, *rows) if row):
        header, rows = header[:-1], [row[:-1] for row in rows]
    return header, rows
