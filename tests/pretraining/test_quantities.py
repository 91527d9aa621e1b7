"""Phrases for thresholds on quantities."""

from __future__ import annotations

from distill_sql.pretraining.quantities import CATEGORIES, QUANTITIES, Quantity, thresholds


def test_thresholds_have_the_value_the_unit_the_comparative_and_the_verb() -> None:
    weight = Quantity(("weight",), ("heaviest",), ("lightest",), ("kg",), 1, 9, False, ("weigh",))
    above, below = thresholds(weight, "weight", " kg")
    assert "exceeding {v} kg" in above
    assert "under {v} kg" in below
    assert {"heavier than {v} kg", "that weigh more than {v} kg"} <= {*above}
    assert {"lighter than {v} kg", "that weigh less than {v} kg"} <= {*below}
    # A superlative with *most* has no comparative phrase.
    plain, _ = thresholds(weight._replace(most=("most expensive",), does=()), "price", "")
    assert plain == tuple(p.replace(" kg", "").replace("weight", "price") for p in above[:6])


def test_every_threshold_has_a_value() -> None:
    for kind in QUANTITIES:
        for phrases in thresholds(kind, "word", " unit"):
            assert all("{v}" in phrase for phrase in phrases)
    assert all("{v}" in phrase for kind in CATEGORIES for phrase in kind.where)
