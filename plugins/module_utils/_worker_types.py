"""What kinds of workers Synapse knows: one row per type, in the order in which pools and ports are laid out.

A type is a name for a duty. For Synapse every worker is a ``generic_worker``; which duty it has follows from its listeners,
from the shared settings that name it, and from the requests that nginx sends to it. Those three are the columns below.
Which requests a type may serve is said by ``_endpoints.py``.

Sources: Synapse 1.163.2, ``docs/workers.md`` and ``synapse/config/workers.py`` (class ``WriterLocations`` and the checks
behind it: which streams may have several writers, which names must stand in ``instance_map``); the restart rules are those
of ``docs/usage/configuration/config_documentation.md`` for ``federation_sender_instances``, ``pusher_instances`` and the rest.

GNU General Public License v3.0+ (see LICENSE)
"""

from __future__ import annotations

from typing import NamedTuple

# Settings and streams differ below this release in ways the tables do not describe.
OLDEST_SYNAPSE = (1, 140)
NEWEST_TESTED_SYNAPSE = (1, 163)


class WorkerType(NamedTuple):
    """One duty that can be moved away from the main process."""

    name: str
    """Name as the operator writes it in ``synapse_workers``."""
    purpose: str
    """What leaves the main process, in one line for an operator."""
    first_port: int
    """Port of worker number 1; number n listens on ``first_port + n - 1``."""
    resources: tuple[str, ...] = ()
    """Listener resources besides ``health``."""
    streams: tuple[str, ...] = ()
    """Streams this type writes (keys of ``stream_writers``); its workers then stand in ``instance_map``."""
    several: bool = True
    """Whether Synapse allows more than one worker of this type."""
    setting: str = ""
    """Shared setting that names the workers of this type, or ''."""
    setting_is_list: bool = False
    """Whether ``setting`` takes a list of names or one name."""
    media: bool = False
    """Whether the worker loads the media repository."""
    balance: str = ""
    """What nginx keeps together on one worker: 'user', 'room', 'origin', or '' for the least busy one."""
    fallback_to_main: bool = False
    """Whether the main process can answer when no worker of the pool does."""
    restart: str = "nginx"
    """What a change of the number of these workers concerns: 'nginx' only; 'main' and themselves; 'together' (all of the
    type stop before one starts, and main restarts); 'all' processes."""
    since: tuple[int, int] = (1, 0)
    """First release that knows the duty."""

    @property
    def takes_requests(self) -> bool:
        """Whether nginx sends requests to workers of this type."""
        return bool(self.resources)


CLIENT = ("client",)
FEDERATION = ("federation",)

TABLE: tuple[WorkerType, ...] = (
    WorkerType("synchrotron", "/sync, sliding sync, /events: the long-polls that are most of all requests",
               11100, CLIENT, balance="user", fallback_to_main=True),
    # A first sync computes for seconds; apart from the others it delays nobody.
    WorkerType("initial_synchrotron", "the first /sync of a device (no `since`), full state and initialSync",
               11200, CLIENT, balance="user", fallback_to_main=True),
    WorkerType("client_reader", "reading rooms, profiles, devices, keys, and logging in and registering",
               11300, CLIENT, fallback_to_main=True),
    # Events of one room on one worker: the state of a room is then cached once.
    WorkerType("event_creator", "sending events, joining and leaving, creating and upgrading rooms",
               11400, CLIENT, balance="room", fallback_to_main=True),
    WorkerType("user_dir", "searching and updating the user directory",
               11500, CLIENT, several=False, setting="update_user_directory_from_worker",
               fallback_to_main=True, restart="main"),
    WorkerType("frontend_proxy", "uploading device keys (/keys/upload)",
               11600, CLIENT, fallback_to_main=True),
    # Only a process that loads the media repository answers media requests, so main cannot stand in.
    WorkerType("media_repository", "uploading, downloading and scaling media",
               11700, ("media", "client", "federation"), media=True, restart="main"),
    WorkerType("federation_reader", "requests of other servers, except their transactions",
               11800, FEDERATION, fallback_to_main=True),
    # Transactions of one server stay in order on one worker.
    WorkerType("federation_inbound", "transactions of other servers (/_matrix/federation/v1/send/)",
               11900, FEDERATION, balance="origin", fallback_to_main=True),
    # The state of a login that is under way lives in the memory of one process.
    WorkerType("sso", "single sign-on: redirects, callbacks and their pages",
               12000, CLIENT, several=False),
    WorkerType("event_persister", "writing events to the database",
               12100, streams=("events",), restart="all"),
    WorkerType("typing", "writer of typing notifications",
               12200, CLIENT, streams=("typing",), several=False, restart="all"),
    WorkerType("to_device", "writer of to-device messages",
               12300, CLIENT, streams=("to_device",), several=False, restart="all"),
    WorkerType("account_data", "writer of account data and tags",
               12400, CLIENT, streams=("account_data",), several=False, restart="all"),
    WorkerType("receipts", "writer of read receipts and markers",
               12500, CLIENT, streams=("receipts",), balance="user", restart="all"),
    WorkerType("presence", "writer of presence",
               12600, CLIENT, streams=("presence",), several=False, restart="all"),
    WorkerType("push_rules", "writer of push rules",
               12700, CLIENT, streams=("push_rules",), several=False, restart="all", since=(1, 105)),
    WorkerType("device_lists", "writer of devices, their keys and signatures",
               12800, CLIENT, streams=("device_lists",), balance="user", restart="all", since=(1, 135)),
    WorkerType("thread_subscriptions", "writer of thread subscriptions",
               12900, CLIENT, streams=("thread_subscriptions",), balance="user", restart="all", since=(1, 135)),
    # Its servlets are registered only where the media repository is loaded (synapse/rest/admin/__init__.py).
    WorkerType("quarantined_media_changes", "quarantining media (administration)",
               13000, ("media", "client", "federation"), streams=("quarantined_media_changes",), media=True,
               restart="all", since=(1, 152)),
    # Two sets of senders at once would drop or double what is sent.
    WorkerType("federation_sender", "sending to other servers",
               13100, setting="federation_sender_instances", setting_is_list=True, restart="together"),
    WorkerType("pusher", "sending push notifications and mail",
               13200, setting="pusher_instances", setting_is_list=True, restart="main"),
    WorkerType("appservice", "sending to application services (bridges, bots)",
               13300, several=False, setting="notify_appservices_from_worker", restart="main"),
    WorkerType("background_worker", "clean-up and statistics in the background",
               13400, several=False, setting="run_background_tasks_on", restart="main"),
)  # fmt: skip

BY_NAME: dict[str, WorkerType] = {row.name: row for row in TABLE}
ORDER: dict[str, int] = {row.name: position for position, row in enumerate(TABLE)}

# Workers of one row share a range of 100 ports: the plain row of a type has the lower half, a named one the upper.
WORKERS_PER_ROW = 50
NAMED_ROW_OFFSET = 50
REPLICATION_PORT_OFFSET = 5000
METRICS_PORT_OFFSET = 10000

# What people write who come from Synapse's own old app names or from other tools, and what they mean here.
KNOWN_AS: dict[str, str] = {
    "sync_worker": "synchrotron",
    "generic_worker": "client_reader",
    "media": "media_repository",
    "user_directory": "user_dir",
    "background": "background_worker",
    "stream_writer": "event_persister",
    "event_writer": "event_persister",
    "federation_inbound_reader": "federation_inbound",
    "initial_sync": "initial_synchrotron",
}


def parse_version(text: str) -> tuple[int, int] | None:
    """``'1.163.2'`` or ``'1.163.2+bookworm1'`` → ``(1, 163)``; None when it is no version."""
    parts = text.strip().lstrip("v").split(".")
    if len(parts) < 2 or not parts[0].isdigit():
        return None
    minor = ""
    for char in parts[1]:
        if not char.isdigit():
            break
        minor += char
    return (int(parts[0]), int(minor)) if minor else None
