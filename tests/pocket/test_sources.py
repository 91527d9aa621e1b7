"""The field ``source`` of pocket's questions."""

from __future__ import annotations

from collections import Counter

from distill_sql.data.datasets import load_dataset
from distill_sql.pocket.domains import load_domains
from distill_sql.pocket.questions import handwritten


def test_every_question_has_its_source() -> None:
    dev = load_dataset("pocket")
    written = {q.question for d in load_domains() if d.split == "dev" for q in handwritten(d)}
    assert {e.question for e in dev if e.source == "handwritten"} == written
    assert {e.source for e in dev} == {"generated", "handwritten"}
    assert {e.source for e in load_dataset("pocket", split="train")} == {"generated"}
    assert {e.source for e in load_dataset("pocket", split="validation")} == {"generated"}
    assert Counter(e.source for e in load_dataset("pocket", split="test")) == {"handwritten": 224}
