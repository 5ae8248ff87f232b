"""Rows of the table of endpoints as one regular expression that is laid out to be read.

GNU General Public License v3.0+ (see LICENSE)
"""

from __future__ import annotations

import re

from ..module_utils._endpoints import Endpoint, regex_of

LINE = 140

# The version, or the part of the administration API, that many calls have in common.
_HEAD = re.compile(r"((?:\{\w+\}|\([rv]\d[^)]*\)|v\d|unstable|mas|admin/v\d)/)(.+)")


def regex_lines(rows: list[Endpoint]) -> list[str]:
    """One regular expression for ``METHOD:call`` that means exactly these rows of an area.

    Written with the flag ``x``: blanks mean nothing, so it can be laid out to be read. Rows are gathered by their methods and
    the beginning of their call, which also spares nginx to compare that beginning once per endpoint.
    """
    groups: dict[tuple[tuple[str, ...], str], list[str]] = {}
    for row in rows:
        match = _HEAD.fullmatch(row.call)
        head, tail = match.groups() if match else ("", row.call)
        groups.setdefault((row.methods, _short(head)), []).append(_short(tail))
    # Most requests read.
    order = sorted(dict.fromkeys(methods for methods, _head in groups), key=lambda methods: "GET" not in methods)
    choices = [
        _choice(f"{_methods(methods)}: {head}", list(dict.fromkeys(tails)))
        # What has the same methods stands together.
        for (methods, head), tails in sorted(groups.items(), key=lambda group: order.index(group[0][0]))
    ]
    if len(choices) == 1 and len(choices[0]) == 1:
        return [f"(?x) ^{choices[0][0]}$"]
    lines = [f"{'    ' if position else '  | '}{line}" for choice in choices for position, line in enumerate(choice)]
    return ["(?x) ^(?:", f"    {lines[0][4:]}", *lines[1:], ")$"]


def aliases(methods: tuple[str, ...]) -> list[str]:
    """What a request may be sent with: HEAD goes with GET, as in Synapse."""
    return [alias for method in methods for alias in (("GET", "HEAD") if method == "GET" else (method,))]


def _methods(methods: tuple[str, ...]) -> str:
    names = aliases(methods)
    return names[0] if len(names) == 1 else f"(?:{'|'.join(names)})"


def _short(path: str) -> str:
    """The regular expression for a part of a call, in which no query can be."""
    return regex_of(path).replace("[^/?]*", "[^/]*").replace("[^?]*", ".*")


def _choice(lead: str, tails: list[str]) -> list[str]:
    """``lead`` and then one of the tails, on one line or on as many as it takes."""
    if len(tails) == 1:
        return [f"{lead}{tails[0]}"]
    lines = [f"{lead}(?: {tails[0]}"]
    for tail in tails[1:]:
        if len(lines[-1]) + len(tail) + 3 > LINE:
            lines.append(f"    | {tail}")
        else:
            lines[-1] += f" | {tail}"
    return [*lines[:-1], f"{lines[-1]} )"]
