"""Users keep things: where they have read to, settings, devices, keys, pictures.

Who answers: the writer of the stream ("Stream writers" in ``docs/workers.md``), or the media repository.

GNU General Public License v3.0+ (see LICENSE)
"""

from __future__ import annotations

import base64
import json
import secrets
import struct
import zlib
from typing import Any

from .edge import Response
from .judge import MAIN, Choice
from .signing import canonical_json, ed25519_signature, public_key
from .story import C3, READ, READ_FIRST, SEND, Story, says
from .walk import User, enc

# Any worker can read these; the writer of the stream does it without asking others.
PUSH_RULES_READ = ("push_rules", READ)
ACCOUNT_DATA_READ = ("account_data", READ)
DEVICES_READ = ("device_lists", READ)
THREADS_READ = ("thread_subscriptions", READ)
# Any client process takes these and asks the writer, which is the main process where none is planned.
ACCOUNT_DATA: tuple[Choice, ...] = ("account_data", (READ, MAIN))


def unpadded(data: bytes) -> str:
    """Base64 as Matrix writes it."""
    return base64.b64encode(data).decode().rstrip("=")


def picture(size: int = 64) -> bytes:
    """A PNG of one colour (ISO/IEC 15948), ``size`` pixels wide and high."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    lines = (b"\x00" + b"\x20\x80\xc0" * size) * size
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", size, size, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")


def short_lived(story: Story) -> None:
    """Typing, receipts, presence and messages to devices; all but presence fail on any other process."""
    alice, bob = story.alice, story.bob
    room = story.in_room
    body: dict[str, Any] = {"typing": True, "timeout": 5000}
    bob.ask("typing", "PUT", f"{room}/typing/{enc(bob.id)}", "typing", body=body, again=True)
    bob.ask("read receipt", "POST", f"{room}/receipt/m.read/{enc(story.root)}", "receipts", body={})
    marks = {"m.fully_read": story.root, "m.read": story.event}
    bob.ask("read markers", "POST", f"{room}/read_markers", "receipts", body=marks)
    status = f"{C3}/presence/{enc(bob.id)}/status"
    bob.ask("set presence", "PUT", status, "presence", body={"presence": "online", "status_msg": "here"})
    alice.ask("presence", "GET", status, "presence", check=says("presence"))
    messages = {"messages": {alice.id: {"*": {"text": story.mark}}}}
    bob.ask("to a device", "PUT", f"{C3}/sendToDevice/m.test/1", "to_device", body=messages)

    def arrived(response: Response) -> str | None:
        device = json.dumps(response.json.get("to_device", {}))
        return None if story.mark in device else "what was sent to the device has not come"

    alice.ask("what came to it", "GET", f"{C3}/sync?timeout=0", "initial_synchrotron", "synchrotron", check=arrived)


def account_data(story: Story) -> None:
    """Account data and tags, for the account and for a room."""
    alice = story.alice
    user = f"{C3}/user/{enc(alice.id)}"
    room = f"{user}/rooms/{enc(story.room)}"
    alice.ask("set account data", "PUT", f"{user}/account_data/org.test", *ACCOUNT_DATA, body={"a": story.mark})
    alice.ask("account data", "GET", f"{user}/account_data/org.test", ACCOUNT_DATA_READ, check=says(story.mark))
    alice.ask("set it for a room", "PUT", f"{room}/account_data/org.test", *ACCOUNT_DATA, body={"b": story.mark})
    path = f"{room}/account_data/org.test"
    alice.ask("account data of a room", "GET", path, ACCOUNT_DATA_READ, check=says(story.mark))
    alice.ask("tag a room", "PUT", f"{room}/tags/u.work", *ACCOUNT_DATA, body={"order": 0.5})
    alice.ask("tags", "GET", f"{room}/tags", ACCOUNT_DATA_READ, check=says("u.work"))
    alice.ask("remove a tag", "DELETE", f"{room}/tags/u.work", *ACCOUNT_DATA)


def push_rules(story: Story) -> None:
    """Push rules: every client worker reads them, only the writer takes a change."""
    alice = story.alice
    alice.ask("push rules", "GET", f"{C3}/pushrules/", PUSH_RULES_READ, check=says(".m.rule.master"))
    rule = f"{C3}/pushrules/global/content/word-{story.mark}"
    body = {"pattern": "workers", "actions": ["notify"]}
    alice.ask("set a push rule", "PUT", rule, "push_rules", body=body)
    alice.ask("one push rule", "GET", rule, PUSH_RULES_READ, check=says("workers"))
    alice.ask("switch it off", "PUT", f"{rule}/enabled", "push_rules", body={"enabled": False})
    alice.ask("delete it", "DELETE", rule, "push_rules")


def devices_and_keys(story: Story) -> None:
    """Keys of devices, signatures on them, their backup, and the devices themselves."""
    alice, bob = story.alice, story.bob
    seed = secrets.token_bytes(32)
    keys: dict[str, Any] = {
        "user_id": alice.id,
        "device_id": alice.device,
        "algorithms": ["m.olm.v1.curve25519-aes-sha2", "m.megolm.v1.aes-sha2"],
        "keys": {f"{kind}:{alice.device}": unpadded(secrets.token_bytes(32)) for kind in ("curve25519", "ed25519")},
    }
    one_time = {"curve25519:AAAAAQ": unpadded(secrets.token_bytes(32))}
    upload = {"device_keys": {**keys, "signatures": {}}, "one_time_keys": one_time}
    alice.ask("upload keys", "POST", f"{C3}/keys/upload", "frontend_proxy", "device_lists", READ, body=upload)
    query: dict[str, Any] = {"device_keys": {alice.id: []}}
    bob.ask("query keys", "POST", f"{C3}/keys/query", READ, body=query, check=says(alice.device), again=True)
    claim = {"one_time_keys": {alice.id: {alice.device: "curve25519"}}}
    bob.ask("claim a key", "POST", f"{C3}/keys/claim", READ, body=claim, check=says("AAAAAQ"))
    now = bob.ask("sync for a token", "GET", f"{C3}/sync?timeout=0", "initial_synchrotron", "synchrotron")["next_batch"]
    story.name(now, "{since 3}")
    bob.ask("changed keys", "GET", f"{C3}/keys/changes?from={now}&to={now}", READ)
    public = unpadded(public_key(seed))
    master = {"user_id": alice.id, "usage": ["master"], "keys": {f"ed25519:{public}": public}}
    signing = f"{C3}/keys/device_signing/upload"
    alice.ask("upload a signing key", "POST", signing, "device_lists", READ, body={"master_key": master})
    signature = unpadded(ed25519_signature(seed, canonical_json(keys)))
    signed = {**keys, "signatures": {alice.id: {f"ed25519:{public}": signature}}}
    signatures = {alice.id: {alice.device: signed}}
    alice.ask("upload signatures", "POST", f"{C3}/keys/signatures/upload", "device_lists", READ, body=signatures)
    version = {"algorithm": "m.megolm_backup.v1.curve25519-aes-sha2", "auth_data": {"public_key": "abc"}}
    number = alice.ask("make a key backup", "POST", f"{C3}/room_keys/version", READ, body=version)["version"]
    alice.ask("key backup", "GET", f"{C3}/room_keys/version", READ, check=says("abc"), again=True)
    # Session ids are base64: they may hold slashes.
    session = f"{C3}/room_keys/keys/{enc(story.room)}/{enc('a/b+c')}?version={number}"
    secret = {"first_message_index": 0, "forwarded_count": 0, "is_verified": False, "session_data": {"x": 1}}
    alice.ask("back a key up", "PUT", session, READ, body=secret, again=True)
    alice.ask("read it", "GET", session, READ, check=says("session_data"))
    alice.ask("delete the backup", "DELETE", f"{C3}/room_keys/version/{number}", READ)
    phone = User(story.walk, story.ask("log in elsewhere", "POST", f"{C3}/login", READ, body=alice.login))
    path = f"{C3}/devices/{enc(story.name(phone.device, '{device 2}'))}"
    alice.ask("devices", "GET", f"{C3}/devices", DEVICES_READ, check=says(phone.device))
    alice.ask("name a device", "PUT", path, "device_lists", READ, body={"display_name": "phone"})
    alice.ask("one device", "GET", path, DEVICES_READ, check=says("phone"))
    path, body = f"{C3}/delete_devices", {"devices": [phone.device]}
    # The worker that asks for the password keeps the session in the database, so any other can go on with it.
    asked = alice.ask("delete a device: prove it", "POST", path, "device_lists", READ, body=body, status=401)
    proof = {**alice.login, "session": asked["session"]}
    alice.ask("delete a device", "POST", path, "device_lists", READ, body={**body, "auth": proof})


def threads_and_delayed_events(story: Story) -> None:
    """Behind switches: msc4306_enabled (thread subscriptions) and max_event_delay_duration."""
    alice = story.alice
    thread = f"/_matrix/client/unstable/io.element.msc4306/rooms/{enc(story.room)}/thread/{enc(story.root)}/subscription"
    alice.ask("subscribe to a thread", "PUT", thread, "thread_subscriptions", body={})
    alice.ask("the subscription", "GET", thread, THREADS_READ, check=says("automatic"))
    path = "/_matrix/client/unstable/io.element.msc4308/thread_subscriptions?dir=b"
    alice.ask("all subscriptions", "GET", path, THREADS_READ, check=says(story.room))
    alice.ask("unsubscribe", "DELETE", thread, "thread_subscriptions")
    send = f"{C3}/rooms/{enc(story.room)}/send/m.room.message/later?org.matrix.msc4140.delay=600000"
    text = {"msgtype": "m.text", "body": "later"}
    number = alice.ask("send later", "PUT", send, *SEND, body=text)["delay_id"]
    delayed = "/_matrix/client/unstable/org.matrix.msc4140/delayed_events"
    alice.ask("delayed events", "GET", delayed, READ, check=says(number))
    story.name(number, "{delayed}")
    story.ask("start its clock again", "POST", f"{delayed}/{number}/restart", (READ, MAIN), body={})
    # One path, two owners: any worker reads it, but only the main process cancels.
    alice.ask("cancel it", "POST", f"{delayed}/{number}", body={"action": "cancel"})


def media_repository(story: Story) -> None:
    """Pictures up, down and scaled; nobody but a process that loads the media repository knows these."""
    alice = story.alice
    media, png = "media_repository", picture()
    alice.ask("media limits", "GET", "/_matrix/client/v1/media/config", media, check=says("m.upload.size"))
    alice.ask("media limits, v3", "GET", "/_matrix/media/v3/config", media)
    kind = {"Content-Type": "image/png"}
    path = "/_matrix/media/v3/upload?filename=a%20b.png"
    uri = alice.ask("upload", "POST", path, media, body=png, headers=kind)["content_uri"]
    where = story.media = story.name(uri.removeprefix("mxc://"), "{media}")

    def whole(response: Response) -> str | None:
        return None if response.body == png else "other bytes came back"

    alice.ask("download", "GET", f"/_matrix/client/v1/media/download/{where}", media, check=whole)
    path = f"/_matrix/client/v1/media/download/{where}/%C3%A4%20b.png"
    alice.ask("download by name", "GET", path, media, check=whole)
    path = f"/_matrix/client/v1/media/thumbnail/{where}?width=32&height=32&method=crop"
    alice.ask("thumbnail", "GET", path, media, check=says("PNG"))
    story.ask("without logging in", "GET", f"/_matrix/client/v1/media/download/{where}", media, status=401)
    # New media are no longer given without a login (enable_authenticated_media), which is not "unrecognized".
    story.ask("the old way", "GET", f"/_matrix/media/v3/download/{where}", media, status=404, again=False)
    uri = alice.ask("reserve", "POST", "/_matrix/media/v1/create", media, body={})["content_uri"]
    later = uri.removeprefix("mxc://")
    story.name(later, "{media 2}")
    alice.ask("upload what was reserved", "PUT", f"/_matrix/media/v3/upload/{later}", media, body=png, headers=kind)
    alice.ask("download it", "GET", f"/_matrix/client/v1/media/download/{later}", media, check=whole)


def odd_ids(story: Story) -> None:
    """Synapse reads the path as it was sent: an encoded slash parts nothing, and stays encoded on the way."""
    alice = story.alice
    room = story.in_room
    state = f"{room}/state/org.test/{enc('a/b:c#d?e%f')}"
    alice.ask("state, odd key", "PUT", state, *SEND, body={"odd": story.mark})
    alice.ask("state, odd key", "GET", state, *READ_FIRST, check=says(story.mark))
    path = f"{room}/send/m.room.message/{enc('x/../y z')}"
    alice.ask("send, odd transaction", "PUT", path, *SEND, body={"msgtype": "m.text", "body": "odd"})
    user = f"{C3}/user/{enc(alice.id)}"
    kind = enc("org.test/a\nb")
    alice.ask("account data, odd type", "PUT", f"{user}/account_data/{kind}", *ACCOUNT_DATA, body={"odd": story.mark})
    alice.ask("account data, odd type", "GET", f"{user}/account_data/{kind}", ACCOUNT_DATA_READ, check=says(story.mark))
    tag = f"{user}/rooms/{enc(story.room)}/tags/{enc('u.a/b')}"
    alice.ask("tag with a slash", "PUT", tag, *ACCOUNT_DATA, body={})
    alias = enc(f"#a/b-{story.mark}:{story.server}")
    story.name(f"#a/b-{story.mark}:{story.server}", "{#a/b}")
    alice.ask("alias with a slash", "PUT", f"{C3}/directory/room/{alias}", READ, body={"room_id": story.room})
    story.ask("alias with a slash", "GET", f"{C3}/directory/room/{alias}", READ, check=says(story.room))
    # Clients that encode less than they could are common, too.
    plain = f"{C3}/rooms/{story.room}/members"
    alice.ask("id that is not encoded", "GET", plain, READ, check=says(story.bob.id))
