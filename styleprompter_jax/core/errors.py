"""The only exception type for errors that users can fix."""

from collections.abc import Callable

# Functions that change a message before the user sees it. `core.fetch` adds one, so
# that messages about copies of buckets have the addresses that the user typed.
rewordings: list[Callable[[str], str]] = []


class StylePrompterError(Exception):
    """An error that the user can fix.

    The message has one or two sentences. It names the file or key, the fault and the
    fix. The command line prints it without a traceback and exits with 1.
    """

    def __str__(self) -> str:
        message = super().__str__()
        for reword in rewordings:
            message = reword(message)
        return message
