"""The state of a batch while its answers are decoded, and the step of several batches at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain

import torch
import torch.nn.functional as F
from transformers import PreTrainedModel

from distill_sql.models.inference import attention


class Decoding:
    """``copies`` answers to each of the prompts ``prefix + suffix``, one token per step.

    Identical answers share one row of the batch; the row is copied when they differ. The prefix is
    computed once. Suffixes are padded on the left, between prefix and suffix.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        prefix: Sequence[int],
        suffixes: Sequence[Sequence[int]],
        copies: int,
    ) -> None:
        where = model.device
        self._model = model
        self._prefix = attention.compute_prefix(model.model, prefix) if prefix else None
        self._cache = attention.new_cache()
        lengths = list(map(len, suffixes))
        width = max(lengths)
        self._ids = torch.tensor(
            [[0] * (width - len(suffix)) + list(suffix) for suffix in suffixes], device=where
        )
        places = torch.arange(width, device=where) - width
        positions = (places + torch.tensor(lengths, device=where)[:, None]).clamp(min=0)
        self._positions = positions + len(prefix)
        self._mask = attention.own_mask(lengths, len(prefix), model)
        self._rows = [list(range(n * copies, (n + 1) * copies)) for n in range(len(suffixes))]

    @property
    def running(self) -> list[int]:
        """The numbers of the answers that are not finished, in the order of their rows."""
        return list(chain.from_iterable(self._rows))

    @property
    def row_of_running(self) -> list[int]:
        """The row of each of the ``running`` answers."""
        return [row for row, group in enumerate(self._rows) for _ in group]

    def next_logits(self) -> torch.Tensor:
        """The logits of the next token of each row."""
        hidden = self._model.model(
            input_ids=self._ids,
            attention_mask=self._mask,
            position_ids=self._positions,
            past_key_values=self._cache,
            use_cache=True,
            prefix=self._prefix,
        ).last_hidden_state
        logits: torch.Tensor = self._model.lm_head(hidden[:, -1])
        return logits

    @property
    def part(self) -> attention.Part:
        """The rows of this batch as a part of a step with other batches."""
        return attention.Part(len(self._ids), self._cache, self._mask, self._prefix)

    def append(self, tokens: Mapping[int, int]) -> None:
        """Append a token to each of the given answers; the other ones are finished."""
        groups: dict[tuple[int, int], list[int]] = {}
        for row, answer in zip(self.row_of_running, self.running, strict=True):
            if answer in tokens:
                groups.setdefault((row, tokens[answer]), []).append(answer)
        kept = [row for row, _ in groups]
        if kept != list(range(len(self._rows))):
            chosen = torch.tensor(kept, device=self._ids.device)
            self._cache.batch_select_indices(chosen)
            self._mask, self._positions = self._mask[chosen], self._positions[chosen]
        self._rows = list(groups.values())
        self._ids = torch.tensor([[token] for _, token in groups], device=self._ids.device)
        self._positions = self._positions[:, -1:] + 1
        self._mask = F.pad(self._mask[:, :, -1:], (0, 1))


def joint_logits(model: PreTrainedModel, batches: Sequence[Decoding]) -> list[torch.Tensor]:
    """The logits of the next token of each row, for each of several batches of ``model``.

    Every batch has read its prompts. The weights are read once for all batches, which on a CPU is
    most of a step.
    """
    if len(batches) == 1:
        return [batches[0].next_logits()]
    parts = [batch.part for batch in batches]
    ids = torch.cat([batch._ids for batch in batches])
    every = attention.Parts(parts)
    hidden = model.model(
        input_ids=ids,
        # Each part has its own mask. One of four dimensions stops transformers from making another.
        attention_mask=torch.zeros(len(ids), 1, 1, 1, dtype=model.dtype, device=ids.device),
        position_ids=torch.cat([batch._positions for batch in batches]),
        past_key_values=every,
        use_cache=True,
        prefix=every,
    ).last_hidden_state
    logits: torch.Tensor = model.lm_head(hidden[:, -1])
    return list(logits.split([part.rows for part in parts]))
