"""The files around the code say the same as the code, and as one another."""

from __future__ import annotations

import ast
import configparser
import re
import sys
import tomllib
from pathlib import Path

import pytest

import mmevent

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "mmevent"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))[
    "project"
]
EXTRAS = PROJECT["optional-dependencies"]

DISTRIBUTION_OF = {
    "PIL": "pillow",
    "huggingface_hub": "huggingface-hub",
    "open_clip": "open_clip_torch",
    "sklearn": "scikit-learn",
}


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def tox_commands(environment: str) -> list[str]:
    parser = configparser.ConfigParser()
    parser.read_string(read("tox.ini"))
    return parser[environment]["commands"].strip().splitlines()


def imported_modules(tree: ast.AST) -> set[str]:
    """Give the modules that code imports, those for type checkers left out."""
    found = set()
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        found |= imported_modules(node)
    return found


def imports_by_module() -> dict[str, set[str]]:
    return {
        path.stem: imported_modules(ast.parse(path.read_text(encoding="utf-8")))
        for path in sorted(PACKAGE.glob("*.py"))
    }


def test_changelog_begins_with_this_version() -> None:
    versions = re.findall(r"^## (\S+)", read("CHANGELOG.md"), flags=re.MULTILINE)
    assert versions[0] == mmevent.__version__


def test_citation_has_this_version_and_the_method() -> None:
    citation = read("CITATION.cff")
    assert f"\nversion: {mmevent.__version__}\n" in citation
    assert "doi: 10.1177/0081175019860244" in citation


def test_every_dependency_has_a_reason_and_a_bound() -> None:
    lines = [line.strip() for line in read("pyproject.toml").splitlines()]
    stated = [
        *PROJECT["dependencies"],
        *(d for extra in EXTRAS.values() for d in extra),
    ]
    for dependency in stated:
        where = [
            i for i, line in enumerate(lines) if line.startswith(f'"{dependency}"')
        ]
        assert where, dependency
        assert all(lines[i - 1].startswith("# ") for i in where), dependency
        assert re.search(r">=|==|^mmevent\[", dependency), dependency


def test_the_oldest_versions_are_the_lower_bounds() -> None:
    bounds = [*PROJECT["dependencies"], *EXTRAS["test"], *EXTRAS["timm"]]
    pins = [line for line in read("tests/oldest.txt").splitlines() if line[0] != "#"]
    assert pins == sorted(bound.replace(">=", "==") for bound in bounds)


def test_everything_imported_is_a_declared_dependency() -> None:
    imported = {
        name.partition(".")[0]
        for names in imports_by_module().values()
        for name in names
    }
    third_party = imported - sys.stdlib_module_names - {"mmevent"}
    stated = [*PROJECT["dependencies"], *EXTRAS["plots"]]  # those once one is asked for
    declared = {re.split(r"[<>=]", d)[0] for d in stated}
    assert {DISTRIBUTION_OF.get(name, name) for name in third_party} <= declared


def test_no_module_imports_in_a_circle() -> None:
    ours = {
        module: {name.split(".")[1] for name in names if name.startswith("mmevent.")}
        for module, names in imports_by_module().items()
        if module != "__init__"
    }
    left = {module: names & ours.keys() for module, names in ours.items()}
    while free := [m for m, names in left.items() if not names & left.keys()]:
        for module in free:
            del left[module]
    assert left == {}


@pytest.mark.parametrize("tool", ["codespell", "ruff"])
def test_a_tool_has_one_version_everywhere(tool: str) -> None:
    pins = {p.split("==")[0]: p.split("==")[1] for p in EXTRAS["lint"]}
    hook = re.search(
        rf"repo: \S*{tool}\S*\n\s+rev: v(\S+)", read(".pre-commit-config.yaml")
    )
    assert hook is not None
    assert hook[1] == pins[tool]
    in_tox = re.findall(rf"^\s+{tool}==(\S+)$", read("tox.ini"), flags=re.MULTILINE)
    assert in_tox == [pins[tool]]


@pytest.mark.parametrize("environment", ["lint", "types", "docs"])
def test_ci_runs_the_commands_of_tox(environment: str) -> None:
    steps = read(".ci/run").splitlines()
    for command in tox_commands(f"testenv:{environment}"):
        stated = command.replace("{env_tmp_dir}/html", '"$work/html"')
        assert stated in steps, command


def test_ci_installs_and_tests_as_the_readme_says() -> None:
    install, test = 'pip install ".[dev]"', "python -m pytest"
    assert f"$ {install} && {test}\n" in read("README.md")
    steps = read(".ci/run").splitlines()
    assert install in steps
    assert steps[-1] == test
    assert tox_commands("testenv") == [f"{test} {{posargs}}"]


@pytest.mark.parametrize("name", sorted(mmevent._MODULE_OF))
def test_public_name_is_on_the_api_page(name: str) -> None:
    assert re.search(rf"^   {name}$", read("docs/api.md"), flags=re.MULTILINE)


@pytest.mark.parametrize(
    "page",
    [
        path.relative_to(ROOT).as_posix()
        for path in sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
    ],
)
def test_links_between_pages_lead_somewhere(page: str) -> None:
    folder = (ROOT / page).parent
    for target in re.findall(r"\]\((?!https?:|#)([^)#\s]+)", read(page)):
        assert (folder / target).exists(), target
