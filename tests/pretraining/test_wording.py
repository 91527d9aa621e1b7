"""The words of lessons: every pattern has phrasings, and none is from the benchmark."""

from __future__ import annotations

import re
from itertools import chain
from random import Random
from typing import Any

from distill_sql.pocket.patterns import Draft
from distill_sql.pocket.patterns.registry import PHRASINGS as POCKET
from distill_sql.pretraining.corpus import KINDS
from distill_sql.pretraining.lexicon import Lexicon
from distill_sql.pretraining.wording import (
    ASKS,
    CONDITIONS,
    FIGURES,
    PHRASINGS,
    VARIANTS,
    WorldSpeaker,
    composed,
    phrase,
    phrasings,
)
from distill_sql.pretraining.worlds import make_world


def drafts(lexicon: Lexicon) -> dict[str, Draft]:
    """One draft of each pattern."""
    drawn: dict[str, Draft] = {}
    for number in range(60):
        speaker = WorldSpeaker(make_world(Random(number), lexicon, 0), Random(number), "rich", 0.3)
        for pattern in chain(*KINDS.values()):
            if draft := pattern.draw(speaker):
                drawn[pattern.name] = draft
    return drawn


def test_every_pattern_has_phrasings_without_leftover_slots(lexicon: Lexicon) -> None:
    assert PHRASINGS.keys() == {pattern.name for kind in KINDS.values() for pattern in kind}
    drawn = drafts(lexicon)
    assert drawn.keys() == PHRASINGS.keys()
    for name, words in PHRASINGS.items():
        for template in every_template(words):
            plain = phrase(Random(1), template, drawn[name], "rich")
            assert not re.search(r"[<>{}\[\]\x01\x02]", plain.replace(" < ", "").replace(" > ", ""))
        unsaid = " ".join(words.get("unsaid", []))
        assert not {"{asked}", "{label}"} & set(re.findall(r"{\w+}", unsaid))


def test_questions_name_the_column_that_their_query_returns(lexicon: Lexicon) -> None:
    """A question that named a condition's column instead taught models to return it."""
    for name, draft in drafts(lexicon).items():
        if PHRASINGS[name].get("asks") not in ("many", "one", "once"):
            continue
        wanted = "{asked}" if "asked" in draft.slots else "{col}"
        for seed in range(5):
            for template in phrasings(Random(seed), name, "rich", draft.sql):
                assert wanted in template, (name, template)


def test_no_phrasing_is_from_the_benchmark() -> None:
    def plain(phrasing: str) -> str:
        return " ".join(re.sub(r"[^\w{}]+", " ", phrasing.lower()).split())

    def regex(template: str) -> re.Pattern[str]:
        """A pattern of all texts of a template, without punctuation and spaces."""
        while found := re.search(r"<(\w+)>", template):
            template = template.replace(found[0], f"[{'|'.join(VARIANTS[found[1]])}]")
        parts = re.split(r"([\[\]|])", template)
        spelled = {"[": "(?:", "]": ")", "|": "|"}
        return re.compile(
            "".join(
                spelled.get(part) or "".join(f"(?: ?{re.escape(w)})" for w in plain(part).split())
                for part in parts
            ),
            re.IGNORECASE,
        )

    assert regex("see [the|<no>] {things}.").fullmatch(plain("See none of the {things}?"))
    theirs = {plain(p) for words in POCKET.values() for part in words.values() for p in part}
    for words in PHRASINGS.values():
        for template in every_template(words):
            template = template.replace("{link}", "[{link}|<linkand>|<linkor>]")
            ours = regex(template)
            assert not [phrasing for phrasing in theirs if ours.fullmatch(phrasing)], template


def every_template(words: dict[str, Any]) -> list[str]:
    """All templates of a pattern, composed ones included."""
    whole = [*words["terse"], *words.get("rich", []), *words.get("unsaid", [])]
    asks = [ask for kind in ("asks", "names") for ask in ASKS.get(words.get(kind, ""), [])]
    if words.get("asks") == "figure":
        asks += [ask for kind in FIGURES.values() for ask in kind]
    sets = words.get("sets", words.get("ones", []))
    return whole + [composed(words, ask, what) for ask in asks for what in sets]


def test_every_condition_contains_its_value() -> None:
    for ways in CONDITIONS.values():
        assert all("{value}" in way for way in ways)
