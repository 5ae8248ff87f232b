"""What requests share: the users, the rooms and events they made, and which process may answer.

Behind each path in the other modules stands which worker type answers it when there is one, after Synapse's
``docs/workers.md`` and, where that is silent, after where 1.163.2 registers its servlets (``synapse/rest/__init__.py``,
``synapse/app/generic_worker.py``). Where no type stands, only the main process knows the request.

GNU General Public License v3.0+ (see LICENSE)
"""

from __future__ import annotations

import secrets
from collections.abc import Callable

from .edge import Response
from .judge import MAIN, Choice
from .walk import User, Walk, enc

C3 = "/_matrix/client/v3"
READ = "client_reader"
# docs/workers.md has these among what any generic worker may do, so a reader stands in where there is no creator.
SEND = ("event_creator", READ)
# Some paths are read and written. Reading is the reader's; docs/workers.md names the path among "Event sending requests", so
# where there is no reader a creator or the main process does as well.
READ_FIRST: tuple[Choice, ...] = (READ, ("event_creator", MAIN))
PASSWORD = "a long one that nobody else has 7!"


def says(text: str) -> Callable[[Response], str | None]:
    """A check: the answer must contain ``text``."""

    def check(response: Response) -> str | None:
        return None if text.encode() in response.body else f"the answer does not contain {text}"

    return check


class Story:
    """Two users, what they made, and the walk they are on. Names carry a mark, so that a server may be asked again."""

    def __init__(self, walk: Walk) -> None:
        self.walk = walk
        self.ask = walk.ask
        self.name = walk.name
        self.server = walk.edge.server_name
        self.mark = secrets.token_hex(3)
        self.alice: User
        self.bob: User
        self.room = ""
        self.space = ""
        self.alias = ""
        self.root = ""
        """A message of alice's in the room, which starts a thread."""
        self.event = ""
        """An answer in that thread."""
        self.media = ""
        """``server/id`` of a picture."""

    @property
    def in_room(self) -> str:
        """Start of the paths of the room."""
        return f"{C3}/rooms/{enc(self.room)}"

    def register(self, name: str) -> User:
        """Make an account, as a server does that lets everybody in (``m.login.dummy``)."""
        body = {"username": f"{name}-{self.mark}", "password": PASSWORD, "auth": {"type": "m.login.dummy"}}
        user = User(self.walk, self.ask(f"register {name}", "POST", f"{C3}/register", READ, body=body), PASSWORD)
        self.name(user.id, f"@{name}")
        return user
