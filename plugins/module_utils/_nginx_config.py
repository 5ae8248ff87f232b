"""What nginx reads, out of the text that ``nginx -T`` prints: server blocks, their locations, upstreams, each with file and line.

Sources: nginx 1.22, ``src/core/ngx_conf_file.c`` (how a file falls into words and blocks) and ``ngx_conf_include`` (an include with
``*``, ``?`` or ``[`` may match nothing; relative names are below the folder of nginx.conf).

GNU General Public License v3.0+ (see LICENSE)
"""

from __future__ import annotations

import fnmatch
import os
import re
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Tuple

HEADER = re.compile(r"^# configuration file (/.*):$")
# A comment, a quoted word, one of { } ;, or a plain word, in which a brace after a dollar belongs to a variable.
TOKEN = re.compile(
    r"""(?P<space>\s+)|(?P<comment>\#[^\n]*)|"(?P<double>(?:[^"\\]|\\.)*)"|'(?P<single>(?:[^'\\]|\\.)*)'|(?P<mark>[{};])"""
    r"""|(?P<word>(?:\\.|\$\{[^}]*\}|[^\s{};\\])+)""",
    re.DOTALL,
)


class Directive(NamedTuple):
    """One directive, with what is in its braces."""

    words: List[str]
    """Its name and its arguments."""
    file: str
    line: int
    block: Optional[List[Any]]
    """The directives between its braces, or None where it ends with a semicolon."""


def files_of(dump: str) -> Dict[str, str]:
    """{path: text} of what ``nginx -T`` prints, the main file first."""
    files: Dict[str, List[str]] = {}
    lines: List[str] = []
    for line in dump.split("\n"):
        match = HEADER.match(line)
        if match:
            lines = files.setdefault(match.group(1), [])
        else:
            lines.append(line)
    return {path: "\n".join(text) for path, text in files.items()}


def _tokens(text: str) -> Iterator[Tuple[str, str, int]]:
    """(kind, word, line); kind is 'mark' or 'word'."""
    position, line = 0, 1
    while position < len(text):
        match = TOKEN.match(text, position)
        if match is None:  # a lone quote or backslash: nginx would have refused it
            position += 1
            continue
        kind = match.lastgroup or ""
        if kind == "mark":
            yield "mark", match.group(), line
        elif kind in ("word", "double", "single"):
            word = match.group(kind)
            yield "word", word if kind == "word" else re.sub(r"\\([\"'\\])", r"\1", word), line
        line += match.group().count("\n")
        position = match.end()


def directives_of(path: str, text: str) -> List[Directive]:
    """The directives of one file."""
    stack: List[Tuple[List[Directive], List[str], int]] = []
    here: List[Directive] = []
    words: List[str] = []
    first = 0
    for kind, word, line in _tokens(text):
        if kind == "word":
            if not words:
                first = line
            words.append(word)
        elif word == ";":
            if words:
                here.append(Directive(words, path, first, None))
            words = []
        elif word == "{":
            stack.append((here, words, first))
            here, words = [], []
        elif stack:
            block = here
            here, words, first = stack.pop()
            here.append(Directive(words, path, first, block))
            words = []
    return here


class Config:
    """All that one nginx reads."""

    def __init__(self, dump: str) -> None:
        files = files_of(dump)
        self.main = next(iter(files), "/etc/nginx/nginx.conf")
        self.files = {path: directives_of(path, text) for path, text in files.items()}

    def included(self, pattern: str) -> List[str]:
        """The files that an include reads."""
        pattern = self.absolute(pattern)
        return sorted(path for path in self.files if fnmatch.fnmatchcase(path, pattern) and path.count("/") == pattern.count("/"))

    def absolute(self, pattern: str) -> str:
        """An include's argument as a whole path."""
        return os.path.normpath(os.path.join(os.path.dirname(self.main), pattern))

    def walk(self, block: List[Directive], depth: int = 0) -> Iterator[Directive]:
        """The directives of a block, and in the place of each include, after it, those of the files it reads."""
        for directive in block:
            yield directive
            if directive.words[:1] == ["include"] and len(directive.words) == 2 and depth < 10:
                for path in self.included(directive.words[1]):
                    yield from self.walk(self.files[path], depth + 1)

    def top(self) -> List[Directive]:
        """The directives of the main file, its includes resolved."""
        return list(self.walk(self.files.get(self.main, [])))


def summary(dump: str) -> Dict[str, Any]:
    """What a plan has to know of an nginx.

    Returns:
        ``servers``: a list of ``file``, ``line``, ``listen`` and ``names`` (lists of words), ``includes`` (a list of ``path``, ``file`` and
        ``line``), ``locations`` (a list of ``modifier``, ``path``, ``file``, ``line`` and ``asks``: the addresses of its ``proxy_pass``) and
        ``directives`` (a list of ``words``, ``file`` and ``line``: the others). ``upstreams``: {name: addresses}. ``main``: the directives of
        nginx.conf outside of blocks, likewise. ``http_includes``: the paths that ``http`` includes.
    """
    config = Config(dump)
    top = config.top()
    result: Dict[str, Any] = {
        "servers": [],
        "upstreams": {},
        "http_includes": [],
        "main": [_plain(directive) for directive in top if directive.block is None],
    }
    for http in top:
        if http.words[:1] != ["http"] or http.block is None:
            continue
        for directive in config.walk(http.block):
            name = directive.words[0] if directive.words else ""
            if name == "include":
                result["http_includes"].append(config.absolute(directive.words[1]))
            elif name == "upstream" and directive.block is not None:
                servers = [one.words[1] for one in config.walk(directive.block) if one.words[:1] == ["server"]]
                result["upstreams"][directive.words[1]] = servers
            elif name == "server" and directive.block is not None:
                result["servers"].append(_server(config, directive))
    return result


def _server(config: Config, server: Directive) -> Dict[str, Any]:
    found: Dict[str, Any] = {"file": server.file, "line": server.line, "listen": [], "names": [], "includes": []}
    found.update(locations=[], directives=[])
    for directive in config.walk(server.block or []):
        name, arguments = directive.words[0], directive.words[1:]
        where = {"file": directive.file, "line": directive.line}
        if name == "listen":
            found["listen"].append(" ".join(arguments))
        elif name == "server_name":
            found["names"] += arguments
        elif name == "include":
            found["includes"].append({"path": config.absolute(arguments[0]), **where})
        elif name == "location":
            found["locations"] += _locations(config, directive)
        else:
            found["directives"].append(_plain(directive))
    return found


def _locations(config: Config, location: Directive) -> List[Dict[str, Any]]:
    arguments = location.words[1:]
    modifier, path = arguments if len(arguments) == 2 else ("", arguments[0])
    if len(arguments) == 1:
        # nginx reads `location ~^/x` as it reads `location ~ ^/x`.
        match = re.match(r"(=|\^~|~\*|~)(.+)", path, re.DOTALL)
        if match:
            modifier, path = match.groups()
    inside = list(config.walk(location.block or []))
    found = [
        {
            "modifier": modifier,
            "path": path,
            "file": location.file,
            "line": location.line,
            "asks": [asked for one in inside for asked in _asked(config, one)],
        }
    ]
    for one in inside:
        if one.words[:1] == ["location"] and one.block is not None:
            found += _locations(config, one)
    return found


def _asked(config: Config, directive: Directive) -> List[str]:
    if directive.words[:1] == ["proxy_pass"]:
        return directive.words[1:2]
    if directive.words[:1] == ["if"]:
        return [asked for one in config.walk(directive.block or []) for asked in _asked(config, one)]
    return []


def _plain(directive: Directive) -> Dict[str, Any]:
    # Values may be secrets (a header that is added for the server behind): only the first argument is told, which names.
    return {"words": directive.words[:2], "file": directive.file, "line": directive.line}


def _program(module: Any) -> str:
    return str(module.get_bin_path("nginx", opt_dirs=["/usr/sbin", "/usr/local/sbin"]) or "")


def release(module: Any) -> str:
    """The release of nginx on this host, like ``1.22.1``; empty where there is none, or one with a name of its own."""
    program = _program(module)
    if not program:
        return ""
    _code, out, err = module.run_command([program, "-v"])
    found = re.search(r"nginx version: [^/\s]+/([0-9]+(?:\.[0-9]+)+)", out + err)
    return found.group(1) if found else ""


def look(module: Any) -> Dict[str, Any]:
    """``summary`` of the nginx on this host, with ``installed``, ``release`` and ``error`` (what nginx says of files that it refuses)."""
    program = _program(module)
    if not program:
        return {**summary(""), "installed": False, "release": "", "error": ""}
    code, out, err = module.run_command([program, "-T", "-q"])
    error = "\n".join(line for line in err.splitlines() if "[emerg]" in line or "[crit]" in line) or (err.strip() if code else "")
    return {**summary(out), "installed": True, "release": release(module), "error": error if code else ""}
