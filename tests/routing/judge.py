"""The judge: requests made from what a real Synapse registers, and who of its processes would answer them.

Nothing here reads the project's own table. The knowledge that Synapse's registrations do not hold (which servlet only the
writer of a stream can answer) stands here a second time, by the names of Synapse's servlets, so that an error in the table
cannot hide in the test.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple
from urllib.parse import unquote

from ansible_collections.synapse.workers.plugins.plugin_utils._servlets import Router, paths_of

# Servlets that fail on every process but a writer of the stream (main included, once the stream has moved).
WRITER_ONLY: dict[str, tuple[str, Sequence[str]]] = {
    "RoomTypingRestServlet": ("typing", ["PUT"]),
    "SendToDeviceRestServlet": ("to_device", ["PUT"]),
    "ReceiptRestServlet": ("receipts", ["POST"]),
    "ReadMarkerRestServlet": ("receipts", ["POST"]),
    "PushRuleRestServlet": ("push_rules", ["PUT", "DELETE"]),
    "PresenceStatusRestServlet": ("presence", ["GET", "PUT"]),
    "ThreadSubscriptionsRestServlet": ("thread_subscriptions", ["PUT", "DELETE"]),
    "QuarantineMediaByID": ("quarantined_media_changes", ["POST"]),
    "QuarantineMediaByUser": ("quarantined_media_changes", ["POST"]),
    "QuarantineMediaInRoom": ("quarantined_media_changes", ["POST"]),
    "UnquarantineMediaByID": ("quarantined_media_changes", ["POST"]),
}
# Servlets that any worker answers by asking the writer: sent to the writer they save a step.
WRITER_BEST: dict[str, tuple[str, Sequence[str]]] = {
    "AccountDataServlet": ("account_data", ["PUT"]),
    "RoomAccountDataServlet": ("account_data", ["PUT"]),
    "UnstableAccountDataServlet": ("account_data", ["DELETE"]),
    "UnstableRoomAccountDataServlet": ("account_data", ["DELETE"]),
    "TagServlet": ("account_data", ["PUT", "DELETE"]),
    "DeviceRestServlet": ("device_lists", ["PUT", "DELETE"]),
    "DeleteDevicesRestServlet": ("device_lists", ["POST"]),
    "SigningKeyUploadServlet": ("device_lists", ["POST"]),
    "SignaturesUploadServlet": ("device_lists", ["POST"]),
}
# The duties that operators know by name, each by the servlets that are its point.
DUTY: dict[str, str] = {
    "SyncRestServlet": "synchrotron",
    "SlidingSyncRestServlet": "synchrotron",
    "RoomSendEventRestServlet": "event_creator",
    "RoomMembershipRestServlet": "event_creator",
    "JoinRoomAliasServlet": "event_creator",
    "RoomCreateRestServlet": "event_creator",
    "RoomMessageListRestServlet": "client_reader",
    "KeyQueryServlet": "client_reader",
    "LoginRestServlet": "client_reader",
    "KeyUploadServlet": "frontend_proxy",
    "UserDirectorySearchRestServlet": "user_dir",
    "FederationSendServlet": "federation_inbound",
    "FederationMakeJoinServlet": "federation_reader",
    "LocalKey": "federation_reader",
    "UploadServlet": "media_repository",
    "DownloadResource": "media_repository",
    "SsoRedirectServlet": "sso",
    "CasTicketServlet": "sso",
}
# Registered on workers, but they fail there (tried on live processes of 1.163.2).
FAILS_ON_WORKERS = {
    "OpenIdUserInfo": "500: the worker's store cannot look tokens up",
    "FederationUnstableGetExtremitiesServlet": "500",
    "/_synapse/client/rendezvous": "404: sessions live in the memory of the main process",
}

# What stands in for an id, in several spellings. A value holds for all ids of a request. (Zero bytes are left out: nginx
# answers them with 400 itself.)
SPELLINGS: dict[str, dict[str, str]] = {
    "plain": {
        "room": "!abcDEF:example.org",
        "user": "@alice:example.org",
        "event": "$h29iv0s8:example.org",
        "alias": "#room:example.org",
        "": "some.thing",
    },
    "v12": {
        "room": "!31hneApxJ_1o-63DmFrpeqnFfWppnzWso1JvH3ogLM",
        "user": "%40alice%3Aexample.org",
        "event": "%24Rqnc-F-dvnEYJTyHq_iKxU2bZ1CI92-kuZq3a5lr5Zg",
        "alias": "%23room%3Aexample.org",
        "": "m.room.message",
    },
    "slash": {
        "room": "%21a%2Fb%2f..%2Fsync:example.org",
        "user": "@a%2Fjoin%2Fb:example.org",
        "event": "$a/b".replace("/", "%2F"),
        "alias": "%23a%2Fmessages:example.org",
        "": "a%2Fb",
    },
    "odd": {
        "room": "%21a%0Ab%20%21%23:example.org",
        "user": "@%0A:example.org",
        "event": "$%0a",
        "alias": "%23%0A%2E%2e:example.org",
        "": "%0A%7F%C3%BC",
    },
    "dots": {
        "room": "..",
        "user": "..",
        "event": ".",
        "alias": "...",
        "": "..",
    },
    "empty": {"room": "", "user": "", "event": "", "alias": "", "": ""},
}


class Request(NamedTuple):
    """One concrete request."""

    method: str
    path: str
    servlet: str
    """Servlet it was made from; for other resources their path."""
    spelling: str


def value_for(group: str, spelling: str) -> str:
    """The stand-in for a named group of one of Synapse's patterns."""
    values = SPELLINGS[spelling]
    for kind in ("room_alias", "room", "user", "event"):
        if kind in group:
            return values[kind.replace("room_alias", "alias")]
    return values[""]


def concrete_paths(pattern: str, spelling: str) -> list[str]:
    """Concrete paths for one of Synapse's patterns."""

    def value_of(name: str) -> str:
        return "global/content/" + value_for("rule", spelling) if name == "/" else value_for(name, spelling)

    return paths_of(pattern, value_of)


class Process:
    """One kind of process of a Synapse release, as ``registered.py`` wrote it down."""

    def __init__(self, leaves: list[dict[str, Any]]) -> None:
        self.routers: dict[tuple[str, ...], Router] = {}
        self.pages: dict[tuple[str, ...], dict[str, Any]] = {}
        for leaf in leaves:
            if "routes" in leaf:
                self.routers[tuple(leaf["prefix"].split("/"))] = Router(leaf["routes"])
            else:
                self.pages[tuple(leaf["path"].split("/"))] = leaf

    def answers(self, method: str, path: str) -> str:
        """The servlet that answers, or ''. As Twisted's tree does it, and below it Synapse's own router."""
        wanted = "GET" if method == "HEAD" else method
        # Twisted decodes each segment of the path before it looks for the resource; the router then sees the raw path.
        segments = tuple(unquote(segment, errors="replace") for segment in path.split("/"))
        for length in range(len(segments), 0, -1):
            if segments[:length] in self.routers:
                return self.routers[segments[:length]].answers(method, path)
            page = self.pages.get(segments[:length])
            if page and (page["leaf"] or length == len(segments)):
                return "/".join(segments[:length]) if wanted in page["methods"] else ""
        return ""


class Judge:
    """All kinds of processes of one release."""

    def __init__(self, registered: dict[str, Any]) -> None:
        self.version: str = registered["version"]
        self.kinds = {kind: Process(leaves) for kind, leaves in registered["kinds"].items()}
        self.variants = sorted({kind.partition("+")[2] for kind in self.kinds})
        self._registered = registered

    def requests(self, spellings: Sequence[str] = ("plain",)) -> Iterator[Request]:
        """Concrete requests for everything that any kind of process registers, without doubles."""
        seen: set[tuple[str, str]] = set()
        for leaves in self._registered["kinds"].values():
            for leaf in leaves:
                routes = leaf.get("routes") or [[m, leaf["path"], leaf["path"]] for m in leaf["methods"]]
                for method, pattern, servlet in routes:
                    for spelling in spellings:
                        for path in concrete_paths(pattern, spelling) if "routes" in leaf else [pattern]:
                            if (method, path) not in seen:
                                seen.add((method, path))
                                yield Request(method, path, servlet, spelling)

    def servlets(self, kind: str, method: str, path: str) -> dict[str, str]:
        """Who answers in a kind of process (``main``, ``worker``, ``media``), per variant of the settings."""
        found = {}
        for variant in self.variants:
            process = self.kinds[f"{kind}+{variant}" if variant else kind]
            servlet = process.answers(method, path)
            if servlet:
                found[variant] = servlet
        return found
