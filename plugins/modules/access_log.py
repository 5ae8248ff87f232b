#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE)
from __future__ import annotations

DOCUMENTATION = r"""
module: access_log
short_description: Count the requests of an access log by worker type
version_added: 0.1.0
author:
  - synapse.workers contributors (!UNKNOWN)
description:
  - Reads access logs where they lie and says how many requests each worker type would serve, by the same table of endpoints that
    routes them. Nothing is written on the host, and no more than some ten megabytes of memory is used, however long the log is.
  - Knows nginx's C(combined), this collection's own format, any C(log_format) that is given, JSON, Apache's combined and common, and
    Synapse's own log, which has CPU and database time. Plain, or compressed by gzip, xz or, where the host can unpack it, zstd.
  - A request is counted once, by method and path. What follows a C(?) counts where it decides; referrers and user agents never do.
options:
  path:
    description: Files, or patterns of files.
    type: list
    elements: path
    required: true
  rotated:
    description: Whether what logrotate has made of each file is read too, oldest first.
    type: bool
    default: false
  format:
    description:
      - How the lines are written. C(auto) goes by the first lines of each file. Apache's formats are C(combined).
    type: str
    choices: [auto, combined, backend, json, synapse]
    default: auto
  log_format:
    description:
      - An nginx C(log_format), as it stands in the configuration, with or without the directive's name and quotes.
      - It must hold C($request) (or C($request_method) and C($request_uri)) and C($time_local), C($time_iso8601) or C($msec).
    type: str
    default: ''
  json_fields:
    description:
      - Names of the fields of a JSON log where they are neither nginx's variables nor Caddy's. A dot goes one level down.
    type: dict
    default: {}
    suboptions:
      method:
        description: HTTP method.
        type: str
      target:
        description: Path and query.
        type: str
      request:
        description: Method and target in one, C(GET /path HTTP/1.1).
        type: str
      status:
        description: Status of the answer.
        type: str
      stamp:
        description: Time; seconds since the epoch, ISO 8601, or as nginx's C($time_local).
        type: str
      seconds:
        description: How long the answer took, in seconds.
        type: str
      worker:
        description: Who answered.
        type: str
  since:
    description:
      - Only requests from this time on, in the time zone of the log, C(2026-11-23) or C(2026-11-23T08:00).
    type: str
    default: ''
  until:
    description: Only requests before this time.
    type: str
    default: ''
  synapse_version:
    description: Release of Synapse whose endpoints count, C(1.163). Empty means the newest that is known.
    type: str
    default: ''
  look_only:
    description: Whether only C(files), C(bytes) and C(host) are asked for, and nothing is counted.
    type: bool
    default: false
attributes:
  check_mode:
    support: full
    description: It only reads.
  diff_mode:
    support: none
    description: It changes nothing.
"""

EXAMPLES = r"""
- name: Count the requests since yesterday's rotation
  synapse.workers.access_log:
    path: /var/log/nginx/access.log
  register: found

- name: Count the working hours of a day out of all rotated files
  synapse.workers.access_log:
    path: [/var/log/nginx/access.log]
    rotated: true
    since: 2026-11-23T08:00
    until: 2026-11-23T18:00

- name: Count a log of another format
  synapse.workers.access_log:
    path: /var/log/nginx/backend.log
    log_format: '$remote_addr - [$time_local] $upstream_addr: $request $status $request_time'
"""

RETURN = r"""
total:
  description: Requests of the Matrix API.
  returned: when not look_only
  type: int
worker_types:
  description:
    - By worker type, what it would serve if every type were planned - C(requests), C(percent) of C(total), C(peak_rate) (requests per
      second in the type's busiest hour), C(hours), C(statuses), C(seconds) (sum), C(p50_seconds) and C(p95_seconds) (at most 6 percent
      off), C(seconds_histogram), C(cpu_seconds), C(cpu_percent) and C(database_seconds). What the log does not say is null.
  returned: when not look_only
  type: dict
main_only:
  description: Requests that only the main process serves.
  returned: when not look_only
  type: int
unknown:
  description: Requests of the API that no row of the table names. The main process gets them.
  returned: when not look_only
  type: int
unknown_shapes:
  description: The most frequent of them, ids left out - C(method), C(shape), C(requests).
  returned: when not look_only
  type: list
  elements: dict
elsewhere:
  description: Requests that are none of the Matrix API, such as C(/favicon.ico). They are no part of C(total).
  returned: when not look_only
  type: int
malformed:
  description: Lines that hold no request in the format of the log. They are no part of C(total).
  returned: when not look_only
  type: int
malformed_samples:
  description: The beginning of the first of them.
  returned: when not look_only
  type: list
  elements: str
other_lines:
  description: Lines of Synapse's log that tell of something else.
  returned: when not look_only
  type: int
outside_window:
  description: Requests before C(since) or from C(until) on.
  returned: when not look_only
  type: int
lines:
  description: Lines that were read, empty ones not counted.
  returned: when not look_only
  type: int
first:
  description: Time of the first request, as the log writes it, C(2026-11-23T00:00:01).
  returned: when not look_only
  type: str
last:
  description: Time of the last one.
  returned: when not look_only
  type: str
span_seconds:
  description: Seconds between the two.
  returned: when not look_only
  type: int
hours:
  description: Requests of the API by hour.
  returned: when not look_only
  type: dict
peak_rate:
  description: Requests per second in the busiest hour.
  returned: when not look_only
  type: float
cpu_seconds:
  description: CPU seconds of all requests, by Synapse's own log; else null.
  returned: when not look_only
  type: float
groups:
  description: The requests by the C(types) that may serve them, in order of preference; what a plan is reckoned from.
  returned: when not look_only
  type: list
  elements: dict
endpoints:
  description: The requests by C(method), C(endpoint) and C(condition) on the query, most asked first.
  returned: when not look_only
  type: list
  elements: dict
answered_by:
  description: The requests by the process that answered, where the log says it.
  returned: when not look_only
  type: dict
refused_by_workers:
  description:
    - What workers answered with 404 or 405, where the log says who answered. C(always) tells that this worker gave no other answer to
      that kind of request, so it most likely does not serve it (C(M_UNRECOGNIZED)).
  returned: when not look_only
  type: list
  elements: dict
files:
  description: The files in the order of reading - C(path), C(bytes), C(compression), C(format) and C(requests).
  returned: always
  type: list
  elements: dict
bytes:
  description: Size of all files together.
  returned: always
  type: int
host:
  description: What a plan has to fit into - C(cores), C(memory_mb), C(available_mb).
  returned: always
  type: dict
"""

import os
import re
from typing import Any, Dict, List, Optional

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.synapse.workers.plugins.module_utils import _log_formats
from ansible_collections.synapse.workers.plugins.module_utils._access_log import Classifier, Tally, Window
from ansible_collections.synapse.workers.plugins.module_utils._access_summary import summary
from ansible_collections.synapse.workers.plugins.module_utils._log_files import Unreadable, compression_of, files_of
from ansible_collections.synapse.workers.plugins.module_utils._log_formats import Format
from ansible_collections.synapse.workers.plugins.module_utils._log_reading import count
from ansible_collections.synapse.workers.plugins.module_utils._worker_types import parse_version

STAMP = re.compile(r"\d{4}-\d\d-\d\d(?:[T ]\d\d(?::\d\d(?::\d\d)?)?)?$")


def host() -> Dict[str, Optional[int]]:
    """What the host has; null where it does not say."""
    try:
        with open("/proc/meminfo", encoding="ascii") as stream:
            memory = {line.split(":")[0]: int(line.split()[1]) // 1024 for line in stream if line.split()[1:2]}
    except OSError:
        memory = {}
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {"cores": cores, "memory_mb": memory.get("MemTotal"), "available_mb": memory.get("MemAvailable")}


def window(since: str, until: str) -> Window:
    """The two times as the log writes them. Raises Unreadable."""
    for name, value in (("since", since), ("until", until)):
        if value and not STAMP.match(value):
            raise Unreadable(f"{name}: {value!r} is no time; write 2026-11-23 or 2026-11-23T08:00")
    return Window(since.replace(" ", "T"), until.replace(" ", "T"))


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "list", "elements": "path", "required": True},
            "rotated": {"type": "bool", "default": False},
            "format": {"type": "str", "choices": list(_log_formats.NAMES), "default": "auto"},
            "log_format": {"type": "str", "default": ""},
            "json_fields": {
                "type": "dict",
                "default": {},
                "options": {name: {"type": "str"} for name in _log_formats.JSON_FIELDS},
            },
            "since": {"type": "str", "default": ""},
            "until": {"type": "str", "default": ""},
            "synapse_version": {"type": "str", "default": ""},
            "look_only": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    try:
        module.exit_json(changed=False, **run(module.params))
    except Unreadable as error:
        module.fail_json(msg=str(error))


def run(options: Dict[str, Any]) -> Dict[str, Any]:
    """What the module answers. Raises Unreadable."""
    version = parse_version(options["synapse_version"]) if options["synapse_version"] else None
    if options["synapse_version"] and version is None:
        raise Unreadable(f"synapse_version: {options['synapse_version']!r} is no release; write it as 1.163")
    fields = {name: value for name, value in (options["json_fields"] or {}).items() if value}
    try:
        formats: List[Format] = (
            [_log_formats.from_log_format(options["log_format"])]
            if options["log_format"]
            else list(_log_formats.by_name("json" if fields else options["format"], fields))
        )
    except _log_formats.UnknownVariable as error:
        raise Unreadable(str(error)) from None
    tally = Tally(Classifier(version), window(options["since"], options["until"]))
    paths = files_of(options["path"], options["rotated"])
    files: List[Dict[str, Any]] = [
        {"path": path, "compression": compression_of(path), "bytes": os.path.getsize(path)} for path in paths
    ]
    answer: Dict[str, Any] = {"files": files, "bytes": sum(file["bytes"] for file in files), "host": host()}
    if not answer["bytes"]:
        raise Unreadable(f"{', '.join(paths)}: empty; was it rotated just now? `rotated` reads what it was before, too")
    if options["look_only"]:
        return answer
    for file in files:
        before = sum(tally.counts.values())
        file["format"] = count(file["path"], tally, formats)
        tally.fold()
        file["requests"] = sum(tally.counts.values()) - before
    answer.update(summary(tally))
    if not answer["total"]:
        raise Unreadable(
            f"{', '.join(paths)}: {tally.lines} lines, {tally.malformed} malformed, {tally.outside} outside of `since` and `until`, "
            f"{answer['elsewhere']} requests of something else, none of the Matrix API"
        )
    return answer


if __name__ == "__main__":
    main()
