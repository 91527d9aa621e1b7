from __future__ import annotations

import json
from pathlib import Path

import pytest

from distill_sql.cli import main
from distill_sql.teacher import Store
from tests.cli.test_teacher import PRICE, command, trained
from tests.teacher.endpoint import books, serving

__all__ = ["trained"]

PAID = [*PRICE, "--budget", "1", "--yes"]


def export(cache: Path, *more: str) -> int:
    return main(["teacher", "cache", "export", "--cache", str(cache), *more])


@pytest.fixture
def asked(trained: Path, tmp_path: Path) -> Path:
    """A cache with the answers to all questions."""
    with serving(tmp_path) as url:
        assert main(command("sample", trained, url, *PAID)) == 0
    return tmp_path / "cache.sqlite"


def test_an_export_is_written_whole_or_not_at_all(
    asked: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "out.jsonl"
    assert export(asked, "--out", str(out)) == 0
    assert len(out.read_text().split("\n")) == 7
    assert {json.loads(line)["finish"] for line in out.read_text().splitlines()} == {"stop"}
    for place in (tmp_path, Path("/proc/none/out.jsonl")):
        assert export(asked, "--out", str(place)) == 2
        assert "cannot be written" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["cache.sqlite", "link"])
@pytest.mark.parametrize("verb", ["export", "traces"])
def test_the_cache_is_not_overwritten(
    asked: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    name: str, verb: str,
) -> None:  # fmt: skip
    (tmp_path / "link").symlink_to(asked)
    before = asked.read_bytes()
    out = str(tmp_path / name)
    if verb == "export":
        assert export(asked, "--out", out) == 2
    else:
        assert main(command("traces", trained, "http://127.0.0.1:9/v1", out)) == 2
    assert "is the cache of answers" in capsys.readouterr().err
    assert asked.read_bytes() == before


def test_traces_are_not_overwritten_with_nothing(
    asked: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "traces.jsonl"
    for path in (out, tmp_path / "traces.jsonl.judged.jsonl"):
        path.write_text("paid for\n")
    before = {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    with serving(tmp_path / "trained") as url:  # another address than that which was asked
        assert main(command("traces", trained, url, str(out))) == 2
    shown = capsys.readouterr().err
    assert "None of 2 questions has its 3 samples" in shown
    assert str(out) in shown
    assert {path: path.read_bytes() for path in before} == before


def test_a_batch_is_fetched_by_a_command_that_asks_less(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(tmp_path, prompt_price=75, completion_price=300) as url:
        assert main(command("batch", trained, url, *PAID)) == 0
        less = ["--limit", "1", "--samples", "1", "--seed", "7"]
        assert main(command("batch", trained, url, *less)) == 0  # without price and budget
        capsys.readouterr()
        assert main(command("batch", trained, url)) == 0
        assert "Nothing is missing." in capsys.readouterr().out
        with Store(tmp_path / "cache.sqlite") as store:
            assert store.stats()[0]["samples"] == 6
            assert store.spent() == books(url)["cost"] > 0


def test_wait_submits_and_fetches_all_parts_of_a_split_batch(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("distill_sql.teacher.batch.time.sleep", lambda _: None)
    with serving(tmp_path) as url:
        small = ["--enqueued-tokens", "1"]
        assert main(command("batch", trained, url, *PAID, *small)) == 0
        shown = capsys.readouterr().out
        assert "1 requests submitted" in shown
        assert "1 requests are not submitted yet; run the same command later" in shown
        assert main(command("batch", trained, url, *PAID, *small, "--wait")) == 0
        shown = capsys.readouterr().out
        assert "not submitted" not in shown
        assert main(command("batch", trained, url)) == 0
        assert "Nothing is missing." in capsys.readouterr().out


def test_a_queue_without_room_is_an_error_before_any_work(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(tmp_path) as url:
        assert main(command("batch", trained, url, *PAID, "--enqueued-tokens", "0")) == 2
        assert books(url).get("requests", 0) == 0
    assert "--enqueued-tokens is 0" in capsys.readouterr().err
