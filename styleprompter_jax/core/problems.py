"""Reports several problems in one error message."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence

from styleprompter_jax.core.errors import StylePrompterError

_SHOWN = 20  # largest number of listed problems of one kind


def refuse(headline: str, problems: Mapping[str, Sequence[str]]) -> None:
    """Raises one error that lists problems by kind; returns if there are no problems.

    Args:
        headline: the first line of the message.
        problems: descriptions by kind.

    Raises:
        StylePrompterError: if there are problems.
    """
    if not problems:
        return
    lines = [headline]
    for kind, texts in problems.items():
        lines.append(f"  {kind} ({len(texts)}):")
        lines += [f"    {text}" for text in texts[:_SHOWN]]
        if len(texts) > _SHOWN:
            lines.append(f"    and {len(texts) - _SHOWN} more")
    raise StylePrompterError("\n".join(lines))


class Problems:
    """Collects the errors of several blocks, and raises them as one error.

    with Problems() as problems:
        for file in files:
            with problems.gathered():
                read(file)
    """

    def __init__(self) -> None:
        self._texts: list[str] = []

    @contextlib.contextmanager
    def gathered(self) -> Iterator[None]:
        """Keeps the StylePrompterError of a block until the end."""
        try:
            yield
        except StylePrompterError as error:
            self._texts.append(str(error))

    def __enter__(self) -> "Problems":
        return self

    def __exit__(
        self, kind: object, error: BaseException | None, trace: object
    ) -> None:
        if error is None and self._texts:
            raise StylePrompterError("\n".join(self._texts))
