"""Kinds of arguments on the command line, which argparse checks."""

import argparse


def positive(text: str):
    """A whole number from 1."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return value


def frames(text: str):
    """How many pictures an animation has, from 2."""
    value = int(text)
    if not 2 <= value <= 10_000:
        raise argparse.ArgumentTypeError(f"{text} is not 2 to 10000")
    return value


def span(text: str):
    """The indices of "7" or "0-3", as a range."""
    first, _, last = text.partition("-")
    if not (first.isdecimal() and (last or first).isdecimal()):
        raise argparse.ArgumentTypeError(f"{text} is no index, and no range like 0-3")
    first, last = int(first), int(last or first)
    if not first <= last < 1000:
        raise argparse.ArgumentTypeError(f"{text} is no range of codes")
    return range(first, last + 1)


def number(text: str):
    """A finite number."""
    value = float(text)
    if not abs(value) < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a finite number")
    return value


class Spans(argparse.Action):
    """Several `span`, as one list without repetitions."""

    def __call__(self, parser, namespace, values, option_string=None):
        layers = dict.fromkeys(layer for span in values for layer in span)
        setattr(namespace, self.dest, list(layers))
