"""What a student is, whichever framework holds it.

Two back ends implement :class:`Student`: :mod:`~distill_sql.models.torch_backend` (transformers,
peft, trl) and :mod:`~distill_sql.models.mlx_backend` (mlx-lm). Everything that must not differ
between them stands outside: token ids, loss mask, order, schedule, where an answer stops.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

from distill_sql.prompting.tokenizer import ChatTokenizer

if TYPE_CHECKING:
    import numpy as np

Framework = Literal["torch", "mlx"]

#: Chooses an answer's next token from the scores of all tokens, a vector, and remembers it.
Writer: TypeAlias = "Callable[[np.ndarray[Any, Any]], int]"

#: What opens and closes an answer's query.
FENCE = "```"


class Student(Protocol):
    """A loaded model with its tokenizer, ready to answer."""

    framework: Framework
    tokenizer: ChatTokenizer

    def complete(
        self,
        prefix: Sequence[int],
        suffixes: Sequence[Sequence[int]],
        *,
        max_tokens: int,
        finished: Callable[[Sequence[int]], bool],
        writers: Sequence[Writer] | None = None,
    ) -> list[list[int]]:
        """Greedy continuations of ``prefix + suffix`` for every suffix, as token ids.

        ``prefix`` is computed once. A continuation ends before the model's end marker, after
        ``max_tokens``, or when ``finished`` says so of what it holds. ``writers`` choose the
        tokens, one writer per suffix; without them the likeliest are taken.
        """
        ...


class ClosingFence:
    """Says when an answer is over: a code block was opened and closed.

    Only a token that holds a backtick can close one, so only then is the text looked at.
    """

    def __init__(self, tokenizer: ChatTokenizer) -> None:
        self._backend = tokenizer.backend
        self._ticks = {
            token
            for token in range(self._backend.get_vocab_size())
            if "`" in (self._backend.decode([token], skip_special_tokens=False))
        }

    def __call__(self, ids: Sequence[int]) -> bool:
        if not ids or ids[-1] not in self._ticks:
            return False
        return self._backend.decode(list(ids)).count(FENCE) >= 2
