"""Fuzz tests of commands on generated databases, predictions and answers.

Each example has its own folder. A command may report an error (status 2, or 1 if work is left). It
must not raise, run for long, or write to anything but its outputs and the cache. With
``DISTILL_SQL_FUZZ=400`` there are 400 random examples; the default is a few fixed ones.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from distill_sql import cli
from distill_sql.data.datasets import load_dataset
from distill_sql.errors import DatasetError
from distill_sql.teacher.settings import settings_for
from distill_sql.teacher.store import Sample, Store
from distill_sql.teacher.work import requests_for
from tests.hostile import Database, databases, quoted, write_dataset

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = int(os.environ.get("DISTILL_SQL_FUZZ", "0"))
#: Deadline of one command, in seconds.
PATIENCE = 90
URL = "http://127.0.0.1:9/v1"

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="no alarm signal here")

fuzzing = {
    "deadline": None,
    "derandomize": not EXAMPLES,
    "suppress_health_check": list(HealthCheck),
    "phases": (Phase.explicit, Phase.reuse, Phase.generate),  # shrinking takes hundreds of runs
}

texts = (
    st.text(st.characters(), max_size=30)
    | st.sampled_from(["", ";", "SELECT", "(" * 3000, "SELECT 1" + " UNION SELECT 1" * 300, "'",
                       "--",
                       "/*", "\x00", "SELECT 1;;", "\ud800", "DROP TABLE t", "SELECT 1 -- x",
                       "WITH RECURSIVE a AS (SELECT 1 UNION ALL SELECT 1 FROM a) SELECT * FROM a"])
)  # fmt: skip
golds = st.sampled_from([
    "SELECT 1", "SELECT count(*) FROM there_is_one", "SELECT n FROM there_is_one WHERE n > = 2",
    "VALUES (1), (2)", "SELECT CAST('1' AS UNSIGNED BIG INT)", "SELECT 1; -- one", "SELECT missing",
    "WITH a AS (SELECT 1 AS b) SELECT b FROM a", "SELECT x'00', 1e999, NULL", "SELECT 1 WHERE 0",
    "SELECT n FROM there_is_one ORDER BY n LIMIT 1", "SELECT YEAR(CURDATE())", "",
])  # fmt: skip
OPTIONS = st.lists(
    st.sampled_from([
        ["--strict"], ["--keep-distinct"], ["--plug-value"], ["--neighbours", "1"],
        ["--components"],
        ["--etype", "exec"], ["--etype", "match"], ["--skip-failing-gold"], ["--jobs", "1"],
    ]),
    max_size=4, unique_by=lambda option: option[0],
)  # fmt: skip


@contextmanager
def sandboxed_folder(monkeypatch: pytest.MonkeyPatch, cwd: str = "cwd") -> Iterator[Path]:
    """A working folder with subfolders for data, outputs, the cache and temporary files."""
    root = Path(tempfile.mkdtemp())
    try:
        with monkeypatch.context() as patch:
            for name in ("data", "out", "cache", "tmp", "home", cwd):
                (root / name).mkdir(exist_ok=True, parents=True)
            patch.setenv("DISTILL_SQL_CACHE", str(root / "cache"))
            patch.setenv("HOME", str(root / "home"))
            patch.setenv("IPYTHONDIR", str(root / "cache" / "ipython"))
            patch.setenv("TOKENIZER_DIR", str(ROOT / "distill_sql/pocket/checkpoints/pocket-s"))
            patch.setenv("TMPDIR", str(root / "tmp"))
            patch.setattr(tempfile, "tempdir", str(root / "tmp"))
            patch.chdir(root / cwd)
            yield root
    finally:
        shutil.rmtree(root)


def tree(root: Path) -> dict[str, str]:
    """Every file that a command must not touch, with a digest of its bytes."""
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.relative_to(root).parts[0] not in ("out", "cache")
    }


def run(root: Path, *arguments: str) -> int:
    """The exit status of a command; checks that it ended in time and wrote only its outputs."""

    def late(number: int, frame: FrameType | None) -> None:
        raise AssertionError(f"{arguments} is not done after {PATIENCE} s")

    before = tree(root)
    previous = signal.signal(signal.SIGALRM, late)
    signal.alarm(PATIENCE)
    try:
        status = cli.main(list(arguments))
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)
    assert status in (0, 1, 2)
    assert tree(root) == before
    return status


def dataset(root: Path, database: Database, extra: list[str], split: str) -> Path:
    folder = write_dataset(root / "data" / "odd", database, split=split)
    file = folder / f"{split}.json"
    examples = json.loads(file.read_text(encoding="utf-8"))
    examples += [{"db_id": "odd", "question": f"And {q[:9]}?", "query": q} for q in extra]
    file.write_text(json.dumps(examples), encoding="utf-8")
    return folder


@pytest.mark.slow
@settings(max_examples=EXAMPLES or 12, **fuzzing)  # type: ignore[arg-type]
@given(database=databases(), extra=st.lists(golds, max_size=3), options=OPTIONS, data=st.data())
def test_scoring(
    monkeypatch: pytest.MonkeyPatch, database: Database, extra: list[str],
    options: list[list[str]], data: st.DataObject,
) -> None:  # fmt: skip
    with sandboxed_folder(monkeypatch) as root:
        folder = dataset(root, database, extra, "dev")
        queries = [
            e["query"] for e in json.loads((folder / "dev.json").read_text(encoding="utf-8"))
        ]
        wrong = [f"SELECT * FROM {quoted(name)}, there_is_one" for name in database.tables]
        answers = [
            data.draw(st.sampled_from([query, f"{query};;", f"{query} -- x", *wrong]) | texts)
            for query in queries
        ]
        form = data.draw(st.sampled_from(["jsonl", "array", "bird", "txt", "odd"]))
        records: list[object] = [
            {"question_id": n, "db_id": "odd", "pred_sql": sql} for n, sql in enumerate(answers)
        ]
        if form == "odd":
            odd = data.draw(
                st.sampled_from([None, 1, [], "x", {"question_id": "0", "pred_sql": 1.5}])
            )
            records[0] = odd
        name = "p.json" if form in ("array", "bird") else "p.txt" if form == "txt" else "p.jsonl"
        written = {
            "array": json.dumps(records, indent=1),
            "bird": json.dumps({n: f"{a}\t----- bird -----\todd" for n, a in enumerate(answers)}),
            "txt": "\n".join(answer.replace("\n", " ") for answer in answers) + "\n",
        }.get(form, "\n".join(map(json.dumps, records)))
        predictions = root / "data" / name
        predictions.write_bytes(written.encode("utf-8", "surrogatepass"))
        words = [word for option in options for word in option]
        out = root / "out" / "verdicts.json"
        status = run(
            root, "score", str(predictions), "--dataset", str(folder), "--deadline", "1",
            "--json", str(out), *words,
        )  # fmt: skip
        if status == 0:
            assert len(json.loads(out.read_text(encoding="utf-8"))["examples"]) == len(queries)


@pytest.mark.slow
@settings(max_examples=EXAMPLES or 12, **fuzzing)  # type: ignore[arg-type]
@given(database=databases(), extra=st.lists(golds, max_size=3), data=st.data())
def test_traces(
    monkeypatch: pytest.MonkeyPatch, database: Database, extra: list[str], data: st.DataObject
) -> None:
    with sandboxed_folder(monkeypatch) as root:
        folder = dataset(root, database, extra, "train")
        cache, out = root / "cache" / "answers.sqlite", root / "out" / "traces.jsonl"
        try:
            train = load_dataset(folder, split="train")
        except DatasetError:
            train = None
        asked = settings_for(str(folder), model="m", base_url=URL, samples=2)
        with Store(cache) as store:
            for request in requests_for(train, asked) if train else ():
                right = f"```sql\n{request.example.query}\n```"
                answers = [data.draw(st.just(right) | texts) for _ in range(asked.samples)]
                samples = {
                    n: Sample(text.encode("utf-8", "replace").decode(), "stop", 1, 1, 0)
                    for n, text in enumerate(answers)
                }
                store.settle(request.key, request.body, samples, bound=0)
        flags = data.draw(st.sampled_from([[], ["--no-gold"], ["--all-passing"]]))
        command = [
            "teacher", "traces", str(out), "--dataset", str(folder), "--model", "m",
            "--base-url", URL, "--samples", "2", "--cache", str(cache), "--neighbours", "1",
            "--jobs", "1", *flags,
        ]  # fmt: skip
        if run(root, *command) == 0:
            first = out.read_bytes()
            assert run(root, *command) == 0
            assert out.read_bytes() == first


@pytest.mark.slow
@settings(max_examples=EXAMPLES // 10 or 1, **fuzzing)  # type: ignore[arg-type]
@given(database=databases(), extra=st.lists(golds, max_size=3))
def test_the_data_chapter(
    monkeypatch: pytest.MonkeyPatch, database: Database, extra: list[str]
) -> None:
    with sandboxed_folder(monkeypatch, "out/project") as root:
        folder = dataset(root, database, extra, "dev")
        book = root / "out" / "project"
        (book / "notebooks").mkdir()
        shutil.copy(ROOT / "notebooks" / "01_data.md", book / "notebooks")
        (book / "_toc.yml").write_text(
            "format: jb-book\nroot: book/preface\nchapters:\n- file: book/chapters/01_data\n"
        )
        try:
            load_dataset(folder)
        except DatasetError:
            expected = 2
        else:
            expected = 0
        assert run(root, "book", "run", "data", "-p", "dataset", str(folder)) == expected
