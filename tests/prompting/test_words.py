from __future__ import annotations

import pytest

from distill_sql.prompting.words import FUNCTION_WORDS, parts, stem, words


def test_words_split_identifiers_and_cut_plurals() -> None:
    assert words("StudentIDs of Pet_Owners") == [
        "studentid", "student", "id", "of", "pet_owner", "pet", "owner",
    ]  # fmt: skip
    assert words("cities class") == ["city", "class"]
    assert words("The Age of the CATS", ignored=FUNCTION_WORDS) == ["age", "cat"]


@pytest.mark.parametrize(
    ("identifier", "expected"),
    [
        ("petAges", ["pet", "Ages"]),
        ("order_item2", ["order", "item", "2"]),
        ("HTTPServer", ["HTTP", "Server"]),
        ("ownerIDs", ["owner", "IDs"]),
        ("straße_öl", ["stra", "ß", "e", "ö", "l"]),
        ("__", []),
    ],
)
def test_identifiers_split_at_underscores_capitals_and_digits(
    identifier: str, expected: list[str]
) -> None:
    assert parts(identifier) == expected


def test_inflected_forms_share_a_stem() -> None:
    assert stem("Delivered") == stem("deliver") == "deliv"
    assert stem("Cities") == stem("city") == "citi"
