"""The only exception type for errors that users can fix."""


class StylePrompterError(Exception):
    """An error that the user can fix.

    The message has one or two sentences. It names the file or key, the fault and the
    fix. The command line prints it without a traceback and exits with 1.
    """
