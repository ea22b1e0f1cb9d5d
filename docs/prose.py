"""Checks the English of the documentation: `python docs/prose.py [FILE ...]`.

It runs proselint and the rules of our own below. In a page, it skips code and links'
addresses. In a Python file, it reads docstrings, comments and messages. It prints
FILE:LINE: FINDING, and ends with 1 if it found anything.
"""

import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

from proselint.config import DEFAULT
from proselint.registry import CheckRegistry
from proselint.registry.checks import Check, CheckResult
from proselint.tools import LintFile

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted(p for p in ROOT.glob("docs/**/*.md") if p.name != "api.md"),
]

# Straight quotes are fine here, and tables repeat numbers.
_PROSELINT = DEFAULT["checks"] | {
    "typography": False,
    "lexical_illusions": False,
    "dates_times": False,
}

# The start of a sentence.
_START = r"(?:^|(?<=[.!?] )|(?<=\n\n)|(?<=^- )|(?<=\n- ))"

HABITS = {
    "free relative as subject (say who does what)": [
        _START + r"(?:What|Whatever|Whoever|Who|Where)\b[^.?!|]*\.(?=\s|$)"
    ],
    "`what` for a noun (name the thing)": [
        r"(?<![?] )\b[Ww]hat\b[^?.|#\n]*(?:\n[^?.|\n]+)*[.,:;|]"
    ],
    "inverted clause (put the subject first)": [
        _START + r"(?:Not|Asked|Made|Built|Seen|Measured|Tried|Left|Held) "
        r"(?!only\b)[\w ,]*\b(?:was|were|is|are)\b",
        _START + r"To \w+ [^.,|]* (?:is|are|takes|costs) ",
        r"\b(?:so|nor) (?:does|do|is|are|has|have|was|were|can) (?:the|a|an|it)",
    ],
    "say `is not`, `has no` or `does not`": [
        r"(?<![Tt]here )\b(?:is|are|was|were) no "
        r"(?!longer\b|more than\b|less than\b|\w+er\b)\w",
        r"\bthere is none\b",
    ],
    "`your own` for the reader's": [r"\bone's\b", r"\bone(?:self| does| has| wants)\b"],
    "wordy or old": [
        r"\bso many\b",
        r"\bsuch as there\b",
        r"\bfor long\b",
        r"\b(?:thereof|therein|hence|lest|whilst|thereby|wherever there)\b",
        r"\bat hand\b",
        r"\bby then\b",
        r"\bneed not\b",
        r"\bwhere wanted\b",
        r"\bwho has them\b",
        r"\bgoes? on from\b",
        r"\bno more than\b",
        r"\bas (?:long|far) as there\b",
        r"\bto the last (?:digits?|bit)\b",
    ],
}
LONGEST = 40  # words in a sentence


def _habits(text: str, check: Check) -> Iterator[CheckResult]:
    for message, patterns in HABITS.items():
        for pattern in patterns:
            for match in re.finditer(pattern, text, re.MULTILINE):
                found = " ".join(match[0].split())[:60]
                yield CheckResult(check.path, f"{message}: {found}", match.span(), None)


def _sentences(text: str, check: Check) -> Iterator[CheckResult]:
    for block in re.finditer(r"(?:^(?![|#]).+\n?)+", text, re.MULTILINE):
        for sentence in re.finditer(r"[^.!?:;]+(?:[.!?:;](?=\S)[^.!?:;]*)*", block[0]):
            words = len(re.findall(r"[A-Za-z]\w*", sentence[0]))
            if words > LONGEST:
                begin = block.start() + sentence.start()
                message = f"{words} words in one sentence: cut it in two"
                span = (begin, begin + len(sentence[0]))
                yield CheckResult(check.path, message, span, None)


OURS = (
    Check(check_type=_habits, path="house"),
    Check(check_type=_sentences, path="house"),
)


def prose(text: str) -> str:
    """A Markdown page with code and addresses blanked; lines and columns stay."""

    def blank(match: re.Match[str]) -> str:
        return re.sub(r"\S", " ", match[0])

    text = re.sub(r"^```.*?^```$", blank, text, flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"<[^>\n]+>", blank, text)
    text = re.sub(r"`[^`]*`", lambda m: re.sub(r"[^\n]", "x", m[0]), text)
    return re.sub(r"\]\([^)]*\)", blank, text)


def words_of(source: str) -> str:
    """Docstrings, comments and messages of a Python file.

    Each is on the lines that it has in the file; the rest of the file is blank.
    """
    lines = [""] * (source.count("\n") + 2)
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT and not re.match(
            r"# ?(noqa|type:)", token[1]
        ):
            lines[token.start[0]] += token.string.lstrip("#")
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.JoinedStr):
            values = [getattr(value, "value", "x") for value in node.values]
            text = "".join(v if isinstance(v, str) else "x" for v in values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            text = node.value
        else:
            continue
        if len(re.findall(r"[A-Za-z]{2,}(?= )", text)) < 4:
            continue
        for offset, line in enumerate(text.splitlines()):
            lines[min(node.lineno + offset, len(lines) - 1)] += line
    return prose("\n".join(lines[1:]))


def findings(page: Path) -> list[str]:
    """The findings in a page, each as LINE: FINDING."""
    registry = CheckRegistry()
    if not registry.checks:
        from proselint.checks import __register__

        registry.register_many((*__register__, *OURS))
    text = page.read_text()
    read = words_of if page.suffix == ".py" else prose
    lint = LintFile(str(page), read(text))
    found = lint.lint({"max_errors": 10_000, "checks": _PROSELINT | {"house": True}})
    return [f"{r.pos[0]}: {r.check_result.message}" for r in found]


def main(names: list[str]) -> int:
    """Prints the findings of the named pages, or of all; 1 if there are any."""
    pages = [Path(name) for name in names] or PAGES
    lines = [f"{page}:{line}" for page in pages for line in findings(page)]
    print("\n".join(lines) if lines else f"{len(pages)} pages, nothing found")
    return int(bool(lines))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
