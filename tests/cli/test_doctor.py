from __future__ import annotations

from pathlib import Path

import pytest

from distill_sql import cli
from distill_sql.cli import doctor


@pytest.fixture(autouse=True)
def no_children(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip importing torch and mlx, which takes seconds, except in one test."""
    monkeypatch.setattr(doctor, "_ask", lambda code: "")
    for variable in ("SPIDER_DIR", "BIRD_DIR", "OPENAI_API_KEY"):
        monkeypatch.delenv(variable, raising=False)


def found() -> dict[str, doctor.Check]:
    return {check.name: check for check in doctor.checks()}


def test_a_key_is_never_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert found()["OPENAI_API_KEY"].ok is None
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret")
    assert found()["OPENAI_API_KEY"].ok is True
    cli.main(["doctor"])
    printed = capsys.readouterr()
    assert "OPENAI_API_KEY: set" in printed.out
    assert "sk-very-secret" not in printed.out + printed.err


def test_an_invalid_key_is_reported_and_not_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "  \n")
    assert found()["OPENAI_API_KEY"].ok is None
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret\nsk-very-secret")
    assert found()["OPENAI_API_KEY"].ok is False
    cli.main(["doctor"])
    printed = capsys.readouterr()
    assert "contains white space or a line break" in printed.out + printed.err
    assert "secret" not in printed.out + printed.err


def test_a_dataset_variable_with_a_missing_folder_is_an_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert found()["SPIDER_DIR"].ok is None
    monkeypatch.setenv("SPIDER_DIR", str(tmp_path))
    assert found()["SPIDER_DIR"].ok is True
    monkeypatch.setenv("SPIDER_DIR", str(tmp_path / "gone"))
    assert found()["SPIDER_DIR"].ok is False


def test_packages_are_compared_with_what_the_project_wants(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    versions = {"sqlglot": "30.30.0", "torch": "1.0", "altair": "6.3.0"}
    wanted = [
        "sqlglot==30.30.0",
        'altair==6.3.0; extra == "book"',
        'absent==1.0; extra == "book"',
        'torch==2.13.0; extra == "train"',
        'nowhere==1.0; sys_platform == "plan9" and extra == "mlx"',
    ]

    def version(name: str) -> str:
        if name not in versions:
            raise doctor.metadata.PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr(doctor.metadata, "requires", lambda _: wanted)
    monkeypatch.setattr(doctor.metadata, "version", version)
    checks = {check.name: check for check in doctor._packages()}
    assert checks["core"].ok is True
    assert checks["book"].ok is False  # the book cannot be built without it
    assert "absent is not installed" in checks["book"].found
    assert checks["train"].ok is None  # optional
    assert "torch is 1.0, wanted ==2.13.0" in checks["train"].found
    assert "nowhere" not in str(checks)


def test_status_is_1_when_something_needed_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    good = doctor.Check("A", "thing", True, "here")
    optional = doctor.Check("A", "extra", None, "not there", "get it")
    monkeypatch.setattr(doctor, "checks", lambda: iter([good, optional]))
    assert cli.main(["doctor"]) == 0
    assert "get it" in capsys.readouterr().out
    bad = doctor.Check("B", "other", False, "gone", "fetch it")
    monkeypatch.setattr(doctor, "checks", lambda: iter([good, bad]))
    assert cli.main(["doctor"]) == 1
    assert "fetch it" in capsys.readouterr().out


def test_outside_a_checkout_it_still_reports(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert found()["checkout"].ok is None
    assert "npm" not in found()


def test_a_child_that_fails_is_an_empty_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert doctor._ask("print('yes')") == "yes"
    assert doctor._ask("import os; os.abort()") == ""
