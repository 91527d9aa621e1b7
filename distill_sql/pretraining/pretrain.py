"""Pretraining the pocket ladder: reproducible, resumable, on any machine.

``python -m distill_sql.pretraining.pretrain NAME --wordnet DIR --out DIR`` trains one model.
Every few minutes its state is saved; the same command goes on from there. Matrices learn with Muon
(Jordan et al., *Muon*, 2024), the rest with AdamW; the learning rate is constant after its warm-up
and falls to zero over the last three fifths of the tokens.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from distill_sql.models.folders import save_model
from distill_sql.pretraining.batches import batches, remember
from distill_sql.pretraining.beginnings import begin_with_copying, expand, mean_of
from distill_sql.pretraining.corpus import lessons
from distill_sql.pretraining.ladder import LADDER, Shape, train_ladder_tokenizer
from distill_sql.pretraining.lexicon import Lexicon, load_lexicon
from distill_sql.pretraining.records import history, runs_of, write_record
from distill_sql.prompting.tokenizer import ChatTokenizer, load_tokenizer

if TYPE_CHECKING:
    import torch

#: Lessons that the tokenizer is trained on, of both languages.
TOKENIZER_SAMPLE = 6000
#: Where its sample begins, behind the exercises and the smallest worlds.
TOKENIZER_START = 20_000
MUON_RATE = 0.004
ADAM_RATE = 0.003
WARM_UP = 30
DECAY = 0.6
SECONDS_BETWEEN_SAVES = 240
#: Where a pretrained model goes on: lessons have grown by then, and few runs come so far.
GROWN = 40_000
#: From one branch's first lesson to the next one's.
APART = 10_000


def rate(seen: int, step: int, total: int) -> float:
    """The share of the full learning rate after ``seen`` of ``total`` tokens."""
    left = (total - seen) / (DECAY * total)
    return min(1.0, (step + 1) / WARM_UP, max(left, 0.02))


def ladder_tokenizer(lexicon: Lexicon, folder: Path) -> ChatTokenizer:
    """The tokenizer in ``folder``, trained and saved there first if it is not there."""
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
    """Train ``shape`` into ``out/<name>`` and return that folder; goes on where it was stopped.

    ``after`` is a pretrained model of the same tokenizer and widths, whose training goes on for
    ``tokens`` more, with lessons behind those that grow; if it has fewer layers, it is expanded
    first. Several runs may go on from one model side by side, each with lessons of its own, told
    apart by ``branch``; all that they become, given as ``after``, are averaged. ``share`` scales
    the learning rates, for a model that needs no more than a little.
    Raises :class:`TrainingError` if the shape cannot come of what it is given.
    """
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    from distill_sql.pretraining.forward import losses

    total = tokens or shape.tokens
    tokenizer = ladder_tokenizer(lexicon, out)
    bos, eos = (tokenizer.encode(mark)[0] for mark in ("<|endoftext|>", "<|im_end|>"))
    torch.manual_seed(shape.seed)
    config = Qwen2Config(**shape.config(bos=bos, eos=eos))
    model = Qwen2ForCausalLM(config)
    if after:
        known = [Qwen2ForCausalLM.from_pretrained(one, dtype=torch.float32) for one in after]
        expand(mean_of(known), model)
    else:
        begin_with_copying(model, shape)
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    rest = [p for name, p in model.named_parameters() if p.ndim != 2 or "embed" in name]
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.Muon(matrices, lr=MUON_RATE, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(rest, lr=ADAM_RATE, betas=(0.9, 0.95), weight_decay=0.0),
    ]
    rates = {"muon": share * MUON_RATE, "adam": share * ADAM_RATE}
    folder = out / shape.name
    folder.mkdir(parents=True, exist_ok=True)
    state_file = folder / "state.pt"
    step = seen = 0
    doubt = torch.full((config.vocab_size,), 0.5)
    # Every run reads lessons of its own.
    before = history(after)
    runs = len(runs_of(before["after"])) if before["after"] else 0
    start, seconds = GROWN * runs + APART * branch, 0.0
    if state_file.exists():
        state = torch.load(state_file, weights_only=True)
        model.load_state_dict(state["model"])
        for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        doubt.copy_(state["doubt"])
        step, seen, start, seconds = (state[k] for k in ("step", "seen", "start", "seconds"))
        _forget_after(step, folder / "log.jsonl")
    bar = tqdm(total=total, initial=seen, unit="tok", unit_scale=True, desc=shape.name)
    began = saved_at = time.monotonic()
    for batch in batches(lexicon, shape, tokenizer, start, doubt):
        now = rate(seen, step, total)
        for optimizer, full in zip(optimizers, rates.values(), strict=True):
            for group in optimizer.param_groups:
                group["lr"] = full * now
        each, learned = losses(model, batch)
        loss = each.mean()
        loss.backward()
        remember(doubt, each.detach(), learned)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        step += 1
        seen += batch.tokens
        bar.update(batch.tokens)
        done = seen >= total
        if done or step % 10 == 0:
            value = loss.item()
            bar.set_postfix(loss=f"{value:.3f}")
            record = {
                "step": step,
                "tokens": seen,
                "loss": round(value, 5),
                "seconds": round(seconds + time.monotonic() - began, 1),
            }
            with (folder / "log.jsonl").open("a") as log:
                log.write(json.dumps(record) + "\n")
        if batch.after >= 0:
            start = batch.after
        if done or (batch.after >= 0 and time.monotonic() - saved_at > SECONDS_BETWEEN_SAVES):
            _save(
                state_file,
                {
                    "model": model.state_dict(),
                    "doubt": doubt,
                    "optimizers": [optimizer.state_dict() for optimizer in optimizers],
                    "step": step,
                    "seen": seen,
                    "start": start,
                    "seconds": seconds + time.monotonic() - began,
                },
            )
            saved_at = time.monotonic()
        if done:
            break
    bar.close()
    export(model, tokenizer, folder)
    write_record(shape, lexicon, folder, rates=rates, branch=branch, **before)
    return folder


def _save(path: Path, state: dict[str, Any]) -> None:
    import torch

    scratch = path.with_suffix(".tmp")
    torch.save(state, scratch)
    scratch.replace(path)


def _forget_after(step: int, log: Path) -> None:
    """Take out what a killed run logged after its last save: that is done again."""
    lines = log.read_text().splitlines(keepends=True)
    log.write_text("".join(line for line in lines if json.loads(line)["step"] <= step))


def export(model: Any, tokenizer: ChatTokenizer, folder: Path) -> None:
    """Write weights (bfloat16) and tokenizer in Hugging Face's layout."""
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
        "--after", type=Path, nargs="+", default=(), help="pretrained models, to go on from"
    )
    parser.add_argument(
        "--branch", type=int, default=0, help="which of several runs that go on from one model"
    )
    parser.add_argument(
        "--drawn", action="store_true", help="ask none of the benchmark's kinds of question"
    )
    parser.add_argument("--rate", type=float, default=1.0, help="share of the full learning rates")
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
