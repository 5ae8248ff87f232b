#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE)
from __future__ import annotations

DOCUMENTATION = r"""
module: secret_files
short_description: Make secrets once, one file each, and keep them
version_added: 0.1.0
author:
  - synapse.workers contributors (!UNKNOWN)
description:
  - Each secret lies in a file of its own. One that is there stays for ever. One that is missing is made on the host, from the
    kernel's random numbers or by a command.
  - Values are never part of a diff. They are in the result, as other hosts need the same ones, so tasks set C(no_log).
options:
  directory:
    description: Folder of the files. Made when it is missing.
    type: path
    required: true
  owner:
    description: Owner of the folder and, where it says nothing else, of a file.
    type: str
    default: root
  group:
    description: Group of the folder and, where it says nothing else, of a file.
    type: str
    default: root
  directory_mode:
    description: Permissions of the folder as an octal string.
    type: str
    default: '0750'
  files:
    description: The secrets.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Name of the file.
        type: str
        required: true
      value:
        description:
          - What the file shall hold, with one line end added. Empty means whatever it holds already.
        type: str
        default: ''
      generate:
        description: Whether a secret without value and file is made. If not, that is an error.
        type: bool
        default: true
      command:
        description: Command that prints a new secret. Without it 48 random letters and digits are taken.
        type: list
        elements: str
        default: []
      owner:
        description: Owner of the file.
        type: str
      group:
        description: Group of the file.
        type: str
      mode:
        description: Permissions of the file as an octal string.
        type: str
        default: '0640'
attributes:
  check_mode:
    support: full
    description: Names what would be made or written. The content of what is yet to be made is null.
  diff_mode:
    support: partial
    description: Says which file would appear or change, never what is in it.
"""

EXAMPLES = r"""
- name: Make the secrets of the homeserver
  synapse.workers.secret_files:
    directory: /etc/matrix-synapse/secrets
    group: matrix-synapse
    files:
      - name: worker_replication_secret
      - name: signing.key
        command: [/opt/venvs/matrix-synapse/bin/python, -m, synapse._scripts.generate_signing_key]
  no_log: true
"""

RETURN = r"""
written:
  description: Names of the files whose content, owner or mode was (or would be) changed.
  returned: always
  type: list
  elements: str
generated:
  description: Names of the files whose secret was (or would be) made.
  returned: always
  type: list
  elements: str
contents:
  description: Content of each file by its name, without the line end. Null for what check mode did not make.
  returned: always
  type: dict
"""

import grp
import os
import pwd
import secrets
import stat
import string
import tempfile
from typing import Any, Dict

from ansible.module_utils.basic import AnsibleModule

# Letters and digits only: a secret goes into YAML, redis.conf, pgpass and SQL, and needs no quotes in any.
ALPHABET = string.ascii_letters + string.digits
LENGTH = 48  # 285 bits


class Refusal(Exception):
    """str() is the sentence for the operator."""


def read(path: str) -> str:
    """Text without white space around it; '' when there is no such file or nothing in it."""
    try:
        with open(path, encoding="utf-8") as stream:
            return stream.read().strip()
    except FileNotFoundError:
        return ""


def ownership(path: str) -> tuple[int, int, int] | None:
    """(user id, group id, permissions), or None when there is nothing."""
    try:
        info = os.lstat(path)
    except FileNotFoundError:
        return None
    return info.st_uid, info.st_gid, stat.S_IMODE(info.st_mode)


def wanted_ownership(wish: Dict[str, Any], check_mode: bool) -> tuple[int, int, int] | None:
    """The same triple out of names; None in check mode where the account is yet to be made."""
    try:
        return pwd.getpwnam(wish["owner"]).pw_uid, grp.getgrnam(wish["group"]).gr_gid, int(wish["mode"], 8)
    except KeyError as error:
        if check_mode:
            return None
        raise Refusal(f"{error.args[0]}; make the account first") from error


def write(path: str, text: str, owner: tuple[int, int, int]) -> None:
    """Appears under its name with its owner and mode already set."""
    handle, temporary = tempfile.mkstemp(dir=os.path.dirname(path))
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text + "\n")
            stream.flush()
            os.fsync(stream.fileno())
        own(temporary, owner)
        os.rename(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def own(path: str, owner: tuple[int, int, int]) -> None:
    os.chown(path, owner[0], owner[1])
    os.chmod(path, owner[2])


def generate(module: AnsibleModule, wish: Dict[str, Any]) -> str:
    if not wish["command"]:
        return "".join(secrets.choice(ALPHABET) for _place in range(LENGTH))
    code, out, err = module.run_command(wish["command"], cwd="/")
    if code or not out.strip():
        raise Refusal("{}: {} ended with {}: {}".format(wish["name"], wish["command"][0], code, err.strip()))
    return out.strip()


def keep(module: AnsibleModule, wish: Dict[str, Any], result: Dict[str, Any]) -> None:
    """Bring one file to what it shall be, or in check mode only say so; adds to ``result``."""
    name = wish["name"]
    path = os.path.join(module.params["directory"], name)
    for key in ("owner", "group"):
        wish[key] = wish[key] or module.params[key]
    present = read(path)
    value = (wish["value"] or "").strip() or present
    if not value:
        if wish["generate"]:
            result["generated"].append(name)
            if not module.check_mode:
                value = generate(module, wish)
        elif not module.check_mode:
            raise Refusal(f"{path} is missing, and nobody gave its value")
    owner = wanted_ownership(wish, module.check_mode)
    if not value or value != present or owner != ownership(path):
        result["written"].append(name)
        # Without an account there is no owner; that happens in check mode only.
        if owner is not None and not module.check_mode:
            if value == present:
                own(path, owner)
            else:
                write(path, value, owner)
    result["contents"][name] = value or None


def keep_directory(module: AnsibleModule) -> bool:
    params = module.params
    owner = wanted_ownership({**params, "mode": params["directory_mode"]}, module.check_mode)
    if owner is not None and owner == ownership(params["directory"]):
        return False
    if owner is not None and not module.check_mode:
        os.makedirs(params["directory"], mode=0o700, exist_ok=True)
        own(params["directory"], owner)
    return True


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "directory": {"type": "path", "required": True},
            "owner": {"type": "str", "default": "root"},
            "group": {"type": "str", "default": "root"},
            "directory_mode": {"type": "str", "default": "0750"},
            "files": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "name": {"type": "str", "required": True},
                    # Keeps the value out of the host's log of module calls.
                    "value": {"type": "str", "default": "", "no_log": True},
                    "generate": {"type": "bool", "default": True},
                    "command": {"type": "list", "elements": "str", "default": []},
                    "owner": {"type": "str"},
                    "group": {"type": "str"},
                    "mode": {"type": "str", "default": "0640"},
                },
            },
        },
        supports_check_mode=True,
    )
    names = [wish["name"] for wish in module.params["files"]]
    result: Dict[str, Any] = {"written": [], "generated": [], "contents": {}}
    try:
        changed = keep_directory(module)
        for wish in module.params["files"]:
            keep(module, wish, result)
    except Refusal as error:
        module.fail_json(msg=str(error), **{**result, "contents": {}})
    result["changed"] = changed or bool(result["written"])
    if module._diff:
        result["diff"] = [
            {"prepared": "{}/{}: {}\n".format(module.params["directory"], name, "made" if made else "written")}
            for name in result["written"]
            for made in [name in result["generated"]]
        ]
    # The caller hands the values on, and masking would also hit the names of files that resemble a value. What was
    # called is therefore returned by its names only.
    module.no_log_values = set()
    module.exit_json(invocation={"module_args": {"directory": module.params["directory"], "files": names}}, **result)


if __name__ == "__main__":
    main()
