#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE)
from __future__ import annotations

DOCUMENTATION = r"""
module: files
short_description: Bring a set of files to a host in one step
version_added: 0.1.0
author:
  - synapse.workers contributors (!UNKNOWN)
description:
  - Takes every file that a concern needs on a host as data and writes only those that differ, so that the number of tasks does
    not grow with the number of workers.
  - Files are validated as a whole in a private copy before the first one is replaced. All new ones lie on the disk by then, and each
    is put in place by renaming, so a reader sees the old one or the new one and nothing between. The version before is kept below O(manifest)'s folder.
  - Remembers in O(manifest) what it wrote. A file that stands at a path of ours without being remembered belongs to somebody
    else and is never replaced; the run stops and names it.
options:
  state:
    description:
      - V(present) brings the files.
      - V(applied) notes that whoever reads the files has read them since. Until then RV(unapplied) is true, in later runs too, so
        that a reload which an interrupted run left out is made up for.
    type: str
    choices: [present, applied]
    default: present
  files:
    description: The files that shall exist. Required with O(state=present).
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Absolute path.
        type: path
        required: true
      content:
        description: The whole text.
        type: str
        required: true
      owner:
        description: Name of the user who owns it.
        type: str
        default: root
      group:
        description: Name of the owning group.
        type: str
        default: root
      mode:
        description: Permissions as an octal string.
        type: str
        default: '0644'
  directories:
    description:
      - Folders that shall exist. Their parents are made as needed, owned by root.
      - A folder that the module made is removed again when it is empty, no longer wanted, and files are removed.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Absolute path.
        type: path
        required: true
      owner:
        description: Name of the user who owns it.
        type: str
        default: root
      group:
        description: Name of the owning group.
        type: str
        default: root
      mode:
        description: Permissions as an octal string.
        type: str
        default: '0755'
      kept:
        description: Whether a folder that is here already stays as it is, whoever owns it.
        type: bool
        default: false
  manifest:
    description:
      - Absolute path of the file in which the module remembers what it wrote. One per concern.
      - Required unless O(root) is given.
    type: path
  purge:
    description: Whether files of an earlier run that are no longer wanted are removed.
    type: bool
    default: true
  note:
    description: What the files stand for, when they are meant for a while only. Remembered, for the next run to be told.
    type: str
    default: ''
  root:
    description:
      - Write below this folder instead of the real paths, without owner, mode, validation or memory. For looking at what a host
        would get.
    type: path
  validate:
    description: How a daemon is asked, before anything is replaced, whether it would accept the files.
    type: dict
    suboptions:
      copy:
        description: Folders copied into the private folder before the new files are laid over them.
        type: list
        elements: path
        default: []
      exclude:
        description: Names (shell patterns) of entries that are not copied.
        type: list
        elements: str
        default: []
      rewrite:
        description: Whether the paths of O(validate.copy) inside the copied files are turned to the private folder.
        type: bool
        default: false
      script:
        description: Text of a script that is put into the private folder; V({script}) in O(validate.command) is its path.
        type: str
      command:
        description: The command and its arguments; V({root}) is the private folder. It must end with 0.
        type: list
        elements: str
        required: true
      requires:
        description:
          - Validate only when these paths exist. Meant for check mode on a host where the daemon, or what its settings refer to, is
            yet to come.
        type: list
        elements: path
        default: []
attributes:
  check_mode:
    support: full
    description: Reports and validates what would be written, writes nothing.
  diff_mode:
    support: full
    description: One diff per changed file.
"""

EXAMPLES = r"""
- name: Write what the workers of this host read
  synapse.workers.files:
    manifest: /var/lib/synapse-workers/matrix-synapse/processes.json
    files:
      - path: /etc/matrix-synapse/workers/synchrotron-1.yaml
        content: |
          worker_app: synapse.app.generic_worker
          worker_name: synchrotron-1
        group: matrix-synapse
        mode: '0640'
"""

RETURN = r"""
changed_files:
  description: Paths that were (or in check mode would be) written, or whose owner or mode differed.
  returned: always
  type: list
  elements: str
unapplied:
  description: Whether files were (or would be) changed since O(state=applied) was last said.
  returned: with O(manifest)
  type: bool
removed_files:
  description: Paths that were (or would be) removed.
  returned: always
  type: list
  elements: str
left_files:
  description: Paths that are no longer wanted and were left because of O(purge=false).
  returned: with O(manifest)
  type: list
  elements: str
"""

import errno
import grp
import json
import os
import pwd
import re
import shutil
import stat
import tempfile
from typing import Any, Dict, Iterator, NoReturn

from ansible.module_utils.basic import AnsibleModule

# An element of `files` or `directories`.
Wish = Dict[str, Any]

OWNERSHIP = ("owner", "group", "mode")


class Conflict(Exception):
    """The wish cannot be met without touching what is not ours; str() is the sentence for the operator."""


def read(path: str) -> bytes | None:
    """Content as bytes, or None when there is no such file."""
    try:
        with open(path, "rb") as handle:
            return handle.read()
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return None
        raise


def stage(path: str, data: bytes, uid: int = -1, gid: int = -1, mode: int = 0o644) -> str:
    """A file with the text, owner and mode beside ``path``, on the disk already; returns its path."""
    temporary = ""
    try:
        handle, temporary = tempfile.mkstemp(dir=os.path.dirname(path), prefix="." + os.path.basename(path) + ".")
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        if uid >= 0:
            os.chown(temporary, uid, gid)
        os.chmod(temporary, mode)
    except BaseException as error:
        if temporary:
            os.unlink(temporary)
        if isinstance(error, OSError):
            error.filename = path  # the name that an operator knows
        raise
    return temporary


def write(path: str, data: bytes, uid: int = -1, gid: int = -1, mode: int = 0o644) -> None:
    """Replace ``path`` by renaming, with owner and mode set before it appears under its name."""
    os.rename(stage(path, data, uid, gid, mode), path)


class Manifest:
    """What earlier runs wrote, and whether it has been read since by whom it is for."""

    def __init__(self, path: str) -> None:
        self.path = path
        data = read(path)
        try:
            known = json.loads(data) if data else {}
            self.paths = set(known.get("files", []))
            self.applied = bool(known.get("applied", True))
            self.note = str(known.get("note", ""))
            self.folders = set(known.get("folders", []))
        except (ValueError, AttributeError, TypeError) as error:
            raise Conflict(f"{path} is damaged; move it away and make sure the files at our paths are ours") from error

    def remember(self, paths: set[str], applied: bool) -> None:
        self.paths = set(paths)
        self.applied = applied
        os.makedirs(os.path.dirname(self.path), 0o755, exist_ok=True)
        data = {"files": sorted(self.paths), "folders": sorted(self.folders), "applied": applied, "note": self.note}
        write(self.path, json.dumps(data, indent=1).encode() + b"\n", 0, 0, 0o644)

    @property
    def previous(self) -> str:
        """Folder with the version before the last change of each file."""
        return os.path.splitext(self.path)[0] + ".previous"


def ids(wish: Wish) -> tuple[int, int] | None:
    """(uid, gid), or None where the account is yet to be made (check mode on a bare host)."""
    try:
        return pwd.getpwnam(wish["owner"]).pw_uid, grp.getgrnam(wish["group"]).gr_gid
    except KeyError:
        return None


def ownership(path: str, wish: Wish) -> tuple[dict[str, str], dict[str, str]]:
    """({what is}, {what shall be}) of owner, group and mode, as text for a diff; what is missing on the host is ''."""
    shall = {key: wish[key] for key in OWNERSHIP}
    try:
        info = os.lstat(path)
    except OSError:
        return dict.fromkeys(OWNERSHIP, ""), shall
    try:
        owner = pwd.getpwuid(info.st_uid).pw_name
    except KeyError:
        owner = str(info.st_uid)
    try:
        group = grp.getgrgid(info.st_gid).gr_name
    except KeyError:
        group = str(info.st_gid)
    # As the operator writes modes: four digits.
    return {"owner": owner, "group": group, "mode": f"{stat.S_IMODE(info.st_mode):04o}"}, shall


def check_paths(files: list[Wish]) -> None:
    seen = set()
    for wish in files:
        if not os.path.isabs(wish["path"]) or os.path.normpath(wish["path"]) != wish["path"]:
            raise Conflict("{} is no absolute, plain path".format(wish["path"]))
        if wish["path"] in seen:
            raise Conflict("{} is wanted twice".format(wish["path"]))
        seen.add(wish["path"])


def check_foreign(files: list[Wish], manifest: Manifest) -> None:
    foreign = []
    for wish in files:
        path = wish["path"]
        if path in manifest.paths:
            continue
        if os.path.islink(path) or os.path.isdir(path):
            foreign.append(path)
        else:
            data = read(path)
            if data is not None and data != wish["content"].encode():
                foreign.append(path)
    if foreign:
        raise Conflict(
            "These files were not written by this collection and stand where it would write: {}. Nothing was changed. "
            "Move them away (their content may belong into the inventory) and run again.".format(", ".join(sorted(foreign)))
        )


def validate(module: AnsibleModule, rules: dict[str, Any], files: list[Wish], removed: list[str]) -> None:
    """Lay the new files over copies of the folders and ask the daemon; fails the module with its words."""
    if not all(os.path.exists(path) for path in rules["requires"]):
        return
    private = tempfile.mkdtemp(prefix="synapse-workers-")
    try:
        root = os.path.join(private, "root")
        os.mkdir(root, 0o700)
        ignore = shutil.ignore_patterns(*rules["exclude"])
        for folder in rules["copy"]:
            if os.path.isdir(folder):
                shutil.copytree(folder, root + folder, symlinks=True, ignore=ignore, ignore_dangling_symlinks=True)
        for wish in files:
            target = root + wish["path"]
            if not os.path.isdir(os.path.dirname(target)):
                os.makedirs(os.path.dirname(target))
            with open(target, "wb") as stream:
                stream.write(wish["content"].encode())
        for path in removed:
            if os.path.lexists(root + path):
                os.unlink(root + path)
        if rules["rewrite"]:
            turn_paths(root, rules["copy"])
        script = os.path.join(private, "validate")
        if rules.get("script"):
            with open(script, "w") as stream:
                stream.write(rules["script"])
        command = [word.replace("{root}", root).replace("{script}", script) for word in rules["command"]]
        code, out, err = module.run_command(command)
        if code:
            words = (err.strip() or out.strip()).replace(root, "")
            refuse(
                module,
                f"The new files were refused before anything was replaced; the old ones are still in force.\n{words}",
            )
    finally:
        shutil.rmtree(private, ignore_errors=True)


def turn_paths(root: str, folders: list[str]) -> None:
    """In the private copy, let absolute paths into the copied folders (also those of links) point into the copy."""
    for folder in folders:
        for parent, directories, names in os.walk(root + folder):
            for name in directories + names:
                path = os.path.join(parent, name)
                if os.path.islink(path):
                    target = os.readlink(path)
                    if any(target.startswith(other + "/") for other in folders):
                        os.unlink(path)
                        os.symlink(root + target, path)
                elif os.path.isfile(path):
                    data = turned = read(path) or b""
                    for other in folders:
                        turned = turned.replace(other.encode() + b"/", (root + other).encode() + b"/")
                    if turned != data:
                        with open(path, "wb") as stream:
                            stream.write(turned)


# A value behind a key that names a secret. A key that ends in `path` (or `file`) names where it lies and may be shown.
SECRET = re.compile(
    r"""^(\s*(?:-\s+)?["']?[\w-]*(?:password|secret|token|private_key|passphrase)(?![\w-]*(?:path|file)\b)[\w-]*["']?\s*[:=]\s*).+$""",
    re.IGNORECASE | re.MULTILINE,
)


def text(data: bytes | None) -> str:
    """The text for a diff, with the values of secrets hidden."""
    return "" if data is None else SECRET.sub(r"\1(hidden)", data.decode("utf-8", "replace"))


def arguments(module: AnsibleModule) -> dict[str, Any]:
    """The arguments as far as they may be shown."""
    paths = [wish["path"] for wish in module.params["files"]]
    return {"module_args": {"files": paths, "manifest": module.params["manifest"]}}


def refuse(module: AnsibleModule, words: str) -> NoReturn:
    """Leave with ``words`` for the operator; the real paths were not touched, or each of them is whole."""
    module.fail_json(msg=words, changed_files=[], removed_files=[], invocation=arguments(module))
    raise SystemExit(1)


def diff_of(path: str, before: bytes | None, after: bytes | None) -> dict[str, Any]:
    return {
        "before_header": path if before is not None else f"{path} (absent)",
        "after_header": path if after is not None else f"{path} (absent)",
        "before": text(before),
        "after": text(after),
    }


def diff_of_ownership(path: str, before: dict[str, str], after: dict[str, str]) -> dict[str, Any]:
    return {"before_header": path, "after_header": path, "before": before, "after": after}


def make_parents(path: str) -> list[str]:
    """Make the folders above a path; those that were made, the deepest first."""
    folder = os.path.dirname(path)
    made = []
    while not os.path.isdir(folder):
        made.append(folder)
        folder = os.path.dirname(folder)
    for name in reversed(made):
        os.mkdir(name, 0o755)
        # Whatever root's umask is, a service must get to its files.
        os.chmod(name, 0o755)
    return made


class Work:
    """What differs between the wish and the host, and the doing of it."""

    def __init__(self, params: dict[str, Any], manifest: Manifest) -> None:
        self.files = params["files"]
        self.directories = params["directories"]
        self.manifest = manifest
        wanted = {wish["path"] for wish in self.files}
        unwanted = sorted(manifest.paths - wanted)
        gone = unwanted if params["purge"] else []
        self.left = [path for path in unwanted if not params["purge"] and os.path.lexists(path)]
        self.forgotten = [path for path in gone if not os.path.lexists(path)]
        self.removed = [path for path in gone if os.path.lexists(path)]
        self.folders = [wish for wish in self.directories if not self._is_right_folder(wish)]
        self.contents = []
        self.owners = []
        for wish in self.files:
            before, after = ownership(wish["path"], wish)
            if read(wish["path"]) != wish["content"].encode():
                self.contents.append(wish)
            elif before != after:
                self.owners.append(wish)

    @staticmethod
    def _is_right_folder(wish: Wish) -> bool:
        before, after = ownership(wish["path"], wish)
        return os.path.isdir(wish["path"]) and (wish.get("kept") or before == after)

    @property
    def paths(self) -> list[str]:
        return [wish["path"] for wish in self.folders + self.contents + self.owners]

    @property
    def is_needed(self) -> bool:
        return bool(self.paths or self.removed)

    def diffs(self) -> Iterator[dict[str, Any]]:
        for wish in self.folders + self.owners:
            yield diff_of_ownership(wish["path"], *ownership(wish["path"], wish))
        for wish in self.contents:
            yield diff_of(wish["path"], read(wish["path"]), wish["content"].encode())
        for path in self.removed:
            yield diff_of(path, read(path), None)

    def do(self) -> None:
        for wish in self.folders:
            uid, gid = self._ids(wish)
            self.manifest.folders.update(make_parents(os.path.join(wish["path"], "")))
            os.chown(wish["path"], uid, gid)
            os.chmod(wish["path"], int(wish["mode"], 8))
        wanted = {wish["path"] for wish in self.files}
        # Before the first write: a run that ends in the middle must neither meet its own files as foreign ones, nor take them
        # for applied.
        self.manifest.remember(self.manifest.paths | wanted, applied=False)
        self._replace()
        for wish in self.owners:
            uid, gid = self._ids(wish)
            os.chown(wish["path"], uid, gid)
            os.chmod(wish["path"], int(wish["mode"], 8))
        for path in self.removed:
            self._keep(path)
            os.unlink(path)
        if self.removed or self.forgotten:
            self._clear_folders()
            self.manifest.remember(self.manifest.paths - set(self.removed) - set(self.forgotten), applied=False)

    def _replace(self) -> None:
        """All new files lie beside the old ones before the first is replaced: a full disk leaves the old ones, all of them."""
        staged: list[tuple[str, str]] = []
        try:
            for wish in self.contents:
                uid, gid = self._ids(wish)
                self._keep(wish["path"])
                made = make_parents(wish["path"])
                if made:
                    self.manifest.folders.update(made)
                    self.manifest.remember(self.manifest.paths, applied=False)
                staged.append((stage(wish["path"], wish["content"].encode(), uid, gid, int(wish["mode"], 8)), wish["path"]))
        except BaseException:
            for temporary, _path in staged:
                os.unlink(temporary)
            raise
        for temporary, path in staged:
            os.rename(temporary, path)

    def _clear_folders(self) -> None:
        """Remove the folders of ours that nothing is in any more."""
        wanted = {wish["path"] for wish in self.directories}
        for folder in sorted(self.manifest.folders - wanted, reverse=True):
            if not os.path.isdir(folder):
                self.manifest.folders.discard(folder)
            elif not os.listdir(folder):
                os.rmdir(folder)
                self.manifest.folders.discard(folder)

    @staticmethod
    def _ids(wish: Wish) -> tuple[int, int]:
        found = ids(wish)
        if found is None:
            raise Conflict("{}: there is no user {} or no group {}".format(wish["path"], wish["owner"], wish["group"]))
        return found

    def _keep(self, path: str) -> None:
        data = read(path)
        if data is None:
            return
        target = self.manifest.previous + path
        if not os.path.isdir(self.manifest.previous):
            os.makedirs(self.manifest.previous)
            # It holds what the files held, whatever their mode was.
            os.chmod(self.manifest.previous, 0o700)
        make_parents(target)
        write(target, data, 0, 0, 0o600)


def render(root: str, files: list[Wish]) -> list[str]:
    """Write below ``root``; returns the paths that differed."""
    changed = []
    for wish in files:
        target = root.rstrip("/") + wish["path"]
        data = wish["content"].encode()
        if read(target) == data:
            continue
        changed.append(target)
        make_parents(target)
        write(target, data)
    return changed


def main() -> None:
    account = {"owner": {"type": "str", "default": "root"}, "group": {"type": "str", "default": "root"}}
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["present", "applied"], "default": "present"},
            "files": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": dict(
                    account,
                    path={"type": "path", "required": True},
                    # Kept out of the host's log of module calls.
                    content={"type": "str", "required": True, "no_log": True},
                    mode={"type": "str", "default": "0644"},
                ),
            },
            "directories": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": dict(
                    account,
                    path={"type": "path", "required": True},
                    mode={"type": "str", "default": "0755"},
                    kept={"type": "bool", "default": False},
                ),
            },
            "manifest": {"type": "path"},
            "purge": {"type": "bool", "default": True},
            "note": {"type": "str", "default": ""},
            "root": {"type": "path"},
            "validate": {
                "type": "dict",
                "options": {
                    "copy": {"type": "list", "elements": "path", "default": []},
                    "exclude": {"type": "list", "elements": "str", "default": []},
                    "rewrite": {"type": "bool", "default": False},
                    "script": {"type": "str"},
                    "command": {"type": "list", "elements": "str", "required": True},
                    "requires": {"type": "list", "elements": "path", "default": []},
                },
            },
        },
        required_one_of=[("manifest", "root")],
        supports_check_mode=True,
    )
    # The contents are no_log for the host's log of calls, which is written by now. Left in force it would also black out diffs
    # and messages that are free of secrets.
    module.no_log_values = set()
    params = module.params
    if params["root"]:
        changed = [] if module.check_mode else render(params["root"], params["files"])
        module.exit_json(changed=bool(changed), changed_files=changed, removed_files=[], invocation=arguments(module))

    try:
        check_paths(params["files"])
        manifest = Manifest(params["manifest"])
        if params["state"] == "applied":
            if not manifest.applied and not module.check_mode:
                manifest.remember(manifest.paths, applied=True)
            module.exit_json(changed=False, changed_files=[], removed_files=[], unapplied=False)
        check_foreign(params["files"], manifest)
        work = Work(params, manifest)
        result = {
            "changed": work.is_needed,
            "changed_files": work.paths,
            "removed_files": work.removed,
            "left_files": work.left,
        }
        noted, manifest.note = manifest.note, params["note"]
        if work.is_needed:
            if params["validate"]:
                validate(module, params["validate"], params["files"], work.removed)
            result["diff"] = list(work.diffs())
            if not module.check_mode:
                work.do()
        elif noted != manifest.note and not module.check_mode:
            manifest.remember(manifest.paths, manifest.applied)
        result["unapplied"] = work.is_needed or not manifest.applied
    except Conflict as error:
        refuse(module, str(error))
    except OSError as error:
        refuse(
            module,
            f"{error.filename}: {error.strerror}. No file was replaced; make room, or mend what is in the way, and run again."
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
            else f"{error.filename}: {error.strerror}. Files written so far are whole; mend the cause and run again to finish.",
        )
    module.exit_json(invocation=arguments(module), **result)


if __name__ == "__main__":
    main()
