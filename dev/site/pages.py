"""Lays out the pages of the site in a folder, from the repository's own files: pages.py FOLDER.

Links stay what they are wherever a page has the same place here as in the repository. The few to files that are no pages
(examples, plugins) are turned to the pages that show them.
"""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# What stands in the margin, in this order. A page of docs/ that is in no part fails the build.
PARTS = {
    "Start": ["docs/analyse", "docs/first_workers", "docs/adopt", "docs/several_hosts", "examples/index"],
    "Operate": ["docs/operations", "docs/upgrade", "docs/watching", "docs/nginx", "docs/on_a_host", "docs/security"],
    "Look up": ["docs/worker_types", "docs/endpoints", "docs/variables", "docs/figures", "docs/decisions", "Plugins, modules and roles <reference/index>"],
    "The project": ["CONTRIBUTING", "CHANGELOG"],
}


def main(folder: Path) -> None:
    for name in ("CONTRIBUTING.md", "CHANGELOG.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / name)
    shutil.copytree(ROOT / "docs", folder / "docs")
    board = Path("roles/prometheus/files/grafana-dashboard.json")
    (folder / board).parent.mkdir(parents=True)
    shutil.copy(ROOT / board, folder / board)
    benches = _benches(folder)
    _examples(folder)
    parts = {**PARTS, "What it costs": benches} if benches else PARTS
    index = (ROOT / "README.md").read_text(encoding="utf-8")
    (folder / "index.md").write_text(index + "".join(_toctree(*part) for part in parts.items()), encoding="utf-8")
    for page in folder.rglob("*.md"):
        page.write_text(_turned(page.read_text(encoding="utf-8")), encoding="utf-8")


def _toctree(caption: str, pages: list[str]) -> str:
    lines = "\n".join(pages)
    return f"\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n{lines}\n```\n"


def _benches(folder: Path) -> list[str]:
    """The pages of bench/ that say what was measured and how."""
    pages = []
    for page in sorted((ROOT / "bench").glob("*/*.md")):
        target = folder / page.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        text = page.read_text(encoding="utf-8")
        if not re.search(r"^# ", text, re.MULTILINE):
            text = f"# {page.parent.name.replace('_', ' ').capitalize()}: {page.stem}\n\n{text}"
        target.write_text(text, encoding="utf-8")
        pages.append(str(target.relative_to(folder).with_suffix("")))
    return pages


def _examples(folder: Path) -> None:
    """A page for each example, and one that names them."""
    target = folder / "examples"
    target.mkdir()
    names = []
    for example in sorted(path for path in (ROOT / "examples").iterdir() if path.is_dir()):
        text = f"# {example.name.replace('_', ' ').capitalize()}\n"
        for file in sorted(path for path in example.rglob("*") if path.is_file()):
            kind = {".yml": "yaml", ".yaml": "yaml", ".conf": "nginx"}.get(file.suffix, "text")
            content = file.read_text(encoding="utf-8")
            if file.suffix == ".md":
                text += "\n" + re.sub(r"^#", "##", content, flags=re.MULTILINE)
            else:
                text += f"\n`{file.relative_to(ROOT)}`\n\n```{kind}\n{content}```\n"
        (target / f"{example.name}.md").write_text(text, encoding="utf-8")
        names.append(example.name)
    listed = "\n".join(names)
    (target / "index.md").write_text(f"# Examples\n\nInventories to copy.\n\n```{{toctree}}\n{listed}\n```\n", encoding="utf-8")


def _turned(text: str) -> str:
    """Links to folders and plugins lead to the pages that show them."""
    text = re.sub(r"\]\(((?:\.\./)*examples)/?\)", r"](\1/index.md)", text)
    text = re.sub(r"\]\(((?:\.\./)*examples/\w+)/?\)", r"](\1.md)", text)
    text = re.sub(r"\]\(((?:\.\./)*)plugins/modules/(\w+)\.py\)", r"](\1reference/\2_module.rst)", text)
    # Code of the workshop is no page: its name will do.
    return re.sub(r"\[([^\]]+)\]\(\w+\.py\)", r"`\1`", text)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
