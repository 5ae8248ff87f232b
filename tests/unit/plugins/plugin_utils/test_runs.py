"""Which run this is, and whether another one is over."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from typing import Any

import pytest
from ansible_collections.synapse.workers.plugins.plugin_utils._runs import run_in_words, run_is_over, this_run

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="asks /proc")


def _tell(queue: Any) -> None:
    queue.put(this_run("roll_out"))


def test_a_run_is_the_process_that_forks_for_its_tasks() -> None:
    assert this_run("roll_out")["pid"] == os.getpid()
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_tell, args=(queue,))
    child.start()
    assert queue.get(timeout=60)["pid"] == os.getpid()
    child.join()


def test_two_runs_have_two_names() -> None:
    assert this_run("roll_out")["id"] != this_run("roll_out")["id"]


def test_this_run_is_not_over_and_one_whose_process_ended_is() -> None:
    run = this_run("roll_out")
    assert not run_is_over(run)
    ended = subprocess.Popen(["true"])
    ended.wait()
    assert run_is_over({**run, "pid": ended.pid})


def test_a_later_process_with_the_same_number_is_another() -> None:
    assert run_is_over({**this_run("roll_out"), "started": "1"})


@pytest.mark.parametrize("change", [{"controller": "elsewhere"}, {"place": "another boot"}, {"place": ""}])
def test_of_another_machine_nobody_knows(change: dict[str, str]) -> None:
    assert not run_is_over({**this_run("roll_out"), "started": "1", **change})


@pytest.mark.parametrize(("age", "ago"), [(5, "just now"), (60, "1 minute ago"), (3599, "59 minutes ago")])
def test_a_run_in_words(age: int, ago: str) -> None:
    run = {"playbook": "roll_out", "user": "alice", "controller": "laptop", "pid": 4711, "age": age}
    assert run_in_words(run) == f"roll_out, begun by alice on laptop (process 4711) {ago}"
