"""What nginx has to know, as views of ``synapse_topology``: pools, the choice of a pool, and how each pool is asked.

A request takes these steps, all on what the client really sent (nginx's own locations see the path decoded, with ``..``
resolved and slashes merged, while Synapse does not):

1. ``$<service>_pool`` looks at the beginning of the raw target and names a pool, an area, or ``refused``; what follows that
   beginning is kept as ``$<service>_call``;
2. the maps of the area look at the method and the call, and name a pool (``_nginx_maps``);
3. the named location of the pool says how long to wait and who may stand in;
4. the upstream of the pool says which worker.

A plain sync, which is nine requests of ten, has a location of its own and goes straight to the third step. Other calls of
clients and servers begin with the second. For nginx puts the whole source of a map into small letters before anything else, which costs more
than to match it: maps are given short strings, and only where they are needed (``bench/routing`` has the figures).

GNU General Public License v3.0+ (see LICENSE)
"""

from __future__ import annotations

import re
from typing import Any

from ..module_utils import _endpoints
from ..module_utils._endpoints import AREA, MAIN
from ..module_utils._worker_types import BY_NAME, parse_version

# How long a pool may take to answer, where the 180 seconds of the rest are too few.
TIMEOUTS = {
    # A long-poll lasts as long as the client asks, a first sync as long as it takes.
    "synchrotron": "600s",
    "initial_synchrotron": "600s",
    # A large upload or a slow remote server.
    "media_repository": "600s",
    # Joining a large room over federation takes minutes.
    "event_creator": "600s",
    MAIN: "600s",
}

# Synapse itself answers 502 when the process it asked was stopped under way; another worker then finds it started again.
NEXT_UPSTREAM = dict.fromkeys(("synchrotron", "initial_synchrotron", "event_creator"), "error timeout http_502")

# Waiting for news changes nothing, so the main process may take any of these requests again, a POST too.
SAFE_TO_REPEAT = ("synchrotron", "initial_synchrotron")

# Pools whose requests may all be sent again after they were cut: whoever writes a stream writes the same once more.
SAFE_TO_SEND_AGAIN = tuple(row.name for row in BY_NAME.values() if row.streams and not row.media)

# Plain paths that are nine requests of ten together.
HOT = ("/_matrix/client/v3/sync", "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync")

BALANCE = {
    "user": "hash ${prefix}_user consistent",
    "room": "hash ${prefix}_room consistent",
    "origin": "hash ${prefix}_origin consistent",
    "": "least_conn",
}
BALANCE_WHY = {
    "user": "one user's requests stay on one worker, which has the user's rooms and devices cached",
    "room": "one room's requests stay on one worker, which has the state of the room cached",
    "origin": "one server's transactions stay on one worker, which takes them one after the other",
    "": "the least busy worker takes the next request",
}

# Who takes over when no worker of a pool answers, in words.
STAND_IN = {
    MAIN: "the main process takes the request",
    "main_once": "the main process takes the request, unless it is a POST that a worker may have carried out already",
    "hold": "nobody; the request waits at nginx until one of them answers again",
    "hold_once": "nobody; the request waits at nginx until one of them answers again, unless it is a POST that was under way",
    "": "nobody; the request fails with 502",
}

# nginx keeps map keys in buckets of 64 bytes unless told otherwise, and only one file of a host may tell.
LONGEST_MAP_KEY = 40


def variable_prefix(topology: dict[str, Any]) -> str:
    """What begins every variable, zone, upstream and log format of this homeserver: several may share one nginx."""
    return str(topology["service"]).replace("-", "_")


def nginx_upstreams(topology: dict[str, Any]) -> list[dict[str, Any]]:
    """One pool per planned type that takes requests, the main process first.

    Returns:
        A list of ``pool``, ``name`` (of the upstream), ``purpose``, ``balance`` (a directive without ``;``, '' for one
        server), ``why``, and ``servers``: a list of ``server`` (nginx's own word for the address), ``worker`` and ``down`` (whether it
        gets no requests for now; ``_change_steps.interim_topology`` marks it). A ring of ``hash … consistent`` keeps its place.
    """
    prefix = variable_prefix(topology)
    workers = {worker["name"]: worker for worker in topology["workers"]}
    pools = [(MAIN, "All that no worker serves", [topology["main"]])]
    for pool, names in topology["pools"].items():
        purpose = BY_NAME[pool].purpose
        pools.append((pool, purpose[0].upper() + purpose[1:], [workers[name] for name in names]))
    out = topology.get("out", {})
    upstreams = []
    for pool, purpose, processes in pools:
        kind = BY_NAME[pool].balance if pool in BY_NAME else ""
        several = len(processes) > 1
        upstreams.append(
            {
                "pool": pool,
                "name": f"{prefix}_{pool}",
                "purpose": purpose,
                "balance": BALANCE[kind].replace("{prefix}", prefix) if several else "",
                "why": BALANCE_WHY[kind] if several else "",
                "servers": [
                    {"server": _server(one), "worker": one["name"], "down": one["name"] in out.get(pool, [])} for one in processes
                ],
            }
        )
    return upstreams


def nginx_keys(topology: dict[str, Any]) -> list[dict[str, Any]]:
    """The variables that upstreams hash on; only those in use.

    Returns:
        A list of ``variable``, ``source``, ``why`` (sentences for the comment), ``default`` and ``entries``: a list of
        ``pattern`` and ``value``.
    """
    prefix = variable_prefix(topology)
    used = {upstream["balance"] for upstream in nginx_upstreams(topology)}
    keys = [
        {
            "variable": f"{prefix}_user",
            "source": "$arg_user_id|$http_authorization|$arg_access_token",
            "why": [
                "Whose request it is, as far as it can be seen. Tokens of Synapse begin with the user's name; an application",
                "service names the user it acts for. Tokens of the Matrix Authentication Service say nothing and change every",
                "few minutes: there the address and the program of the client stand for the user.",
            ],
            "default": "$remote_addr:$http_user_agent",
            "entries": [
                {"pattern": rf"~^(?<{prefix}_acts_for>[^|]+)\|", "value": f"${prefix}_acts_for"},
                {"pattern": rf"~[| ]syt_(?<{prefix}_token_of>[^_|]+)_", "value": f"${prefix}_token_of"},
            ],
        },
        {
            "variable": f"{prefix}_room",
            "source": "$request_uri",
            "why": [
                "The room of a request, in every spelling: `!` may come as %21, and since room version 12 an id has no",
                "`:domain`. Requests without a room are spread by their path.",
            ],
            "default": "$request_uri",
            "entries": [
                {"pattern": rf"~*/(?:!|%21)(?<{prefix}_room_id>[A-Za-z0-9._~=-]+)", "value": f"${prefix}_room_id"},
            ],
        },
        {
            "variable": f"{prefix}_origin",
            "source": "$http_authorization",
            "why": [
                "The server that sends: it signs its name, so this holds behind another proxy too.",
            ],
            "default": "$remote_addr",
            "entries": [
                {
                    "pattern": rf"~*^X-Matrix .*?\borigin=\x22?(?<{prefix}_origin_name>[^\x22,\s]+)",
                    "value": f"${prefix}_origin_name",
                },
            ],
        },
    ]
    return [key for key in keys if any(f"${key['variable']} " in balance for balance in used)]


def nginx_locations(topology: dict[str, Any]) -> list[dict[str, Any]]:
    """How each pool is asked: one named location per pool, the main process last.

    Returns:
        A list of ``name`` (without ``@``), ``upstream``, ``purpose``, ``timeout`` and ``next_upstream`` (when another worker of
        the pool is asked), both '' where the server's own hold, ``stand_in`` (name of the location that takes over when none of them answers: ``main``;
        ``main_once`` where a request that a worker may have carried out must not be repeated; '' for nobody), ``hold`` (name of
        the location of ``nginx_holds`` in which requests wait when nobody takes over, or ''), ``kept_back`` (None; while
        ``topology`` says that all requests are held, an entry like those of ``nginx_holds`` that stands in the place of the
        pool), ``why``, and ``hot``: paths that come here without a look at the maps, a list of ``path`` and ``pattern`` (what
        the raw target must match for that).
    """
    upstreams = nginx_upstreams(topology)
    default_type = topology["settings"]["default_type"]
    locations = []
    for upstream in [*upstreams[1:], upstreams[0]]:
        pool = upstream["pool"]
        stand_in = ""
        if pool in BY_NAME and BY_NAME[pool].fallback_to_main:
            # A pool that also takes what other types would do gets requests that must not be repeated.
            stand_in = MAIN if pool in SAFE_TO_REPEAT and pool != default_type else "main_once"
        locations.append(
            {
                "name": pool,
                "upstream": upstream["name"],
                "purpose": upstream["purpose"],
                "timeout": TIMEOUTS.get(pool, TIMEOUTS[MAIN] if pool == default_type else ""),
                "next_upstream": NEXT_UPSTREAM.get(pool, ""),
                "stand_in": stand_in,
                "hold": f"hold_{pool}" if topology["settings"]["hold"] and not stand_in else "",
                "kept_back": _waiting(topology, upstream, upstreams[0] if stand_in else None) if topology.get("held") else None,
                "why": _why(pool, topology["settings"]["hold"]),
                "hot": _hot(pool, topology["pools"]),
            }
        )
    return locations


def nginx_holds(topology: dict[str, Any]) -> list[dict[str, Any]]:
    """Where requests wait for a pool that is not there and that nobody can stand in for.

    Returns:
        A list, empty where that is not wanted, of ``name`` (of the location), ``again`` (name of the location that sends the request
        when one of the pool answers), ``servers`` (whom to ask for that, in nginx's words), ``once`` (whether a POST that was under
        way is refused) and ``planned`` (whether requests also wait for the run that holds them).
    """
    upstreams = {upstream["pool"]: upstream for upstream in nginx_upstreams(topology)}
    return [
        {
            **_waiting(topology, upstreams[location["name"]]),
            "name": location["hold"],
            "once": location["name"] not in SAFE_TO_SEND_AGAIN,
            "planned": False,
        }
        for location in nginx_locations(topology)
        if location["hold"]
    ]


def _waiting(topology: dict[str, Any], upstream: dict[str, Any], stand_in: dict[str, Any] | None = None) -> dict[str, Any]:
    """A wait for an upstream, or for the one that stands in for it."""
    servers = [one["server"] for each in (upstream, stand_in) if each for one in each["servers"]]
    again = f"{'released_' if topology.get('held') else ''}{upstream['pool']}"
    return {"again": again, "servers": list(dict.fromkeys(servers)), "once": False, "planned": True}


def nginx_worker_names(topology: dict[str, Any]) -> list[dict[str, str]]:
    """The name behind each address, for the access log.

    Returns:
        A list of ``address`` (a key of nginx's ``map``: as in ``$upstream_addr``, of a socket only the name without its folder,
        or a regular expression where that is too long for a key) and ``worker``.
    """
    names = []
    for process in [topology["main"], *topology["workers"]]:
        if process["name"] != MAIN and not any(pool in topology["pools"] for pool in process["types"]):
            continue
        address = _server(process).rpartition("/")[2]
        key = address if len(address) <= LONGEST_MAP_KEY else f"~^{re.escape(address)}$"
        names.append({"address": key, "worker": process["name"]})
    return names


def explain_route(
    topology: dict[str, Any],
    method: str,
    url: str,
    admin_allowed: bool = True,
    well_known_here: bool = False,
) -> dict[str, Any]:
    """Where a request goes, and why.

    Args:
        topology: ``synapse_topology``.
        method: HTTP method.
        url: ``/path?query`` as a client sends it, or a whole URL.
        admin_allowed: whether the administration API is open to any address at all.
        well_known_here: whether nginx itself answers ``/.well-known/matrix/``.

    Returns:
        ``request``; ``pool`` ('' when nginx asks nobody); ``upstream`` (its name in nginx, or ''); ``workers`` (names);
        ``servers`` (a list of ``worker``, ``host``, ``server`` and ``down``); ``balance`` ('user', 'room', 'origin' or ''); ``hash_key``
        (the variable of nginx, or ''); ``spread`` (how one of them is chosen, in words); ``fallback`` ('main' or ''); ``stand_in``
        (what happens when none answers, in words); ``endpoint`` (the row that decided, or ''); ``reason``; ``text`` (all of it as
        lines to read).

    Raises:
        ValueError: ``url`` is neither a path nor a URL.
    """
    method, target = method.upper(), target_of(url)
    found = _endpoints.route(
        method,
        target,
        topology["pools"],
        parse_version(topology["version"] or ""),
        default_type=topology["settings"]["default_type"],
    )
    pool, reason = found.pool, found.reason
    if found.area and AREA[found.area].guarded and not admin_allowed:
        pool, reason = "", "the administration API is open to nobody (synapse_nginx_admin_allowed_from); nginx answers 404"
    elif found.area == "well_known" and well_known_here:
        pool, reason = "", "nginx answers it itself (synapse_nginx_well_known)"
    upstream = next((one for one in nginx_upstreams(topology) if one["pool"] == pool), None)
    location = next((one for one in nginx_locations(topology) if one["name"] == pool), None)
    processes = {process["name"]: process for process in [topology["main"], *topology["workers"]]}
    row = BY_NAME.get(pool)
    workers = [one["worker"] for one in upstream["servers"]] if upstream else []
    several = len(workers) > 1
    # Only what a worker may have carried out already, and would do twice, is not asked again.
    whole = location is not None and location["stand_in"] == "main_once" and method != "POST"
    result = {
        "request": f"{method} {target}",
        "pool": pool,
        "upstream": upstream["name"] if upstream else "",
        "workers": workers,
        "servers": [{**one, "host": processes[one["worker"]]["host"]} for one in upstream["servers"]] if upstream else [],
        "balance": row.balance if row and several else "",
        "hash_key": upstream["balance"].split()[1] if upstream and row and row.balance and several else "",
        "spread": (upstream["why"] or "there is one") if upstream else "",
        "fallback": MAIN if row and row.fallback_to_main else "",
        "stand_in": STAND_IN[MAIN if whole else location["stand_in"] or _held(location, method)] if location else "",
        "endpoint": found.endpoint.name if found.endpoint else "",
        "reason": reason,
    }
    return {**result, "text": _lines_of(result)}


def _lines_of(route: dict[str, Any]) -> list[str]:
    """A route as lines to read."""
    purpose = f" ({BY_NAME[route['pool']].purpose})" if route["pool"] in BY_NAME else ""
    lines = [("request", route["request"]), ("goes to", (route["pool"] or "nobody") + purpose), ("because", route["reason"])]
    if route["endpoint"]:
        lines.append(("endpoint", route["endpoint"]))
    if route["pool"]:
        lines.append(("pool", f"upstream {route['upstream']} in nginx"))
        lines += [("server", f"{one['server']} {one['worker']} on {one['host']}") for one in route["servers"]]
    if len(route["workers"]) > 1:
        lines.append(
            ("which one", f"by ${route['hash_key'].lstrip('$')}: {route['spread']}" if route["hash_key"] else route["spread"])
        )
    if route["pool"]:
        lines.append(("none answers", route["stand_in"]))
    return [f"{f'{name}:':<14}{words}" for name, words in lines]


def target_of(url: str) -> str:
    """The request target of a URL, byte for byte as a client would send it; a path stays what it is."""
    target = re.sub(r"^https?://[^/?#]*", "", url, flags=re.IGNORECASE).partition("#")[0]
    if target != url and not target.startswith("/"):
        target = f"/{target}"
    if not target.startswith("/") or re.search(r"\s", target):
        raise ValueError(f"{url!r} is no URL and no path; write it like '/_matrix/client/v3/sync?since=s1'")
    return target


def _hot(pool: str, pools: dict[str, Any]) -> list[dict[str, str]]:
    """The short ways to a pool."""
    if pool != "synchrotron":
        return []
    # What nginx alone reads as this path is none of Synapse's.
    usual = {path: f"^{re.escape(path)}" for path in HOT}
    if "initial_synchrotron" in pools:
        usual[HOT[0]] += r"\?(?:(?!since=|full_state=)[^&]*&)*since=[^&](?!.*&full_state=)"
    return [{"path": path, "pattern": usual[path]} for path in HOT]


def _server(process: dict[str, Any]) -> str:
    listen = process["listen"]
    if "path" in listen:
        return f"unix:{listen['path']}"
    address = f"[{listen['address']}]" if ":" in listen["address"] else listen["address"]
    return f"{address}:{listen['port']}"


def _held(location: dict[str, Any], method: str) -> str:
    """Which of ``STAND_IN`` it is that nobody stands in."""
    if not location["hold"]:
        return ""
    return "hold_once" if method == "POST" and location["name"] not in SAFE_TO_SEND_AGAIN else "hold"


def _why(pool: str, hold: bool) -> str:
    if pool == MAIN:
        return f"It is one process: while it restarts, its requests {'wait' if hold else 'fail'}."
    row = BY_NAME[pool]
    if row.fallback_to_main:
        return "When none of them answers, the main process does."
    if row.media:
        return "No other process loads the media repository, so none can stand in."
    if row.streams:
        return "Only a writer of the stream can answer, so none can stand in."
    return "A login under way lives in the memory of one process, so none can stand in."
