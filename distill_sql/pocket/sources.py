"""Where pocket's questions come from: written by hand, or by the generator."""

from __future__ import annotations

from typing import Literal, TypeAlias, cast

from distill_sql.datasets import load_dataset, read_examples
from distill_sql.pocket.build import materialized

Source: TypeAlias = Literal["generated", "handwritten"]


def sources(split: str = "dev") -> dict[int, Source]:
    """The source of each question of a split, by question id, in the split's order.

    A model that learned from generated questions finds generated ones easier, whatever else it
    learned: accuracy over both together says little. Raises
    :class:`~distill_sql.errors.DatasetError` for a split that pocket does not have.

    >>> from collections import Counter
    >>> Counter(sources("validation").values())
    Counter({'generated': 160})
    >>> Counter(sources("test").values())
    Counter({'handwritten': 224})
    """
    dataset = load_dataset("pocket", split=split)
    if split == "test":  # whose questions are all written by hand
        return {example.question_id: "handwritten" for example in dataset}
    records = read_examples(materialized() / f"{split}.json")
    return {
        example.question_id: cast(Source, record["source"])
        for example, record in zip(dataset, records, strict=True)
    }
