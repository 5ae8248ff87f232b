"""What operators write, read with some patience: numbers that came as text, and words that were meant to be others.

GNU General Public License v3.0+ (see LICENSE)
"""

from __future__ import annotations

import difflib
from typing import Any

# Longer ones are cut in a message: the place is named, and who wrote it knows the rest.
LONGEST_SHOWN = 80


def integer(value: Any) -> int | None:
    """A whole number, also as text (inventory values made by Jinja often are); None for everything else."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, str) and value.strip().isascii() and value.strip().isdigit() and len(value.strip()) < 10:
        return int(value)
    return None


def number(value: Any) -> float | None:
    """A finite number, also as text; None for everything else."""
    if isinstance(value, bool):
        return None
    try:
        read = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return read if abs(read) < float("inf") else None


def did_you_mean(word: Any, known: Any) -> str:
    """``; did you mean X?``, or all that there are when those are few; to be put behind a complaint about ``word``."""
    close = difflib.get_close_matches(str(word)[:LONGEST_SHOWN], list(known), n=1)
    if close:
        return f"; did you mean {close[0]}?"
    return f"; known: {', '.join(known)}" if 0 < len(list(known)) < 40 else ""


def shown(value: Any) -> str:
    """A value as a message names it."""
    text = repr(value)
    return text if len(text) <= LONGEST_SHOWN else f"{text[: LONGEST_SHOWN - 1]}…"
