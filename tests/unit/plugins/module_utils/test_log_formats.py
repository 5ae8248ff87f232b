"""How logs are written: every format that is known, any of nginx by its log_format, and which one a file is in."""

from __future__ import annotations

import json

import pytest
from ansible_collections.synapse.workers.plugins.module_utils._log_formats import (
    COMBINED,
    OURS,
    SYNAPSE,
    Request,
    UnknownVariable,
    by_name,
    clf_hour,
    detect,
    from_json_fields,
    from_log_format,
    log_format_text,
)

SYNC = "/_matrix/client/v3/sync?since=s1"
PLAIN = f'192.0.2.1 - - [23/Nov/2026:10:04:59 +0100] "GET {SYNC} HTTP/2.0" 200 12 "-" "Element"'
FULL = PLAIN + ' worker=synchrotron-2 upstream="127.0.0.1:1, 127.0.0.1:2" upstream_time="0.1, 0.2" time=30.021'
OLD = (
    "2026-11-23 10:04:59,123 - synapse.access.http.8008 - 460 - INFO - GET-1 - 192.0.2.1 - 8008 - {@a:h} Processed request: "
    f'30.021sec/0.001sec (0.010sec, 0.002sec) (0.001sec/0.005sec/3) 12B 200! "GET {SYNC} HTTP/1.1" "Element \\"x\\"" [0 dbevts]'
)
NEW = OLD.replace("(0.010sec", "ru=(0.010sec").replace("(0.001sec/", "db=(0.001sec/")


def test_the_same_request_in_every_format() -> None:
    stamp = "2026-11-23T10:04:59"
    plain = Request(stamp, "GET", SYNC, 200)
    assert COMBINED.parse(PLAIN.encode()) == plain
    assert COMBINED.parse(PLAIN.partition(' "-"')[0].encode() + b" ") == plain  # Apache's common
    assert OURS.parse(FULL.encode()) == plain._replace(seconds=30.021, worker="synchrotron-2")
    measured = plain._replace(seconds=30.021, cpu=0.010 + 0.002, database=0.005)
    assert SYNAPSE.parse(OLD.encode()) == measured
    assert SYNAPSE.parse(NEW.encode()) == measured
    # The journal as `journalctl -o short-iso` prints it, where our units' lines have no date of their own.
    journal = f"2026-11-23T10:04:59+0100 host matrix-synapse[12]: {NEW.partition(' - ')[2]}"
    assert SYNAPSE.parse(journal.encode()) == measured


def test_synapses_other_lines_are_no_requests() -> None:
    assert SYNAPSE.parse(b"2026-11-23 10:04:59,123 - synapse.handlers.room - 1 - INFO - POST-3 - Created room") is None


@pytest.mark.parametrize(
    ("log_format", "line", "wanted"),
    [
        # As in 2020: a format without quotes.
        (
            "log_format backend '$remote_addr - $remote_user - [$time_local] $upstream_addr: $request $status '\n"
            "    'upstream_response_time $upstream_response_time request_time $request_time';",
            f"192.0.2.1 - - - [23/Nov/2026:10:04:59 +0100] 127.0.0.1:8083: GET {SYNC} HTTP/1.1 200 "
            "upstream_response_time 0.1, 0.2 request_time 0.310",
            Request("2026-11-23T10:04:59", "GET", SYNC, 200, 0.31),
        ),
        (
            '$host [$time_iso8601] "$request_method ${request_uri}" s=$status rt=$request_time',
            f'h [2026-11-23T10:04:59+01:00] "GET {SYNC}" s=200 rt=0.310',
            Request("2026-11-23T10:04:59", "GET", SYNC, 200, 0.31),
        ),
        (
            r'{"at":"$msec","q":"$request","agent":"$http_user_agent","code":$status,"took":"$upstream_response_time"}',
            rf'{{"at":"1795428299.123","q":"GET {SYNC} HTTP/1.1","agent":"a \"b\"","code":200,"took":"-"}}',
            Request("2026-11-23T10:04:59", "GET", SYNC, 200, None),
        ),
        (
            '$remote_addr [$time_local] "$request" $status worker=$matrix_synapse_worker time=$request_time',
            f'192.0.2.1 [23/Nov/2026:10:04:59 +0100] "GET {SYNC} HTTP/2.0" 200 worker=main time=0.010',
            Request("2026-11-23T10:04:59", "GET", SYNC, 200, 0.01, "main"),
        ),
    ],
)
def test_any_log_format_of_nginx(log_format: str, line: str, wanted: Request) -> None:
    log = from_log_format(log_format)
    assert log.parse(line.encode()) == wanted
    assert log.parse(line.encode() + b"\n") == wanted
    assert log.parse(b"x" + line.encode()[:40]) is None


def test_a_log_format_is_taken_out_of_the_configuration() -> None:
    written = "log_format  x escape=json 'a $request '\n   '\"$status\" it\\'s';"
    assert log_format_text(written) == 'a $request "$status" it\'s'
    assert log_format_text('"a" "b"') == "ab"
    assert log_format_text("$request $status") == "$request $status"


@pytest.mark.parametrize(
    ("log_format", "lacking"),
    [
        ("$time_local $status", "names no request"),
        ("$request_method $time_local", "names no request"),
        ("$request", "names no time"),
    ],
)
def test_a_log_format_that_lacks_something_is_refused(log_format: str, lacking: str) -> None:
    with pytest.raises(UnknownVariable, match=lacking):
        from_log_format(log_format)


@pytest.mark.parametrize(
    "entry",
    [
        {"time_local": "23/Nov/2026:10:04:59 +0000", "request": f"GET {SYNC} HTTP/1.1", "status": "200", "request_time": "0.310"},
        {
            "time_iso8601": "2026-11-23T10:04:59+00:00",
            "request_method": "GET",
            "request_uri": SYNC,
            "status": 200,
            "request_time": 0.31,
        },
        # Caddy
        {"ts": 1795428299.5, "request": {"method": "GET", "uri": SYNC, "host": "h"}, "duration": 0.31, "status": 200},
    ],
)
def test_json_with_the_names_that_are_known(entry: dict[str, object]) -> None:
    assert from_json_fields().parse(json.dumps(entry).encode()) == Request("2026-11-23T10:04:59", "GET", SYNC, 200, 0.31)


def test_json_with_names_of_ones_own() -> None:
    log = from_json_fields({"method": "http.verb", "target": "http.path", "status": "code", "stamp": "when", "seconds": "took"})
    entry = {"http": {"verb": "GET", "path": SYNC}, "code": 200, "when": "2026-11-23 10:04:59", "took": 0.31}
    assert log.parse(json.dumps(entry).encode()) == Request("2026-11-23T10:04:59", "GET", SYNC, 200, 0.31)


@pytest.mark.parametrize(
    "line", [b"", b"{", b"[]", b"1", b'{"request": {}}', b'{"request": "hello"}', b'{"method": 3, "uri": "x"}']
)
def test_json_that_is_no_request(line: bytes) -> None:
    assert from_json_fields().parse(line) is None


@pytest.mark.parametrize(
    ("lines", "name"),
    [
        ([PLAIN], "combined"),
        ([FULL], "backend"),
        ([FULL, PLAIN.replace("GET", "POST")], "backend"),
        ([OLD], "synapse"),
        (["2026-11-23 10:04:59,1 - synapse.app - 1 - INFO - main - Hello"] * 50 + [NEW], "synapse"),
        (['1.2.3.4 - - [23/Nov/2026:10:04:59 +0100] "" 400 0 "-" "-"'] * 20 + [PLAIN], "combined"),
        ([json.dumps({"request": f"GET {SYNC} HTTP/1.1", "time_local": "23/Nov/2026:10:04:59 +0000"})], "json"),
        (["hello"], None),
        ([], None),
    ],
)
def test_the_format_is_seen_in_the_first_lines(lines: list[str], name: str | None) -> None:
    found = detect([line.encode() for line in lines], by_name("auto"))
    assert (found.name if found else None) == name


def test_hours_as_nginx_writes_them() -> None:
    assert clf_hour("2026-11-23T10") == "23/Nov/2026:10"
