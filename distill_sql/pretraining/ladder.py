"""The shapes of the pocket ladder's models, and the tokenizer that they share."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from distill_sql.prompting.tokenizer import ChatTokenizer

#: The size of the ladder's vocabulary, including the 256 bytes and three markers.
VOCABULARY = 2048


@dataclass(frozen=True)
class Shape:
    """A Qwen2 decoder with heads of width 32, and its pretraining.

    ``rich`` is the share of lessons in sentences, ``shown`` the share of queries with extra
    columns, ``tokens`` the length of the training run, and ``kind`` the kind of its questions.
    """

    name: str
    width: int
    layers: int
    inner: int
    heads: int
    kv_heads: int
    rich: float
    shown: float
    tokens: int
    seed: int = 42
    kind: Literal["benchmark", "drawn"] = "benchmark"

    def config(self, *, bos: int, eos: int) -> dict[str, Any]:
        """The keyword arguments of ``transformers.Qwen2Config``."""
        return {
            "vocab_size": VOCABULARY,
            "hidden_size": self.width,
            "intermediate_size": self.inner,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "max_position_embeddings": 2048,
            "tie_word_embeddings": True,
            # The values of Qwen2.5, which mlx-lm assumes.
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e6},
            "bos_token_id": bos,
            "eos_token_id": eos,
        }


#: Three base models, which often return extra columns, and the teacher, which has more layers.
#: pocket-l starts from pocket-m with each layer doubled, and the teacher from pocket-l.
LADDER = {
    shape.name: shape
    for shape in (
        Shape("pocket-s", 96, 3, 288, 3, 1, 1.0, 0.8, 8_000_000),
        Shape("pocket-m", 128, 4, 384, 4, 2, 1.0, 0.8, 11_000_000),
        Shape("pocket-l", 128, 8, 384, 4, 2, 1.0, 0.8, 8_000_000),
        Shape("pocket-teacher", 128, 12, 384, 4, 2, 1.0, 0.0, 9_000_000),
    )
}


def train_ladder_tokenizer(texts: Iterable[str]) -> ChatTokenizer:
    """The ladder's byte-level BPE; a name has the same tokens after a dot, quote or bracket."""
    from distill_sql.prompting.tokenizer import LADDER_SPLIT, train_tokenizer

    return train_tokenizer(texts, vocabulary=VOCABULARY, name="pocket", split=LADDER_SPLIT)
