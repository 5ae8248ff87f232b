"""What the edge must not pass on, however it is spelled: nobody may answer these but the edge.

Every process that serves clients also serves ``/_synapse/admin`` and ``/health`` on the same port, so this is for the
edge to refuse. nginx chooses by the path it has decoded and tidied up, Synapse by the path as it was sent; the odd
spellings are those that mean one thing to the one and another to the other.

GNU General Public License v3.0+ (see LICENSE)
"""

from __future__ import annotations

from .judge import ANYONE, NOBODY, REFUSED
from .walk import Walk

STATUSES = (400, 403, 404)  # 400: nginx turns down what leads out of the root
PRIVATE = (
    "/_synapse/admin/v1/server_version",
    "/_synapse/replication/fed_send_edu/x",
    "/_synapse/metrics",
    "/_synapse/metrics/",
    "/metrics",
    "/health",
    "/_synapse/mas/x",
)
# {path}: what is private; {up}: as many steps up as lead from there to the root; {encoded}: letters as %xx.
SPELLINGS = (
    "{path}",
    "{path}?access_token=x",
    "/{path}",
    "/.{path}",
    "/_matrix/..{path}",
    "{path}/{up}_matrix/client/versions",
    "{path}/{encoded_up}_matrix/client/versions",
    "{encoded}",
)
# Private to who resolves dots, as nginx does. Synapse does not: to it they are paths below /_matrix/client that do not exist.
BELOW_CLIENT = (
    "/_matrix/client/../..{path}",
    "/_matrix/client/v3/%2e%2e/%2e%2e/%2e%2e{path}",
    "/_matrix/client/v3/..%2f..%2f..{path}",
)
OTHERS = (
    "/",
    "/_matrix",
    "/_synapse",
    "/index.html",
    "/.well-known/",
    "//_matrix/client/versions",
    "/_matrix/../",
    "/_MATRIX/client/versions",
)


def spellings(path: str) -> list[str]:
    """``path``, and other ways to write it that some program takes for the same."""
    encoded = "/".join(f"%{ord(part[0]):02x}{part[1:]}" if part else "" for part in path.split("/"))
    steps = path.strip("/").count("/") + 1
    places = {"path": path, "encoded": encoded, "up": "../" * steps, "encoded_up": "%2e%2e/" * steps}
    return [spelling.format(**places) for spelling in SPELLINGS]


def refusals(walk: Walk) -> None:
    """Ask for what is private, in every spelling."""
    for path in [asked for private in PRIVATE for asked in spellings(private)] + list(OTHERS):
        walk.ask(REFUSED, "GET", path, NOBODY, status=STATUSES, again=False)
    for path in [spelling.format(path=private) for private in PRIVATE for spelling in BELOW_CLIENT]:
        walk.ask(REFUSED, "GET", path, ANYONE, status=STATUSES, again=False)
    walk.ask(REFUSED, "POST", "/_synapse/admin/v1/register", NOBODY, body={}, status=STATUSES)
    walk.ask(REFUSED, "PUT", "/_synapse/admin/v2/users/x", NOBODY, body={}, status=STATUSES)
