"""Writes the tree of modules into docs/contributing.md, from their own first lines."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE, PAGE = ROOT / "mmevent", ROOT / "docs" / "contributing.md"
ORDER = [
    *("tables", "posts", "rule", "synthetic", "encoders", "branches", "evaluation"),
    *("detector", "persistence", "corpus", "report", "cli"),
]
BEGIN, END = "<!-- tree -->", "<!-- end of tree -->"


def tree() -> str:
    """Return the packages in import order, with one line for each module."""
    parts = [_table(sorted(PACKAGE.glob("*.py")))]
    for name in ORDER:
        folder = PACKAGE / name
        modules = sorted(set(folder.glob("*.py")) - {folder / "__init__.py"})
        about = _docstring(folder / "__init__.py")
        paragraphs = [" ".join(part.split()) for part in about.split("\n\n")]
        parts += [f"### `{name}/`", *paragraphs, _table(modules)]
    return "\n\n".join(parts)


def with_tree(page: str) -> str:
    """Return the page with the tree of today between its two marks."""
    pattern = f"{re.escape(BEGIN)}.*{re.escape(END)}"
    text = f"{BEGIN}\n\n{tree()}\n\n{END}"
    return re.sub(pattern, lambda _: text, page, flags=re.DOTALL)


def _table(modules: list[Path]) -> str:
    rows = [f"| `{path.name}` | {_first_line(path)} |" for path in modules]
    return "\n".join(["| module | what it does |", "| --- | --- |", *rows])


def _first_line(path: Path) -> str:
    line = " ".join(_docstring(path).split("\n\n")[0].split())
    return line.replace("|", "\\|")


def _docstring(path: Path) -> str:
    return ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""


if __name__ == "__main__":
    PAGE.write_text(with_tree(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
