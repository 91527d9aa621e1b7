"""A student on PyTorch that answers: greedy, many questions at a time, over a prefix they share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

from distill_sql.errors import TrainingError
from distill_sql.models.protocol import Framework, Writer
from distill_sql.prompting.tokenizer import ChatTokenizer


class TorchStudent:
    """A model in PyTorch, in evaluation mode."""

    framework: Framework = "torch"

    def __init__(self, model: Any, tokenizer: ChatTokenizer) -> None:
        from distill_sql.models import attention

        kinds = set(getattr(model.config, "layer_types", None) or ()) - {"full_attention"}
        if kinds:
            raise TrainingError(
                f"{tokenizer.name} has layers of {', '.join(sorted(kinds))}; expected every layer "
                "to see the whole prompt, as Qwen2.5's do. Use such a model."
            )
        self.model = model.eval()
        self.model.set_attn_implementation(attention.NAME)
        self.tokenizer = tokenizer
        self._end = set(_ids(model.generation_config.eos_token_id)) | set(
            _ids(model.config.eos_token_id)
        )
        self._end |= {tokenizer.encode("<|im_end|>")[0]}

    def complete(
        self,
        prefix: Sequence[int],
        suffixes: Sequence[Sequence[int]],
        *,
        max_tokens: int,
        finished: Callable[[Sequence[int]], bool],
        writers: Sequence[Writer] | None = None,
        choose: Callable[[Any, list[int]], Any] | None = None,
        copies: int = 1,
    ) -> list[list[int]]:
        """Continuations; see :class:`~distill_sql.models.protocol.Student`.

        ``choose`` picks the next tokens of all answers at once, from logits and the answers that
        these are of. Each suffix is read once and continued ``copies`` times.
        """
        import torch

        from distill_sql.models import attention

        if writers:
            choose = _one_by_one(writers)

        with torch.inference_mode():
            where = self.model.device
            shared = attention.read(self.model.model, prefix) if prefix else None
            cache = attention.new_cache()
            # Suffixes end together: shorter ones are padded in front, between prefix and suffix.
            lengths = list(map(len, suffixes))
            count, width = len(lengths), max(lengths)
            ids = torch.tensor(
                [[0] * (width - len(suffix)) + list(suffix) for suffix in suffixes], device=where
            )
            places = torch.arange(width, device=where) - width
            positions = (places + torch.tensor(lengths, device=where)[:, None]).clamp(min=0)
            positions += len(prefix)
            mask = attention.own_mask(lengths, len(prefix), self.model)
            # Answers that are alike so far are one row, which forks where they part.
            rows = [list(range(row * copies, (row + 1) * copies)) for row in range(count)]
            answers: list[list[int]] = [[] for _ in range(count * copies)]
            for _ in range(max_tokens):
                hidden = self.model.model(
                    input_ids=ids,
                    attention_mask=mask,
                    position_ids=positions,
                    past_key_values=cache,
                    use_cache=True,
                    prefix=shared,
                ).last_hidden_state
                logits = self.model.lm_head(hidden[:, -1])
                of = [row for row, group in enumerate(rows) for _ in group]
                written = list(chain.from_iterable(rows))
                following = choose(logits[of], written) if choose else logits.argmax(-1)[of]
                alike: dict[tuple[int, int], list[int]] = {}
                for row, answer, token in zip(of, written, following.tolist(), strict=True):
                    if token in self._end:
                        continue
                    answers[answer].append(token)
                    if not finished(answers[answer]):
                        alike.setdefault((row, token), []).append(answer)
                if not alike:
                    break
                kept = [row for row, _ in alike]
                if kept != list(range(len(rows))):
                    chosen = torch.tensor(kept, device=where)
                    cache.batch_select_indices(chosen)
                    mask, positions = mask[chosen], positions[chosen]
                rows = list(alike.values())
                ids = torch.tensor([[token] for _, token in alike], device=where)
                positions = positions[:, -1:] + 1
                mask = torch.nn.functional.pad(mask[:, :, -1:], (0, 1))
            return answers


def _one_by_one(writers: Sequence[Writer]) -> Callable[[Any, list[int]], Any]:
    import torch

    def choose(logits: torch.Tensor, answers: list[int]) -> torch.Tensor:
        scores = logits.float().cpu().numpy()
        chosen = [writers[answer](one) for answer, one in zip(answers, scores, strict=True)]
        return torch.tensor(chosen, device=logits.device)

    return choose


def _ids(value: int | list[int] | None) -> list[int]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]
