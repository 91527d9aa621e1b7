from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from distill_sql import __version__, cli
from distill_sql.cli import doctor
from distill_sql.errors import DistillSqlError

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ["torch", "mlx", "pandas", "altair", "papermill", "jupytext", "nbformat", "sphinx", "numpy"]


def run(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "distill_sql.cli", *arguments]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=cwd, env=environment
    )


def test_help_is_instant_and_names_every_verb() -> None:
    times = []
    for _ in range(3):
        started = time.perf_counter()
        done = run("--help")
        times.append(time.perf_counter() - started)
    assert min(times) < 0.3
    assert done.returncode == 0
    for name, (_, summary) in cli.COMMANDS.items():
        assert name in done.stdout
        assert summary.split()[0] in done.stdout


def test_importing_the_command_line_imports_nothing_heavy() -> None:
    code = f"import sys, distill_sql.cli; print([m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("verb", cli.COMMANDS)
def test_every_verb_has_help(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit:
        cli.main([verb, "--help"])
    assert exit.value.code == 0
    assert f"usage: distill-sql {verb}" in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit:
        cli.main(["--version"])
    assert exit.value.code == 0
    assert capsys.readouterr().out == f"distill-sql {__version__}\n"


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["book"], ["book", "nonsense"]])
def test_a_wrong_verb_is_status_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit:
        cli.main(arguments)
    assert exit.value.code == 2
    assert "usage: distill-sql" in capsys.readouterr().err


def test_a_users_mistake_is_one_message_without_a_traceback(tmp_path: Path) -> None:
    done = run("book", "build", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: no book in ")
    assert "Traceback" not in done.stderr


def test_an_interrupt_is_status_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted() -> list[doctor.Check]:
        raise KeyboardInterrupt

    monkeypatch.setattr(doctor, "checks", interrupted)
    assert cli.main(["doctor"]) == 130
    assert "interrupted" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("redirection", "status", "message"),
    [
        (">&-", 2, "error: Standard output is closed"),
        ("> /dev/full", 2, "error: Standard output cannot be written (No space left on device)"),
        ("<&- 2>&-", 0, ""),
        ("2> /dev/full", 0, ""),
    ],
)
def test_closed_and_full_streams_are_errors(redirection: str, status: int, message: str) -> None:
    if "/dev/full" in redirection and not Path("/dev/full").exists():
        pytest.skip("no /dev/full on this system")
    command = f"exec {sys.executable} -m distill_sql.cli pocket {redirection}"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        ["sh", "-c", command], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == status
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr


def test_a_closed_pipe_is_not_an_error() -> None:
    code = "from tests.cli.test_cli import talk; talk()"
    command = f"{sys.executable} -c '{code}' | head -c 10"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        ["sh", "-c", command], capture_output=True, text=True, check=False, env=environment
    )
    assert done.stdout == "word word "
    assert done.stderr == ""


def talk() -> None:
    """Run a verb that prints more than a pipe holds."""

    def much() -> list[doctor.Check]:
        print("word " * 1_000_000)
        return []

    doctor.checks = much
    sys.exit(cli.main(["doctor"]))


def test_an_os_error_is_a_message(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused() -> list[doctor.Check]:
        raise PermissionError(13, "Permission denied", "/somewhere/file")

    monkeypatch.setattr(doctor, "checks", refused)
    monkeypatch.setattr(cli, "_discard_output", lambda: None)
    assert cli.main(["doctor"]) == 2
    assert capsys.readouterr().err == "error: /somewhere/file: Permission denied\n"


def test_what_was_printed_before_an_error_is_not_lost() -> None:
    code = (
        "import sys; from distill_sql import cli; from distill_sql.cli import doctor\n"
        "def broken():\n    print('a table'); raise OSError(13, 'Permission denied', 'x')\n"
        "doctor.checks = broken; sys.exit(cli.main(['doctor']))"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": ""}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment
    )
    assert (done.returncode, done.stdout) == (2, "a table\n")
    assert done.stderr == "error: x: Permission denied\n"


def test_lone_surrogates_are_printed_as_escapes() -> None:
    done = run("score", "\udcff.jsonl")
    assert done.returncode == 2
    assert "No prediction file at" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_bug_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> list[doctor.Check]:
        raise RuntimeError("bug")

    assert not issubclass(RuntimeError, DistillSqlError)
    monkeypatch.setattr(doctor, "checks", broken)
    with pytest.raises(RuntimeError, match="bug"):
        cli.main(["doctor"])


def test_a_missing_dataset_folder_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "_toc.yml").write_text("format: jb-book\nroot: book/preface\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SPIDER_DIR", raising=False)
    assert cli.main(["book", "build", "--spider-dir", "nowhere"]) == 2
    assert capsys.readouterr().err == (
        "error: --spider-dir nowhere: no such folder; give the folder of the dataset\n"
    )
