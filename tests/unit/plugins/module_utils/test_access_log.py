"""Counting requests: by the table that routes, exactly, whatever the lines look like."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from ansible_collections.synapse.workers.plugins.module_utils import _log_formats
from ansible_collections.synapse.workers.plugins.module_utils._access_log import (
    ELSEWHERE,
    UNKNOWN,
    Classifier,
    Tally,
    Window,
    bucket,
    middle,
    percentile,
    readable_shape,
    shown,
)
from ansible_collections.synapse.workers.plugins.module_utils._access_summary import summary
from ansible_collections.synapse.workers.plugins.module_utils._endpoints import (
    MAIN,
    TABLE,
    area_of,
    expand,
    matching_row,
    pool_of,
    route,
    rows_for,
)
from ansible_collections.synapse.workers.plugins.module_utils._worker_types import BY_NAME
from ansible_collections.synapse.workers.plugins.plugin_utils._recommendation import shares
from hypothesis import example, given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[4]))

from bench.access_log import traffic

# --- The quick way to a row agrees with the table ----------------------------------------------------------------------------

CLASSIFIER = Classifier()
ROWS = rows_for()
SEGMENTS = st.sampled_from(
    [
        "",
        "x",
        "!r:h.org",
        "%21r%2Fx%3Ah.org",
        "a.b",
        ".a",
        "a.",
        "org.matrix.msc2432",
        "sync",
        "rooms",
        "v3",
        "unstable",
        "m.room.name",
        "@u:h",
    ]
)
QUERIES = st.sampled_from(
    [
        "",
        "?",
        "?since=s1",
        "?since=",
        "?since=&full_state=true",
        "?timeout=1&since=s1",
        "?since=s1&full_state=true",
        "?full_state=false",
        "?full_state=1&since=s",
        "?xsince=s1",
        "?from=t1",
        "?from=",
        "?since=s?",
        "?a=/_matrix/client/v3/sync",
    ]
)


@st.composite
def targets(draw: st.DrawFn) -> str:
    """A path of the table with its names filled in, often changed somewhere, and a query."""
    row = draw(st.sampled_from(TABLE))
    path = draw(st.sampled_from(expand(row.path)))
    parts = [draw(SEGMENTS) if "{" in part else part for part in path.split("/")]
    change = draw(st.sampled_from(["none", "none", "swap", "drop", "add", "end"]))
    place = draw(st.integers(1, max(1, len(parts) - 1)))
    if change == "swap":
        parts[place] = draw(SEGMENTS)
    elif change == "drop":
        del parts[place]
    elif change == "add":
        parts.insert(place, draw(SEGMENTS))
    elif change == "end":
        parts.append(draw(SEGMENTS))
    return "/".join(parts) + draw(QUERIES)


@given(st.sampled_from(["GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS", "PATCH"]), targets())
@example("OPTIONS", "/_matrix/client/unstable/a.b/rooms/x/y")
@example("OPTIONS", "/_matrix/client/unstable/ab/rooms/x/y")
def test_a_request_is_counted_where_it_is_routed(method: str, target: str) -> None:
    number = CLASSIFIER(method.encode(), target.encode())
    row = matching_row(method, target, ROWS)
    assert (ROWS[number] if number >= 0 else None) == row
    assert (number == ELSEWHERE) == (not area_of(target))
    # And so the pool is the one that a plan of every type routes it to.
    if number >= 0:
        assert pool_of(ROWS[number], BY_NAME) == route(method, target, dict.fromkeys(BY_NAME, ())).pool


def test_every_endpoint_is_found_by_its_own_sample() -> None:
    for row in ROWS:
        if row.path == "/{rest}":  # all of an area
            continue
        for method in row.methods:
            found = CLASSIFIER(method.encode(), row.sample.encode())
            assert ROWS[found] == matching_row(method, row.sample, ROWS), row.name


def test_what_was_remembered_does_not_decide_for_another_query() -> None:
    classifier = Classifier()
    asked = ["/_matrix/client/v3/sync", "/_matrix/client/v3/sync?since=s1", "/_matrix/client/v3/sync?since=s1&full_state=true"]
    types = [classifier.rows[classifier(b"GET", target.encode())].types[0] for target in asked * 2]
    assert types == ["initial_synchrotron", "synchrotron", "initial_synchrotron"] * 2


def test_what_was_remembered_does_not_decide_for_a_longer_path() -> None:
    """``(/)?`` at the end of a row is a slash, and no further segment."""
    classifier = Classifier()
    path = b"/_matrix/federation/v1/send/1"
    assert [classifier(b"PUT", path + end) >= 0 for end in (b"/", b"/x", b"", b"/")] == [True, False, True, True]


@pytest.mark.parametrize(("method", "rest"), [("OPTIONS", "rooms/!r:h/x"), ("PUT", "rooms/!r:h/send/m/1"), ("GET", "summary/x")])
def test_an_id_is_told_from_an_unstable_prefix_however_often_both_were_seen(method: str, rest: str) -> None:
    classifier = Classifier()
    for name in ("a.b", "ab", "a.b", "ab", "c.d", "cd", ".a", "im.nheko.summary"):
        path = f"/_matrix/client/unstable/{name}/{rest}"
        number, row = classifier(method.encode(), path.encode()), matching_row(method, path, ROWS)
        assert (ROWS[number] if number >= 0 else None) == row, path
        assert (number == ELSEWHERE) == (not area_of(path))


def test_memory_of_shapes_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[Classifier.__module__], "MOST_SHAPES", 10)
    classifier = Classifier()
    for number in range(50):
        assert classifier(b"GET", b"/" * number) == ELSEWHERE
    assert len(classifier._answers) <= 10


# --- Exact counts ------------------------------------------------------------------------------------------------------------


def counted(path: Path, window: Window | None = None, log: _log_formats.Format | None = None) -> Tally:
    tally = Tally(Classifier(), window)
    data = path.read_bytes()
    log = log or _log_formats.detect(data.split(b"\n")[:200], _log_formats.by_name("auto"))
    assert log
    cut = 0
    while cut < len(data):  # odd blocks of whole lines
        end = data.find(b"\n", min(cut + 70_001, len(data) - 1)) + 1 or len(data)
        tally.read(data[cut:end], log)
        cut = end
    tally.fold()
    return tally


@pytest.mark.parametrize("form", traffic.FORMATS)
def test_every_count_of_a_day_is_exact(tmp_path: Path, form: str) -> None:
    log = traffic.write(tmp_path / "log", 30_000, form=form)
    found = summary(counted(tmp_path / "log"))
    rows = {row["type"]: row["requests"] for row in shares(found, traffic.SEVEN)}
    assert rows == {**{name: log.pools[name] for name in traffic.SEVEN}, "others": log.pools["main"]}
    assert log.errors(found) == []
    spans = {"first": "2020-04-01T00:00", "last": "2020-04-01T23:5"}
    assert {name: found[name][: len(text)] for name, text in spans.items()} == spans


def test_a_count_that_is_wrong_by_one_is_seen(tmp_path: Path) -> None:
    log = traffic.write(tmp_path / "log", 1_000)
    found = summary(counted(tmp_path / "log"))
    found["endpoints"][3]["requests"] += 1
    found["hours"]["2020-04-01T10"] -= 1
    assert len(log.errors(found)) == 2


def test_the_table_of_the_seven_types_is_that_of_the_day(tmp_path: Path) -> None:
    """Of every hundredth request the percentages are those of the whole day, to a rounding of single requests."""
    traffic.write(tmp_path / "log", traffic.DAY // 100)
    whole = dict.fromkeys((*traffic.SEVEN, "main"), 0)
    for kind in traffic.KINDS:
        if kind.pool:
            whole[kind.pool] += kind.requests
    rows = shares(summary(counted(tmp_path / "log")), traffic.SEVEN)
    for row, (name, requests) in zip(rows, whole.items(), strict=True):
        assert row["percent"] == pytest.approx(100 * requests / sum(whole.values()), abs=0.02), name


def test_every_endpoint_with_odd_ids_and_broken_lines_is_counted_exactly(tmp_path: Path) -> None:
    log = traffic.write_everything(tmp_path / "log", 20_000)
    assert log.errors(summary(counted(tmp_path / "log"))) == []
    assert log.kinds.keys() == {(method, row.path, row.query) for row in ROWS if row.path != "/{rest}" for method in row.methods}


def test_requests_of_each_hour_are_exact(tmp_path: Path) -> None:
    log = traffic.write(tmp_path / "log", 20_000)
    assert summary(counted(tmp_path / "log"))["hours"] == log.hours


def test_lines_out_of_order_are_counted_in_their_hours(tmp_path: Path) -> None:
    """nginx with a buffered log writes blocks of several processes one after the other."""
    traffic.write(tmp_path / "log", 5_000)
    lines = (tmp_path / "log").read_bytes().splitlines(keepends=True)
    (tmp_path / "mixed").write_bytes(b"".join(lines[0::2] + lines[1::2]))
    straight, mixed = counted(tmp_path / "log"), counted(tmp_path / "mixed")
    assert mixed.hours == straight.hours
    assert mixed.counts == straight.counts
    assert (mixed.first, mixed.last) == (straight.first, straight.last)


def line(request: str, status: int = 200, tail: str = '"-" "agent"', clock: str = "10:00:00") -> str:
    return f'10.0.0.1 - - [23/Nov/2026:{clock} +0000] "{request}" {status} 5 {tail}\n'


NEWS = "GET /_matrix/client/v3/sync?since=s1 HTTP/1.1"
TRAPS = {
    # A referrer and a user agent are no requests, whatever they hold.
    line("GET /x HTTP/1.1", tail='"https://h/_matrix/client/v3/sync?since=s1" "a"'): "elsewhere",
    line("GET /x HTTP/1.1", tail='"GET /_matrix/client/v3/sync?since=s1 HTTP/1.1" "[23/Nov/2026:10:00:00 +0000] "'): "elsewhere",
    line(
        "GET /_matrix/client/v3/sync?timeout=0 HTTP/1.1", tail='"ftp://h/?since=s1 HTTP/1.1" "200 200 200"'
    ): "initial_synchrotron",
    line("GET /x?/_matrix/client/v3/sync?since=s1 HTTP/1.1"): "elsewhere",
    # HTTP/2, no version at all, another method, another status.
    line("GET /_matrix/client/v3/sync?since=s1 HTTP/2.0"): "synchrotron",
    line("GET /_matrix/client/v3/sync?since=s1"): "synchrotron",
    line("HEAD /_matrix/client/v3/sync?since=s1 HTTP/1.1"): "synchrotron",
    line("POST /_matrix/client/v3/sync?since=s1 HTTP/1.1", 405): "unknown",
    line(NEWS, 499): "synchrotron",
    line("GET /_matrix/client/v3/sync?since=s1&full_state=true HTTP/1.1"): "initial_synchrotron",
    line("GET /_matrix/client/v3/sync?full_state=true&since=s1 HTTP/1.1"): "initial_synchrotron",
    line("GET /_matrix/client/v3/sync?since=&timeout=0 HTTP/1.1"): "initial_synchrotron",
    line("GET /_matrix/client/v3/sync?full_state=false&since=s1 HTTP/1.1"): "synchrotron",
    line("GET /_matrix/client/v3/syncx?since=s1 HTTP/1.1"): "unknown",
    line("GET /_matrix/client/v3/sync/?since=s1 HTTP/1.1"): "unknown",
    # Encoded characters are no separators.
    line("PUT /_matrix/client/v3/rooms/%21a%2Fsend%2Fb/typing/%40u%3Ah HTTP/1.1"): "typing",
    line("PUT /_matrix/client/v3/rooms/!v12room/send/m.room.message/%2F HTTP/1.1"): "event_creator",
    line("GET /_matrix/client/v3/rooms/!r:h/joined_members HTTP/1.1"): "client_reader",
    line("PUT /_matrix/client/v3/pushrules/global/override/.m.rule.master/enabled HTTP/1.1"): "push_rules",
    line("GET /_matrix/client/v3/pushrules/ HTTP/1.1"): "client_reader",
    line(r"GET /_matrix/client/v3/profile/\x22@u:h HTTP/1.1", 404): "client_reader",
    # No requests.
    line(r"\x16\x03\x01\x02\x00\x01\x00\x01\xFC\x03\x03", 400): "malformed",
    line("", 400): "malformed",
    line("-", 408): "malformed",
    '10.0.0.1 - - [23/Nov/2026:10:00:00 +0000] "GET /_matrix/client/v3/sy\n': "malformed",
    "\n": "nothing",
    # Names of users may hold anything but a quote.
    '10.0.0.1 - [a] [23/Nov/2026:10:00:00 +0000] "GET /_matrix/client/versions HTTP/1.1" 200 5 "-" "a"\n': "client_reader",
    '2001:db8::1 - - [23/Nov/2026:10:00:00 +0000] "GET /_matrix/client/versions HTTP/1.1" 200 5 "-" "\xe4"\n': "client_reader",
}


def what(found: dict[str, object]) -> str:
    for name in ("elsewhere", "unknown", "malformed"):
        if found[name]:
            return name
    types = found["worker_types"]
    assert isinstance(types, dict)
    return next(iter(types), "nothing")


@pytest.mark.parametrize("text", TRAPS, ids=lambda text: text[40:90].strip() or "empty")
def test_odd_lines_are_what_they_are(text: str) -> None:
    for before in (b"", line(NEWS).encode()):  # slowly, and quickly in the hour of another line
        tally = Tally(Classifier())
        if before:
            tally.read(before, _log_formats.COMBINED)
        tally.read(text.encode("latin-1"), _log_formats.COMBINED)
        found = summary(tally)
        if before:
            types = found["worker_types"]
            types["synchrotron"]["requests"] -= 1
            found["worker_types"] = {name: load for name, load in types.items() if load["requests"]}
        assert what(found) == TRAPS[text]


def test_all_odd_lines_together(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("".join(line(NEWS) + text for text in TRAPS), encoding="latin-1")
    found = summary(counted(tmp_path / "log"))
    wanted: dict[str, int] = {"synchrotron": len(TRAPS)}
    for name in TRAPS.values():
        wanted[name] = wanted.get(name, 0) + 1
    got = {name: load["requests"] for name, load in found["worker_types"].items()}
    got.update({name: found[name] for name in ("elsewhere", "unknown", "malformed")})
    assert got == {name: count for name, count in wanted.items() if name != "nothing"}


def test_a_window_is_exact_to_the_second(tmp_path: Path) -> None:
    clocks = ["09:59:59", "10:00:00", "10:30:00", "10:59:59", "11:00:00", "11:30:00", "11:30:01"]
    (tmp_path / "log").write_text("".join(line(NEWS, clock=clock) * 3 for clock in clocks))
    tally = counted(tmp_path / "log", Window("2026-11-23T10:00", "2026-11-23T11:30"))
    assert (sum(tally.counts.values()), tally.outside) == (12, 9)
    assert tally.hours.keys() == {"2026-11-23T10", "2026-11-23T11"}


def test_an_unknown_request_is_named_without_its_ids_and_tokens() -> None:
    tally = Tally(Classifier())
    for room in ("!a:h.org", "!b:h.org"):
        tally.read(
            line(f"GET /_matrix/client/v3/rooms/{room}/new_thing?access_token=secret HTTP/1.1").encode(), _log_formats.COMBINED
        )
    assert summary(tally)["unknown_shapes"] == [{"method": "GET", "shape": "/_matrix/client/v3/rooms/*/new_thing", "requests": 2}]
    assert readable_shape("/_matrix/client/v3/x/syt_YWxpY2U_qwer/@u:h?y") == "/_matrix/client/v3/x/*/*"
    assert "secret" not in shown(b"GET /?access_token=secret&x")


def test_a_worker_that_only_refuses_is_named() -> None:
    tail = '"-" "a" worker={} upstream="127.0.0.1:1" upstream_time="0.1" time=0.010'
    lines = [
        line("GET /_matrix/client/v3/pushers HTTP/1.1", 404, tail.format("client_reader-1")),
        line("GET /_matrix/client/v3/pushers HTTP/1.1", 404, tail.format("main")),
        line("GET /_matrix/client/v3/profile/@a:h HTTP/1.1", 404, tail.format("client_reader-1")),
        line("GET /_matrix/client/v3/profile/@b:h HTTP/1.1", 200, tail.format("client_reader-1")),
    ]
    tally = Tally(Classifier())
    tally.read("".join(lines * 2).encode(), _log_formats.OURS)
    found = summary(tally)
    assert [(row["endpoint"], row["requests"], row["always"]) for row in found["refused_by_workers"]] == [
        ("/_matrix/client/{v1}/pushers", 2, True),
        ("/_matrix/client/{v1}/profile/{user}", 2, False),
    ]
    assert found["answered_by"] == {
        "client_reader-1": {"requests": 6, "percent": 75.0},
        MAIN: {"requests": 2, "percent": 25.0},
    }


def test_cpu_time_is_that_of_synapses_log(tmp_path: Path) -> None:
    for form in ("synapse", "synapse_old"):
        log = traffic.write(tmp_path / form, 3_000, form=form)
        found = summary(counted(tmp_path / form))
        assert found["cpu_seconds"] == pytest.approx(0.005 * log.lines)
        syncs = found["worker_types"]["synchrotron"]
        assert syncs["cpu_seconds"] == pytest.approx(0.005 * syncs["requests"])
        assert syncs["database_seconds"] == pytest.approx(0.003 * syncs["requests"])


# --- Times -------------------------------------------------------------------------------------------------------------------


@given(st.floats(0, 100_000))
def test_the_middle_of_a_bucket_is_near(seconds: float) -> None:
    assert middle(bucket(seconds)) == pytest.approx(seconds, rel=0.065, abs=0.0006)


@given(st.floats(0, 1000), st.floats(0, 1000))
def test_buckets_are_in_order(one: float, other: float) -> None:
    assert (one <= other) <= (bucket(one) <= bucket(other))


def test_percentiles() -> None:
    buckets: dict[int, int] = {}
    for thousandths in range(1, 1001):
        buckets[bucket(thousandths / 1000)] = buckets.get(bucket(thousandths / 1000), 0) + 1
    assert percentile(buckets, 0.95) == pytest.approx(0.95, rel=0.07)
    assert percentile(buckets, 0.5) == pytest.approx(0.5, rel=0.07)
    assert percentile({}, 0.5) is None


def test_unknown_is_no_row() -> None:
    assert UNKNOWN < 0
    assert ELSEWHERE < 0
