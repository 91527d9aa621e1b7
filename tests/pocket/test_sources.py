from __future__ import annotations

import pytest

from distill_sql.datasets import load_dataset
from distill_sql.errors import DatasetError
from distill_sql.pocket import sources
from distill_sql.pocket.domains import load_domains
from distill_sql.pocket.questions import handwritten


def test_every_question_has_the_source_that_it_came_from() -> None:
    dev, found = load_dataset("pocket"), sources("dev")
    assert list(found) == [example.question_id for example in dev]
    written = {q.question for d in load_domains() if d.split == "dev" for q in handwritten(d)}
    assert {e.question for e in dev if found[e.question_id] == "handwritten"} == written
    assert set(found.values()) == {"generated", "handwritten"}
    assert set(sources("train").values()) == {"generated"}


def test_a_split_that_pocket_does_not_have() -> None:
    with pytest.raises(DatasetError, match=r"no questions|none\.json"):
        sources("none")
