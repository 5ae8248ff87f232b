"""Synapse's own router, as far as its registrations tell: which pattern takes a path, and which paths a pattern means.

Used on a host's list of servlets before a roll-out (``_route_check.py``) and on those of whole releases in the tests.

GNU General Public License v3.0+ (see LICENSE)
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable

# What `re` itself parses with; private, yet the only complete reader of the patterns that Synapse writes.
from re import _constants as sre  # type: ignore[attr-defined]
from re import _parser as sre_parse  # type: ignore[attr-defined]
from typing import Any


class Router:
    """The servlets of one resource, tried in order."""

    def __init__(self, routes: Iterable[tuple[str, str, str]]) -> None:
        """``routes``: method, regular expression, and what to call it, in the order in which Synapse tries them."""
        patterns: dict[str, dict[str, str]] = {}
        for method, pattern, name in routes:
            patterns.setdefault(pattern, {})[method] = name
        self._patterns = [(re.compile(pattern), methods) for pattern, methods in patterns.items()]

    def answers(self, method: str, path: str) -> str:
        """The name of what answers, or ''.

        As ``JsonResource._get_handler_for_request`` (``synapse/http/server.py``, 1.163.2): the first pattern that matches
        decides, whether it has the method or not. HEAD is answered like GET.
        """
        return self._methods(path).get("GET" if method == "HEAD" else method, "")

    def knows(self, path: str) -> bool:
        """Whether anything answers for a path, by whatever method."""
        return bool(self._methods(path))

    def _methods(self, path: str) -> dict[str, str]:
        return next((methods for pattern, methods in self._patterns if pattern.match(path)), {})


def paths_of(pattern: str, value_of: Callable[[str], str]) -> list[str]:
    """Concrete paths for one of Synapse's patterns: every choice taken, ``value_of(name)`` for each open part.

    Names are those of the pattern's groups, '' for an open part without a name, and ``/`` for one that may hold slashes.
    """
    parsed = sre_parse.parse(pattern)
    names = {number: name for name, number in parsed.state.groupdict.items()}
    return _strings(parsed, names, value_of)


def _strings(parsed: Any, names: dict[int, str], value_of: Callable[[str], str]) -> list[str]:
    parts: list[list[str]] = []
    for op, arg in parsed:
        if op is sre.LITERAL:
            parts.append([chr(arg)])
        elif op is sre.AT:
            continue
        elif op is sre.BRANCH:
            parts.append([text for branch in arg[1] for text in _strings(branch, names, value_of)])
        elif op is sre.SUBPATTERN:
            number, inner = arg[0], arg[-1]
            if number in names and _is_open(inner):
                parts.append([value_of(names[number])])
            else:
                parts.append(_strings(inner, names, value_of))
        elif op in (sre.MAX_REPEAT, sre.MIN_REPEAT):
            low, high, inner = arg
            if (low, high) == (0, 1):
                parts.append(["", *_strings(inner, names, value_of)])
            else:
                parts.append([value_of("/" if inner[0][0] is sre.ANY else "")])
        elif op is sre.IN:
            # `(v1|v2)` is read as `v[12]`.
            parts.append([chr(one[1]) for one in arg] if all(one[0] is sre.LITERAL for one in arg) else ["x"])
        elif op is sre.ANY:
            parts.append(["."])
        else:
            raise ValueError(f"{op} in a pattern of Synapse: {parsed}")
    return ["".join(choice) for choice in itertools.product(*parts)]


def _is_open(inner: Any) -> bool:
    """Whether a group is one repeated class of characters, an id for example."""
    return len(inner) == 1 and inner[0][0] is sre.MAX_REPEAT and inner[0][1][2][0][0] is not sre.ANY
