"""A student on PyTorch: batched greedy decoding or sampling after a shared prefix."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias

from distill_sql.errors import TrainingError
from distill_sql.models.protocol import Framework, Writer
from distill_sql.prompting.tokenizer import ChatTokenizer

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

#: Chooses the next tokens from logits (one row per answer) and the numbers of these answers.
Choice: TypeAlias = "Callable[[torch.Tensor, list[int]], torch.Tensor]"


class TorchStudent:
    """A model in PyTorch, in evaluation mode."""

    framework: Framework = "torch"

    def __init__(self, model: PreTrainedModel, tokenizer: ChatTokenizer) -> None:
        from distill_sql.models.inference import attention

        kinds = set(getattr(model.config, "layer_types", None) or ()) - {"full_attention"}
        if kinds:
            raise TrainingError(
                f"{tokenizer.name} has layers of type {', '.join(sorted(kinds))}; expected full "
                "attention in every layer, as in Qwen2.5. Use such a model."
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
        choose: Choice | None = None,
        copies: int = 1,
    ) -> list[list[int]]:
        """Continuations; see :class:`~distill_sql.models.protocol.Student`.

        Each suffix is computed once and continued ``copies`` times. ``choose`` picks the next
        tokens of all answers at once; the default is greedy decoding.
        """
        import torch

        from distill_sql.models.inference.decoding import Decoding

        if writers:
            choose = _one_by_one(writers)
        with torch.inference_mode():
            decoding = Decoding(self.model, prefix, suffixes, copies)
            answers: list[list[int]] = [[] for _ in range(len(suffixes) * copies)]
            for _ in range(max_tokens):
                logits = decoding.next_logits()
                rows, running = decoding.row_of_running, decoding.running
                following = choose(logits[rows], running) if choose else logits.argmax(-1)[rows]
                continued: dict[int, int] = {}
                for answer, token in zip(running, following.tolist(), strict=True):
                    if token in self._end:
                        continue
                    answers[answer].append(token)
                    if not finished(answers[answer]):
                        continued[answer] = token
                if not continued:
                    break
                decoding.append(continued)
            return answers


def _one_by_one(writers: Sequence[Writer]) -> Choice:
    """Lets each answer's writer choose its token."""
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
