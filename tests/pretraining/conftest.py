"""A small dictionary for all tests of pretraining."""

from __future__ import annotations

import pytest

from distill_sql.pretraining.lexicon import Bag, Lexicon, Sense


def bag(*words: str, file: int = 6) -> Bag:
    return Bag(
        [(Sense((word, f"{word}let"), ("object",), file), n) for n, word in enumerate(words)]
    )


@pytest.fixture(scope="module")
def lexicon() -> Lexicon:
    """A dictionary of a few words, in place of WordNet's."""
    return Lexicon(
        bag("lantern", "ferry", "orchard", "violin", "harbour", "glacier", "anvil", "kite", "loom"),
        bag("colour", "pressure", "origin", "texture", "lineage", "tempo", "altitude", file=7),
        bag("hollow", "vivid", "brittle", "ancient", "remote", "mellow", file=0),
        bag("carry", "polish", "ring", "weave", file=35),
    )
