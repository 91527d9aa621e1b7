"""Pretraining the models of the pocket ladder, reproducibly and on any machine.

``python -m distill_sql.pretraining.pretrain NAME --wordnet DIR --out DIR`` trains one model. Its
state is saved every few minutes, and the same command resumes from it. Matrices are trained with
Muon (Jordan et al., *Muon*, 2024), the other weights with AdamW. The learning rate is constant
after a warm-up, and decays to zero over the last three fifths of the tokens.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from distill_sql.models.folders import save_model
from distill_sql.pretraining.batches import Batch, batches, remember
from distill_sql.pretraining.beginnings import begin_with_copying, expand, mean_of
from distill_sql.pretraining.corpus import lessons
from distill_sql.pretraining.ladder import LADDER, Shape, train_ladder_tokenizer
from distill_sql.pretraining.lexicon import Lexicon, load_lexicon
from distill_sql.pretraining.records import history, runs_of, write_record
from distill_sql.prompting.tokenizer import ChatTokenizer, load_tokenizer

if TYPE_CHECKING:
    import torch

#: The number of lessons in the tokenizer's training set, in both languages.
TOKENIZER_SAMPLE = 6000
#: The first of them; earlier lessons are exercises and small worlds.
TOKENIZER_START = 20_000
MUON_RATE = 0.004
ADAM_RATE = 0.003
WARM_UP = 30
DECAY = 0.6
SECONDS_BETWEEN_SAVES = 240
#: Updates per line of the log.
LOGGED = 10
#: A run's files: its state, and its log.
STATE, LOG = "state.pt", "log.jsonl"
#: The offset of the lessons between successive runs of a model. By then lessons have their final
#: size, and few runs read as many.
GROWN = 40_000
#: The offset of the lessons between branches.
APART = 10_000


def rate(seen: int, step: int, total: int) -> float:
    """The factor of the learning rate after ``seen`` of ``total`` tokens."""
    left = (total - seen) / (DECAY * total)
    return min(1.0, (step + 1) / WARM_UP, max(left, 0.02))


def ladder_tokenizer(lexicon: Lexicon, folder: Path) -> ChatTokenizer:
    """Load the tokenizer in ``folder``; train and save it first if there is none."""
    path = folder / "tokenizer.json"
    if not path.exists():
        texts = [
            text
            for lesson in islice(
                lessons(lexicon, 0.5, seed=7, start=TOKENIZER_START), TOKENIZER_SAMPLE
            )
            for text in (lesson.system, lesson.context, *(part for t in lesson.turns for part in t))
        ]
        folder.mkdir(parents=True, exist_ok=True)
        train_ladder_tokenizer(texts).backend.save(str(path))
    return load_tokenizer(folder)


class Run:
    """The state of a run: model, optimizers, and position in the lessons.

    ``doubt`` is the mean error of each token (:func:`~distill_sql.pretraining.batches.batches`),
    ``step`` and ``seen`` count updates and tokens, and ``start`` is the next lesson. ``share``
    scales the learning rates.
    """

    def __init__(self, model: Any, *, share: float, start: int) -> None:
        import torch

        weights = list(model.named_parameters())
        matrices = [p for name, p in weights if p.ndim == 2 and "embed" not in name]
        rest = [p for name, p in weights if p.ndim != 2 or "embed" in name]
        self.model = model
        self.rates = {"muon": share * MUON_RATE, "adam": share * ADAM_RATE}
        self.optimizers: list[torch.optim.Optimizer] = [
            torch.optim.Muon(
                matrices, lr=MUON_RATE, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"
            ),
            torch.optim.AdamW(rest, lr=ADAM_RATE, betas=(0.9, 0.95), weight_decay=0.0),
        ]
        self.doubt = torch.full((model.config.vocab_size,), 0.5)
        self.step = self.seen = 0
        self.start = start
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        """The training time, including that before an interruption."""
        return time.monotonic() - self._began

    def update(self, batch: Batch, total: int) -> torch.Tensor:
        """Make one update of a run of ``total`` tokens, and return the mean loss."""
        import torch

        from distill_sql.pretraining.forward import losses

        share = rate(self.seen, self.step, total)
        for optimizer, full in zip(self.optimizers, self.rates.values(), strict=True):
            for group in optimizer.param_groups:
                group["lr"] = full * share
        each, learned = losses(self.model, batch)
        loss = each.mean()
        loss.backward()
        remember(self.doubt, each.detach(), learned)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad()
        self.step += 1
        self.seen += batch.tokens
        if batch.after >= 0:
            self.start = batch.after
        return loss.detach()

    def save(self, path: Path) -> None:
        """Write the state to a file."""
        state = {
            "model": self.model.state_dict(),
            "doubt": self.doubt,
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "step": self.step,
            "seen": self.seen,
            "start": self.start,
            "seconds": self.seconds,
        }
        _save(path, state)

    def load(self, path: Path) -> None:
        """Continue from the state in a file."""
        import torch

        state = torch.load(path, weights_only=True)
        self.model.load_state_dict(state["model"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.doubt.copy_(state["doubt"])
        self.step, self.seen, self.start = (state[name] for name in ("step", "seen", "start"))
        self._began = time.monotonic() - state["seconds"]


def pretrain(
    shape: Shape,
    lexicon: Lexicon,
    out: Path,
    *,
    tokens: int | None = None,
    after: Sequence[Path] = (),
    branch: int = 0,
    share: float = 1.0,
) -> Path:
    """Train ``shape`` into ``out/<name>`` and return that folder; an interrupted run resumes.

    ``after`` is a pretrained model with the same tokenizer and widths. Its training continues for
    ``tokens`` more, with lessons of the final size; if it has fewer layers, it is expanded first.
    Several runs may branch off from one model, each with its own lessons, which ``branch`` selects.
    If ``after`` has all their results, their weights are averaged. ``share`` scales the learning
    rates, for a model that needs little more training.

    Raises :class:`TrainingError` if the models cannot be averaged or expanded to the shape.
    """
    tokenizer = ladder_tokenizer(lexicon, out)
    model = initial_model(shape, tokenizer, after)
    before = history(after)
    # Every run reads other lessons.
    runs = len(runs_of(before["after"])) if before["after"] else 0
    run = Run(model, share=share, start=GROWN * runs + APART * branch)
    folder = out / shape.name
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / STATE).exists():
        run.load(folder / STATE)
        _forget_after(run.step, folder / LOG)
    stream = batches(lexicon, shape, tokenizer, run.start, run.doubt)
    _train(run, stream, tokens or shape.tokens, folder)
    export(model, tokenizer, folder)
    write_record(shape, lexicon, folder, rates=run.rates, branch=branch, **before)
    return folder


def initial_model(shape: Shape, tokenizer: ChatTokenizer, after: Sequence[Path]) -> Any:
    """The model at the start of a run: a new one, or the mean of others, expanded if need be."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    bos, eos = (tokenizer.encode(mark)[0] for mark in ("<|endoftext|>", "<|im_end|>"))
    torch.manual_seed(shape.seed)
    model = Qwen2ForCausalLM(Qwen2Config(**shape.config(bos=bos, eos=eos)))
    if after:
        known = [Qwen2ForCausalLM.from_pretrained(one, dtype=torch.float32) for one in after]
        expand(mean_of(known), model)
    else:
        begin_with_copying(model, shape)
    return model


def _train(run: Run, stream: Iterator[Batch], total: int, folder: Path) -> None:
    """Update until ``total`` tokens are read, with a log and saved states in ``folder``."""
    saved_at = time.monotonic()
    with tqdm(total=total, initial=run.seen, unit="tok", unit_scale=True, desc=folder.name) as bar:
        for batch in stream:
            loss = run.update(batch, total)
            bar.update(batch.tokens)
            done = run.seen >= total
            if done or run.step % LOGGED == 0:
                value = loss.item()
                bar.set_postfix(loss=f"{value:.3f}")
                _log(run, value, folder / LOG)
            # A state resumes at the next pool of lessons, so it is saved at the end of one.
            due = batch.after >= 0 and time.monotonic() - saved_at > SECONDS_BETWEEN_SAVES
            if done or due:
                run.save(folder / STATE)
                saved_at = time.monotonic()
            if done:
                return


def _log(run: Run, loss: float, path: Path) -> None:
    record = {
        "step": run.step,
        "tokens": run.seen,
        "loss": round(loss, 5),
        "seconds": round(run.seconds, 1),
    }
    with path.open("a") as log:
        log.write(json.dumps(record) + "\n")


def _save(path: Path, state: dict[str, Any]) -> None:
    import torch

    scratch = path.with_suffix(".tmp")
    torch.save(state, scratch)
    scratch.replace(path)


def _forget_after(step: int, log: Path) -> None:
    """Delete what a killed run logged after its last save: these steps are repeated."""
    lines = log.read_text().splitlines(keepends=True)
    log.write_text("".join(line for line in lines if json.loads(line)["step"] <= step))


def export(model: Any, tokenizer: ChatTokenizer, folder: Path) -> None:
    """Write the weights in bfloat16 and the tokenizer, in Hugging Face's layout."""
    import copy

    import torch

    save_model(copy.deepcopy(model).to(torch.bfloat16), tokenizer, folder)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=sorted(LADDER))
    parser.add_argument("--wordnet", type=Path, required=True, help="WordNet's folder dict")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tokens", type=int)
    parser.add_argument(
        "--after", type=Path, nargs="+", default=(), help="pretrained models to continue from"
    )
    parser.add_argument(
        "--branch",
        type=int,
        default=0,
        help="number of this run among those that continue from one model",
    )
    parser.add_argument(
        "--drawn",
        action="store_true",
        help="compose questions instead of using the benchmark's patterns",
    )
    parser.add_argument("--rate", type=float, default=1.0, help="factor of the learning rates")
    options = parser.parse_args()
    shape = LADDER[options.name]
    pretrain(
        replace(shape, kind="drawn") if options.drawn else shape,
        load_lexicon(options.wordnet),
        options.out,
        tokens=options.tokens,
        after=options.after,
        branch=options.branch,
        share=options.rate,
    )


if __name__ == "__main__":
    main()
