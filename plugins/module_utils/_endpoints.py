"""Which requests each worker type may serve: one row per endpoint, in routing order.

Synapse matches its servlets on the raw path, as the client sent it, and on the method. So does this table: ``{room}`` is one
whole segment, whatever it holds (``%2F`` is no separator), and ``GET`` may go elsewhere than ``PUT``.
Everything that no row names is left to the main process.

Sources: Synapse 1.163.2, the servlets that ``synapse/app/generic_worker.py`` and ``synapse/app/homeserver.py`` register
(``tests/routing`` compares the table with them for every supported release), and for what a stream's writer alone may do:
``rest/client/{room,push_rule,sendtodevice,receipts,read_marker,thread_subscriptions}.py``, ``handlers/presence.py``.

GNU General Public License v3.0+ (see LICENSE)
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Dict, Iterable, List, Mapping, NamedTuple, Optional, Pattern, Sequence, Tuple

from ._worker_types import BY_NAME

Version = Tuple[int, int]

MAIN = "main"
"""Name of the pool that always exists: the main process."""

# How Synapse registers its versions (synapse/rest/client/_base.py: client_patterns with and without v1=True).
VERSIONS: Dict[str, str] = {
    "v1": "(api/v1|r0|v3|unstable)",
    "r0": "(r0|v3|unstable)",
    "new": "(v1|unstable)",
}

SAMPLES: Dict[str, str] = {
    "room": "!room:example.org",
    "user": "@user:example.org",
    "event": "$event",
    "alias": "%23alias:example.org",
    "server": "example.org",
    "rest": "global/content/rule",
}
"""Stand-ins for a segment in ``Endpoint.sample``; a name that is not listed stands for itself."""


class Area(NamedTuple):
    """A group of endpoints that one look at the beginning of the path tells apart from all others."""

    name: str
    stem: str
    """Regular expression on the raw path, from its start. What follows it is the call, which the rows of the area tell apart."""
    begin: str = ""
    """How a call begins, where that tells whether it lies in the area: a regular expression."""
    whole: bool = False
    """Whether all of it goes one way, so that nothing below the prefix needs a look."""
    guarded: bool = False
    """Whether it is only reachable from the addresses that the operator allows."""
    resource: str = "client"
    """The listener resource that a worker needs to serve it."""
    version: Optional[str] = None
    """What stands between the beginning of a call and its name: a regular expression. None: names tell nothing here."""

    @property
    def prefix(self) -> str:
        """Regular expression on the raw path, from its start, that tells the area from the others."""
        return self.stem + self.begin


# The name of a project of Matrix to come has a dot.
_UNSTABLE = r"unstable(?:/[^/?.]+\.[^/?]+)?"
# Order is routing: the first prefix wins.
AREAS: Tuple[Area, ...] = (
    # The call of a room is what follows the room: no name of a call means one thing in one version and another in the next.
    Area("rooms", rf"/_matrix/client/(?:api/v1|r0|v1|v3|{_UNSTABLE})/rooms/[^/?]*/", version=""),
    Area("media", r"/_matrix/(?:media|client/v1/media|federation/v1/media)/", whole=True, resource="media"),
    Area("client", r"/_matrix/client/(?!v1/media/)", version=rf"(?:(?:api/v1|r0|v1|v3|{_UNSTABLE})/)?"),
    Area("federation", r"/_matrix/federation/", resource="federation", version=rf"(?:(?:v1|v2|{_UNSTABLE})/)?"),
    Area("key", r"/_matrix/key/", resource="federation", version=""),
    Area("pages", r"/_synapse/client/", version=""),
    Area("well_known", r"/\.well-known/matrix/"),
    Area("other", r"/_matrix/", begin=r"(?:static|consent|saml2)(?=[/?]|$)"),
    Area("admin", r"/_synapse/", begin=r"(?:admin|mas)/", guarded=True),
)
AREA: Dict[str, Area] = {area.name: area for area in AREAS}


class Endpoint(NamedTuple):
    """One kind of request."""

    area: str
    methods: Tuple[str, ...]
    """HTTP methods; HEAD goes with GET, as in Synapse."""
    path: str
    """Raw path: ``{name}`` is a whole segment, ``{v1}`` a set of versions, ``{rest}`` all that follows, ``( | )?`` choices."""
    types: Tuple[str, ...] = ()
    """Worker types in order of preference; the main process comes after the last. Empty: the main process only."""
    only: bool = False
    """Whether no other type could stand in: a stream's only writer, media, a login that lives in one process."""
    query: str = ""
    """Name of a condition on the query (``QUERIES``), or ''."""
    since: Optional[Version] = None
    """First release that treats the request so; None: every supported one."""
    until: Optional[Version] = None
    """Last release that treats the request so; None: still does."""
    note: str = ""
    """Why, where the row does not say it itself."""
    limited: bool = False
    """Whether nginx counts how often one address asks: who asks often guesses passwords or names, or makes accounts."""

    @property
    def pattern(self) -> str:
        """Regular expression for the raw path without its query."""
        return regex_of(self.path)

    @property
    def call(self) -> str:
        """What follows the stem of the area, as the table writes paths."""
        if self.path == "/{rest}":
            return "{rest}"
        if self.area == "rooms":
            return self.path.partition("/rooms/{room}/")[2]
        stem = _compiled(AREA[self.area].stem).match(self.path)
        if not stem:
            raise AssertionError(self.path)
        return self.path[stem.end() :]

    @property
    def sample(self) -> str:
        """A request target that this row means."""
        query = QUERIES[self.query].sample if self.query else ""
        return sample_of(self.path) + (f"?{query}" if query else "")

    @property
    def name(self) -> str:
        """What logs and pages call it: ``GET /_matrix/client/v3/sync``."""
        return f"{','.join(self.methods)} {self.path}"


class Query(NamedTuple):
    """A condition on the query of a request."""

    pattern: str
    """Regular expression for ``?query`` (or nothing) up to the end of the target."""
    sample: str
    meaning: str


QUERIES: Dict[str, Query] = {
    # A client that has nothing yet, or that asks for everything again: seconds of work, not a wait for news.
    "first_sync": Query(
        r"(?:\?(?!(?:.*&)?since=[^&])|\?(?=(?:.*&)?full_state=(?:true|1)(?:&|$))|$)",
        "timeout=30000",
        "no `since`, or `full_state`",
    ),
    "first_events": Query(r"(?:\?(?!(?:.*&)?from=[^&])|$)", "timeout=30000", "no `from`"),
}

_CHOICE = re.compile(r"\{(\w+)\}|[.()|?]")


def _regex_part(match: re.Match[str]) -> str:
    name = match.group(1)
    if name is None:
        return {".": r"\.", "(": "(?:"}.get(match.group(0), match.group(0))
    if name in VERSIONS:
        return VERSIONS[name].replace("(", "(?:")
    return "[^?]*" if name == "rest" else "[^/?]*"


def regex_of(path: str) -> str:
    """The regular expression for a path as the table writes it; it matches whole segments of a raw path."""
    return _CHOICE.sub(_regex_part, path).replace("(?:/)?", "/?")


def expand(path: str) -> List[str]:
    """All concrete paths of a path as the table writes it: every choice taken, ``{name}`` left as it is."""
    for name, versions in VERSIONS.items():
        path = path.replace("{" + name + "}", versions)
    start = path.find("(")
    if start < 0:
        return [path]
    depth, parts, begin = 0, [], start + 1
    for position in range(start, len(path)):
        char = path[position]
        depth += {"(": 1, ")": -1}.get(char, 0)
        if (char == "|" and depth == 1) or depth == 0:
            parts.append(path[begin:position])
            begin = position + 1
        if depth == 0:
            break
    after = path[begin:]
    if after.startswith("?"):
        parts, after = ["", *parts], after[1:]
    return [whole for part in parts for whole in expand(path[:start] + part + after)]


def sample_of(path: str) -> str:
    """One concrete path, with the newest stable version of the API."""
    for name, version in (("v1", "v3"), ("r0", "v3"), ("new", "v1")):
        path = path.replace("{" + name + "}", version)
    return re.sub(r"\{(\w+)\}", lambda match: SAMPLES.get(match.group(1), match.group(1)), expand(path)[0])


def _rows(
    area: str,
    types: Tuple[str, ...],
    *lines: str,
    only: bool = False,
    query: str = "",
    since: Optional[Version] = None,
    until: Optional[Version] = None,
    note: str = "",
    limited: bool = False,
) -> Tuple[Endpoint, ...]:
    """Rows that differ only in method and path; a line is ``METHOD[,METHOD] path``, ``/_matrix/client/`` left out."""
    rows = []
    for line in lines:
        methods, _blank, path = line.partition(" ")
        path = path if path.startswith("/") else f"/_matrix/client/{path}"
        rows.append(Endpoint(area, tuple(methods.split(",")), path, types, only, query, since, until, note, limited))
    return tuple(rows)


INITIAL = ("initial_synchrotron", "synchrotron")
READER = ("client_reader",)
CREATOR = ("event_creator", "client_reader")
MEDIA = ("media_repository", "quarantined_media_changes")
FEDERATION = ("federation_reader",)

TABLE: Tuple[Endpoint, ...] = (
    # --- Long-polls ---------------------------------------------------------------------------------------------------
    *_rows("client", INITIAL, "GET {r0}/sync", query="first_sync", note="computes for seconds, so it waits apart"),
    *_rows("client", ("synchrotron",), "GET {r0}/sync", "POST unstable/org.matrix.simplified_msc3575/sync"),
    *_rows("client", INITIAL, "GET {v1}/initialSync"),
    *_rows("client", INITIAL, "GET {v1}/events", query="first_events"),
    *_rows("client", ("synchrotron",), "GET {v1}/events"),
    *_rows("rooms", INITIAL, "GET {v1}/rooms/{room}/initialSync"),
    # --- One room: writing --------------------------------------------------------------------------------------------
    *_rows(
        "rooms",
        CREATOR,
        "POST {v1}/rooms/{room}/send/{type}",
        "PUT {v1}/rooms/{room}/send/{type}/{txn}",
        "PUT {v1}/rooms/{room}/state/{type}(/{key})?",
        "POST {v1}/rooms/{room}/redact/{event}",
        "PUT {v1}/rooms/{room}/redact/{event}/{txn}",
        "POST {v1}/rooms/{room}/(join|invite|leave|ban|unban|kick)",
        "PUT {v1}/rooms/{room}/(join|invite|leave|ban|unban|kick)/{txn}",
    ),
    # These fail on every process but the writer of their stream, the main process included once the stream has moved.
    *_rows("rooms", ("typing",), "PUT {v1}/rooms/{room}/typing/{user}", only=True, note="the writer alone"),
    *_rows(
        "rooms",
        ("receipts",),
        "POST {r0}/rooms/{room}/receipt/{type}/{event}",
        "POST {r0}/rooms/{room}/read_markers",
        only=True,
        note="a writer alone",
    ),
    *_rows(
        "rooms",
        ("thread_subscriptions",),
        "PUT,DELETE unstable/io.element.msc4306/rooms/{room}/thread/{event}/subscription",
        only=True,
        note="a writer alone",
    ),
    # --- One room: reading --------------------------------------------------------------------------------------------
    *_rows(
        "rooms",
        READER,
        "GET {v1}/rooms/{room}/(messages|members|joined_members|state)",
        "GET {v1}/rooms/{room}/state/{type}(/{key})?",
        "GET {v1}/rooms/{room}/(event|context)/{event}",
        "GET (r0|v3)/rooms/{room}/aliases",
        "GET unstable/org.matrix.msc2432/rooms/{room}/aliases",
        "GET {new}/rooms/{room}/relations/{event}(/{type}(/{type})?)?",
        "GET v1/rooms/{room}/(hierarchy|threads|timestamp_to_event)",
        "GET unstable/im.nheko.summary/rooms/{room}/summary",
        "GET unstable/io.element.msc4306/rooms/{room}/thread/{event}/subscription",
        "GET unstable/io.element.msc4502/rooms/{room}/is_joined",
    ),
    *_rows(
        "rooms",
        (),
        "POST {v1}/rooms/{room}/forget",
        "PUT {v1}/rooms/{room}/forget/{txn}",
        "POST {r0}/rooms/{room}/report/{event}",
        "POST v3/rooms/{room}/report",
        "POST {r0}/rooms/{room}/upgrade",
    ),
    # --- Rooms by other paths -----------------------------------------------------------------------------------------
    *_rows(
        "client",
        CREATOR,
        "POST {v1}/join/{room}",
        "PUT {v1}/join/{room}/{txn}",
        "POST {r0}/knock/{room}",
        "POST {v1}/createRoom",
        "PUT {v1}/createRoom/{txn}",
    ),
    *_rows(
        "client",
        READER,
        "GET {v1}/joined_rooms",
        "GET {v1}/events/{event}",
        "GET,POST {v1}/publicRooms",
        "POST {v1}/search",
        "GET,PUT,DELETE {v1}/directory/room/{alias}",
        "GET v1/room_summary/{room}",
        "GET unstable/im.nheko.summary/summary/{room}",
        "GET unstable/io.element.msc4308/thread_subscriptions",
    ),
    *_rows(
        "client",
        (),
        "GET,PUT {v1}/directory/list/room/{room}",
        "PUT,DELETE {v1}/directory/list/appservice/{network}/{room}",
        "GET {new}/mutual_rooms",
        "GET unstable/uk.half-shot.msc2666/user/mutual_rooms",
    ),
    # --- Streams with one writer --------------------------------------------------------------------------------------
    *_rows("client", ("to_device",), "PUT {r0}/sendToDevice/{type}/{txn}", only=True, note="the writer alone"),
    *_rows(
        "client",
        ("push_rules",),
        "PUT,DELETE {v1}/pushrules/{rest}",
        only=True,
        note="the writer alone; any worker can read them",
    ),
    *_rows(
        "client",
        ("presence",),
        "GET,PUT {v1}/presence/{user}/status",
        only=True,
        note="only the writer knows who may see it",
    ),
    # Any worker takes these and asks the writer; sent to the writer they save that step.
    *_rows(
        "client",
        ("account_data", "client_reader"),
        "PUT {r0}/user/{user}/account_data/{type}",
        "PUT {r0}/user/{user}/rooms/{room}/account_data/{type}",
        "PUT,DELETE {r0}/user/{user}/rooms/{room}/tags/{tag}",
        "DELETE unstable/org.matrix.msc3391/user/{user}/account_data/{type}",
        "DELETE unstable/org.matrix.msc3391/user/{user}/rooms/{room}/account_data/{type}",
    ),
    *_rows("client", ("frontend_proxy", "device_lists", "client_reader"), "POST {r0}/keys/upload"),
    *_rows("client", ("frontend_proxy", "device_lists", "client_reader"), "POST {r0}/keys/upload/{x}", until=(1, 145)),
    *_rows(
        "client",
        ("device_lists", "client_reader"),
        "PUT,DELETE {r0}/devices/{device}",
        "POST {r0}/delete_devices",
        "POST (v3|unstable)/keys/device_signing/upload",
        "POST {r0}/keys/signatures/upload",
        "PUT,DELETE unstable/org.matrix.msc3814.v1/dehydrated_device",
    ),
    *_rows("client", ("user_dir", "client_reader"), "POST {r0}/user_directory/search"),
    # --- Accounts, devices, keys --------------------------------------------------------------------------------------
    *_rows(
        "client",
        READER,
        "GET {r0}/user/{user}/account_data/{type}",
        "GET {r0}/user/{user}/rooms/{room}/account_data/{type}",
        "GET {r0}/user/{user}/rooms/{room}/tags",
        "POST {r0}/user/{user}/filter",
        "GET {r0}/user/{user}/filter/{filter}",
        "GET {v1}/pushrules/{rest}",
        "GET {v1}/profile/{user}",
        "GET,PUT,DELETE {v1}/profile/{user}/(displayname|avatar_url)",
        "GET,PUT,DELETE v3/profile/{user}/{field}",
        "GET,PUT,DELETE unstable/uk.tcpip.msc4133/profile/{user}/{field}",
        "GET {r0}/devices(/{device})?",
        "GET unstable/org.matrix.msc3814.v1/dehydrated_device",
        "GET,POST unstable/org.matrix.msc3814.v1/dehydrated_device/{device}/events",
        "POST {r0}/keys/(query|claim)",
        "POST unstable/org.matrix.msc3983/keys/claim",
        "GET {r0}/keys/changes",
        "GET,POST {r0}/room_keys/version",
        "GET,PUT,DELETE {r0}/room_keys/version/{version}",
        "GET,PUT,DELETE {r0}/room_keys/keys(/{room}(/{session})?)?",
        "GET,POST {r0}/account/3pid",
        "GET {r0}/account/whoami",
        "POST {r0}/account/deactivate",
        "POST unstable/org.matrix.msc3720/account_status",
        "GET {r0}/notifications",
        "GET {v1}/voip/turnServer",
        "GET unstable/org.matrix.msc4143/rtc/transports",
        "GET unstable/org.matrix.msc4140/delayed_events(/{delay})?",
        "POST {new}/appservice/{appservice}/ping",
        "POST unstable/io.element.msc4512/appservice/fed_proxy",
    ),
    *_rows("client", READER, "POST unstable/org.matrix.msc4140/delayed_events/{delay}/restart", since=(1, 144)),
    *_rows("client", (), "POST unstable/org.matrix.msc4140/delayed_events/{delay}/restart", until=(1, 143)),
    *_rows(
        "client",
        READER,
        "GET,PUT unstable/org.matrix.msc2697.v2/dehydrated_device",
        "POST unstable/org.matrix.msc2697.v2/dehydrated_device/claim",
        until=(1, 145),
    ),
    *_rows(
        "client",
        READER,
        "POST {v1}/login",
        "POST {r0}/register",
        "GET {r0}/register/available",
        "GET {new}/register/m.login.registration_token/validity",
        limited=True,
    ),
    *_rows("client", (), "POST {r0}/register/(email|msisdn)/requestToken", limited=True),
    *_rows(
        "client",
        READER,
        "GET {v1}/login",
        "GET {r0}/password_policy",
        "GET {new}/auth_metadata",
        "GET unstable/org.matrix.msc2965/(auth_metadata|auth_issuer)",
        "GET versions",
        "GET {r0}/capabilities",
    ),
    *_rows(
        "client",
        ("sso",),
        "GET {v1}/login/(cas|sso)/redirect",
        "GET (r0|v3)/login/sso/redirect/{idp}",
        "GET {v1}/login/cas/ticket",
        only=True,
        note="a login under way lives in the memory of one process",
    ),
    *_rows(
        "client",
        (),
        "GET {v1}/admin/whois/{user}",
        "POST {r0}/account/3pid/(add|bind|delete|unbind)",
        "POST {r0}/account/3pid/(email|msisdn)/requestToken",
        "POST {r0}/account/password",
        "POST {r0}/account/password/email/requestToken",
        "GET {r0}/account_validity/renew",
        "POST {r0}/account_validity/send_mail",
        "GET unstable/add_threepid/email/submit_token",
        "POST unstable/add_threepid/msisdn/submit_token",
        "GET,POST {r0}/auth/{stage}/fallback/web",
        "POST {v1}/logout(/all)?",
        "POST {r0}/(refresh|tokenrefresh)",
        "POST v1/login/get_token",
        "POST unstable/org.matrix.msc3882/login/token",
        "GET unstable/registration/{medium}/submit_token",
        "GET {v1}/pushers",
        "POST {v1}/pushers/set",
        "GET unstable/pushers/remove",
        "POST {r0}/user/{user}/openid/request_token",
        "POST v3/users/{user}/report",
        "GET {r0}/thirdparty/(location|user)(/{protocol})?",
        "GET {r0}/thirdparty/protocol/{protocol}",
        "GET {r0}/thirdparty/protocols",
        "POST unstable/org.matrix.msc4140/delayed_events/{delay}",
        "POST unstable/org.matrix.msc4140/delayed_events/{delay}/(cancel|send)",
        "POST unstable/org.matrix.msc4108/rendezvous",
        "GET,POST unstable/io.element.msc4388/rendezvous",
        "GET,PUT,DELETE unstable/io.element.msc4388/rendezvous/{rendezvous}",
    ),
    # --- Media: only where the media repository is loaded --------------------------------------------------------------
    *_rows(
        "media",
        MEDIA,
        "GET,POST,PUT /_matrix/media/{rest}",
        "GET,POST /_matrix/client/v1/media/{rest}",
        "GET /_matrix/federation/v1/media/{rest}",
        only=True,
    ),
    # --- Other servers ------------------------------------------------------------------------------------------------
    *_rows(
        "federation",
        ("federation_inbound", "federation_reader"),
        "PUT /_matrix/federation/v1/send/{txn}(/)?",
        note="transactions of one server follow one another",
    ),
    *_rows(
        "federation",
        FEDERATION,
        "GET /_matrix/federation/v1/(event|state|state_ids|backfill|timestamp_to_event)/{id}(/)?",
        "GET /_matrix/federation/v1/event_auth/{room}/{event}",
        "POST /_matrix/federation/v1/get_missing_events/{room}",
        "GET /_matrix/federation/v1/(make_join|make_leave|make_knock)/{room}/{user}",
        "PUT /_matrix/federation/(v1|v2)/(send_join|send_leave|invite)/{room}/{event}",
        "PUT /_matrix/federation/v1/send_knock/{room}/{event}",
        "PUT /_matrix/federation/v1/exchange_third_party_invite/{room}",
        "GET /_matrix/federation/v1/(hierarchy|query)/{id}",
        "GET,POST /_matrix/federation/v1/publicRooms",
        "POST /_matrix/federation/v1/user/keys/(claim|query)",
        "POST /_matrix/federation/unstable/user/keys/claim",
        "GET /_matrix/federation/v1/user/devices/{user}",
        "POST /_matrix/federation/v1/3pid/onbind",
        "GET /_matrix/federation/v1/version",
        "GET /_matrix/federation/unstable/rooms/{room}/complexity",
        "POST /_matrix/federation/unstable/org.matrix.msc3720/query/account_status",
    ),
    # Registered on a worker, yet failing there: they need a part of the store that only the main process has.
    *_rows(
        "federation",
        (),
        "GET /_matrix/federation/v1/openid/userinfo",
        "GET /_matrix/federation/unstable/org.matrix.msc4370/extremities/{room}",
        note="registered on workers, where it fails",
    ),
    *_rows(
        "key",
        FEDERATION,
        "GET /_matrix/key/v2/server(/{key})?",
        "GET /_matrix/key/v2/query/{server}(/{key})?",
        "POST /_matrix/key/v2/query",
    ),
    # --- Pages for people ---------------------------------------------------------------------------------------------
    *_rows(
        "pages",
        ("sso",),
        "GET /_synapse/client/(pick_idp|sso_register)",
        "GET,POST /_synapse/client/new_user_consent",
        "GET,POST /_synapse/client/pick_username/account_details",
        "GET /_synapse/client/pick_username/check",
        "GET,POST /_synapse/client/oidc/callback",
        "POST /_synapse/client/oidc/backchannel_logout",
        "GET,POST /_synapse/client/saml2/{rest}",
        only=True,
        note="a login under way lives in the memory of one process",
    ),
    *_rows("other", ("sso",), "GET,POST /_matrix/saml2/{rest}", only=True, note="the old path of the SAML pages"),
    *_rows(
        "pages",
        READER,
        "GET,POST /_synapse/client/unsubscribe",
        "GET /_synapse/client/media_upload_limit_exceeded",
        "GET /_synapse/client/v1/config/federation_whitelist",
    ),
    *_rows(
        "pages",
        (),
        "GET,POST /_synapse/client/password_reset/email/submit_token",
        "GET,PUT,DELETE /_synapse/client/rendezvous(/{rendezvous})?",
        note="sessions live in the memory of the main process",
    ),
    *_rows("well_known", READER, "GET /.well-known/matrix/(client|server)"),
    *_rows("other", (), "GET /_matrix/static(/{rest})?", "GET,POST /_matrix/consent"),
    # --- Administration: reachable only from where the operator allows it ----------------------------------------------
    *_rows(
        "admin",
        ("quarantined_media_changes", "media_repository"),
        "POST /_synapse/admin/v1/media/(quarantine|unquarantine)/{server}/{media}",
        "POST /_synapse/admin/v1/(room|user)/{id}/media/quarantine",
        "POST /_synapse/admin/v1/quarantine_media/{room}",
        only=True,
        note="a media worker that writes the stream",
    ),
    *_rows(
        "admin",
        MEDIA,
        "POST /_synapse/admin/v1/media/(protect|unprotect)/{media}",
        "POST /_synapse/admin/v1/media/delete",
        "POST /_synapse/admin/v1/media/{server}/delete",
        "GET,DELETE /_synapse/admin/v1/media/{server}/{media}",
        "GET /_synapse/admin/v1/media/quarantine_changes",
        "GET /_synapse/admin/v1/room/{room}/media",
        "POST /_synapse/admin/v1/purge_media_cache",
        "GET,DELETE /_synapse/admin/v1/users/{user}/media",
        only=True,
    ),
    *_rows("admin", READER, "GET,DELETE /_synapse/admin/v1/rooms/{room}"),
    *_rows("admin", READER, "GET /_synapse/admin/v2/users/{user}", since=(1, 145)),
    *_rows(
        "admin",
        READER,
        "GET /_synapse/mas/(query_user|is_localpart_available)",
        "POST /_synapse/mas/(provision_user|delete_user|reactivate_user|allow_cross_signing_reset)",
        "POST /_synapse/mas/(set_displayname|unset_displayname)",
        "POST /_synapse/mas/(upsert_device|delete_device|update_device_display_name|sync_devices)",
        note="asked by the Matrix Authentication Service",
    ),
    *_rows("admin", (), "GET,POST,PUT,DELETE /_synapse/admin/{rest}"),
    # A browser asks before it calls; every process answers that for every path of the API.
    *_rows("rooms", READER, "OPTIONS /{rest}"),
    *_rows("client", READER, "OPTIONS /{rest}"),
    *_rows("media", MEDIA, "OPTIONS /{rest}"),
)


def rows_for(version: Optional[Version] = None) -> Tuple[Endpoint, ...]:
    """The rows that hold for a release, in routing order; all of today's when no release is named."""
    if version is None:
        return tuple(row for row in TABLE if row.until is None)
    return tuple(
        row for row in TABLE if (row.since is None or row.since <= version) and (row.until is None or version <= row.until)
    )


class Route(NamedTuple):
    """Where a request goes."""

    pool: str
    """Worker type, or ``main``, or '' when no area takes the path (nginx answers 404)."""
    area: str
    endpoint: Optional[Endpoint]
    """The row that decided, or None when no row names the request."""
    reason: str


def pool_of(row: Endpoint, pools: Iterable[str], default_type: str = "") -> str:
    """The pool that serves a row.

    ``pools`` are the planned worker types that take requests. ``default_type`` is the type that the operator lets stand in
    for types that the plan lacks; it never takes what only a writer, a media worker or the main process can do, nor what its
    listeners do not offer.
    """
    planned = set(pools)
    for worker_type in row.types:
        if worker_type in planned:
            return worker_type
    if default_type not in planned or not row.types or row.only:
        return MAIN
    return default_type if AREA[row.area].resource in BY_NAME[default_type].resources else MAIN


@lru_cache(maxsize=None)
def _compiled(pattern: str) -> Pattern[str]:
    return re.compile(pattern)


def area_of(target: str) -> str:
    """Name of the area a raw request target lies in, or ''."""
    for area in AREAS:
        if _compiled(area.prefix).match(target):
            return area.name
    return ""


def candidates(method: str, path: str, rows: Sequence[Endpoint]) -> List[Endpoint]:
    """The rows that mean a method and a raw path without its query, up to the first that holds for every query."""
    wanted = "GET" if method == "HEAD" else method
    area = area_of(path)
    found = []
    for row in rows:
        if row.area != area or wanted not in row.methods or not _compiled(row.pattern).fullmatch(path):
            continue
        found.append(row)
        if not row.query:
            break
    return found


def first_for(rows: Iterable[Endpoint], query: str) -> Optional[Endpoint]:
    """The first row whose condition holds for ``?query`` (or '' where there is none)."""
    for row in rows:
        if not row.query or _compiled(QUERIES[row.query].pattern).match(query):
            return row
    return None


def matching_row(method: str, target: str, rows: Sequence[Endpoint]) -> Optional[Endpoint]:
    """The first row that means a request; ``target`` is the raw request target, query included."""
    path, mark, query = target.partition("?")
    return first_for(candidates(method, path, rows), mark + query)


def route(
    method: str,
    target: str,
    pools: Mapping[str, object],
    version: Optional[Version] = None,
    default_type: str = "",
) -> Route:
    """Which pool a request goes to, and why.

    ``target`` is the raw request target (``/path?query``); ``pools`` the planned types that take requests.
    """
    area = area_of(target)
    if not area:
        return Route("", "", None, "no part of the Matrix API that is open at this edge; nginx answers 404")
    row = matching_row(method, target, rows_for(version))
    if row is None:
        return Route(MAIN, area, None, "no worker is known to serve it")
    if not row.types:
        return Route(MAIN, area, row, row.note or "only the main process serves it")
    pool = pool_of(row, pools, default_type)
    why = f": {row.note}" if row.note else ""
    if pool == row.types[0]:
        return Route(pool, area, row, f"served by {pool}{why}")
    lacking = ", ".join(row.types[: row.types.index(pool)] if pool in row.types else row.types)
    return Route(pool, area, row, f"no {lacking} is planned, so {pool} serves it{why}")
