"""The judge of the molecule tests judges rightly: it passes nobody off as the expected worker."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "dev"))

from outsider.edge import LogLine, Response, parse_log
from outsider.judge import NOBODY, REFUSED, Plan, Row
from outsider.refusals import spellings
from outsider.signing import SigningKey, canonical_json, ed25519_signature, public_key

PLAN = Plan.read(
    [
        {"type": "synchrotron", "count": 2},
        {"types": ["typing", "receipts"], "name": "writers"},
        {"type": "client_reader", "count": 0},
    ]
)


def row(*served_by: str | tuple[str, ...], status: int = 200, body: bytes = b"{}", label: str = "a request") -> Row:
    return Row("area", label, "GET", "/x", served_by, (200,), "outsider/0-1", Response(status, {}, body, 0.1))


@pytest.mark.parametrize(
    ("served_by", "worker", "right"),
    [
        (("synchrotron",), "synchrotron-1", True),
        (("synchrotron",), "synchrotron-app2-2", True),
        (("synchrotron",), "main", False),
        (("synchrotron",), "writers-1", False),
        (("typing",), "writers-1", True),
        (("initial_synchrotron", "synchrotron"), "synchrotron-1", True),
        (("client_reader",), "main", True),  # its row has count 0
        (("client_reader",), "client_reader-1", False),
        ((("typing", "client_reader")), "writers-1", True),
        ((), "main", True),
        ((), "synchrotron-1", False),
        ((NOBODY,), "main", False),
        ((NOBODY,), "-", True),
        (("*",), "synchrotron-1", True),
    ],
)
def test_the_first_planned_choice_is_expected(served_by: tuple[str, ...], worker: str, right: bool) -> None:
    asked = row(*served_by)
    asked.judge(PLAN, LogLine(worker, ()))
    assert (asked.problems == []) is right


@pytest.mark.parametrize(
    ("asked", "line", "said"),
    [
        (row(status=404, body=b'{"errcode": "M_UNRECOGNIZED"}'), LogLine("main", ()), "M_UNRECOGNIZED"),
        (row(status=500), LogLine("main", ()), "status 500"),
        (row(), None, "no line in the access log"),
    ],
)
def test_what_is_wrong_is_said(asked: Row, line: LogLine | None, said: str) -> None:
    asked.judge(PLAN, line)
    assert any(said in problem for problem in asked.problems)


def test_a_private_path_answered_by_a_worker_is_wrong() -> None:
    asked = row(NOBODY, status=404, label=REFUSED)
    asked.statuses = (404,)
    asked.judge(PLAN, LogLine("main", ("127.0.0.1:8008",)))
    assert asked.problems


def test_retries_and_stand_ins_are_told_apart_from_the_last_answer() -> None:
    text = '… 200 1 "-" "outsider/ab12-7" worker=main upstream="127.0.0.1:1, 127.0.0.1:2 : 127.0.0.1:8008" upstream_time="0"'
    assert parse_log(text) == {"outsider/ab12-7": LogLine("main", ("127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:8008"))}


def test_a_signature_is_that_of_rfc_8032() -> None:
    """Section 7.1, test 2."""
    seed = bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")
    assert public_key(seed).hex() == "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"
    assert ed25519_signature(seed, b"\x72").hex() == (
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
    )


def test_canonical_json_sorts_and_escapes_nothing_needless() -> None:
    assert canonical_json({"b": "ä", "a": [1, None]}) == '{"a":[1,null],"b":"ä"}'.encode()


def test_a_key_file_is_read() -> None:
    key = SigningKey.read("ed25519 a_1 TM0Imyj/ltqdtsNG7BFOD1uKMZ81q6Yk2oz27U+4pvs\n")
    assert key.name == "ed25519:a_1"
    assert key.seed.hex().startswith("4ccd089b")


def test_spellings_lead_back_to_the_root() -> None:
    assert "/_synapse/metrics/../../_matrix/client/versions" in spellings("/_synapse/metrics")
    assert "/health/%2e%2e/_matrix/client/versions" in spellings("/health")
