"""Errors in a file's content, raised by code that does not know the file's name."""

KEY = 1024  # largest number of characters in a name from a file
DAMAGED = "the file is damaged: download or copy it again."


class Refusal(Exception):
    """A fault in a file, and its fix. Callers that know the place in the file add it.

    `files.open_file` converts a Refusal to a StylePrompterError that names the file.
    """


def quoted(value: object) -> str:
    """Returns a value from a file in printable form: one short line of ASCII."""
    return cut(ascii(value))


def cut(text: str) -> str:
    """Returns a text of at most 100 characters; "..." ends a longer one."""
    return text if len(text) <= 100 else f"{text[:97]}..."


def is_name(text: str) -> bool:
    """Returns whether a text from a file may name an array and appear in messages."""
    return len(text) <= KEY and text.isprintable()
