"""What each process was started with, in parts, so that a run can tell which processes a change concerns.

A process is restarted when a part of what it read at its start differs from the plan. The parts are hashed here and kept on
the host by the module ``processes`` once the process answers; a run that was interrupted therefore leaves its work to the
next one, which handlers would not.

Source of the restart rules: Synapse 1.163.2, ``docs/workers.md`` and ``config_documentation.md``; see the column ``restart``
of ``_worker_types.py``.

GNU General Public License v3.0+ (see LICENSE)
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, NamedTuple

from ..module_utils._process_changes import (
    DUTY_PASSES,
    ENABLE,
    KEEP,
    NEW,
    NOT_AT_BOOT,
    NOT_PLANNED,
    NOT_RUNNING,
    RELEASE,
    RELOAD,
    REPLACED,
    RETIRE,
    RUNNING,
    SECRETS,
    START,
    STOP_START,
    decide,
    old_processes,
    replaced_processes,
    with_host_parts,
)
from ..module_utils._worker_types import BY_NAME, ORDER, TABLE, WorkerType
from ._change_steps import ROLLED_BACK
from ._homeserver import base_config, log_config, shared_config, worker_config
from ._topology import processes

OWN = "own settings"
SHARED = "shared settings"
WRITERS = "stream writers"
MEDIA_WRITERS = "writers of quarantined media"
DUTIES = "duties"
UNIT = "unit"
NGINX = "nginx"

# Two writers of one stream at a time, or one that another process still looks for at its old place, lose data: when these
# differ, all processes concerned stop before the first one starts.
# Processes with different replication secrets refuse each other.
TOGETHER = (WRITERS, MEDIA_WRITERS, SECRETS)
TOGETHER_OF_SENDERS = (*TOGETHER, DUTIES)

_WRITER_KEYS = ("instance_map", "stream_writers")
_DUTY_KEYS = (
    *(row.setting for row in TABLE if row.setting),
    "enable_media_repo",
    "media_instance_running_background_jobs",
)


def process_states(
    plan: dict[str, Any],
    host: str,
    units: dict[str, str],
    in_table_order: bool = False,
    at_once: bool = False,
) -> list[dict[str, Any]]:
    """How the processes on ``host`` shall run, main first.

    Args:
        plan: the topology.
        host: inventory name.
        units: text of the unit files, ``{'main': …, 'worker': …}``.
        in_table_order: whether processes of one type restart, and are ready, before those of the next are touched. Else those with
            an odd number do so before those with an even one.
        at_once: whether all restart at the same time instead.

    Returns:
        A list of ``{name, unit, parts, together, serves, yields, wave, probe}``: ``parts`` ({name of a part: digest}), ``together`` (names of
        parts whose change needs all processes concerned to stop first), ``serves`` (the pools in which nginx asks it),
        ``yields`` (whether it must be gone, when it is no longer planned, before its duty is taken up elsewhere), ``wave`` (those of a
        lower one come first), ``probe`` (how to ask whether it is ready: ``listen``, ``metrics``, ``client``, ``replicates``).
    """
    read = _read_on(plan, host)
    states = []
    for process in processes(plan, host):
        states.append(
            {
                "name": process["name"],
                "unit": process["unit"],
                "parts": _parts(plan, process, units, read),
                "together": list(TOGETHER_OF_SENDERS if "federation_sender" in process["types"] else TOGETHER),
                "serves": [pool for pool, names in plan["pools"].items() if process["name"] in names],
                "yields": any(_yields(BY_NAME[name]) for name in process["types"] if name in BY_NAME),
                "wave": 0 if at_once else ORDER.get(process["types"][0], 0) if in_table_order else (process["number"] - 1) % 2,
                "probe": {
                    "listen": process["listen"],
                    "metrics": process["metrics"],
                    "client": "client" in process["resources"],
                    # Main alone has nobody to hear from.
                    "replicates": process["name"] != "main",
                },
            }
        )
    return states


def change_plan(
    plan: dict[str, Any],
    host: str,
    units: dict[str, str],
    seen: dict[str, Any],
    release: str = "",
    nginx_files: dict[str, str] | None = None,
    forced: list[str] | None = None,
    only: list[str] | None = None,
    nginx_leads_here: bool = False,
) -> list[dict[str, Any]]:
    """What a run is going to do with the processes and with nginx on ``host``.

    Args:
        plan: the topology.
        host: inventory name.
        units: text of the unit files, ``{'main': …, 'worker': …}``.
        seen: what the module ``processes_info`` returned for the host.
        release: the release that the processes shall run, in any spelling of a package manager; '' for the installed one.
        nginx_files: path and SHA-256 of each file that nginx shall read; None where nginx is not on the host.
        forced: names of processes that shall restart in any case.
        only: names of the processes that the run is about; all when None.
        nginx_leads_here: whether a server block of the operator's own includes our snippet, also where that is not there yet.

    Returns:
        A list of ``name``, ``action`` (one of those of ``_process_changes``), ``reason``, ``stops`` (whether it stops before anything
        starts); of a process that runs also ``release`` (what it runs), ``becomes`` (what it will), ``upgraded`` (whether they differ) and
        ``serves`` (the pools it has been asked in; None when nobody remembers); of nginx also ``rolled_back``, ``known`` (whether it runs and goes by
        files of ours, or will as soon as they are there), and ``first`` (whether it is the latter); of a unit
        of before ``runs``.
    """
    entries: list[dict[str, Any]] = []
    wanted = _release(release, seen["release"])
    states = process_states(plan, host, units)
    for state in states:
        name = state["name"]
        if only is not None and name not in only:
            continue
        remembered = seen["remembered"].get(name, {})
        process = with_host_parts(state, wanted, seen["stamp"])
        action, reason = decide(process, seen["units"].get(state["unit"], {}), remembered, forced=name in (forced or []))
        entry = {"name": name, "action": action, "reason": reason, "stops": action == STOP_START}
        if action != START:
            before = remembered.get("parts", {}).get(RELEASE, "")
            upgraded = before not in ("", wanted)
            entry.update(release=before, becomes=wanted, upgraded=upgraded, serves=remembered.get("serves"))
        entries.append(entry)
    if only is None:
        entries += _target(plan, states, seen)
        replaced = replaced_processes(plan["replaced"].get(host, []), seen["units"])
        for old in old_processes([state["name"] for state in states], {**seen["remembered"], **replaced}):
            runs = seen["units"].get(old["unit"], {}).get("ActiveState") in RUNNING
            yields = old["yields"] and runs
            reason = REPLACED if old["name"] in replaced else DUTY_PASSES if yields else NOT_PLANNED
            entry = {"name": old["name"], "action": RETIRE, "reason": reason, "stops": yields}
            entries.append({**entry, "runs": runs} if old["name"] in replaced else entry)
    if nginx_files is not None:
        nginx = {"name": NGINX, "stops": False, **_nginx(nginx_files, seen, nginx_leads_here)}
        # A run about single processes leaves nginx to go by what it has, but for what it needs itself.
        entries.append(nginx if only is None else {**nginx, "action": KEEP, "reason": ""})
    return entries


def _release(wanted: str, installed: str) -> str:
    """The release that processes will find: package managers add their own words to it (``1.163.2+bookworm1``, ``1.164.0~rc1``)."""
    return wanted.replace("~rc", "rc").partition("+")[0].partition("-")[0] or installed


def _target(plan: dict[str, Any], states: list[dict[str, Any]], seen: dict[str, Any]) -> list[dict[str, Any]]:
    target = plan["settings"]["target"]
    workers = [state for state in states if state["name"] != "main"]
    if not workers or seen["units"].get(target, {}).get("UnitFileState") == "enabled":
        return []
    # A host on which everything is new need not be told that its target is.
    fresh = not any(seen["remembered"].get(state["name"]) for state in states)
    return [] if fresh else [{"name": target, "action": ENABLE, "reason": NOT_AT_BOOT, "stops": False}]


def _nginx(files: dict[str, str], seen: dict[str, Any], leads_here: bool) -> dict[str, Any]:
    """What becomes of nginx, by what its files hold and whether it has read them."""
    written = next(written for manifest, written in seen["written"].items() if manifest.endswith(f"/{NGINX}.json"))
    rolled_back = written["note"] == ROLLED_BACK
    changed = sorted(path for path in {*files, *written["files"]} if files.get(path) != written["files"].get(path))
    action, reason = RELOAD, ""
    if seen["units"].get("nginx.service", {}).get("ActiveState") not in RUNNING:
        action, reason = START, NOT_RUNNING if written["files"] else NEW
    elif written["note"]:
        reason = written["note"]
    elif changed:
        names = sorted({path.rpartition("/")[2] for path in changed})
        reason = f"{' and '.join(names) if len(names) < 3 else f'{len(names)} files'} changed"
    elif not written["applied"]:
        reason = "an earlier run got no further than to write its files"
    else:
        action = KEEP
    first = action != START and leads_here and not written["files"]
    known = first or (action != START and bool(written["files"]))
    return {"action": action, "reason": reason, "rolled_back": rolled_back, "known": known, "first": first}


def _yields(row: WorkerType) -> bool:
    """Whether two processes with this duty that do not know of each other would do harm.

    Two would write one stream, or send everything twice. Media may be served twice, and main goes on writing the stream of
    quarantined media anyway.
    """
    return (bool(row.streams) and not row.media) or bool(row.setting)


class _Read(NamedTuple):
    """What the processes of a host read besides their own files, sorted by whom a change of it concerns."""

    listeners: list[dict[str, Any]]
    writers: dict[str, Any]
    media_writers: dict[str, Any]
    duties: dict[str, Any]
    shared: dict[str, Any]


def _read_on(plan: dict[str, Any], host: str) -> _Read:
    shared = shared_config(plan, host)
    listeners = shared.pop("listeners")
    writers, media_writers = _split_writers(plan, {key: shared.pop(key) for key in _WRITER_KEYS if key in shared})
    duties = {key: shared.pop(key) for key in _DUTY_KEYS if key in shared}
    if plan["settings"]["base_settings_managed"]:
        shared["base"] = base_config(plan)
    return _Read(listeners, writers, media_writers, duties, shared)


def _split_writers(plan: dict[str, Any], writers: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """``writers`` without, and with nothing but, what the plan's media workers write: of that releases before 1.152 know nothing."""
    streams = [stream for row in TABLE if row.media for stream in row.streams if stream in plan["streams"]]
    if not streams or not set(streams) <= set(writers["stream_writers"]):
        return writers, {}
    others = {name for stream, names in plan["streams"].items() if stream not in streams for name in names}
    names = {name for stream in streams for name in plan["streams"][stream]} - others

    def chosen(media: bool) -> dict[str, Any]:
        return {
            "instance_map": {name: place for name, place in writers["instance_map"].items() if (name in names) is media},
            "stream_writers": {stream: of for stream, of in writers["stream_writers"].items() if (stream in streams) is media},
        }

    return chosen(False), chosen(True)


def _parts(plan: dict[str, Any], process: dict[str, Any], units: dict[str, str], read: _Read) -> dict[str, str]:
    is_main = process["name"] == "main"
    own: dict[str, Any] = {"log": log_config(plan, process), "environment": process["environment"]}
    if is_main:
        own["listeners"] = read.listeners
    else:
        own["worker"] = worker_config(plan, process)
    parts = {
        OWN: own,
        SHARED: read.shared,
        WRITERS: read.writers,
        DUTIES: read.duties if is_main else _duties_of(process, read.duties),
        UNIT: units["main" if is_main else "worker"],
    }
    if read.media_writers:
        parts[MEDIA_WRITERS] = read.media_writers
    return {name: _digest(value) for name, value in parts.items()}


def _duties_of(process: dict[str, Any], duties: dict[str, Any]) -> dict[str, Any]:
    """The duties that concern one worker: its own, and for whoever hands something to the senders, theirs."""
    keys = {BY_NAME[name].setting for name in process["types"]} - {""}
    if process["media"]:
        keys.add("media_instance_running_background_jobs")
    if "presence" in process["types"]:
        # The presence writer queues for the senders by name (synapse/handlers/presence.py).
        keys.add("federation_sender_instances")
    return {key: duties[key] for key in sorted(keys) if key in duties}


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(_with_text_keys(value), sort_keys=True).encode()).hexdigest()[:16]


def _with_text_keys(value: Any) -> Any:
    """YAML has keys of any kind; those of different kinds have no order."""
    if isinstance(value, dict):
        return {str(key): _with_text_keys(item) for key, item in value.items()}
    return [_with_text_keys(item) for item in value] if isinstance(value, list) else value
