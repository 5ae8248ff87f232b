"""What people read of an access log: the table of the terminal, and the numbers of the page."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.synapse.workers.plugins.module_utils._access_log import Classifier, Tally
from ansible_collections.synapse.workers.plugins.module_utils._access_summary import summary
from ansible_collections.synapse.workers.plugins.module_utils._log_formats import OURS
from ansible_collections.synapse.workers.plugins.plugin_utils._access_report import (
    bar_of,
    duration,
    number,
    page,
    percent,
    seconds,
    share_table,
    table,
)
from ansible_collections.synapse.workers.plugins.plugin_utils._recommendation import shares
from jinja2 import Environment

ROOT = Path(__file__).parents[4]
sys.path.insert(0, str(ROOT))

from bench.access_log import traffic  # noqa: E402


@pytest.fixture(scope="module")
def counted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    path = tmp_path_factory.mktemp("log") / "log"
    traffic.write(path, 10_000, form="backend")
    tally = Tally(Classifier())
    tally.read(path.read_bytes() + b'10.0.0.1 - - [01/Apr/2020:23:59:59 +0000] "<b>" 400 0 "-" "-"\n', OURS)
    return {**summary(tally), "files": [{"path": str(path), "bytes": 3_456_789, "format": "backend", "requests": 10_000}]}


def test_numbers_as_people_write_them() -> None:
    assert [number(1234567), percent(12.34), percent(0.01), percent(0)] == ["1,234,567", "12.3 %", "< 0.1 %", "0.0 %"]
    assert [seconds(None), seconds(0.0123), seconds(1.25), seconds(28.4)] == ["", "12 ms", "1.2 s", "28 s"]
    assert [duration(None), duration(12), duration(7199), duration(9000)] == ["", "12 s", "120 min", "2 h"]
    assert [bar_of(0), bar_of(0.0001, 4), bar_of(0.5, 4), bar_of(1, 4), bar_of(2, 4)] == ["", "▏", "██", "████", "████"]


def test_the_table_has_a_line_for_each_type(counted: dict[str, Any]) -> None:
    lines = table(counted)
    assert lines[0].startswith("9,992 requests of the Matrix API, 2020-04-01 00:00 to 23:5")
    assert any(line.startswith("synchrotron ") and "90.2 %" in line and "██" in line for line in lines)
    assert any(line.startswith("only main") for line in lines)
    assert any("1 lines hold no request" in line for line in lines)
    assert any(line.split()[:1] == ["synchrotron-1"] for line in lines)
    assert all(len(line) <= 110 for line in lines)


def test_columns_of_which_the_log_knows_nothing_are_left_out(counted: dict[str, Any]) -> None:
    plain = {**counted, "hours": {}, "answered_by": {}}
    plain["worker_types"] = {
        name: {**load, "seconds": None, "p95_seconds": None, "cpu_percent": None}
        for name, load in counted["worker_types"].items()
    }
    head = table(plain)[2]
    assert head.split() == ["worker", "type", "requests", "share"]


def test_the_table_of_seven_types_adds_up(counted: dict[str, Any]) -> None:
    lines = share_table(shares(counted, traffic.SEVEN))
    assert [line.split()[0] for line in lines[2:]] == [*traffic.SEVEN, "others", "total"]
    assert lines[-1].split()[1:] == ["9,992", "100.00", "%"]


def test_bars_of_the_page_fill_their_plots(counted: dict[str, Any]) -> None:
    shown = page(counted)
    assert shown["types"][0]["width"] == 100
    assert len(shown["hours"]["bars"]) == 24
    for one in shown["hours"]["bars"]:
        assert one["x"] >= 0
        assert one["x"] + one["width"] <= 100.01
        assert all(part["y"] >= -0.01 and part["y"] + part["height"] <= 100.01 for part in one["segments"])
    # What is stacked is what was counted.
    top = max(range(24), key=lambda place: -shown["hours"]["bars"][place]["segments"][-1]["y"])
    assert list(counted["hours"])[top] == max(counted["hours"], key=lambda hour: counted["hours"][hour])
    for row in shown["latency"]["rows"]:
        assert 0 <= row["half"] <= row["most"] <= 100


def test_what_one_type_hides_has_a_plot_of_its_own(counted: dict[str, Any]) -> None:
    shown = page(counted)
    assert shown["heavy"] == ["synchrotron"]
    assert shown["rest"]["legend"] == shown["hours"]["legend"][1:]
    highest = [
        max(range(24), key=lambda place: -plot["bars"][place]["segments"][-1]["y"]) for plot in (shown["hours"], shown["rest"])
    ]
    others = {
        hour: count - counted["worker_types"]["synchrotron"]["hours"].get(hour, 0) for hour, count in counted["hours"].items()
    }
    assert list(counted["hours"])[highest[1]] == max(others, key=lambda hour: others[hour])
    assert page({**counted, "worker_types": {"user_dir": counted["worker_types"]["user_dir"]}})["rest"] is None


def test_an_hour_without_requests_is_a_gap(counted: dict[str, Any]) -> None:
    shown = page({**counted, "hours": {"2026-02-28T22": 1, "2026-03-01T01": 4}, "worker_types": {}})["hours"]
    assert [len(one["segments"]) for one in shown["bars"]] == [1, 0, 0, 1]
    assert [label["text"] for label in shown["labels"]] == ["22:00", "23:00", "00:00", "01:00"]


def test_the_effect_is_drawn_to_one_scale(counted: dict[str, Any]) -> None:
    effect = {"main_busy_percent_before": 160.0, "main_busy_percent_after": 16.0}
    pools = [{"types": ["synchrotron"], "count": 3, "busy_percent_each": 48.0}]
    shown = page(counted, {"effect": effect, "pools": pools})["effect"]
    assert [(row["name"], row["text"], row["width"]) for row in shown["rows"]] == [
        ("main process today", "160.0 %", 100),
        ("main process then", "16.0 %", 10),
        ("synchrotron, each of 3", "48.0 %", 30),
    ]
    assert shown["core"] == 62.5
    # No workers, no change.
    shown = page(counted, {"effect": {**effect, "main_busy_percent_before": 20.0}, "pools": []})["effect"]
    assert ([row["width"] for row in shown["rows"]], shown["core"]) == ([20], 100)


def test_many_hours_become_days(counted: dict[str, Any]) -> None:
    hours = {f"2026-{month:02}-{day:02}T{hour:02}": 1 for month in (1, 2) for day in range(1, 11) for hour in range(24)}
    shown = page({**counted, "hours": hours, "worker_types": {}})["hours"]
    assert (shown["unit"], len(shown["bars"]), shown["labels"][0]["text"]) == ("day", 41, "01 Jan")


def test_a_log_without_times_has_no_plots_of_time(counted: dict[str, Any]) -> None:
    bare = {**counted, "hours": {}, "first": "", "last": ""}
    bare["worker_types"] = {name: {**load, "hours": {}, "p95_seconds": None} for name, load in counted["worker_types"].items()}
    shown = page(bare)
    assert (shown["hours"]["bars"], shown["latency"]["rows"]) == ([], [])
    assert shown["period"] == "the log says no times"


def test_nothing_of_a_log_becomes_markup(counted: dict[str, Any]) -> None:
    """Whoever can send requests can write into a log."""
    evil = "<script>alert(1)</script>"
    shown = page(
        {
            **counted,
            "malformed_samples": [evil],
            "unknown_shapes": [{"method": evil, "shape": evil, "requests": 1}],
            "answered_by": {evil: {"requests": 1, "percent": 1.0}},
            "refused_by_workers": [{"worker": evil, "method": evil, "endpoint": evil, "requests": 1, "always": True}],
        }
    )
    template = Environment(autoescape=False).from_string((ROOT / "playbooks/templates/access_log.html.j2").read_text())
    advice = {"text": [evil], "synapse_workers": evil, "effect": {"main_busy_percent_before": 1.0}, "pools": []}
    html = template.render(__analyse_page=shown, __analyse_advice=advice, inventory_hostname=evil)
    assert "<script" not in html
    assert "http:" not in html.replace("http://www.w3.org", "")  # self-contained
    assert html.count("&lt;script&gt;") >= 10
