"""Server blocks that somebody else keeps: whether they include our snippet, and whether something of theirs stands in its way.

nginx takes an exact location first, then the longest prefix, then, unless that prefix has ``^~``, the first regular expression that
matches (``src/http/ngx_http_core_module.c``, ``ngx_http_core_find_location``, nginx 1.22). Our snippet has prefixes with ``^~``, so
it outranks every regular expression and every shorter prefix, and is outranked by exact locations and by longer prefixes.

GNU General Public License v3.0+ (see LICENSE)
"""

from __future__ import annotations

import fnmatch
import re
from typing import Any

# What our snippet takes, in every spelling.
AREAS = ("/_matrix/", "/_synapse/")
WELL_KNOWN = "/.well-known/matrix/"
# The administrator's own business: sent to the main process it is right, wherever the vhost lets it in.
OPERATORS_OWN = ("/_synapse/admin", "/_synapse/metrics")
# What nginx allows once in a block, and the snippet says.
ONCE = {
    "client_max_body_size": "its own value is synapse_nginx_max_body_size",
    "proxy_http_version": "connections to workers need 1.1, which it sets",
    "proxy_connect_timeout": "it sets its own",
    "proxy_read_timeout": "it sets its own",
    "proxy_next_upstream": "it sets its own",
    "recursive_error_pages": "it needs them on",
}
LOOPBACK = ("127.0.0.1", "localhost", "[::1]", "0.0.0.0")


def vhost_check(nginx: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    """Whether requests will find the way to our snippet.

    Args:
        nginx: what the module ``nginx_info`` returned.
        settings: ``snippet`` (its path), ``hostname`` (at which clients reach the homeserver), ``main`` (``address:port`` or the path of a
            socket at which the main process is asked), ``well_known`` (whether the snippet answers ``/.well-known/matrix/``), ``pcre_jit``
            (whether we turn it on), ``http`` (the path of our file for the http block).

    Returns:
        ``problems`` (sentences; requests would go astray, or nginx would refuse the files), ``notes`` (worth knowing) and ``leads``
        (whether a server block includes the snippet, also where that is not there yet).
    """
    problems: list[str] = []
    notes: list[str] = []
    if not nginx["installed"]:
        return {"problems": [], "notes": [], "leads": False}
    if nginx["error"]:
        return {"problems": [f"nginx refuses its files as they are: {nginx['error']}"], "notes": [], "leads": False}
    if not any(fnmatch.fnmatchcase(settings["http"], pattern) for pattern in nginx["http_includes"]):
        problems.append(
            f"the http block of nginx.conf does not include {settings['http']}; it needs `include /etc/nginx/conf.d/*.conf;`"
        )
    for directive in nginx["main"]:
        if directive["words"][0] == "pcre_jit" and settings["pcre_jit"] and "50-pcre-jit" not in directive["file"]:
            problems.append(f"{_at(directive)} sets pcre_jit, which nginx takes once; set nginx_pcre_jit: false")
    including = [server for server in nginx["servers"] if includes(server, settings["snippet"])]
    asking = [server for server in nginx["servers"] if server not in including and asks_main(nginx, server, settings["main"])]
    line = include_line(settings["snippet"])
    if not including:
        meant = asking or [server for server in nginx["servers"] if settings["hostname"] in server["names"]]
        where = ", ".join(f"{_at(server)} ({' '.join(server['names']) or 'no name'})" for server in meant)
        problems.append(
            f"no server block of nginx includes {settings['snippet']}, so no request would reach a worker. Put the line\n"
            f"      {line}\n"
            + (
                f"    into the server block at {where}, and reload nginx; until there is such a file nginx passes over the line"
                if meant
                else f"    into the server block for {settings['hostname']}; none of that name was found"
            )
        )
    else:
        for server in asking:
            problems.append(
                f"{_at(server)} ({' '.join(server['names']) or 'no name'}) sends requests to the main process and does not include "
                f"{settings['snippet']}: what workers alone can answer would fail there. Put `{line}` into it too"
            )
    for server in including:
        for sentence, is_problem in in_the_way(server, settings):
            (problems if is_problem else notes).append(sentence)
    return {"problems": list(dict.fromkeys(problems)), "notes": list(dict.fromkeys(notes)), "leads": bool(including)}


def include_line(snippet: str) -> str:
    """An include that nginx also takes while the file is not there: one with a wildcard may match nothing."""
    return f"include {re.sub(r'[.](?=[^.]*$)', '[.]', snippet)};"


def includes(server: dict[str, Any], path: str) -> bool:
    """Whether a server block includes a file, or would if it were there."""
    return any(fnmatch.fnmatchcase(path, one["path"]) for one in server["includes"])


def asks_main(nginx: dict[str, Any], server: dict[str, Any], main: str) -> bool:
    """Whether requests of a server block go to the main process."""
    return any(main in addresses_of(nginx, asked) for location in server["locations"] for asked in location["asks"])


def addresses_of(nginx: dict[str, Any], asked: str) -> list[str]:
    """The addresses behind the argument of a ``proxy_pass``, with loopback in one spelling."""
    match = re.match(r"https?://(unix:[^:]+|\[[^\]]*\](?::\d+)?|[^/$?]+)", asked)
    if not match:
        return []
    name = match.group(1)
    return [_usual(server) for server in nginx["upstreams"].get(name, [name])]


def _usual(address: str) -> str:
    if address.startswith("unix:"):
        return address[len("unix:") :]
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdigit():
        host, port = address, "80"
    return f"{'127.0.0.1' if host in LOOPBACK else host}:{port}"


def location_for(server: dict[str, Any], path: str) -> dict[str, Any] | None:
    """The location that a server block of nginx takes for a plain path, or None."""
    longest: dict[str, Any] | None = None
    for location in server["locations"]:
        if location["modifier"] == "=" and location["path"] == path:
            return location
        fits = location["modifier"] in ("", "^~") and path.startswith(location["path"])
        if fits and (longest is None or len(location["path"]) > len(longest["path"])):
            longest = location
    if longest and longest["modifier"] == "^~":
        return longest
    for location in server["locations"]:
        if location["modifier"] in ("~", "~*"):
            try:
                found = re.search(location["path"], path, re.IGNORECASE if location["modifier"] == "~*" else 0)
            except re.error:  # an expression that Python's kind does not know
                continue
            if found:
                return location
    return longest


def in_the_way(server: dict[str, Any], settings: dict[str, Any]) -> list[tuple[str, bool]]:
    """(sentence, whether it is a problem) for what takes requests away from the snippet, or cannot stand beside it.

    Args:
        server: a server block.
        settings: ``snippet`` and ``well_known`` as in ``vhost_check``.
    """
    found = []
    for location in server["locations"]:
        sentence = _shadow(location, settings) if location["file"] != settings["snippet"] else None
        if sentence:
            found.append(sentence)
    for directive in server["directives"]:
        name = directive["words"][0]
        if directive["file"] == settings["snippet"]:
            continue
        if name in ONCE:
            found.append((f"{_at(directive)}: the snippet sets {name} for the server block too, and nginx takes it once; remove it, or "
                          f"move it into your own locations ({ONCE[name]})", True))  # fmt: skip
        elif name == "return":
            found.append(
                (
                    f"{_at(directive)}: this answers every request of the server block, so none gets to the snippet; remove it",
                    True,
                )
            )
        elif name == "rewrite":
            found.append((f"{_at(directive)}: this may turn a request away before the snippet sees it", False))
        elif name == "proxy_set_header" and directive["words"][1:] and directive["words"][1].lower() in (
            "host", "connection", "x-forwarded-for", "x-forwarded-proto",
        ):  # fmt: skip
            found.append((f"{_at(directive)}: the snippet sets the header {directive['words'][1]} for the server block too, and Synapse "
                          f"would get both; move it into your own locations", True))  # fmt: skip
    return found


def _shadow(location: dict[str, Any], settings: dict[str, Any]) -> tuple[str, bool] | None:
    modifier, path = location["modifier"], location["path"]
    written = f"location {modifier + ' ' if modifier else ''}{path}"
    if modifier not in ("", "^~", "="):
        # Ours are prefixes with ^~, which nginx takes before any expression.
        return None
    areas = (*AREAS, WELL_KNOWN) if settings["well_known"] else AREAS
    area = next((area for area in areas if path.startswith(area)), None)
    if area is None:
        return None
    if path == area and modifier != "=":
        return (
            f"{_at(location)}: `{written}` is in the snippet too, and nginx takes it once; write it as `location {path.rstrip('/')}`: it "
            f"then takes requests as long as the snippet is not there, and none beside it",
            True,
        )
    if path.startswith(OPERATORS_OWN):
        return f"{_at(location)}: `{written}` stays with the vhost and goes the way it says, past the snippet", False
    # Expressions come after the snippet's prefixes. To remove it would leave its requests without their worker until the run is over.
    turned = f"location ~ ^{re.escape(path)}{'$' if modifier == '=' else ''}"
    return (
        f"{_at(location)}: `{written}` takes requests away from the workers that the plan has for them; write it as `{turned}`: it then takes "
        f"them as long as the snippet is not there, and none beside it",
        True,
    )


def _at(thing: dict[str, Any]) -> str:
    return f"{thing['file']}:{thing['line']}"
