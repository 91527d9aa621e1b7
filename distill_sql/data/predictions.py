"""A prediction: the query that a system gave for one question, one JSON line in a file."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Prediction:
    """The answer to one question; ``pred_sql`` is empty if it contained no query.

    Only a system that generates answers fills the rest: the whole text that ``pred_sql`` was
    extracted from, the seconds that the answer took, and the tokens of prompt and answer.
    """

    question_id: int
    db_id: str
    pred_sql: str
    raw_text: str | None = None
    latency_s: float | None = None
    n_prompt_tokens: int | None = None
    n_output_tokens: int | None = None

    def record(self) -> dict[str, Any]:
        """The fields that are known, in the order in which a file has them."""
        return {name: value for name, value in asdict(self).items() if value is not None}
