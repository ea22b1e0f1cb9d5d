"""The one exception type that users meet."""


class StylePrompterError(Exception):
    """Something that the user can put right.

    The message is one sentence or two: what was wrong, in which file or key, and
    what to do. The command line prints it without a traceback and exits with 1.
    """
