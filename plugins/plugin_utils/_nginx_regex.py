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

    Written with the flag ``x``: blanks mean nothing, so it can be laid out to be read. Rows are gathered by method and then
    by the beginning of their call: a request is compared with each of these once, not once per endpoint.
    """
    groups: dict[str, dict[str, list[str]]] = {}
    for row in rows:
        match = _HEAD.fullmatch(row.call)
        head, tail = match.groups() if match else ("", row.call)
        for method in row.methods:
            groups.setdefault(method, {}).setdefault(_short(head), []).append(_short(tail))
    choices = [
        _choice(
            f"{_method(method)}: ",
            [_choice(head, [[tail] for tail in dict.fromkeys(tails)]) for head, tails in heads.items()],
        )
        for method, heads in groups.items()
    ]
    if len(choices) == 1 and len(choices[0]) == 1:
        return [f"(?x) ^{choices[0][0]}$"]
    lines = [f"{'    ' if position else '  | '}{line}" for choice in choices for position, line in enumerate(choice)]
    return ["(?x) ^(?:", f"    {lines[0][4:]}", *lines[1:], ")$"]


def aliases(methods: tuple[str, ...]) -> list[str]:
    """What a request may be sent with: HEAD goes with GET, as in Synapse."""
    return [alias for method in methods for alias in (("GET", "HEAD") if method == "GET" else (method,))]


def _method(method: str) -> str:
    names = aliases((method,))
    return names[0] if len(names) == 1 else f"(?:{'|'.join(names)})"


def _short(path: str) -> str:
    """The regular expression for a part of a call, in which no query can be."""
    return regex_of(path).replace("[^/?]*", "[^/]*").replace("[^?]*", ".*")


def _choice(lead: str, items: list[list[str]]) -> list[str]:
    """``lead`` and then one of the items. An item is a list of lines, and so is what comes out: as few as it takes."""
    (first, *more), *others = items
    if not others:
        return [f"{lead}{first}", *more]
    lines = [f"{lead}(?: {first}", *(f"    {line}" for line in more)]
    for first, *more in others:
        if more or len(lines[-1]) + len(first) + 3 > LINE:
            lines += [f"    | {first}", *(f"    {line}" for line in more)]
        else:
            lines[-1] += f" | {first}"
    return [*lines[:-1], f"{lines[-1]} )"]
