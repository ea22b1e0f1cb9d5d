"""Errors in a file's content, raised by code that does not know the file's name."""

KEY = 1024  # largest number of characters in a name from a file
DAMAGED = "the file is damaged: download or copy it again."


class Refusal(Exception):
    """A fault in a file, and its fix. Callers that know the place in the file add it.

    `files.open_file` converts a Refusal to a StylePrompterError that names the file.
    """


def refuse_pointer(head: bytes) -> None:
    """Refuses the small text that Git LFS keeps in place of a large file.

    Raises:
        Refusal: if a file with this beginning is such a text.
    """
    if head.startswith(b"version https://git-lfs"):
        raise Refusal(
            "it is a Git LFS pointer to the file: fetch it with `git lfs pull`."
        )


def quoted(value: object) -> str:
    """Returns a value from a file in printable form: one short line of ASCII."""
    return cut(ascii(value))


def cut(text: str) -> str:
    """Returns a text of at most 100 characters; "..." ends a longer one."""
    return text if len(text) <= 100 else f"{text[:97]}..."


def is_name(text: str) -> bool:
    """Returns whether a text from a file may name an array and appear in messages."""
    return len(text) <= KEY and text.isprintable()
