"""Write docs/benchmarks.md from benchmarks/results: python -m benchmarks.make_page.

The page is a function of the result files alone; a test compares the two. Other pages
quote tables between `<!-- NAME.json -->` and `<!-- end -->`.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from benchmarks._common import RESULTS, ROOT

PAGE = ROOT / "docs" / "benchmarks.md"
QUOTING = tuple(
    ROOT / "docs" / name
    for name in ("limits.md", "policies.md", "report.md", "rule.md", "speed.md")
)
_QUOTED = re.compile(r"(<!-- (\S+\.json) -->\n).*?(<!-- end -->)", re.DOTALL)

INTRODUCTION = """\
# Benchmarks

Every number on this page was written by the command above its table; none is typed
by hand. The files are in `benchmarks/results`; after a run,
`python -m benchmarks.make_page` writes the page anew. Data sets and models are read
from the folders that `MMEVENT_DATA` and `MMEVENT_MODELS` name. Multilingual E5 is in
the folder that `MMEVENT_E5` names; where it is missing there, `make_e5.py` of
`MMEVENT_MODELS` makes it, and a benchmark that cannot have it says so and ends.
"""
EMPTY = "\nNo result has been written yet.\n"


def render(results: list[dict[str, Any]]) -> str:
    """Give the page's text."""
    if not results:
        return INTRODUCTION + EMPTY
    return "\n".join([INTRODUCTION, *(_section(result) for result in results)])


def _section(result: dict[str, Any]) -> str:
    parts = [
        f"## {result['title']}",
        f"```console\n$ {result['command']}\n```",
        *(_table(table) for table in result["tables"]),
        *(["\n".join(f"- {note}" for note in result["notes"])]),
        _header(result["header"]),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _table(table: dict[str, Any]) -> str:
    columns = table["columns"]
    numeric = [
        bool(table["rows"])
        and all(isinstance(row[i], int | float | list | None) for row in table["rows"])
        for i in range(len(columns))
    ]
    lines = [
        _row(columns),
        _row(["---:" if right else "---" for right in numeric]),
        *(_row([_cell(value) for value in row]) for row in table["rows"]),
    ]
    return f"**{table['caption']}**\n\n" + "\n".join(lines)


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _cell(value: object) -> str:
    """Round for reading: three decimals, or three digits of what is below 0.01.

    A list is an interval: its numbers in square brackets.
    """
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        if value == 0 or abs(value) >= 0.01:
            return f"{value:,.3f}"
        return f"{value:.3g}"
    if isinstance(value, list):
        return f"[{', '.join(map(_cell, value))}]"
    return str(value).replace("|", "\\|")


def _header(header: dict[str, Any]) -> str:
    machine = header["machine"]
    seed = header["seed"]
    seeds = f"seeds {', '.join(map(str, seed))}" if isinstance(seed, list) else ""
    versions = ", ".join(f"{k} {v}" for k, v in header["versions"].items())
    memory = machine["memory_gb"]
    return (
        f"Commit {header['commit']}, {seeds or f'seed {seed}'}; {versions}; "
        f"{machine['cpu']}, {machine['cores']} cores"
        + (f", {memory} GiB" if memory is not None else "")
        + f", {machine['system']}."
    )


def read_results(folder: Path = RESULTS) -> list[dict[str, Any]]:
    """Read the result files, in the order of their names."""
    return [
        json.loads(path.read_text(encoding="utf-8"))
        for path in sorted(folder.glob("*.json"))
    ]


def with_quotes(page: str, folder: Path = RESULTS) -> str:
    """Give a page with the tables of the result files that it quotes."""

    def quote(found: re.Match[str]) -> str:
        result = json.loads((folder / found[2]).read_text(encoding="utf-8"))
        tables = "\n\n".join(_table(table) for table in result["tables"])
        return f"{found[1]}\n{tables}\n\n{found[3]}"

    return _QUOTED.sub(quote, page)


def main() -> None:
    """Write the page, and the quotes in others."""
    PAGE.write_text(render(read_results()), encoding="utf-8")
    for page in QUOTING:
        text = page.read_text(encoding="utf-8")
        page.write_text(with_quotes(text), encoding="utf-8")
    for page in (PAGE, *QUOTING):
        print(f"wrote {page.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
