"""The layout of the package, and the files around the code, which agree with it."""

from __future__ import annotations

import ast
import configparser
import importlib
import importlib.util
import re
import statistics
import sys
import tomllib
from pathlib import Path
from typing import NamedTuple

import pytest

import mmevent
from mmevent.persistence.objects import TRUSTED

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "mmevent"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))[
    "project"
]
EXTRAS = PROJECT["optional-dependencies"]

ORDER = [
    *(
        "exceptions",
        "_common",
        "_settings",
        "_walk",
        "tables",
        "posts",
        "rule",
        "synthetic",
        "encoders",
        "branches",
    ),
    *("evaluation", "detector", "persistence", "corpus", "report", "cli"),
]
"""From the bottom up: each imports only from those before it."""

PACKAGES = [name for name in ORDER if (PACKAGE / name).is_dir()]
DOCUMENTED = [name for name in PACKAGES if name != "cli"]

# The pair `EventDetector.save` and `load`: the method imports when it is called.
ALLOWED = {("mmevent.detector.detector", "EventDetector.save", "persistence")}

MOST_LINES, MOST_MODULES, MEDIAN_LINES = 450, 170, 250
MOST_LEVELS, MOST_NAMES = 10, 25

DISTRIBUTION_OF = {
    "sentence_transformers": "sentence-transformers",
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


class Import(NamedTuple):
    """One import of a module: what it imports, and in which function."""

    target: str
    function: str


def dotted(path: Path) -> str:
    """Return the name by which a file of the package is imported."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {dotted(path): path for path in sorted(PACKAGE.rglob("*.py"))}
MODULES = {name: path for name, path in FILES.items() if path.stem != "__init__"}


def targets(node: ast.AST, module: str) -> list[str]:
    """Return what an import statement imports, each as a module.

    A public name of `mmevent` itself is of the package that defines it: the root loads
    it from there.
    """
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    assert node.level == 0, f"{module} has a relative import"
    source, found = str(node.module), []
    for alias in node.names:
        whole = f"{source}.{alias.name}"
        if source == "mmevent" and alias.name in mmevent._PACKAGE_OF:
            found.append(f"mmevent.{mmevent._PACKAGE_OF[alias.name]}")
        else:
            found.append(whole if whole in FILES else source)
    return found


def imports_in(tree: ast.AST, module: str, function: str = "") -> set[Import]:
    """Return the imports of code, those for type checkers left out."""
    found = set()
    for node in ast.iter_child_nodes(tree):
        inside = function
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            inside = f"{function}.{node.name}".lstrip(".")
        found |= {Import(target, function) for target in targets(node, module)}
        found |= imports_in(node, module, inside)
    return found


IMPORTS = {
    name: imports_in(ast.parse(path.read_text(encoding="utf-8")), name)
    for name, path in FILES.items()
}


def package_of(module: str) -> str:
    """Return the place of a module in `ORDER`; the root has none."""
    return module.split(".")[1] if "." in module else ""


def is_allowed(module: str, found: Import) -> bool:
    return (module, found.function, package_of(found.target)) in ALLOWED


def own_imports(module: str) -> set[str]:
    """Return the modules of mmevent that a module imports, but for what is allowed."""
    return {
        found.target
        for found in IMPORTS[module]
        if found.target.split(".")[0] == "mmevent" and not is_allowed(module, found)
    }


def circles(graph: dict[str, set[str]]) -> dict[str, set[str]]:
    """Return what is left of a graph when all that is in no circle is taken away."""
    left = {name: targets & graph.keys() for name, targets in graph.items()}
    while True:
        wanted = set().union(*left.values()) if left else set()
        free = {name for name, found in left.items() if not found}
        free |= left.keys() - wanted
        if not free:
            return left
        left = {name: found - free for name, found in left.items() if name not in free}


def n_lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def n_levels(packages: dict[str, set[str]]) -> int:
    """Return the length of the longest chain of imports; there is no circle."""
    level: dict[str, int] = {}

    def of(name: str) -> int:
        if name not in level:
            level[name] = 1 + max(map(of, packages[name]), default=0)
        return level[name]

    return max(map(of, packages))


def test_no_module_imports_in_a_circle() -> None:
    graph = {name: own_imports(name) for name in FILES if name != "mmevent"}
    assert circles(graph) == {}


def test_the_check_for_circles_finds_one() -> None:
    graph = {"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "d": set()}
    assert circles(graph) == {"b": {"c"}, "c": {"b"}}


def test_the_check_of_imports_sees_functions_and_the_root() -> None:
    code = """
from __future__ import annotations
import os
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    from mmevent.cli import main
class A:
    def f(self):
        from mmevent import load
        from mmevent.posts import images, read_table
"""
    assert imports_in(ast.parse(code), "here") == {
        Import("__future__", ""),
        Import("os", ""),
        Import("typing", ""),
        Import("mmevent.persistence", "A.f"),
        Import("mmevent.posts.images", "A.f"),
        Import("mmevent.posts", "A.f"),
    }


@pytest.mark.parametrize("package", ORDER)
def test_a_package_imports_only_from_those_below(package: str) -> None:
    above = ORDER[ORDER.index(package) + 1 :]
    wrong = [
        (module, target)
        for module in FILES
        if package_of(module) == package
        for target in sorted(own_imports(module))
        if package_of(target) in above
    ]
    assert wrong == []


def test_every_module_is_in_a_package_of_the_list() -> None:
    assert {package_of(module) for module in MODULES} <= set(ORDER)


@pytest.mark.parametrize("allowed", sorted(ALLOWED), ids=lambda a: a[1])
def test_what_is_allowed_by_name_is_used(allowed: tuple[str, str, str]) -> None:
    module, function, package = allowed
    found = [(i.function, package_of(i.target)) for i in IMPORTS[module]]
    assert (function, package) in found


def test_packages_are_not_stacked_too_high() -> None:
    packages: dict[str, set[str]] = {name: set() for name in PACKAGES}
    for module in FILES:
        if (package := package_of(module)) in packages:
            below = {package_of(target) for target in own_imports(module)}
            packages[package] |= (below & packages.keys()) - {package}
    assert circles(packages) == {}
    assert n_levels(packages) <= MOST_LEVELS


def test_no_module_is_too_long() -> None:
    long = {name: n_lines(path) for name, path in FILES.items()}
    assert {name: n for name, n in long.items() if n > MOST_LINES} == {}


def test_there_are_not_too_many_modules() -> None:
    assert len(MODULES) <= MOST_MODULES


def test_half_of_the_modules_are_short() -> None:
    assert statistics.median(map(n_lines, MODULES.values())) <= MEDIAN_LINES


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_says_what_it_is_and_what_is_public(package: str) -> None:
    module = importlib.import_module(f"mmevent.{package}")
    assert module.__doc__
    assert "Start reading at `" in " ".join(module.__doc__.split())
    assert len(set(module.__all__)) == len(module.__all__)
    assert [name for name in module.__all__ if not hasattr(module, name)] == []


@pytest.mark.parametrize("package", DOCUMENTED)
def test_every_public_name_is_on_the_api_page(package: str) -> None:
    lines = read("docs/api.md").splitlines()
    public = importlib.import_module(f"mmevent.{package}").__all__
    assert [name for name in public if f"   {name}" not in lines] == []


def test_the_api_page_lists_only_what_is_public() -> None:
    packages = {
        f"mmevent.{package}": importlib.import_module(f"mmevent.{package}").__all__
        for package in DOCUMENTED
    }
    public, module, wrong = packages | {"mmevent": mmevent.__all__}, "", []
    for line in read("docs/api.md").splitlines():
        if line.startswith(".. currentmodule:: "):
            module = line.split()[-1]
        elif re.fullmatch(r"   \w+", line) and line.strip() not in public.get(
            module, ()
        ):
            wrong.append(f"{module}.{line.strip()}")
    assert wrong == []


def test_the_root_has_few_names() -> None:
    assert len(mmevent.__all__) <= MOST_NAMES


def test_every_module_has_its_test_file() -> None:
    missing = []
    for module in MODULES:
        *folders, name = module.split(".")[1:]
        test = Path("tests", *folders, f"test_{name.lstrip('_')}.py")
        if not (ROOT / test).is_file():
            missing.append(test.as_posix())
    assert missing == []


@pytest.mark.parametrize("kind", [k for k in TRUSTED if k.startswith("mmevent.")])
def test_a_saved_model_names_public_paths(kind: str) -> None:
    *modules, name = kind.split(".")
    assert not any(part.startswith("_") for part in modules)
    package = importlib.import_module(".".join(modules[:2]))
    assert name in package.__all__
    assert getattr(package, name).__module__ == ".".join(modules)


def test_the_page_for_contributors_lists_every_module() -> None:
    file = ROOT / "docs" / "make_tree.py"
    spec = importlib.util.spec_from_file_location("make_tree", file)
    assert spec is not None
    assert spec.loader is not None
    make_tree = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make_tree)
    page, tree = read("docs/contributing.md"), make_tree.tree()
    for module in MODULES.values():
        assert f"| `{module.name}` |" in tree
    assert make_tree.with_tree(page) == page, "run: python docs/make_tree.py"


def test_the_files_that_the_page_for_contributors_names_exist() -> None:
    text = read("docs/contributing.md")
    named = re.findall(r"`((?:\w+/)+\w+\.py)`", text)
    assert "rule/fusion.py" in named
    lost = [n for n in named if not ((PACKAGE / n).is_file() or (ROOT / n).is_file())]
    assert lost == []


def test_everything_imported_is_a_declared_dependency() -> None:
    imported = {
        found.target.partition(".")[0] for found in set().union(*IMPORTS.values())
    }
    third_party = imported - sys.stdlib_module_names - {"mmevent"}
    stated = [*PROJECT["dependencies"], *EXTRAS["plots"]]  # those once one is asked for
    declared = {re.split(r"[<>=]", d)[0] for d in stated}
    assert {DISTRIBUTION_OF.get(name, name) for name in third_party} <= declared


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
