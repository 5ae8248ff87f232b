"""What other servers ask, signed as they sign.

The server signs as itself. It accepts that: ``Authenticator.authenticate_request`` checks only the signature and that
the destination is its own name, and ``Keyring`` (``synapse/crypto/keyring.py``, 1.163.2) knows its own keys without
fetching them. So no second server is needed to ask what only servers may ask.

GNU General Public License v3.0+ (see LICENSE)
"""

from __future__ import annotations

import time
from typing import Any

from .edge import Response
from .keeping import picture
from .signing import SigningKey
from .story import Story, says
from .walk import enc

READ = "federation_reader"
INBOUND = ("federation_inbound", READ)


def unsigned(story: Story) -> None:
    """What every process of a server tells everybody."""
    ask, server = story.walk.ask, story.server
    ask("version", "GET", "/_matrix/federation/v1/version", READ, check=says("Synapse"))
    # Every listener with the federation resource serves keys too (GenericWorkerServer._listen_http).
    ask("keys of the server", "GET", "/_matrix/key/v2/server", READ, check=says(server))
    ask(
        "keys it vouches for",
        "POST",
        "/_matrix/key/v2/query",
        READ,
        body={"server_keys": {}},
        check=says("server_keys"),
    )
    ask(
        "not signed",
        "GET",
        f"/_matrix/federation/v1/query/profile?user_id={enc(story.alice.id)}",
        READ,
        status=401,
        again=False,
    )
    path = f"/_matrix/client/v3/user/{enc(story.alice.id)}/openid/request_token"
    token = story.alice.ask("token for a third party", "POST", path, body={})["access_token"]
    story.name(token, "{token}")
    # A worker registers this one and fails at it with 500: the token's store is the main process's.
    ask(
        "whose token is it",
        "GET",
        f"/_matrix/federation/v1/openid/userinfo?access_token={token}",
        check=says(story.alice.id),
    )


def signed(story: Story, key: SigningKey) -> None:
    """What only servers may ask."""
    walk, server = story.walk, story.server
    v1, room, event, alice = "/_matrix/federation/v1", enc(story.room), enc(story.root), enc(story.alice.id)

    def get(label: str, path: str, *served_by: str, **more: object) -> dict[str, object]:
        return walk.ask_signed(key, label, "GET", path, *(served_by or (READ,)), **more)

    get("profile", f"{v1}/query/profile?user_id={alice}", check=says("Alice"))
    get("alias", f"{v1}/query/directory?room_alias={enc(story.alias)}", check=says(story.room))
    get("public rooms", f"{v1}/publicRooms?limit=20", check=says("chunk"))
    search = {"limit": 5, "filter": {"generic_search_term": story.mark}}
    walk.ask_signed(
        key, "search public rooms", "POST", f"{v1}/publicRooms", READ, body=search, again=True, check=says(story.room)
    )
    get("event", f"{v1}/event/{event}", check=says("pdus"))
    get("state", f"{v1}/state/{room}?event_id={event}", check=says("auth_chain"))
    get("ids of the state", f"{v1}/state_ids/{room}?event_id={event}", check=says("pdu_ids"))
    get("backfill", f"{v1}/backfill/{room}?v={event}&limit=10", check=says("pdus"))
    get("auth chain of an event", f"{v1}/event_auth/{room}/{event}", check=says("auth_chain"))
    missing = {"earliest_events": [], "latest_events": [story.event], "limit": 5}
    walk.ask_signed(key, "missing events", "POST", f"{v1}/get_missing_events/{room}", READ, body=missing, check=says("events"))
    get("event at a time", f"{v1}/timestamp_to_event/{room}?dir=b&ts={int(time.time() * 1000)}", check=says("event_id"))
    get("hierarchy", f"{v1}/hierarchy/{enc(story.room)}", check=says("room"))
    versions = "&".join(f"ver={number}" for number in range(1, 13))
    get("prepare a join", f"{v1}/make_join/{room}/{enc(story.bob.id)}?{versions}", check=says("m.room.member"))
    get("prepare a leave", f"{v1}/make_leave/{room}/{alice}", check=says("m.room.member"))
    get("how heavy a room is", f"/_matrix/federation/unstable/rooms/{room}/complexity", check=says("v1"))
    get("devices of a user", f"{v1}/user/devices/{alice}", check=says("devices"))
    keys: dict[str, Any] = {"device_keys": {story.alice.id: []}}
    walk.ask_signed(key, "keys of a user", "POST", f"{v1}/user/keys/query", READ, body=keys, check=says(story.alice.device))
    claim = {"one_time_keys": {story.alice.id: {story.alice.device: "curve25519"}}}
    walk.ask_signed(key, "claim a key", "POST", f"{v1}/user/keys/claim", READ, body=claim, check=says("one_time_keys"))

    def whole(response: Response) -> str | None:
        return None if picture() in response.body else "the picture is not in the answer"

    number = story.name(story.media.split("/")[1], "{media}")
    get("media", f"{v1}/media/download/{number}", "media_repository", check=whole)
    get(
        "thumbnail",
        f"{v1}/media/thumbnail/{number}?width=32&height=32&method=crop",
        "media_repository",
        check=says("PNG"),
    )
    for count in (1, 2):
        typing = {"room_id": story.room, "user_id": story.alice.id, "typing": True}
        edu = {"edu_type": "m.typing", "content": typing}
        body = {"origin": server, "origin_server_ts": int(time.time() * 1000), "pdus": [], "edus": [edu]}
        walk.ask_signed(
            key,
            f"transaction {count}",
            "PUT",
            f"{v1}/send/{story.mark}-{count}",
            *INBOUND,
            body=body,
            check=says("pdus"),
        )
