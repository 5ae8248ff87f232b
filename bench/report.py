"""How a bench writes down what it measured: a page of Markdown with the machine, its goals, and its tables.

GNU General Public License v3.0+ (see LICENSE)
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench.machine import machine


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of Markdown that is also one on a terminal."""
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |"

    return "\n".join([line(head), line(["-" * width for width in widths]), *map(line, rows)])


def page(script: str, goals: Sequence[Sequence[str]], parts: Sequence[str], conditions: str = "") -> str:
    """The text of a ``results.md``.

    ``goals`` are rows of (what, aim, measured), the one that says most first: ``tools/write_docs.py`` gathers them from all
    benches in ``docs/figures.md``. ``conditions`` follows the name of the machine.
    """
    head = [
        f"<!-- Written by bench/{script}. -->",
        f"{machine()}{conditions}.",
        "## Goals",
        table(["", "aim", "measured"], goals),
    ]
    return "\n\n".join([*head, *parts]) + "\n"


def publish(text: str, path: Path | None) -> None:
    """Show it, and keep it where that is asked for."""
    print(text)
    if path:
        path.write_text(text)
