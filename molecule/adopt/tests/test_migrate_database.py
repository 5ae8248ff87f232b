"""A server that lives in SQLite is brought to PostgreSQL, with all that was said on it, and gets workers.

The tests of this file are one story, in their order.
"""

from __future__ import annotations

import json
import urllib.parse
from typing import Any

import pytest
import yaml
from by_hand import Server
from fleet import Fleet
from outsider.edge import Edge
from outsider.story import C3
from outsider.walk import enc

HOST = "synapse-adopt-sqlite"
NAME = "monolith.example"
FILE = "/var/lib/synapse/homeserver.db"
SAID = [f"message {number}, with an ä and a \N{SNOWMAN}" for number in range(25)]


@pytest.fixture(scope="module")
def server(fleet: Fleet) -> Server:
    return Server(fleet, HOST)


class User:
    """One that talks in a room of his own."""

    def __init__(self, fleet: Fleet) -> None:
        self.edge = Edge(f"http://{fleet.ip(HOST)}", NAME)
        self.token = self.room = ""

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        data = None if body is None else json.dumps(body).encode()
        answer = self.edge.ask(self.edge.agent, method, f"{C3}{path}", headers, data, 60)
        assert answer.status == 200, answer
        return answer.json


@pytest.fixture(scope="module")
def user(fleet: Fleet) -> User:
    return User(fleet)


def test_people_talk_on_it(server: Server, user: User) -> None:
    made = user.ask("POST", "/register", {"username": "first", "password": "first-password", "auth": {"type": "m.login.dummy"}})
    user.token = made["access_token"]
    user.room = user.ask("POST", "/createRoom", {"preset": "public_chat"})["room_id"]
    for number, text in enumerate(SAID):
        user.ask("PUT", f"/rooms/{enc(user.room)}/send/m.room.message/{number}", {"msgtype": "m.text", "body": text})
    # Synapse fills new tables in the background; its tool waits for that to be over.
    server.output(
        f"timeout 300 python3 -c \"import sqlite3, time; db = sqlite3.connect('file:{FILE}?mode=ro', uri=True)\n"
        "while db.execute('SELECT count(*) FROM background_updates').fetchone()[0]: time.sleep(0.5)\""
    )


def test_workers_are_refused_before_anything_has_changed(server: Server) -> None:
    inventory = yaml.safe_load(server.inventory.read_text())
    inventory["synapse"]["vars"]["synapse_workers"] = [{"type": "synchrotron"}]
    server.inventory.write_text(yaml.safe_dump(inventory, sort_keys=False))
    server.include(NAME, "/etc/nginx/snippets/synapse[.]conf")
    with pytest.raises(AssertionError, match="migrate_database copies it"):
        server.play("roll_out")
    assert server.output("systemctl is-active synapse.service").strip() == "active"
    assert "SQLite" in server.report


def test_a_copy_needs_a_word(server: Server) -> None:
    with pytest.raises(AssertionError, match=rf"{FILE} \([0-9.]+ MB\) would be copied .* -e confirm={NAME}"):
        server.play("migrate_database")
    assert server.output("systemctl is-active synapse.service").strip() == "active"


def test_a_database_with_something_in_it_is_not_touched(server: Server) -> None:
    def psql(words: str) -> str:
        return server.output(f'runuser -u postgres -- psql --quiet --tuples-only --no-align synapse --command="{words}"').strip()

    psql("CREATE TABLE somebody_else (n int); INSERT INTO somebody_else VALUES (7)")
    with pytest.raises(AssertionError, match=r"is not empty .* somebody_else"):
        server.play("migrate_database", f"--extra-vars=confirm={NAME}")
    assert psql("SELECT n FROM somebody_else") == "7"
    psql("DROP TABLE somebody_else")
    assert server.output("systemctl is-active synapse.service").strip() == "active"


def test_everything_is_brought_over(server: Server) -> None:
    before = server.output(f"sha256sum {FILE}; stat -c '%i %U %a' {FILE}")
    said = server.play("migrate_database", f"--extra-vars=confirm={NAME}")
    assert "as many as in /var/lib/synapse/homeserver.db, which stays" in " ".join(said.split())
    # What Synapse itself writes while it stops comes before the copy; nothing comes after it.
    assert server.output(f"stat -c '%i %U %a' {FILE}") in before
    assert server.workers("synapse") == {"synchrotron-1"}


def test_all_that_was_said_is_there(server: Server, user: User) -> None:
    # The session of before, and a new one.
    found = user.ask("GET", f"/rooms/{enc(user.room)}/messages?dir=f&limit=100&" + urllib.parse.urlencode({"filter": '{"types":["m.room.message"]}'}))
    assert [event["content"]["body"] for event in found["chunk"]] == SAID
    user.ask("POST", "/login", {"type": "m.login.password", "identifier": {"type": "m.id.user", "user": "first"}, "password": "first-password"})
    user.ask("PUT", f"/rooms/{enc(user.room)}/send/m.room.message/after", {"msgtype": "m.text", "body": "after"})
    synced = user.ask("GET", "/sync")
    assert "after" in json.dumps(synced["rooms"]["join"][user.room])


def test_another_copy_is_refused(server: Server) -> None:
    with pytest.raises(AssertionError, match="is not empty"):
        server.play("migrate_database", f"--extra-vars=confirm={NAME}")
    assert "nothing changes" in server.play("roll_out")
