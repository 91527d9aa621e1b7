"""Training from end to end: record, processes, memory, errors."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from distill_sql.cli import main
from distill_sql.data.datasets import Dataset, load_dataset
from distill_sql.errors import ParameterError, PredictionError, TrainingError
from distill_sql.models import folders as models
from distill_sql.models.folders import random_model
from distill_sql.models.generation import generate
from distill_sql.models.protocol import Finished
from distill_sql.models.recipes import Recipe, recipe_for
from distill_sql.models.students import open_student
from distill_sql.prompting.tokenizer import ChatTokenizer, train_tokenizer
from distill_sql.scoring import read_predictions
from distill_sql.teacher.traces import Trace
from distill_sql.training.memory import CONFIGS, check_memory, estimate_memory
from distill_sql.training.outcome import learning_rate
from distill_sql.training.rows import share_of_batch
from distill_sql.training.splits import training_set
from distill_sql.training.student import TRAINING_CODE, read_trained, train_student, validation_rows

pytest.importorskip("torch", reason="the extra train is not installed")
pytestmark = pytest.mark.filterwarnings("default")


@pytest.fixture
def traces_file(traces: list[Trace], tmp_path: Path) -> Path:
    return written(traces[:40], tmp_path / "traces.jsonl")


def written(traces: list[Trace], path: Path) -> Path:
    path.write_text("".join(json.dumps(asdict(trace)) + "\n" for trace in traces))
    return path


def spread(traces: list[Trace], databases: int) -> list[Trace]:
    """The traces spread over several databases, so that one can be held out."""
    return [replace(one, db_id=f"db{n % databases}") for n, one in enumerate(traces)]


def test_a_run_leaves_a_complete_record_and_is_not_run_twice(
    recipe: Recipe, traces: list[Trace], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    first = train_student(recipe, traces[:40], out, framework="torch", progress=False)
    assert {path.name for path in out.iterdir()} == {
        "adapter", "losses.json", "manifest.json", "run.json",
    }  # fmt: skip
    record = json.loads((out / "manifest.json").read_text())
    assert (record["recipe"], record["seed"]) == (recipe.name, 42)
    assert record["overridden"]["rank"] == 4
    assert (record["training"]["learned"], record["training"]["updates"]) == (40, 5)
    assert (record["precision"], record["schema_tokens"], record["micro_batch"]) == (
        "float32", 0, 8,
    )  # fmt: skip
    assert record["training"]["tokens"] == first.tokens > first.learned_tokens > 0
    assert record["training"]["peak_memory"] > 2**20
    stamp = (out / "adapter" / "adapter_model.safetensors").stat().st_mtime_ns
    again = train_student(recipe, traces[:40], out, framework="torch", progress=False)
    assert (out / "adapter" / "adapter_model.safetensors").stat().st_mtime_ns == stamp
    assert again.updates == first.updates


def test_a_run_with_another_recipe_or_other_traces_is_refused(
    recipe: Recipe, traces: list[Trace], tmp_path: Path
) -> None:
    train_student(recipe, traces[:16], tmp_path, framework="torch", progress=False)
    with pytest.raises(TrainingError, match=r"rank was 4, now 8. Train into another folder"):
        train_student(replace(recipe, rank=8), traces[:16], tmp_path, progress=False)
    with pytest.raises(TrainingError, match="the traces differ"):
        train_student(recipe, traces[:24], tmp_path, progress=False)


def test_traces_in_another_style_than_the_recipes_are_refused(
    recipe: Recipe, traces: list[Trace], tmp_path: Path
) -> None:
    with pytest.raises(TrainingError, match=r"in the full style and trace 0 .* compact style"):
        train_student(replace(recipe, style="full"), traces, tmp_path, framework="torch")


def test_traces_with_another_budget_than_the_recipes_are_refused(
    recipe: Recipe, traces: list[Trace], tmp_path: Path
) -> None:
    """Prompts must not differ between training and evaluation, whichever has the budget."""
    cut = [replace(trace, schema_tokens=150) for trace in traces[:16]]
    with pytest.raises(
        TrainingError,
        match=r"shows the whole schema and trace 0 .* at most 150 tokens .*--schema-tokens 150",
    ):
        train_student(recipe, cut, tmp_path, framework="torch")
    narrow = replace(recipe, schema_tokens=150)
    with pytest.raises(TrainingError, match=r"at most 150 tokens .* and trace 0 .* the whole"):
        train_student(narrow, traces[:16], tmp_path, framework="torch")
    with pytest.raises(TrainingError, match=r"and trace 0 .* the whole schema"):  # validation's
        train_student(narrow, cut, tmp_path, validation=traces[:1], framework="torch")
    assert not list(tmp_path.iterdir())


def test_validation_is_measured_and_not_learned(
    recipe: Recipe, traces: list[Trace], tmp_path: Path
) -> None:
    fast = replace(recipe, learning_rate=1e-2)
    held = traces[180:190]
    alone = train_student(fast, traces[:40], tmp_path / "a", framework="torch", progress=False)
    found = train_student(
        fast, traces[:40], tmp_path / "b", validation=held, left_out={"near_duplicates": 3},
        framework="torch", progress=False,
    )  # fmt: skip
    assert (alone.validation, found.updates) == ((), alone.updates)
    assert [one.update for one in found.validation] == [0, 1, 2, 3, 4, 5]
    assert found.validation[-1].loss < found.validation[0].loss
    record = json.loads((tmp_path / "b" / "manifest.json").read_text())["training"]
    counts = [record[name] for name in ("learned", "validation", "near_duplicates", "too_long")]
    assert counts == [40, 10, 3, 0]
    assert read_trained(tmp_path / "b").validation == found.validation
    with pytest.raises(TrainingError, match="the traces differ"):
        train_student(fast, traces[:40], tmp_path / "b", framework="torch", progress=False)


def test_a_recipe_is_validated_on_what_it_learns(
    recipe: Recipe, traces: list[Trace], tiny_tokenizer: ChatTokenizer
) -> None:
    direct = [trace for trace in traces if trace.mode == "direct"]
    assert 0 < len(direct) < len(traces)
    every = validation_rows(traces, tiny_tokenizer, recipe)
    assert len(every) == len(traces)
    some = validation_rows(traces, tiny_tokenizer, replace(recipe, modes="direct"))
    assert some == validation_rows(direct, tiny_tokenizer, recipe)
    limit = sorted(len(row.ids) for row in every)[50]
    short = validation_rows(traces, tiny_tokenizer, replace(recipe, length=limit))
    assert short == tuple(row for row in every if len(row.ids) <= limit)


def test_the_code_that_trains_computes_what_its_version_says(
    recipe: Recipe, tmp_path: Path
) -> None:
    """If this fails after an intended change, increment TRAINING_CODE and update the losses here:
    students of the earlier code are then trained again.

    Nothing in it depends on the benchmark, on prompts or on a trained tokenizer.
    """
    base = random_model(
        tmp_path / "model", train_tokenizer([], vocabulary=259, name="bytes"), width=32, layers=2,
        inner=64, heads=2, kv_heads=1,
    )  # fmt: skip
    fixed = [
        Trace(
            n, "db", "", "", "direct", ({"role": "user", "content": "abc " * (n % 7)},),
            f"SELECT {n * n} FROM t", "", 1, 1, "m", 0, 0, 0,
        )
        for n in range(24)
    ]  # fmt: skip
    strong = replace(recipe, base=str(base), style="full", learning_rate=0.1, epochs=3, warm_up=2)
    found = train_student(
        strong, fixed[:20], tmp_path / "run", validation=fixed[20:], framework="torch",
        progress=False,
    )  # fmt: skip
    assert TRAINING_CODE == 2
    assert [update.loss for update in found.updates] == pytest.approx(
        [5.539, 5.534, 5.415, 5.486, 5.417, 5.479, 5.406, 5.409, 5.413], abs=1e-3
    )
    assert [one.update for one in found.validation] == [0, 2, 4, 5, 7, 9]
    assert [one.loss for one in found.validation] == pytest.approx(
        [5.519, 5.409, 5.416, 5.457, 5.405, 5.403], abs=1e-3
    )


def test_training_changes_what_is_answered_and_an_adapter_travels(
    recipe: Recipe, traces: list[Trace], pocket_train: Dataset, tmp_path: Path
) -> None:
    strong = replace(recipe, learning_rate=3e-2)
    trained = train_student(strong, traces, tmp_path / "run", framework="torch", progress=False)
    before, after = (open_student(strong, adapter=a) for a in (None, trained.adapter))
    texts = [
        generate(
            student, pocket_train.limit(4), tmp_path / f"{name}.jsonl", model=name,
            style="compact", max_tokens=8, progress=False,
        ).read_text()
        for name, student in (("before", before), ("after", after))
    ]  # fmt: skip
    assert texts[0] != texts[1]


@pytest.mark.slow
def test_two_processes_train_as_one(
    recipe: Recipe, traces: list[Trace], tiny_tokenizer: ChatTokenizer, tmp_path: Path
) -> None:
    """Under accelerate with gloo: the same schedule, the same batches, the same losses."""
    some = spread(traces[:44], databases=11)
    prepared = training_set(some, tiny_tokenizer, max_tokens=recipe.length)
    one = train_student(
        recipe, prepared.train, tmp_path / "one", validation=prepared.validation,
        framework="torch", progress=False,
    )  # fmt: skip
    changes = [
        f"--set={name}={getattr(recipe, name)!r}"
        for name in ("base", "rank", "alpha", "dropout", "learning_rate", "warm_up")
    ]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "distill_sql.cli", "train", "pocket-s", *changes,
         "--traces", str(written(some, tmp_path / "traces.jsonl")),
         "--out", str(tmp_path / "two"), "--processes", "2",
         "--framework", "torch", "--micro-batch", "2"],
        capture_output=True, text=True, timeout=200, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    two = json.loads((tmp_path / "two" / "losses.json").read_text())
    for name in ("updates", "validation"):
        assert [entry["loss"] for entry in two[name]] == pytest.approx(
            [value.loss for value in getattr(one, name)], rel=1e-3
        )
    assert two["updates"][-1]["learning_rate"] == pytest.approx(
        learning_rate(4, peak=recipe.learning_rate, warm_up=4, total=5)
    )


def test_a_batch_is_shared_evenly_or_not_at_all(recipe: Recipe) -> None:
    assert [share_of_batch(recipe, n) for n in (1, 2, 4, 8)] == [8, 4, 2, 1]
    assert share_of_batch(recipe, 2, 1) == 1
    with pytest.raises(TrainingError, match="3 devices cannot share evenly"):
        share_of_batch(recipe, 3)
    with pytest.raises(TrainingError, match="A micro batch of 3 does not divide the 8"):
        share_of_batch(recipe, 1, 3)


# --- Memory -------------------------------------------------------------------------------------


def test_the_known_shapes_are_the_published_ones(data_dir: Path) -> None:
    names = {"0.5B-Instruct": "0.5B-Instruct", "1.5B-Instruct": "1.5B-Instruct",
             "3B": "3B-Instruct", "7B": "7B-Instruct", "14B": "14B-Instruct"}  # fmt: skip
    for file, name in names.items():
        path = data_dir / "qwen2.5-configs" / f"Qwen2.5-{file}.config.json"
        published = json.loads(path.read_text())
        ours = CONFIGS[f"Qwen/Qwen2.5-{name}"]
        different = {k: (v, published[k]) for k, v in ours.items() if published[k] != v}
        # The larger models have a larger padded vocabulary, which hardly changes an estimate.
        assert different.keys() <= {"vocab_size"}


def test_weights_are_counted_to_the_parameter(tiny: Path, recipe: Recipe) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32)
    config = json.loads((tiny / "config.json").read_text())
    exact = 4 * sum(p.numel() for name, p in model.named_parameters() if p.ndim == 2)
    assert estimate_memory(config, recipe, micro_batch=8).weights == exact


def test_a_run_that_cannot_fit_says_what_would(tmp_path: Path) -> None:
    recipe = recipe_for("7b", precision="bfloat16")
    (tmp_path / "config.json").write_text(json.dumps(CONFIGS[recipe.base]))
    gib = 2**30
    needed = check_memory(tmp_path, recipe, micro_batch=1, free=200 * gib)
    assert 14 * gib < needed.weights < 15 * gib
    with pytest.raises(TrainingError, match=r"7b needs about .* With --micro-batch \d it fits"):
        check_memory(tmp_path, recipe, micro_batch=8, free=needed.total + gib)
    with pytest.raises(TrainingError, match=r"Recipe .* fits with --micro-batch 1"):
        check_memory(tmp_path, recipe, micro_batch=1, free=14 * gib)
    with pytest.raises(TrainingError, match="No recipe of its family fits"):
        check_memory(tmp_path, recipe, micro_batch=1, free=gib // 4)


# --- Bad input ----------------------------------------------------------------------------------


def test_a_base_row_is_not_trained(traces: list[Trace], tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"7b-base is a base row.*Train 7b instead"):
        train_student(recipe_for("7b-base"), traces, tmp_path)


def test_weights_that_are_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("MODELS_DIR", str(tmp_path))
    with pytest.raises(TrainingError, match=r"Qwen2.5-0.5B-Instruct are not on this machine"):
        models.base_folder(recipe_for("0.5b"))


def test_models_dir_is_looked_in(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(tiny, tmp_path / "Qwen2.5-0.5B-Instruct")
    monkeypatch.setenv("MODELS_DIR", str(tmp_path))
    assert models.base_folder(recipe_for("0.5b")) == tmp_path / "Qwen2.5-0.5B-Instruct"


def test_a_model_without_chat_template_weights_or_configuration(tiny: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny, tmp_path / "model"))
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(TrainingError, match="has no chat template"):
        models.checked(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(TrainingError, match="has a configuration but no weights"):
        models.checked(folder)
    (folder / "config.json").unlink()
    with pytest.raises(TrainingError, match="No model in"):
        models.checked(folder)


def test_a_tokenizer_of_another_model(
    tiny: Path, recipe: Recipe, tmp_path: Path, qwen_dir: Path
) -> None:
    folder = Path(shutil.copytree(tiny, tmp_path / "model"))
    (folder / "tokenizer.json").unlink()
    for name in ("vocab.json", "merges.txt", "added_tokens.json"):
        shutil.copy(qwen_dir / name, folder)
    with pytest.raises(TrainingError, match="do not belong together"):
        open_student(replace(recipe, base=str(folder)), framework="torch")


def test_an_adapter_of_another_base(
    recipe: Recipe, traces: list[Trace], tiny: Path, tmp_path: Path
) -> None:
    trained = train_student(recipe, traces[:16], tmp_path / "run", progress=False)
    other = Path(shutil.copytree(tiny, tmp_path / "other"))
    with pytest.raises(TrainingError, match=r"was trained on .*tiny.*but the base of .*other"):
        open_student(replace(recipe, base=str(other)), adapter=trained.adapter)
    with pytest.raises(TrainingError, match="No adapter in"):
        open_student(recipe, adapter=tmp_path)


def test_a_full_disk_is_named(
    recipe: Recipe, traces: list[Trace], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    peft = pytest.importorskip("peft")

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(peft.PeftModel, "save_pretrained", full)
    with pytest.raises(TrainingError, match=r"could not be saved in .*No space left.*Free some"):
        train_student(recipe, traces[:16], tmp_path, framework="torch", progress=False)


def test_four_bits_need_a_gpu(tiny: Path, recipe: Recipe) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(TrainingError, match="needs a CUDA device; this machine has none"):
        open_student(replace(recipe, precision="nf4"), framework="torch")


# --- Predictions --------------------------------------------------------------------------------


def test_predictions_are_resumed_and_line_up(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dev = load_dataset("pocket").limit(30)
    student = open_student(recipe, framework="torch")
    options = {"model": "tiny", "style": "compact", "max_tokens": 6, "progress": False}
    whole = generate(student, dev, tmp_path / "whole.jsonl", batch=4, **options)  # type: ignore[arg-type]
    assert len(read_predictions(whole, dev)) == 30
    every, finished = student.complete_all, []  # type: ignore[attr-defined]

    def dying(*args: object, **kwargs: object) -> Iterator[list[Finished]]:
        for over in every(*args, **kwargs):
            if len(finished) >= 8 and not killed:
                killed.append(True)
                raise KeyboardInterrupt
            finished.extend(over)
            yield over

    killed: list[bool] = []
    monkeypatch.setattr(student, "complete_all", dying)
    out = tmp_path / "out.jsonl"
    with pytest.raises(KeyboardInterrupt):
        generate(student, dev, out, batch=4, **options)  # type: ignore[arg-type]
    part = out.with_name("out.jsonl.part")
    part.write_text(part.read_text() + '{"question_id": 3, "db_')  # as a kill leaves it
    with pytest.raises(PredictionError, match="was begun with other settings"):
        generate(student, dev, out, batch=4, **options | {"model": "other"})  # type: ignore[arg-type]
    generate(student, dev, out, batch=4, **options)  # type: ignore[arg-type]
    assert len(finished) == 30  # none was generated twice
    same = [[json.loads(line) for line in path.read_text().splitlines()] for path in (whole, out)]
    for one, other in zip(*same, strict=True):
        assert one | {"latency_s": 0} == other | {"latency_s": 0}
    assert not part.exists()


def test_a_damaged_line_is_asked_again_and_odd_line_ends_are_no_lines(
    recipe: Recipe, tmp_path: Path
) -> None:
    dev = load_dataset("pocket").limit(4)
    student = open_student(recipe, framework="torch")
    options = {"model": "tiny", "style": "compact", "max_tokens": 4, "progress": False}
    out, part = tmp_path / "out.jsonl", tmp_path / "out.jsonl.part"
    generate(student, dev, out, **options)  # type: ignore[arg-type]
    answers = [json.loads(line) for line in out.read_text().splitlines()]
    first = answers[0] | {"raw_text": "kept\u2028\x85\x0c"}
    settings = {"model": "tiny", "mode": "direct", "style": "compact", "max_tokens": 4,
                "grammar": False, "schema_tokens": 0, "dataset": dev.fingerprint}  # fmt: skip
    damaged = ['b", "pred_sql": "SELECT 1"}', "[1]", '{"question_id": 2}', "[" * 9999, ""]
    lines = [json.dumps(settings), json.dumps(first, ensure_ascii=False), *damaged]
    part.write_text("\n".join(lines) + "\n", encoding="utf-8")
    generate(student, dev, out, **options)  # type: ignore[arg-type]
    found = [json.loads(line) for line in out.read_text(encoding="utf-8").split("\n")[:-1]]
    assert found[0] == first
    assert [one["raw_text"] for one in found[1:]] == [one["raw_text"] for one in answers[1:]]


def test_where_predictions_and_students_cannot_go_is_told_before_the_work(
    recipe: Recipe, traces_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    (tmp_path / "file").write_text("")
    nowhere = ["--set", f"base={tmp_path / 'no model'}"]  # never looked for
    for out in (fifo, tmp_path, tmp_path / "file" / "out"):
        assert main(["generate", "pocket-s", *nowhere, "--out", str(out)]) == 2
        assert f"{out} cannot be written" in capsys.readouterr().err
    command = ["train", "pocket-s", *nowhere, "--traces", str(traces_file), "--out"]
    assert main([*command, str(tmp_path / "file")]) == 2
    assert "file cannot be written" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fifo", "file", "traces.jsonl"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["generate", "pocket-s", "--out", "o", "--limit", "0"],
        ["generate", "pocket-s", "--out", "o", "--limit", "-1"],
        ["generate", "pocket-s", "--out", "o", "--batch", "0"],
        ["train", "pocket-s", "--traces", "t", "--out", "o", "--micro-batch", "0"],
        ["train", "pocket-s", "--traces", "t", "--out", "o", "--processes", "-1"],
    ],
)
def test_numbers_that_cannot_be_are_refused(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    assert capsys.readouterr().err == f"error: {' '.join(arguments[-2:])}: expected 1 or more.\n"
    assert not list(tmp_path.iterdir())


def test_the_verbs(
    recipe: Recipe, traces_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = [f"--set=base={recipe.base}", "--set=rank=4", "--set=warm_up=2"]
    run = ["train", "pocket-s", *changes, "--traces", str(traces_file), "--out"]
    assert main([*run, str(tmp_path / "run"), "--framework", "torch"]) == 0
    out = capsys.readouterr()
    assert "recipe pocket-s with base = " in out.err
    assert "5 updates, last loss" in out.out
    assert "no validation: too few databases to spare one" in out.out
    assert "40 traces to learn from, 0 near duplicates and 0 too long left out" in out.out
    adapter = ["--adapter", str(tmp_path / "run" / "adapter")]
    answer = ["generate", "pocket-s", *changes, *adapter, "--limit", "3", "--out"]
    assert main([*answer, str(tmp_path / "p.jsonl"), "--framework", "torch"]) == 0
    assert "3 predictions; now: distill-sql score" in capsys.readouterr().out
    assert main([*answer, str(tmp_path / "g.jsonl"), "--framework", "torch", "--grammar"]) == 0
    assert len((tmp_path / "g.jsonl").read_text().splitlines()) == 3
    capsys.readouterr()
    assert main(["train", "pocket-s", "--traces", str(tmp_path / "no"), "--out", "x"]) == 2
    assert main([*run, "x", "--set", "seed"]) == 2
    assert "expected NAME=VALUE" in capsys.readouterr().err


def test_train_sets_databases_apart_and_says_what_it_learned(
    recipe: Recipe, traces: list[Trace], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cut = [replace(one, schema_tokens=150) for one in spread(traces[:44], databases=11)]
    file = str(written([*cut, cut[-1]], tmp_path / "traces.jsonl"))
    changes = [f"--set=base={recipe.base}", "--set=rank=4", "--set=warm_up=2"]
    run = ["train", "pocket-s", *changes, "--framework", "torch", "--traces", file, "--out"]
    assert main([*run, str(tmp_path / "refused")]) == 2
    assert "Train with --schema-tokens 150" in capsys.readouterr().err
    run[2:2] = ["--schema-tokens", "150"]
    assert main([*run, str(tmp_path / "run")]) == 0
    last = capsys.readouterr().out
    assert re.search(r"validation loss \d\.\d{3} on 4 traces of 1 databases of their own; ", last)
    assert "40 traces to learn from, 1 near duplicates and 0 too long left out" in last
    assert json.loads((tmp_path / "run" / "manifest.json").read_text())["schema_tokens"] == 150
    assert main([*run, str(tmp_path / "all"), "--validation-share", "0"]) == 0
    assert "44 traces to learn from" in capsys.readouterr().out
    assert main([*run, str(tmp_path / "x"), "--validation-share", "0.9"]) == 2
    assert "--validation-share 0.9: expected 0 to 0.5" in capsys.readouterr().err


def test_unknown_size() -> None:
    with pytest.raises(ParameterError, match="Unknown recipe '8b'"):
        recipe_for("8b")
