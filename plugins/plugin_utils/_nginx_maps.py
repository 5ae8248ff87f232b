"""Which pool answers which request, as the maps of nginx say it.

An area has two questions. Does any worker serve the call? One regular expression knows, for all pools together. Whose is it? The
method and the name of the call tell, by nginx's hash, which costs a tenth of an expression per pool. What they cannot tell apart
keeps an expression of its own, before the others.

GNU General Public License v3.0+ (see LICENSE)
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any, NamedTuple

from ..module_utils import _endpoints
from ..module_utils._endpoints import AREAS, MAIN, QUERIES, Area, Endpoint
from ..module_utils._worker_types import parse_version
from ._nginx import variable_prefix
from ._nginx_regex import LINE, aliases, regex_lines

# Areas of most requests but a sync, by location: they are tried there at once, for each costs. So that calls of clients are asked
# once, they are tried before those of a room, which have to be kept from them.
SHORT = {
    "/_matrix/client/v3/rooms/": {"rooms": ""},
    "/_matrix/client/": {"client": "(?!(?:[^/?]+/){1,2}rooms/)", "rooms": ""},
    "/_matrix/federation/": {"federation": "(?!v1/media/)"},
}

LIMITED = "limited_"
"""What the locations begin with that count requests before they hand them on to the pool."""

Rows = list[tuple[str, Endpoint]]
"""Rows of an area with the pool of each: a worker type, ``main``, or the variable of a query."""


def nginx_maps(
    topology: dict[str, Any],
    admin_allowed: bool = False,
    well_known_here: bool = True,
    limited: bool = False,
) -> dict[str, Any]:
    """Which pool answers which request.

    Args:
        topology: ``synapse_topology``.
        admin_allowed: whether the administration API is open to any address at all.
        well_known_here: whether nginx itself answers ``/.well-known/matrix/``.
        limited: whether logins and registrations are counted, and refused when one address sends too many.

    Returns:
        ``prefix``; ``areas``: a list of ``name``, ``pattern`` (regular expression on the raw target, which keeps the call and its
        name) and ``value`` (pool, variable of an area, or gate), in routing order, what none matches being refused; ``short``:
        locations whose areas are tried first there, a list of ``path`` and ``areas``; ``maps``: one per area that has to look
        closer, ``name``, ``variable``, ``default``, ``entries`` (a list of ``pool``, which may be a variable, and ``lines``, the
        lines of one regular expression with ``x`` on ``METHOD:call``) and ``whose`` (by ``METHOD name``, whose a call is
        that a worker serves: ``variable``, ``default`` and ``entries``, a list of ``pool`` and ``keys``; {} where that needs no
        look);
        ``queries``: what the query decides, ``variable``, ``pattern`` (on ``?query``), ``meaning``, ``pool`` and ``default`` (the
        pool of all others); ``limited``: the pools whose requests are counted, if they are rows for that; such a request goes to
        ``limited_<pool>``; ``gate``: what the guarded area is behind its gate, or ''.
    """
    prefix = variable_prefix(topology)
    rows = _endpoints.rows_for(parse_version(topology["version"] or ""))
    default_type = topology["settings"]["default_type"]
    result: dict[str, Any] = {"prefix": prefix, "areas": [], "short": [], "maps": [], "queries": [], "limited": [], "gate": ""}
    for area in AREAS:
        if (area.guarded and not admin_allowed) or (area.name == "well_known" and well_known_here):
            continue
        chosen: Rows = []
        for row in (row for row in rows if row.area == area.name):
            pool = _endpoints.pool_of(row, topology["pools"], default_type)
            if row.limited and limited:
                result["limited"] += [] if pool in result["limited"] else [pool]
                pool = f"{LIMITED}{pool}"
            chosen.append((pool, row))
        pattern, value = f"^{area.prefix}", chosen[-1][0]
        if not area.whole:
            call, value = _looked_at(area, prefix, chosen, result)
            pattern = f"^{area.stem}{call}" if value != MAIN else pattern
        if area.guarded:
            result["gate"] = value
            value = f"${prefix}_{area.name}_gate"
        result["areas"].append({"name": area.name, "pattern": pattern, "value": value})
    closer = {one["name"]: one for one in result["areas"] if one["value"].startswith("$")}
    for path, order in SHORT.items():
        areas = [
            {**closer[name], "pattern": closer[name]["pattern"].replace("(?<", f"{unless}(?<", 1)}
            for name, unless in order.items()
            if name in closer
        ]
        if areas:
            result["short"].append({"path": path, "areas": areas})
    return result


def _looked_at(area: Area, prefix: str, chosen: Rows, result: dict[str, Any]) -> tuple[str, str]:
    """Adds the map of one area to ``result``; the expression that keeps its calls, and the variable, or pool, it stands for."""
    rows = _without_queries(prefix, chosen, result["queries"])
    if not rows:
        return "", MAIN
    variable = f"{prefix}_{area.name}"
    names = told_by_name(area, rows)
    told = [row for pool, row in rows if (pool, row) not in names.apart]
    entries = [
        {"pool": pool, "lines": regex_lines([row for other, row in names.apart if other == pool])}
        for pool in dict.fromkeys(pool for pool, _row in names.apart)
    ]
    whose: dict[str, Any] = {}
    call = "[^?]*"
    if names.pools:
        whose = {"variable": f"{variable}_whose", "default": names.default, "entries": _lines_of_keys(names.pools)}
        call = f"{area.version}(?<{prefix}_name>{names.pattern})[^?]*"
    if told:
        entries.append({"pool": f"${variable}_whose" if whose else names.default, "lines": regex_lines(told)})
    result["maps"].append({"name": area.name, "variable": variable, "default": MAIN, "entries": entries, "whose": whose})
    return f"(?<{prefix}_call>{area.begin}{call})", f"${variable}"


def _without_queries(prefix: str, rows: Rows, queries: list[dict[str, str]]) -> Rows:
    """The rows that a worker serves, and those of the main process that must be named lest a worker's row takes them.

    Where the query decides between two pools, the variable that looks at it stands in for the pool and is added to ``queries``.
    """
    kept: Rows = []
    conditional: set[str] = set()
    for position, (pool, row) in enumerate(rows):
        later = rows[position + 1 :]
        if row.query:
            rest = next((other for other, next_row in later if row.path == next_row.path), MAIN)
            if rest == pool:
                continue
            variable = f"{prefix}_{row.query}"
            condition = QUERIES[row.query]
            query = {"variable": variable, "pattern": f"^{condition.pattern}", "meaning": condition.meaning}
            queries.append({**query, "pool": pool, "default": rest})
            conditional.add(row.path)
            pool = f"${variable}"
        elif row.path in conditional or (pool == MAIN and not _must_come_first(row, later)):
            continue
        kept.append((pool, row))
    return kept


def _must_come_first(row: Endpoint, later: Rows) -> bool:
    """Whether a worker's row among the later ones would take what this row leaves to the main process."""
    samples = [_endpoints.sample_of(path) for path in _endpoints.expand(row.path)]
    rivals = [other for pool, other in later if pool != MAIN and set(row.methods) & set(other.methods)]
    return any(re.fullmatch(other.pattern, sample) for other in rivals for sample in samples)


class Names(NamedTuple):
    """What method and name of a call tell about its pool.

    A name is the first segment of a call behind the version, or the first two where one is too few (``keys/upload``).
    """

    pattern: str
    """Regular expression of a name."""
    pools: dict[str, str]
    """Pool by ``METHOD name``, of all that are not the default's; empty where there is nothing to tell."""
    default: str
    apart: Rows
    """Rows that they do not tell, which need an expression of their own."""


def told_by_name(area: Area, rows: Rows) -> Names:
    """How the rows of an area are told apart."""
    apart = [(pool, row) for pool, row in rows if pool == MAIN or area.version is None]
    deep: list[str] = []
    while True:
        told = [one for one in rows if one not in apart]
        keys = [(key, pool, row) for pool, row in told for key in _keys(area, row, deep)]
        default = _default([(key, pool) for key, pool, _row in keys])
        unclear = {key for key, pool, _row in keys if any(_meet(key, other) and pool != rival for other, rival, _row in keys)}
        unclear |= {key for key, pool, _row in keys if ANY in key and pool != default}
        # Two segments, where the first is not one that the client chooses.
        deeper = dict.fromkeys(name for name in (key.split()[1] for key in unclear) if "/" not in name and ANY not in name)
        new = sorted(set(deeper) - set(deep))
        if new:
            deep += new
            continue
        more = [(pool, row) for key, pool, row in keys if key in unclear and pool != default]
        if not more:
            break
        apart = [one for one in rows if one in apart or one in more]
    pools = {key: pool for key, pool, _row in keys if pool != default and ANY not in key}
    pattern = f"(?:{'|'.join(deep)})/[^/?]*|[^/?]*" if deep else "[^/?]*"
    return Names(pattern, pools, default, apart)


# Stands in a key for a segment that the client chooses.
ANY = "{}"


def _keys(area: Area, row: Endpoint, deep: list[str]) -> list[str]:
    """``METHOD name`` for every call that a row means."""
    names = []
    for call in _endpoints.expand(row.call):
        match = re.match(str(area.version), call)
        if not match:
            raise AssertionError(call)
        first, slash, rest = re.sub(r"\{\w+\}", ANY, call[match.end() :]).partition("/")
        names.append(f"{first}/{rest.partition('/')[0]}" if slash and first in deep else first)
    return [f"{method} {name}" for name in dict.fromkeys(names) for method in aliases(row.methods)]


def _meet(key: str, other: str) -> bool:
    """Whether a call can have both keys."""
    return bool(_as_pattern(key).fullmatch(other) or _as_pattern(other).fullmatch(key))


@cache
def _as_pattern(key: str) -> re.Pattern[str]:
    """What a key means; every key meets every other one, so each is compiled once."""
    return re.compile(re.escape(key).replace(re.escape(ANY), ".*"))


def _default(keys: list[tuple[str, str]]) -> str:
    """The pool that gets what no key names: the one that has calls without a name, else the one with most keys."""
    weights: dict[str, int] = {}
    for key, pool in keys:
        weights[pool] = weights.get(pool, 0) + (1000 if ANY in key else 1)
    return max(weights, key=lambda pool: weights[pool]) if weights else MAIN


def _lines_of_keys(pools: dict[str, str]) -> list[dict[str, Any]]:
    """The keys of a map, as many of one pool on a line as can be read."""
    lines: list[dict[str, Any]] = []
    for pool in dict.fromkeys(pools.values()):
        width = LINE
        for key in (key for key, other in pools.items() if other == pool):
            width += len(f'"{key}" {pool}; ')
            if width > LINE:
                lines.append({"pool": pool, "keys": []})
                width = len(f'"{key}" {pool}; ')
            lines[-1]["keys"].append(key)
    return lines
