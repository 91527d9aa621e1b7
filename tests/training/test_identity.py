"""Digests change with everything that determines a student or its answers, and nothing else."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from distill_sql.data.datasets import Dataset, load_dataset
from distill_sql.data.schema import Schema
from distill_sql.models.folders import random_model
from distill_sql.models.grammar import QueryGrammar, vocabulary
from distill_sql.models.protocol import ClosingFence
from distill_sql.models.recipes import Recipe
from distill_sql.models.students import ANSWERING_CODE, open_student
from distill_sql.prompting.tokenizer import train_tokenizer
from distill_sql.provenance import packages
from distill_sql.teacher.traces import Trace
from distill_sql.training import identity
from distill_sql.training.identity import asked_digest, student_digest
from distill_sql.training.student import TRAINING_CODE

pytest.importorskip("trl", reason="the extra train is not installed")
pytestmark = pytest.mark.filterwarnings("default")


@pytest.fixture(scope="module")
def dev() -> Dataset:
    return load_dataset("pocket").limit(8)


@pytest.fixture(autouse=True)
def afresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clears the caches of prompts and rows, as in a new process."""
    monkeypatch.setattr(identity, "_PROMPTS", {})
    monkeypatch.setattr(identity, "_ROWS", {})


def student(
    recipe: Recipe,
    learned: list[Trace],
    held: list[Trace] | None = None,
) -> str:
    return student_digest(recipe, learned, held or [], "torch")


def asked(recipe: Recipe, dev: Dataset, **changes: int) -> str:
    settings = {"schema_tokens": 0, "grammar": False, "max_tokens": 160} | changes
    return asked_digest(recipe, dev, **settings)  # type: ignore[arg-type]


def test_every_value_of_a_recipe_makes_another_student(recipe: Recipe, traces: list[Trace]) -> None:
    some = traces[:8]
    changes = [
        {"rank": 5}, {"alpha": 9}, {"dropout": 0.1}, {"targets": ("q_proj",)}, {"seed": 7},
        {"learning_rate": 2e-3}, {"warm_up": 5}, {"batch": 4}, {"epochs": 2}, {"length": 500},
        {"modes": "direct"}, {"weight_decay": 0.1}, {"max_norm": 2.0}, {"precision": "bfloat16"},
        {"trained": False}, {"checkpointing": True},
    ]  # fmt: skip
    digests = [student(recipe, some)]
    digests += [student(replace(recipe, **change), some) for change in changes]  # type: ignore[arg-type]
    assert len(set(digests)) == len(digests)


def test_traces_in_their_order_and_validation_make_another_student(
    recipe: Recipe,
    traces: list[Trace],
) -> None:
    some = traces[:8]
    spoken = replace(some[0], messages=({"role": "user", "content": "other"},))
    digests = {
        student(recipe, some), student(recipe, some[::-1]), student(recipe, traces[:9]),
        student(recipe, [spoken, *some[1:]]), student(recipe, some, traces[9:12]),
        student(recipe, some, traces[9:13]),
        student(recipe, [replace(some[0], completion="other"), *some[1:]]),
    }  # fmt: skip
    assert len(digests) == 7


def test_what_does_not_reach_the_model_changes_nothing(
    recipe: Recipe,
    traces: list[Trace],
    tiny: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = student(recipe, traces[:8])
    assert before == student(recipe, [replace(one, cost=9, model="x") for one in traces[:8]])
    # A base row depends on its files only: it is not trained by the recipe.
    base = replace(recipe, trained=False)
    assert student(base, []) == student(replace(base, seed=7, rank=5), [])
    # Another path of the folder, and a file that is not part of the model.
    moved = Path(shutil.copytree(tiny, tmp_path / "moved"))
    (moved / "README.md").write_text("notes")
    assert student(replace(recipe, base=str(moved)), traces[:8]) == before
    # A package that does not affect results.
    real = packages

    def newer(names: tuple[str, ...]) -> dict[str, str]:
        return real((*names,)) if "altair" not in names else {}

    monkeypatch.setattr(identity, "packages", newer)
    assert student(recipe, traces[:8]) == before


@pytest.mark.parametrize(
    "file", ["model.safetensors", "config.json", "tokenizer.json", "chat_template.jinja"]
)
def test_other_weights_and_another_tokenizer_make_another_student(
    recipe: Recipe,
    traces: list[Trace],
    tiny: Path,
    tmp_path: Path,
    file: str,
) -> None:
    folder = Path(shutil.copytree(tiny, tmp_path / "model"))
    path = folder / file
    if file == "model.safetensors":
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)
    else:
        path.write_text(path.read_text() + "\n ")
    other = replace(recipe, base=str(folder))
    assert student(other, traces[:8]) != student(recipe, traces[:8])
    assert student(replace(other, trained=False), []) != student(replace(recipe, trained=False), [])


def test_the_machines_precision_packages_and_code_make_another_student(
    recipe: Recipe,
    traces: list[Trace],
    dev: Dataset,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before, said = student(recipe, traces[:8]), asked(recipe, dev)
    for name, value in (
        ("precision_used", lambda *_: "mixed"),
        ("packages", lambda names: dict.fromkeys(names, "9.9")),
        ("TRAINING_CODE", TRAINING_CODE + 1),
    ):
        with monkeypatch.context() as changed:
            changed.setattr(identity, name, value)
            assert student(recipe, traces[:8]) != before, name
    monkeypatch.setattr(identity, "ANSWERING_CODE", ANSWERING_CODE + 1)
    assert asked(recipe, dev) != said
    assert student(recipe, traces[:8]) == before


def test_settings_and_questions_decide_answers(recipe: Recipe, dev: Dataset) -> None:
    digests = {
        asked(recipe, dev), asked(recipe, dev, max_tokens=8), asked(recipe, dev, grammar=True),
        asked(recipe, dev, schema_tokens=60), asked(recipe, dev.limit(4)),
        asked(recipe, dev.without_synonyms()), asked(replace(recipe, style="full"), dev),
        asked(recipe, dev.with_examples(reversed(dev.examples))),
    }  # fmt: skip
    assert len(digests) == 8
    assert asked(recipe, dev) == asked(replace(recipe, seed=7, rank=9), dev)


@pytest.mark.parametrize("what", ["mentions", "rendering", "tokenizer", "an unrelated function"])
def test_a_change_of_code_that_reaches_prompts_decides_answers(
    recipe: Recipe,
    dev: Dataset,
    monkeypatch: pytest.MonkeyPatch,
    what: str,
) -> None:
    from distill_sql.book import survey
    from distill_sql.prompting import mentions, prompts
    from distill_sql.prompting.tokenizer import ChatTokenizer

    before = asked(recipe, dev)
    monkeypatch.setattr(identity, "_PROMPTS", {})
    if what == "mentions":
        monkeypatch.setattr(
            mentions.Mentions, "mark", lambda self, question, **_: question + " (marked)"
        )
    elif what == "rendering":
        prompts._rendered.cache_clear()

        def otherwise(schema: Schema, rows: object) -> str:
            return f"schema of {schema.db_id}"

        monkeypatch.setattr(prompts, "render_compact", otherwise)
    elif what == "tokenizer":
        encode = ChatTokenizer.encode
        monkeypatch.setattr(ChatTokenizer, "encode", lambda self, text: encode(self, text)[::-1])
    else:
        monkeypatch.setattr(survey, "histogram", None)
    changed = asked(recipe, dev) != before
    prompts._rendered.cache_clear()
    assert changed == (what != "an unrelated function")


def test_the_code_that_answers_computes_what_its_version_says(
    toy_dataset: Path, tmp_path: Path
) -> None:
    """If this fails after an intended change, increment ANSWERING_CODE and update the answers here:
    students are then asked again.

    The model is random and so are its answers; the grammar is given random scores, and makes a
    query of them.
    """
    tokenizer = train_tokenizer([], vocabulary=259, name="bytes")
    base = random_model(tmp_path, tokenizer, width=32, layers=2, inner=64, heads=2, kv_heads=1)
    weights = safetensors.numpy.load_file(base / "model.safetensors")
    loud = {name: value * (1 if "embed" in name else 8) for name, value in weights.items()}
    safetensors.numpy.save_file(loud, base / "model.safetensors", metadata={"format": "pt"})
    student = open_student(Recipe("pocket-s", str(base), precision="float32"), framework="torch")
    answers = student.complete(
        tokenizer.encode("a schema"), [tokenizer.encode(text) for text in (" one", " another")],
        max_tokens=12, finished=ClosingFence(tokenizer),
    )  # fmt: skip

    writer = QueryGrammar(load_dataset(toy_dataset).schema("shop"), vocabulary(tokenizer)).writer()
    scores = np.random.default_rng(1).normal(size=(90, 259))
    scores[:, [not tokenizer.backend.decode([token]).isascii() for token in range(259)]] = -9
    for place, token in enumerate(tokenizer.encode("```sql\nSELECT ")):
        scores[place, token] += 99
    written = tokenizer.backend.decode([writer(one) for one in scores])

    assert ANSWERING_CODE == 2
    assert written == (
        "```sql\nSELECT 5,EBD50||PzO45*024+xm49||ULF1-(9+xFu69||Rkj8/Z6/GPC4\n"
        "||tqS2+9)%I*ma21 FROM ("
    )
    assert answers == [
        [22, 181, 157, 254, 157, 231, 129, 240, 82, 22, 65, 105],
        [11, 138, 242, 29, 76, 235, 39, 95, 243, 239, 29, 76],
    ]
