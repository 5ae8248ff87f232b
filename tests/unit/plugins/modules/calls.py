"""Calls a module as Ansible does: a process of its own, arguments in, one JSON document out."""

from __future__ import annotations

import grp
import json
import os
import pwd
import subprocess
import sys
from pathlib import Path
from typing import Any

import ansible

ROOT = Path(__file__).parents[4]
MODULES = ROOT / "plugins" / "modules"
# Where packages of collections are found: beside a checkout, or, as ansible-test has it, around the collection.
COLLECTIONS = next(path for path in (ROOT / ".cache/collections", *ROOT.parents) if (path / "ansible_collections").is_dir())
ME = pwd.getpwuid(os.getuid()).pw_name
MY_GROUP = grp.getgrgid(os.getgid()).gr_name


def call(module: str, check: bool = False, **arguments: Any) -> dict[str, Any]:
    """What the module answers, with diffs, in check mode or not."""
    passed = {"_ansible_check_mode": check, "_ansible_diff": True, **arguments}
    ended = subprocess.run(
        [sys.executable, str(MODULES / f"{module}.py")],
        input=json.dumps({"ANSIBLE_MODULE_ARGS": passed}),
        capture_output=True,
        text=True,
        check=False,
        # As Ansible packs what a module shares with others.
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(COLLECTIONS), str(Path(ansible.__file__).parents[1])])},
    )
    assert ended.stdout, ended.stderr
    return json.loads(ended.stdout)
