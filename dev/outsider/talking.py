"""Users talk: they register, meet in a room, send, read and wait for each other.

Who answers: the generic worker's groups in ``docs/workers.md``, with the names this project's admins give to them.

GNU General Public License v3.0+ (see LICENSE)
"""

from __future__ import annotations

import json
import threading
import time
from typing import Any

from .edge import Response
from .judge import ANYONE, MAIN, NOBODY
from .story import C3, PASSWORD, READ, READ_FIRST, SEND, Story, says
from .walk import User, enc


def the_server(story: Story) -> None:
    """What everybody may know before logging in."""
    story.ask("versions", "GET", "/_matrix/client/versions", READ, check=says("v1.1"))
    story.ask("login flows", "GET", f"{C3}/login", READ, check=says("m.login.password"))
    story.ask("password policy", "GET", f"{C3}/password_policy", READ)
    story.ask("well-known of clients", "GET", "/.well-known/matrix/client", NOBODY, check=says("m.homeserver"))
    story.ask("well-known of servers", "GET", "/.well-known/matrix/server", NOBODY, check=says("m.server"))
    # A browser asks before each request whether it may.
    story.ask("browser's preflight", "OPTIONS", f"{C3}/sync", ANYONE, status=(200, 204))


def accounts(story: Story) -> None:
    """Registering, logging in and out, and what belongs to an account."""
    story.ask("is the name free", "GET", f"{C3}/register/available?username=alice-{story.mark}", READ)
    story.alice, story.bob = (story.register(name) for name in ("alice", "bob"))
    story.name(story.alice.device, "{device}")
    login = story.alice.login
    second = User(story.walk, story.ask("log in", "POST", f"{C3}/login", READ, body=login))
    story.alice.ask("who am I", "GET", f"{C3}/account/whoami", READ, check=says(story.alice.id))
    story.bob.ask("who am I, r0", "GET", "/_matrix/client/r0/account/whoami", READ, check=says(story.bob.id))
    second.ask("log out", "POST", f"{C3}/logout", body={})
    answer = story.ask("log in for a while", "POST", f"{C3}/login", READ, body={**login, "refresh_token": True})
    story.ask("refresh the token", "POST", f"{C3}/refresh", body={"refresh_token": answer["refresh_token"]})
    path = "/_matrix/client/v1/register/m.login.registration_token/validity?token=none"
    story.ask("is it a valid invitation", "GET", path, READ, check=says("false"))
    story.alice.ask("capabilities", "GET", f"{C3}/capabilities", READ)
    story.alice.ask("mail addresses", "GET", f"{C3}/account/3pid", READ)
    story.alice.ask("turn server", "GET", f"{C3}/voip/turnServer", READ)
    profile = f"{C3}/profile/{enc(story.alice.id)}"
    # Sent into every room as an event, kept in the profile: nobody does it better than the others.
    story.alice.ask(
        "set the name", "PUT", f"{profile}/displayname", (READ, "event_creator", MAIN), body={"displayname": "Alice Ä"}
    )
    story.ask("profile", "GET", profile, *READ_FIRST, check=says("Alice"))
    story.ask("one field of it", "GET", f"{profile}/displayname", *READ_FIRST, check=says("Alice"))
    path = f"{C3}/user/{enc(story.alice.id)}/filter"
    made = story.alice.ask("make a filter", "POST", path, READ, body={"room": {"timeline": {"limit": 5}}})
    story.alice.ask("read the filter", "GET", f"{path}/{made['filter_id']}", READ)


def rooms(story: Story) -> None:
    """Making rooms, finding them, and every kind of membership."""
    alice, bob = story.alice, story.bob
    body: dict[str, Any] = {"room_alias_name": f"café-{story.mark}", "preset": "public_chat", "name": f"Talk {story.mark}"}
    story.room = story.name(alice.ask("create a room", "POST", f"{C3}/createRoom", *SEND, body=body)["room_id"], "{room}")
    room = story.in_room
    story.alias = story.name(f"#café-{story.mark}:{story.server}", "{alias}")
    story.ask("look an alias up", "GET", f"{C3}/directory/room/{enc(story.alias)}", READ, check=says(story.room))
    more = enc(f"#more-{story.mark}:{story.server}")
    story.name(f"#more-{story.mark}:{story.server}", "{alias 2}")
    alice.ask("add an alias", "PUT", f"{C3}/directory/room/{more}", READ, body={"room_id": story.room})
    alice.ask("aliases of a room", "GET", f"{room}/aliases", READ, check=says("more-"))
    alice.ask("remove an alias", "DELETE", f"{C3}/directory/room/{more}", READ)
    bob.ask("join by alias", "POST", f"{C3}/join/{enc(story.alias)}", *SEND, body={})
    bob.ask("leave", "POST", f"{room}/leave", *SEND, body={})
    alice.ask("invite", "POST", f"{room}/invite", *SEND, body={"user_id": bob.id})
    bob.ask("join by id", "POST", f"{room}/join", *SEND, body={}, again=True)
    alice.ask("kick", "POST", f"{room}/kick", *SEND, body={"user_id": bob.id})
    alice.ask("ban", "POST", f"{room}/ban", *SEND, body={"user_id": bob.id})
    alice.ask("unban", "POST", f"{room}/unban", *SEND, body={"user_id": bob.id})
    bob.ask("join with a transaction", "PUT", f"{C3}/join/{enc(story.room)}/1", *SEND, body={}, again=True)
    bob.ask("join again", "POST", f"{C3}/join/{enc(story.room)}", *SEND, body={}, again=True)
    may_knock = {"type": "m.room.join_rules", "content": {"join_rule": "knock"}}
    body = {"preset": "private_chat", "creation_content": {"type": "m.space"}, "initial_state": [may_knock]}
    story.space = story.name(alice.ask("create a space", "POST", f"{C3}/createRoom", *SEND, body=body)["room_id"], "{space}")
    space = f"{C3}/rooms/{enc(story.space)}"
    child = {"via": [story.server]}
    alice.ask("put the room into it", "PUT", f"{space}/state/m.space.child/{enc(story.room)}", *SEND, body=child)
    hierarchy = f"/_matrix/client/v1/rooms/{enc(story.space)}/hierarchy"
    alice.ask("hierarchy", "GET", hierarchy, READ, check=says(story.room))
    bob.ask("knock", "POST", f"{C3}/knock/{enc(story.space)}", *SEND, body={}, again=True)


def messages(story: Story) -> None:
    """Sending events. A transaction that is repeated must not be a second event, whichever worker gets it."""
    alice = story.alice
    room = story.in_room
    text = {"msgtype": "m.text", "body": f"hello {story.mark}"}
    send = f"{room}/send/m.room.message"
    story.root = story.name(alice.ask("send", "PUT", f"{send}/1", *SEND, body=text)["event_id"], "{event}")
    first = story.root

    def same(response: Response) -> str | None:
        return None if response.json.get("event_id") == first else "the same transaction made another event"

    alice.ask("send the same again", "PUT", f"{send}/1", *SEND, body=text, check=same)
    alice.ask("send without transaction", "POST", send, *SEND, body=text)
    thread = {**text, "body": "in a thread", "m.relates_to": {"rel_type": "m.thread", "event_id": story.root}}
    story.event = story.name(alice.ask("answer in a thread", "PUT", f"{send}/2", *SEND, body=thread)["event_id"], "{event 2}")
    alice.ask("set the topic", "PUT", f"{room}/state/m.room.topic", *SEND, body={"topic": "workers"})
    old = f"/_matrix/client/api/v1/rooms/{enc(story.room)}/send/m.room.message/3"
    event = story.name(alice.ask("send, api/v1", "PUT", old, *SEND, body=text)["event_id"], "{event 3}")
    alice.ask("redact", "PUT", f"{room}/redact/{enc(event)}/4", *SEND, body={"reason": "test"})


def reading(story: Story) -> None:
    """Reading a room that other processes wrote."""
    alice = story.alice
    room = story.in_room
    newer = f"/_matrix/client/v1/rooms/{enc(story.room)}"
    alice.ask("messages", "GET", f"{room}/messages?dir=b&limit=20", READ, check=says(story.root))
    alice.ask("event", "GET", f"{room}/event/{enc(story.event)}", READ, check=says(story.event))
    alice.ask("context", "GET", f"{room}/context/{enc(story.event)}", READ, check=says(story.event))
    alice.ask("members", "GET", f"{room}/members", READ, check=says(story.bob.id))
    alice.ask("joined members", "GET", f"{room}/joined_members", READ, check=says(story.bob.id))
    alice.ask("joined rooms", "GET", f"{C3}/joined_rooms", READ, check=says(story.room))
    alice.ask("state", "GET", f"{room}/state", READ, check=says("m.room.create"))
    # Read by any worker; as a path it belongs to those of docs/workers.md's "Event sending requests".
    alice.ask("state of one type", "GET", f"{room}/state/m.room.topic", *READ_FIRST, check=says("workers"))
    alice.ask("relations", "GET", f"{newer}/relations/{enc(story.root)}", READ, check=says(story.event))
    alice.ask("threads", "GET", f"{newer}/threads", READ, check=says(story.root))
    now = int(time.time() * 1000)
    alice.ask("event at a time", "GET", f"{newer}/timestamp_to_event?dir=b&ts={now}", READ)
    alice.ask("summary of a room", "GET", f"/_matrix/client/v1/room_summary/{enc(story.room)}", READ)
    older = f"/_matrix/client/unstable/im.nheko.summary/rooms/{enc(story.room)}/summary"
    alice.ask("summary, as it was called", "GET", older, READ)
    alice.ask("notifications", "GET", f"{C3}/notifications", READ)
    search = {"search_categories": {"room_events": {"search_term": "hello", "keys": ["content.body"]}}}
    alice.ask("search", "POST", f"{C3}/search", READ, body=search, check=says(story.mark), again=True)
    alice.ask("first page of a room, r0", "GET", f"/_matrix/client/r0/rooms/{enc(story.room)}/messages?dir=b", READ)


def sync(story: Story) -> None:
    """Syncs of all kinds: a first one computes for long and has workers of its own where they are planned."""
    alice, bob = story.alice, story.bob
    first, later = ("initial_synchrotron", "synchrotron"), "synchrotron"
    path = f"{C3}/sync"
    since = bob.ask("first sync", "GET", f"{path}?timeout=0", *first, check=says(story.room))["next_batch"]
    story.name(since, "{since}")
    bob.ask("next sync", "GET", f"{path}?timeout=0&since={since}", later)
    bob.ask("sync, since in front", "GET", f"{path}?since={since}&timeout=0", later)
    bob.ask("sync, full state", "GET", f"{path}?since={since}&full_state=true&timeout=0", *first)
    bob.ask("sync, r0", "GET", f"/_matrix/client/r0/sync?since={since}&timeout=0", later)
    word = f"wake-{story.mark}"

    def wait() -> None:
        # A filter for this room: news of other streams would end the wait too early.
        only = enc(json.dumps({"room": {"rooms": [story.room]}, "presence": {"types": []}, "account_data": {"types": []}}))
        bob.ask(
            "long-poll that is woken",
            "GET",
            f"{path}?since={since}&timeout=30000&filter={only}",
            later,
            check=says(word),
        )

    end = bob.ask("sync to the end", "GET", f"{path}?timeout=0&since={since}", later)["next_batch"]
    since = story.name(end, "{since 2}")
    waiter = threading.Thread(target=wait)
    waiter.start()
    time.sleep(1)
    text = {"msgtype": "m.text", "body": word}
    alice.ask("send to who waits", "PUT", f"{C3}/rooms/{enc(story.room)}/send/m.room.message/wake", *SEND, body=text)
    waiter.join()
    sliding = "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync"
    body = {"lists": {"all": {"ranges": [[0, 9]], "timeline_limit": 3, "required_state": []}}}
    pos = bob.ask("sliding sync", "POST", f"{sliding}?timeout=0", later, body=body, check=says(story.room))["pos"]
    story.name(enc(pos), "{pos}")
    bob.ask("next sliding sync", "POST", f"{sliding}?timeout=0&pos={enc(pos)}", later, body=body)
    token = bob.ask("events", "GET", f"{C3}/events?timeout=0", *first)["end"]
    bob.ask("events from", "GET", f"{C3}/events?timeout=0&from={enc(token)}", later)
    bob.ask("initialSync", "GET", f"{C3}/initialSync?limit=2", *first)
    bob.ask("initialSync of a room", "GET", f"{C3}/rooms/{enc(story.room)}/initialSync?limit=2", *first)


def directory(story: Story) -> None:
    """Public rooms and other users."""
    alice = story.alice
    listed = f"{C3}/directory/list/room/{enc(story.room)}"
    alice.ask("list the room", "PUT", listed, body={"visibility": "public"})
    story.ask("is it listed", "GET", listed, check=says("public"))
    alice.ask("public rooms", "GET", f"{C3}/publicRooms?limit=50", READ, check=says("chunk"))
    search = {"filter": {"generic_search_term": story.mark}}
    alice.ask("search public rooms", "POST", f"{C3}/publicRooms", READ, body=search, check=says(story.room), again=True)
    path, wanted = f"{C3}/user_directory/search", {"search_term": f"bob-{story.mark}"}
    alice.ask("search users", "POST", path, "user_dir", READ, body=wanted, check=says(story.bob.id), again=True)


def only_main(story: Story) -> None:
    """What no worker knows (``ClientRestResource.register_servlets`` leaves it out there)."""
    alice, bob = story.alice, story.bob
    room = story.in_room
    alice.ask("pushers", "GET", f"{C3}/pushers")
    alice.ask("third-party protocols", "GET", f"{C3}/thirdparty/protocols")
    bob.ask("report an event", "POST", f"{room}/report/{enc(story.event)}", body={"reason": "test"})
    bob.ask("report a room", "POST", f"{room}/report", body={"reason": "test"})
    bob.ask("report a user", "POST", f"{C3}/users/{enc(alice.id)}/report", body={"reason": "test"})
    bob.ask("rooms in common", "GET", f"/_matrix/client/v1/mutual_rooms?user_id={enc(alice.id)}")
    # Not configured here, and said so by the one process that knows of it.
    path = f"{C3}/auth/m.login.unknown/fallback/web?session=x"
    story.ask("login page of a stage", "GET", path, status=404, again=False)
    alice.ask("upgrade a room", "POST", f"{C3}/rooms/{enc(story.space)}/upgrade", body={"new_version": "11"})
    bob.ask("leave", "POST", f"{room}/leave", *SEND, body={})
    bob.ask("forget", "POST", f"{room}/forget", body={}, again=True)


def goodbye(story: Story) -> None:
    """The last words: what the main process changes of an account holds for every worker."""
    bob = story.bob
    login = dict(bob.login)
    change = {"auth": login, "new_password": f"{PASSWORD} new", "logout_devices": False}
    bob.ask("change the password", "POST", f"{C3}/account/password", body=change)
    login["password"] = f"{PASSWORD} new"
    bob.ask("close the account", "POST", f"{C3}/account/deactivate", READ, body={"auth": login, "erase": False})
    bob.ask("it is closed", "GET", f"{C3}/joined_rooms", READ, status=401)


def single_sign_on(story: Story) -> None:
    """The way to a login elsewhere (CAS); "Ensure that all SSO logins go to a single process"."""
    back, sso = enc("https://client.invalid/?a=b"), "sso"
    path = f"{C3}/login/sso/redirect"
    story.ask("to the login page", "GET", f"{path}?redirectUrl={back}", sso, status=302)
    story.ask("by provider", "GET", f"{path}/cas?redirectUrl={back}", sso, status=302)
    story.ask("choose a provider", "GET", f"/_synapse/client/pick_idp?redirectUrl={back}", sso, check=says("html"))
    story.ask("back without a ticket", "GET", f"{C3}/login/cas/ticket", sso, status=400)
