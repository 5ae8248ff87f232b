"""One file into a tally: opened, its format seen by its first lines, counted.

GNU General Public License v3.0+ (see LICENSE)
"""

from __future__ import annotations

from typing import Optional, Sequence

from ._access_log import Tally, shown
from ._log_files import Unreadable, blocks, is_binary, opened
from ._log_formats import Format, detect

FIRST_LINES = 500
"""So many lines say how a log is written."""


def format_of(path: str, block: bytes, formats: Sequence[Format]) -> Optional[Format]:
    """The format of a file by its first block; None when there is no line of a request in it. Raises Unreadable."""
    if is_binary(block):
        raise Unreadable(f"{path} is no text but something binary; name the log itself")
    lines = [line for line in block.split(b"\n")[:FIRST_LINES] if line.strip()]
    found = detect(lines, formats)
    # Synapse may well write a thousand lines before the first request.
    if found or not lines or any(one.other_lines and b" - INFO - " in block for one in formats):
        return found
    tried = ", ".join(one.title for one in formats)
    raise Unreadable(
        f"{path} is in none of the formats that were tried ({tried}); its first line is: {shown(lines[0])}   "
        "Give the `log_format` of nginx's configuration, or `json_fields`"
    )


def count(path: str, tally: Tally, formats: Sequence[Format]) -> str:
    """Reads one file; the name of its format, '' for an empty one. Raises Unreadable."""
    found: Optional[Format] = None
    with opened(path) as stream:
        for block in blocks(stream, path):
            if found is None:
                found = format_of(path, block, formats)
                if found is None:
                    tally.lines += block.count(b"\n")
                    tally.other_lines += block.count(b"\n")
                    continue
            tally.read(block, found)
    return found.name if found else ""
