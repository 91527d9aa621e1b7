"""A student on PyTorch: batched greedy decoding or sampling after a shared prefix."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeAlias

from distill_sql.errors import TrainingError
from distill_sql.models.protocol import Finished, Framework, Prompts, Writer
from distill_sql.prompting.tokenizer import ChatTokenizer

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from distill_sql.models.inference.decoding import Decoding

#: Chooses the next tokens from logits (one row per answer) and the numbers of these answers.
Choice: TypeAlias = "Callable[[torch.Tensor, list[int]], torch.Tensor]"

#: The most batches that are decoded together. Each keeps the keys and values of its prefix.
TOGETHER = 8
#: Whether an answer is complete.
End: TypeAlias = Callable[[Sequence[int]], bool]


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
        #: Token ids at which an answer ends.
        self.ends = set(_ids(model.generation_config.eos_token_id)) | set(
            _ids(model.config.eos_token_id)
        )
        self.ends |= {tokenizer.encode("<|im_end|>")[0]}

    def complete(
        self,
        prefix: Sequence[int],
        suffixes: Sequence[Sequence[int]],
        *,
        max_tokens: int,
        finished: End,
        writers: Sequence[Writer] | None = None,
        choose: Choice | None = None,
        copies: int = 1,
    ) -> list[list[int]]:
        """Continuations; see :class:`~distill_sql.models.protocol.Student`.

        Each suffix is computed once and continued ``copies`` times. ``choose`` picks the next
        tokens of all answers at once; the default is greedy decoding.
        """
        prompts = Prompts(prefix, suffixes, writers)
        is_over = _limited(finished, max_tokens)
        batch, _ = self._start(prompts, is_over, choose=choose, copies=copies)
        while batch.running:
            self._step([batch], is_over)
        return batch.answers

    def complete_all(
        self,
        batches: Iterable[Prompts],
        *,
        max_tokens: int,
        finished: End,
        rows: int,
    ) -> Iterator[list[Finished]]:
        """Continuations; see :class:`~distill_sql.models.protocol.JoiningStudent`."""
        is_over = _limited(finished, max_tokens)
        running: list[_Batch] = []
        for number, prompts in enumerate(batches):
            while running and (
                len(running) == TOGETHER
                or sum(one.running for one in running) + len(prompts.suffixes) > rows
            ):
                yield self._step(running, is_over)
                running = [one for one in running if one.running]
            batch, over = self._start(prompts, is_over, number=number)
            yield over
            if batch.running:
                running.append(batch)
        while running:
            yield self._step(running, is_over)
            running = [one for one in running if one.running]

    def _start(
        self,
        prompts: Prompts,
        is_over: End,
        *,
        number: int = 0,
        choose: Choice | None = None,
        copies: int = 1,
    ) -> tuple[_Batch, list[Finished]]:
        """A batch after its prompts and the first token of its answers."""
        import torch

        from distill_sql.models.inference.decoding import Decoding

        with torch.inference_mode():
            decoding = Decoding(self.model, prompts.prefix, prompts.suffixes, copies)
            choose = _one_by_one(prompts.writers) if prompts.writers else choose
            batch = _Batch(number, decoding, choose, len(prompts.suffixes) * copies)
            return batch, batch.take(decoding.next_logits(), self.ends, is_over)

    def _step(self, running: Sequence[_Batch], is_over: End) -> list[Finished]:
        """One more token for every answer; returns the answers that are finished by it."""
        import torch

        from distill_sql.models.inference.decoding import joint_logits

        # Not around the callers' loops: a generator would leave the mode on between two answers.
        with torch.inference_mode():
            every = joint_logits(self.model, [batch.decoding for batch in running])
            return [
                answer
                for batch, logits in zip(running, every, strict=True)
                for answer in batch.take(logits, self.ends, is_over)
            ]


class _Batch:
    """The answers to a batch of prompts; ``running`` of them are not finished."""

    def __init__(
        self, number: int, decoding: Decoding, choose: Choice | None, answers: int
    ) -> None:
        self.number = number
        self.decoding = decoding
        self.answers: list[list[int]] = [[] for _ in range(answers)]
        self.running = answers
        self._choose = choose

    def take(self, logits: torch.Tensor, ends: set[int], is_over: End) -> list[Finished]:
        """Continue each unfinished answer by a token; returns those that are finished by it."""
        rows, running = self.decoding.row_of_running, self.decoding.running
        following = self._choose(logits[rows], running) if self._choose else logits.argmax(-1)[rows]
        continued: dict[int, int] = {}
        for answer, token in zip(running, following.tolist(), strict=True):
            if token in ends:
                continue
            self.answers[answer].append(token)
            if not is_over(self.answers[answer]):
                continued[answer] = token
        self.running = len(continued)
        if continued:
            self.decoding.append(continued)
        over = (answer for answer in running if answer not in continued)
        return [Finished(self.number, answer, self.answers[answer]) for answer in over]


def _limited(finished: End, max_tokens: int) -> End:
    return lambda answer: len(answer) >= max_tokens or finished(answer)


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
