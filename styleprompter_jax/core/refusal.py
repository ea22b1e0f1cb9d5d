"""Why a file is not read, said by code that does not know the file's name."""

KEY = 1024  # characters in a name that a file gives
DAMAGED = "the file is damaged: download or copy it again."


class Refusal(Exception):
    """What is wrong and what to do; whoever knows the place in the file adds it.

    `files.open_file` makes a StylePrompterError of it that names the file.
    """


def quoted(value: object) -> str:
    """A value from a file as it may be printed: one line of ASCII, not too long."""
    text = ascii(value)
    return text if len(text) <= 100 else f"{text[:97]}..."


def is_name(text: str) -> bool:
    """Whether text from a file may name an array, and so come into messages."""
    return len(text) <= KEY and text.isprintable()
