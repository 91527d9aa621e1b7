"""Recorded measurements, and the README's table of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from distill_sql import provenance
from distill_sql.errors import DistillSqlError, ParameterError
from distill_sql.runs import measured
from distill_sql.runs.measured import Measurement, Row

ROWS = [
    Row("scoring", "{:.1f} s", name="scoring.cold"),
    Row("right", "{:.1%}", name="pocket.right"),
    Row("never measured", "{:d}", name="nothing"),
    Row("verdicts", "all", checked="tests/scoring/test_parity.py"),
]


@pytest.fixture
def book(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a book; the current folder is in it."""
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "_toc.yml").write_text("")
    monkeypatch.chdir(tmp_path / "notebooks")
    return tmp_path


def measurement(name: str, value: float, **machine: object) -> Measurement:
    about = {"cpu": "X", "cores": 2, "memory_gib": 8.0, "bfloat16": True, "accelerator": None,
             "system": "Linux x86_64"} | machine  # fmt: skip
    return Measurement(
        name, value, "s", "make book", about, {"python": "3.11"}, "abc", "2026-01-01"
    )


def test_recording_keeps_the_latest_value_of_a_name_and_its_origin(
    book: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    measured.record({"b": (1.0, "s"), "a": (2.0, "")}, command="first")
    path = measured.record({"b": (3.25, "s")}, command="second")
    assert path == book / "book" / "measured" / "measurements.jsonl"
    assert "recorded b in " in capsys.readouterr().out
    found = measured.read_measurements(path)
    assert [(one.name, one.value, one.unit, one.command) for one in found.values()] == [
        ("a", 2.0, "", "first"),
        ("b", 3.25, "s", "second"),
    ]
    assert found["b"].machine == provenance.hardware()
    assert found["b"].versions["python"] == provenance.packages()["python"]
    assert str(book) not in path.read_text()


def test_the_table_has_the_recorded_values_and_names_their_machines() -> None:
    found = {
        "scoring.cold": measurement("scoring.cold", 0.94),
        "pocket.right": measurement("pocket.right", 0.7549, bfloat16=False),
    }
    assert measured.table(ROWS, found).splitlines() == [
        "| what | figure | how | where |",
        "|---|---|---|---|",
        "| scoring | 0.9 s | `make book` | A |",
        "| right | 75.5 % | the same | B |",
        "| verdicts | all | `tests/scoring/test_parity.py` | each |",
        "",
        "Machines: A: X, 2 cores, 8.0 GiB, multiplies bfloat16, Linux x86_64. "
        "B: X, 2 cores, 8.0 GiB, does not multiply bfloat16, Linux x86_64.",
    ]
    assert measured.missing(ROWS, found) == ["nothing"]
    assert measured.table(ROWS[3:], found).endswith("| each |\n")


def test_the_table_can_be_written_into_the_page_repeatedly(
    book: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = book / "README.md"
    page.write_text(f"before\n{measured.BEGIN}\nold\n{measured.END}\nafter\n")
    results = book / "book" / "measured"
    results.mkdir(parents=True)
    (results / "rows.toml").write_text(
        '[[row]]\nwhat = "a"\nfigure = "{:.0f} s"\nname = "a"\n'
        '[[row]]\nwhat = "b"\nfigure = "{:.0f} s"\nname = "b"\n'
    )
    measured.record({"a": (1.6, "s")}, command="this")
    assert measured.main([str(page)]) == 0
    assert "b was never recorded" in capsys.readouterr().err
    text = page.read_text()
    assert text.startswith(f"before\n{measured.BEGIN}\n")
    assert "| a | 2 s | `this` | A |" in text
    assert text.endswith(f"{measured.END}\nafter\n")
    assert measured.main([str(page)]) == 0
    assert page.read_text() == text
    page.write_text("no place")
    assert measured.main([str(page)]) == 2
    assert "no place for the table" in capsys.readouterr().err


def test_a_line_that_is_no_measurement_and_a_missing_book_are_errors(
    book: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = book / "m.jsonl"
    path.write_text(json.dumps({"name": "a"}) + "\n")
    with pytest.raises(ParameterError, match=r"m\.jsonl, line 1: not a measurement"):
        measured.read_measurements(path)
    monkeypatch.chdir(tmp_path_factory.mktemp("nowhere"))
    with pytest.raises(DistillSqlError, match="Change into a checkout"):
        measured.folder()


def test_a_command_contains_no_path_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    words = ["/home/me/gpt-4o-mini.jsonl", "--record", "--path", "../data/spider", "--rounds", "3"]
    assert measured.spelled("python -m x", words) == (
        "python -m x gpt-4o-mini.jsonl --path spider --rounds 3"
    )
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert measured.spelled("python -m x", []) == "OMP_NUM_THREADS=1 python -m x"


def test_provenance_and_torch_agree_on_bfloat16() -> None:
    backend = pytest.importorskip("distill_sql.models.torch_backend")
    pytest.importorskip("torch")
    found = provenance.hardware()["bfloat16"]
    assert found is None or found == backend.multiplies_bfloat16()
