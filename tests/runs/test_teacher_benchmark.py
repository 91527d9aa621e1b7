"""The benchmark of an open teacher's servers, with a scripted endpoint in their place."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from distill_sql.data.carried import CHECKPOINTS
from distill_sql.prompting.tokenizer import load_tokenizer
from distill_sql.runs import teacher_benchmark as benchmark
from distill_sql.teacher.open_model import OpenModel
from tests.teacher.endpoint import serving
from tests.teacher.test_sampling import Named

GOLD = "```sql\nSELECT count(*) FROM customer\n```"


@pytest.fixture
def spider(toy_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The toy dataset in Spider's layout, with the same questions for training."""
    root = Path(shutil.copytree(toy_dataset, tmp_path / "spider"))
    first, second = json.loads((root / "dev.json").read_text())
    (root / "train_spider.json").write_text(json.dumps([first]))
    (root / "train_others.json").write_text(json.dumps([second]))
    monkeypatch.setenv("TOKENIZER_DIR", str(CHECKPOINTS / "pocket-l"))
    return root


def test_both_servers_get_the_same_questions_and_every_sample_counts(
    spider: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked = []

    @contextmanager
    def stand_in(model: OpenModel) -> Iterator[Named]:
        asked.append(model.server)
        with serving(tmp_path, answers={"How many customers": [GOLD, "no", GOLD]}) as url:
            yield Named(url)

    kept: dict[str, tuple[float, str]] = {}
    monkeypatch.setattr(OpenModel, "serving", stand_in)
    monkeypatch.setattr(benchmark.measured, "record", lambda values, command: kept.update(values))
    assert benchmark.main(["--path", str(spider), "--record"]) == 0
    assert asked == ["llama.cpp", "torch"]
    counter = load_tokenizer(CHECKPOINTS / "pocket-l")
    other = "```sql\nSELECT count(*) FROM t\n```"
    tokens = sum(map(counter.count, [GOLD, "no", GOLD, other, other, other]))
    for line in capsys.readouterr().out.splitlines():
        assert f"{tokens} tokens in" in line
        assert "2 of 6 samples pass (33.3%)" in line
    assert kept["teacher.coder-1.5b.torch.passing"] == (pytest.approx(1 / 3), "")
    speed, seconds = (kept[f"teacher.coder-1.5b.torch.{name}"][0] for name in ("speed", "question"))
    assert speed * 2 * seconds == pytest.approx(tokens)


def test_a_mistake_is_a_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert benchmark.main(["--path", str(tmp_path), "--recipe", "coder-9b"]) == 2
    assert "error: " in capsys.readouterr().err
