"""Who asks what: quiet devices, people who talk in rooms, readers, other servers.

GNU General Public License v3.0+ (see LICENSE)
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import secrets
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from outsider.keeping import picture
from outsider.signing import SigningKey
from outsider.story import C3, PASSWORD
from outsider.walk import enc

from .book import LONG_POLL, Book, Message
from .client import Answer, Client

# Requests per second, beside the long-polls. Twenty in all, plus what each message wakes.
RATES: dict[str, float] = {
    "send, PUT": 3,
    "send, POST": 1,
    "sync": 2,
    "messages": 1.5,
    "state": 1,
    "members": 1,
    "profile": 1,
    "keys": 1,
    "account": 1,
    "login": 0.2,
    "create room": 0.1,
    "receipt": 1,
    "typing": 1,
    "to device": 0.5,
    "account data": 0.5,
    "presence": 0.3,
    "upload": 0.3,
    "download": 0.7,
    "federation": 1.5,
    "federation, send": 0.5,
    "main only": 1,
}
POLL = 30
"""Seconds that a long-poll waits for news, as Element asks."""
# A client that got no acknowledgement sends the same transaction again.
TRIES = 6
ONLY = {"room": {"timeline": {"limit": 50}}}


@dataclass(frozen=True)
class Size:
    """How many, and how much they ask."""

    quiet: int = 40
    """Accounts that nobody talks to."""
    devices: int = 5
    """Devices of each; every one holds a long-poll."""
    rooms: int = 4
    talkers: int = 5
    """Accounts in each room; every one holds a long-poll and hears all that is said there."""
    pace: float = 1.0
    """Factor on all rates."""
    rates: dict[str, float] = field(default_factory=dict)
    """Kind → requests per second, where they shall differ from ``RATES``."""
    download: str = "/_matrix/client/v1/media/download"
    """Start of the path of media; ``/_matrix/media/v3/download`` where Synapse is older than authenticated media."""
    at_once: int = 300
    """Beside the long-polls; while more are under way, nothing new is asked (and that is counted)."""

    @property
    def polls(self) -> int:
        """Long-polls held at a time."""
        return self.quiet * self.devices + self.rooms * self.talkers


@dataclass
class Device:
    """One that is logged in."""

    user: str
    token: str
    since: str = ""


@dataclass
class Room:
    """A room in which people talk."""

    id: str
    talkers: list[Device]
    last: str = ""
    """The newest event that was acknowledged."""

    @property
    def path(self) -> str:
        """Start of the paths of the room."""
        return f"{C3}/rooms/{enc(self.id)}"


class Unable(Exception):
    """The load could not begin; says which request failed and how."""


class People:
    """They move in, then live until they are told to stop."""

    def __init__(self, client: Client, book: Book, size: Size, key: SigningKey | None) -> None:
        """``key``: the server's own signing key; without it nothing is asked as another server would, but what is public."""
        self.client, self.book, self.size, self.key = client, book, size, key
        self.mark = secrets.token_hex(3)
        self.rooms: list[Room] = []
        self.quiet: list[Device] = []
        self.media = ""
        self._random = random.Random(self.mark)
        self._number = itertools.count(1)
        self._signed: dict[str, dict[str, str]] = {}
        self._picture = picture()
        self._transaction = asyncio.Lock()

    # Moving in

    async def move_in(self) -> None:
        """Register, log in, make rooms and join them, ask for a first sync. Raises ``Unable``."""
        few = asyncio.Semaphore(6)

        async def one(work: Awaitable[None]) -> None:
            async with few:
                await work

        self.rooms = [Room("", []) for _ in range(self.size.rooms)]
        async with asyncio.TaskGroup() as group:
            for number in range(self.size.quiet):
                group.create_task(one(self._settle(number)))
            for number, room in enumerate(self.rooms):
                group.create_task(one(self._furnish(number, room)))
        path = f"/_matrix/media/v3/upload?filename={self.mark}.png"
        uri = await self._must("POST", path, self.rooms[0].talkers[0].token, self._picture, {"Content-Type": "image/png"})
        self.media = uri.json["content_uri"].removeprefix("mxc://")

    async def _must(
        self, method: str, path: str, token: str = "", body: object = None, headers: dict[str, str] | None = None
    ) -> Answer:
        """Ask; what another process wrote a moment ago may take another try to be seen."""
        for _ in range(5):
            answer = await self.client.ask("moving in", method, path, token=token, body=body, headers=headers, note=False)
            if not answer.fault:
                return answer
            if not answer.status:
                break
            await asyncio.sleep(1)
        raise Unable(f"{method} {path}: {answer.fault}")

    async def _register(self, name: str) -> Device:
        """An account, as a server makes it that lets everybody in."""
        body = {"username": f"{name}-{self.mark}", "password": PASSWORD, "auth": {"type": "m.login.dummy"}}
        answer = (await self._must("POST", f"{C3}/register", body=body)).json
        return Device(answer["user_id"], answer["access_token"])

    def _login(self, user: str) -> dict[str, object]:
        return {"type": "m.login.password", "identifier": {"type": "m.id.user", "user": user}, "password": PASSWORD}

    async def _settle(self, number: int) -> None:
        first = await self._register(f"quiet-{number}")
        devices = [first]
        for _ in range(self.size.devices - 1):
            answer = (await self._must("POST", f"{C3}/login", body=self._login(first.user))).json
            devices.append(Device(first.user, answer["access_token"]))
        for device in devices:
            await self._first_sync(device)
        self.quiet += devices

    async def _furnish(self, number: int, room: Room) -> None:
        for person in range(self.size.talkers):
            room.talkers.append(await self._register(f"talker-{number}-{person}"))
        owner, *others = room.talkers
        body = {"preset": "public_chat", "name": f"Room {number} {self.mark}"}
        room.id = (await self._must("POST", f"{C3}/createRoom", owner.token, body)).json["room_id"]
        for other in others:
            await self._must("POST", f"{C3}/join/{enc(room.id)}", other.token, {})
        first = {"msgtype": "m.text", "body": "welcome"}
        sent = await self._must("PUT", f"{room.path}/send/m.room.message/welcome", owner.token, first)
        room.last = sent.json["event_id"]
        for talker in room.talkers:
            await self._first_sync(talker)

    async def _first_sync(self, device: Device) -> None:
        answer = await self._must("GET", f"{C3}/sync?timeout=0&filter={enc(json.dumps(ONLY))}", device.token)
        device.since = answer.json["next_batch"]

    # Living

    def lives(self) -> list[Coroutine[Any, Any, None]]:
        """What goes on until it is cancelled: a long-poll per device."""
        talkers = [talker for room in self.rooms for talker in room.talkers]
        return [self._listen(device) for device in [*self.quiet, *talkers]]

    def habits(self) -> dict[str, tuple[float, Callable[[], Coroutine[Any, Any, object]]]]:
        """Kind → requests per second, and what makes one of them."""
        acts: dict[str, Callable[[], Coroutine[Any, Any, object]]] = {
            "send, PUT": self._send_put,
            "send, POST": self._send_post,
            "sync": self._sync,
            "messages": lambda: self._read("messages", "messages?dir=b&limit=20", b"chunk"),
            "state": lambda: self._read("state", "state", b"m.room.create"),
            "members": lambda: self._read("members", "members", b"m.room.member"),
            "profile": self._profile,
            "keys": self._keys,
            "account": lambda: self._get("account", self._random.choice(["/account/whoami", "/joined_rooms", "/devices"])),
            "login": self._log_in,
            "create room": self._create_room,
            "receipt": self._receipt,
            "typing": self._typing,
            "to device": self._to_device,
            "account data": self._account_data,
            "presence": self._presence,
            "upload": self._upload,
            "download": self._download,
            "federation": self._federation_read,
            "federation, send": self._federation_send,
            "main only": lambda: self._get("main only", self._random.choice(["/pushers", "/thirdparty/protocols"])),
        }
        if self.key is None:
            del acts["federation, send"]
        rates = {**RATES, **self.size.rates}
        return {kind: (rates[kind] * self.size.pace, act) for kind, act in acts.items() if rates[kind] > 0}

    async def _listen(self, device: Device) -> None:
        pause = 0
        while True:
            path = f"{C3}/sync?timeout={POLL * 1000}&since={device.since}&filter={enc(json.dumps(ONLY))}"
            answer = await self.client.ask(LONG_POLL, "GET", path, token=device.token, wait=POLL, expect=b"next_batch")
            if answer.fault:
                # As clients do, and not all of them in the same moment.
                pause = min(pause * 2 or 1, 16)
                await asyncio.sleep(pause * self._random.uniform(0.5, 1))
                continue
            pause = 0
            said = answer.json
            before, device.since = device.since, said["next_batch"]
            for room, news in said.get("rooms", {}).get("join", {}).items():
                timeline = news.get("timeline", {})
                self._hear(device, timeline.get("events", []))
                if timeline.get("limited"):
                    await self._fill(device, room, timeline["prev_batch"], before)

    async def _fill(self, device: Device, room: str, newest: str, oldest: str) -> None:
        """Read what a sync left out, as it was too much."""
        path = f"{C3}/rooms/{enc(room)}/messages?dir=b&limit=500&from={enc(newest)}&to={enc(oldest)}"
        answer = await self.client.ask("messages", "GET", path, token=device.token, expect=b"chunk")
        self._hear(device, answer.json.get("chunk", []))

    def _hear(self, device: Device, events: list[dict[str, Any]]) -> None:
        for event in events:
            if event.get("type") == "m.room.message":
                self.book.hear(device.user, event.get("content", {}).get("body", ""))

    def _somebody(self) -> tuple[Room, Device]:
        room = self._random.choice(self.rooms)
        return room, self._random.choice(room.talkers)

    def _message(self, room: Room) -> Message:
        text = f"{self.mark}-{next(self._number)}"
        listeners = frozenset(talker.user for talker in room.talkers)
        message = self.book.messages[text] = Message(text, room.id, listeners, time.monotonic())
        return message

    def _acknowledge(self, room: Room, message: Message, answer: Answer) -> None:
        message.acknowledged = time.monotonic()
        room.last = answer.json["event_id"]

    async def _send_put(self) -> None:
        room, who = self._somebody()
        message = self._message(room)
        path = f"{room.path}/send/m.room.message/{message.text}"
        body = {"msgtype": "m.text", "body": message.text}
        for number in range(TRIES):
            answer = await self.client.ask("send, PUT", "PUT", path, token=who.token, body=body, expect=b"event_id")
            if not answer.fault:
                self._acknowledge(room, message, answer)
                return
            await asyncio.sleep(2**number)

    async def _send_post(self) -> None:
        # Nobody can tell whether a failed one was taken, so nobody sends it again.
        room, who = self._somebody()
        message = self._message(room)
        body = {"msgtype": "m.text", "body": message.text}
        path = f"{room.path}/send/m.room.message"
        answer = await self.client.ask("send, POST", "POST", path, token=who.token, body=body, expect=b"event_id")
        if not answer.fault:
            self._acknowledge(room, message, answer)

    async def _sync(self) -> None:
        _room, who = self._somebody()
        path = f"{C3}/sync?timeout=0&since={who.since}"
        await self.client.ask("sync", "GET", path, token=who.token, expect=b"next_batch")

    async def _get(self, kind: str, path: str) -> None:
        _room, who = self._somebody()
        await self.client.ask(kind, "GET", C3 + path, token=who.token)

    async def _read(self, kind: str, path: str, expect: bytes) -> None:
        room, who = self._somebody()
        await self.client.ask(kind, "GET", f"{room.path}/{path}", token=who.token, expect=expect)

    async def _profile(self) -> None:
        _room, who = self._somebody()
        await self.client.ask("profile", "GET", f"{C3}/profile/{enc(who.user)}", expect=b"displayname")

    async def _keys(self) -> None:
        room, who = self._somebody()
        body: dict[str, Any] = {"device_keys": {talker.user: [] for talker in room.talkers}}
        await self.client.ask("keys", "POST", f"{C3}/keys/query", token=who.token, body=body, expect=b"device_keys")

    async def _log_in(self) -> None:
        _room, who = self._somebody()
        await self.client.ask("login", "POST", f"{C3}/login", body=self._login(who.user), expect=b"access_token")

    async def _create_room(self) -> None:
        _room, who = self._somebody()
        body = {"preset": "private_chat"}
        await self.client.ask("create room", "POST", f"{C3}/createRoom", token=who.token, body=body, expect=b"room_id")

    async def _receipt(self) -> None:
        room, who = self._somebody()
        path = f"{room.path}/receipt/m.read/{enc(room.last)}"
        await self.client.ask("receipt", "POST", path, token=who.token, body={})

    async def _typing(self) -> None:
        room, who = self._somebody()
        path = f"{room.path}/typing/{enc(who.user)}"
        await self.client.ask("typing", "PUT", path, token=who.token, body={"typing": True, "timeout": 3000})

    async def _to_device(self) -> None:
        room, who = self._somebody()
        body = {"messages": {self._random.choice(room.talkers).user: {"*": {"text": "psst"}}}}
        path = f"{C3}/sendToDevice/m.test/{next(self._number)}"
        await self.client.ask("to device", "PUT", path, token=who.token, body=body)

    async def _account_data(self) -> None:
        _room, who = self._somebody()
        path = f"{C3}/user/{enc(who.user)}/account_data/org.test"
        await self.client.ask("account data", "PUT", path, token=who.token, body={"n": next(self._number)})

    async def _presence(self) -> None:
        _room, who = self._somebody()
        path = f"{C3}/presence/{enc(who.user)}/status"
        await self.client.ask("presence", "PUT", path, token=who.token, body={"presence": "online"})

    async def _upload(self) -> None:
        _room, who = self._somebody()
        path = f"/_matrix/media/v3/upload?filename={next(self._number)}.png"
        kind = {"Content-Type": "image/png"}
        await self.client.ask("upload", "POST", path, token=who.token, body=self._picture, headers=kind, expect=b"mxc://")

    async def _download(self) -> None:
        _room, who = self._somebody()
        path = f"{self.size.download}/{self.media}"
        await self.client.ask("download", "GET", path, token=who.token, expect=self._picture)

    # Other servers

    async def _federation_read(self) -> None:
        room, who = self._somebody()
        path, expect = "/_matrix/key/v2/server", b"verify_keys"
        if self.key:
            path, expect = self._random.choice(
                [
                    (path, expect),
                    (f"/_matrix/federation/v1/query/profile?user_id={enc(who.user)}", b"displayname"),
                    (f"/_matrix/federation/v1/event/{enc(room.last)}", b"pdus"),
                ]
            )
        await self.client.ask("federation", "GET", path, headers=self._signature("GET", path), expect=expect)

    async def _federation_send(self) -> None:
        room, who = self._somebody()
        typing = {"room_id": room.id, "user_id": who.user, "typing": True}
        body = {
            "origin": self.client.edge.server_name,
            "origin_server_ts": int(time.time() * 1000),
            "pdus": [],
            "edus": [{"edu_type": "m.typing", "content": typing}],
        }
        path = f"/_matrix/federation/v1/send/{self.mark}-{next(self._number)}"
        headers = self._signature("PUT", path, body)
        # A server sends the next transaction when the last one was answered; Synapse refuses a third at a time with 429.
        async with self._transaction:
            await self.client.ask("federation, send", "PUT", path, headers=headers, body=body, expect=b"pdus")

    def _signature(self, method: str, path: str, body: object = None) -> dict[str, str]:
        """A signature holds no time, so that of a request without a body is made once."""
        if self.key is None or "/key/" in path:
            return {}
        if path in self._signed:
            return self._signed[path]
        server = self.client.edge.server_name
        signature = {"Authorization": self.key.authorization(server, server, method, path, body)}
        if body is None and "/event/" not in path:
            self._signed[path] = signature
        return signature

    # Afterwards

    async def read_back(self) -> None:
        """Read every room from its end to its beginning, and note how often each message is in it. Raises ``Unable``."""
        for room in self.rooms:
            texts: list[str] = []
            path = f"{room.path}/messages?dir=b&limit=500"
            page = (await self._must("GET", path, room.talkers[0].token)).json
            while page.get("chunk"):
                texts += [
                    event.get("content", {}).get("body", "") for event in page["chunk"] if event["type"] == "m.room.message"
                ]
                if "end" not in page:
                    break
                page = (await self._must("GET", f"{path}&from={page['end']}", room.talkers[0].token)).json
            self.book.read_back(room.id, texts)
