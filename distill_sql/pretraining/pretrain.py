"""Pretraining the pocket ladder: reproducible, resumable, on any machine.

``python -m distill_sql.pretraining.pretrain NAME --wordnet DIR --out DIR`` trains one model.
Every few minutes its state is saved; the same command goes on from there. Matrices learn with Muon
(Jordan et al., *Muon*, 2024), the rest with AdamW; the learning rate is constant after its warm-up
and falls to zero over the last three fifths of the tokens.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

from tqdm import tqdm

from distill_sql.errors import TrainingError
from distill_sql.files import read_json, write_json
from distill_sql.pretraining.corpus import Lesson, Turn, lessons
from distill_sql.pretraining.ladder import LADDER, Shape, train_ladder_tokenizer
from distill_sql.pretraining.lexicon import Lexicon, load_lexicon
from distill_sql.provenance import manifest
from distill_sql.students.models import save_model
from distill_sql.tokenizer import ChatTokenizer, load_tokenizer

if TYPE_CHECKING:
    import torch

#: Lessons that the tokenizer is trained on, of both languages.
TOKENIZER_SAMPLE = 6000
#: Where its sample begins, behind the exercises and the smallest worlds.
TOKENIZER_START = 20_000
#: Tokens of an update, about.
BATCH = 4096
#: Tokens that go through the model at once, padding included.
CHUNK = 1024
#: Lessons that are sorted by the length of their contexts together, so that a batch pads little.
POOL = 256
#: Share of lessons in which words are given other names, and of their words.
RENAMED, RENAMED_WORDS = 0.5, 0.5
#: Of how many pieces the other words are, one as likely as the next.
PIECES = (1, 1, 2, 2, 3)
#: Of the weight of a piece in the draw, what does not depend on how badly it is copied.
FLOOR = 0.1
#: How fast what is known of that is forgotten.
FORGET = 0.3
#: Words that mean something to SQL or to the prompt, which keep their names.
KEPT = frozenset((
    "and", "avg", "count", "date", "flag", "has", "max", "min", "name", "names", "per", "question",
    "sql", "sum", "system", "the", "user", "with",
))  # fmt: skip
#: Longest turn, in tokens; a longer one is cut.
LENGTH = 320
MUON_RATE = 0.004
ADAM_RATE = 0.003
WARM_UP = 30
DECAY = 0.6
SECONDS_BETWEEN_SAVES = 240
#: Where a pretrained model goes on: lessons have grown by then, and few runs come so far.
GROWN = 40_000
#: From one branch's first lesson to the next one's.
APART = 10_000
#: The lesson that a model's record shows.
EXAMPLE = 30_000


class Encoded(NamedTuple):
    """A lesson in token ids: what its turns share, and each turn with its labels."""

    context: list[int]
    turns: list[tuple[list[int], list[int]]]

    @property
    def size(self) -> int:
        """Tokens, each read once."""
        return len(self.context) + sum(len(ids) for ids, _ in self.turns)


class Chunk(NamedTuple):
    """Turns of about the same length, padded: ids and labels (-100: not learned), the row of the
    contexts that each belongs to."""

    ids: torch.Tensor
    labels: torch.Tensor
    context: torch.Tensor


class Batch(NamedTuple):
    """Contexts, padded, with their lengths; turns on them; ``after`` is the next lesson."""

    contexts: torch.Tensor
    lengths: torch.Tensor
    chunks: list[Chunk]
    tokens: int
    after: int


def encode(lesson: Lesson, tokenizer: ChatTokenizer) -> Encoded:
    """A lesson as the model reads it; only the answers are learned.

    Context and turn together are the ids of that turn's chat in the Qwen template.
    """
    context = tokenizer.encode(
        f"<|im_start|>system\n{lesson.system}<|im_end|>\n<|im_start|>user\n{lesson.context}"
    )
    turns = []
    for turn in lesson.turns:
        asked = tokenizer.encode(f"{turn.question}<|im_end|>\n<|im_start|>assistant\n")
        answer = tokenizer.encode(f"{turn.answer}<|im_end|>")
        labels = [-100] * len(asked) + answer
        turns.append(((asked + answer)[:LENGTH], labels[:LENGTH]))
    return Encoded(context, turns)


def pieces_of(tokenizer: ChatTokenizer) -> list[str]:
    """What names are made of: the tokens that are small letters only, sorted."""
    return sorted(t for t in tokenizer.backend.get_vocab() if re.fullmatch("[a-z]+", t))


def renamed(
    random: Random, lesson: Lesson, pieces: Sequence[str], cum_weights: Sequence[float]
) -> Lesson:
    """``lesson`` with some of the words in its context replaced by others, wherever they stand.

    The others are one piece or a few, drawn as :func:`random.choices` draws. What is rarely part of
    a name is rarely copied, and a token that is rarely copied cannot be: models that read a hundred
    thousand lessons without this could not copy one word of six, and with words of one piece only
    could not finish *runways*.

    >>> turn = Turn("Age [tree.age]?", "SELECT age FROM tree")
    >>> lesson = Lesson("", "tree: tree_id, age", (turn,))
    >>> after = renamed(Random(3), lesson, ["lo", "mi", "ra"], [1, 2, 3])
    >>> after.context, *after.turns[0]
    ('tree: tree_id, lorami', 'Age [tree.lorami]?', 'SELECT lorami FROM tree')
    """
    word = re.compile("(?<![A-Za-z])[a-z]{3,}(?![A-Za-z])")
    found = sorted({*word.findall(lesson.context)} - KEPT)
    names: dict[str, str] = {}
    taken = {*found, *KEPT}
    for old in found:
        if random.random() < RENAMED_WORDS:
            new = "".join(random.choices(pieces, cum_weights=cum_weights, k=random.choice(PIECES)))
            if len(new) > 1 and new not in taken:
                names[old] = new
                taken.add(new)

    def put(text: str) -> str:
        return word.sub(lambda match: names.get(match[0], match[0]), text)

    turns = tuple(Turn(put(turn.question), put(turn.answer)) for turn in lesson.turns)
    return replace(lesson, context=put(lesson.context), turns=turns)


def batches(
    lexicon: Lexicon, shape: Shape, tokenizer: ChatTokenizer, start: int, doubt: torch.Tensor
) -> Iterator[Batch]:
    """Endless batches from lesson ``start`` on, in an order that only seed and ``doubt`` decide.

    ``doubt`` says of each token of the vocabulary how improbable it was of late where it was due
    (0 to 1), and may change meanwhile: what is copied badly becomes part of more names.
    """
    stream = lessons(
        lexicon, shape.rich, shape.shown, kind=shape.kind, seed=shape.seed, start=start
    )
    pieces = pieces_of(tokenizer)
    places = [tokenizer.backend.token_to_id(piece) for piece in pieces]
    while True:
        random = Random(start)
        cum_weights = (doubt[places] + FLOOR).double().cumsum(0).tolist()
        pool = [
            encode(
                renamed(random, lesson, pieces, cum_weights)
                if random.random() < RENAMED
                else lesson,
                tokenizer,
            )
            for lesson in islice(stream, POOL)
        ]
        start += POOL
        pool.sort(key=lambda lesson: len(lesson.context))
        groups: list[list[Encoded]] = [[]]
        for lesson in pool:
            if groups[-1] and sum(one.size for one in groups[-1]) + lesson.size > BATCH:
                groups.append([])
            groups[-1].append(lesson)
        random.shuffle(groups)
        for place, group in enumerate(groups):
            # A saved state goes on with the next pool, so it is saved at the end of one.
            yield collate(group, start if place == len(groups) - 1 else -1)


def collate(group: list[Encoded], after: int = -1) -> Batch:
    """Pad lessons into a batch; turns of like length share a chunk, so that padding is little."""
    import torch
    from torch.nn.utils.rnn import pad_sequence

    def padded(rows: list[list[int]], value: int) -> torch.Tensor:
        return pad_sequence([torch.tensor(row) for row in rows], True, float(value))

    turns = sorted(
        ((row, ids, labels) for row, one in enumerate(group) for ids, labels in one.turns),
        key=lambda turn: len(turn[1]),
    )
    cuts: list[list[tuple[int, list[int], list[int]]]] = [[]]
    for turn in turns:
        if (len(cuts[-1]) + 1) * len(turn[1]) > CHUNK:
            cuts.append([])
        cuts[-1].append(turn)
    return Batch(
        padded([one.context for one in group], 0),
        torch.tensor([len(one.context) for one in group]),
        [
            Chunk(
                padded([ids for _, ids, _ in cut], 0),
                padded([labels for _, _, labels in cut], -100),
                torch.tensor([row for row, _, _ in cut]),
            )
            for cut in cuts
        ],
        sum(one.size for one in group),
        after,
    )


def remember(doubt: torch.Tensor, losses: torch.Tensor, tokens: torch.Tensor) -> None:
    """Let ``doubt`` know how improbable ``tokens`` were, from their losses.

    >>> import torch
    >>> doubt = torch.tensor([0.5, 0.5, 0.5])
    >>> remember(doubt, torch.tensor([0.0, 50.0, 50.0]), torch.tensor([0, 2, 2]))
    >>> [round(share, 2) for share in doubt.tolist()]
    [0.35, 0.5, 0.65]
    """
    count = tokens.bincount(minlength=len(doubt))
    wrong = tokens.bincount((1 - (-losses).exp()).double(), minlength=len(doubt)) / count
    doubt.copy_(doubt.lerp(wrong.to(doubt.dtype), FORGET).where(count > 0, doubt))


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


def begin_with_copying(model: Any, shape: Shape) -> None:
    """Set one head of each of the first two layers to what copying needs, as a start to learn from.

    Text that repeats is continued by two heads (Olsson et al., *In-context learning and induction
    heads*, 2022): the first passes on which token came before, the second looks for the place after
    an earlier occurrence of the present one. Small models find the pair late: a model of pocket-m's
    shape had a loss of 0.53 after 2.5 million tokens with this start, and of 2.6 without.
    """
    import torch

    size = shape.width // shape.heads
    half = size // 2
    draw = torch.Generator().manual_seed(shape.seed)

    def projection() -> torch.Tensor:
        return torch.linalg.qr(torch.randn(shape.width, size, generator=draw))[0].T

    before, place, own = projection(), projection(), projection()
    first, second = (model.model.layers[layer].self_attn for layer in (0, 1))
    theta = model.config.rope_parameters["rope_theta"]
    turn = theta ** (-torch.arange(half) / half)
    # Pairs of dimensions that rotate slowly compare content, wherever it is.
    slow = [*range(half // 2, half), *range(half + half // 2, size)]
    with torch.no_grad():
        # Biases alone, turned by one position: the score is highest at the token before.
        first.q_proj.weight[:size] = first.k_proj.weight[:size] = 0
        first.q_proj.bias[:half] = 7.0
        first.k_proj.bias[:half] = 7.0 * torch.cos(turn)
        first.k_proj.bias[half:size] = 7.0 * torch.sin(turn)
        first.v_proj.weight[:size] = 0.3 * before
        first.o_proj.weight[:, :size] = 0.3 * place.T
        second.q_proj.weight[:size] = second.k_proj.weight[:size] = 0
        second.q_proj.weight[slow] = before[: len(slow)]
        second.k_proj.weight[slow] = place[: len(slow)]
        second.v_proj.weight[:size] = 0.3 * own
        second.o_proj.weight[:, :size] = 0.3 * own.T


def mean_of(branches: Sequence[Any]) -> Any:
    """The first of several models of one shape, its weights now the means of all."""
    import torch

    first, *others = branches
    with torch.no_grad():
        for name, weight in first.named_parameters():
            same = [other.get_parameter(name) for other in others]
            weight.copy_(torch.stack([weight, *same]).mean(0))
    return first


def expand(small: Any, model: Any) -> None:
    """Let ``model`` begin as ``small``, which has no more layers: the logits are the same.

    Some of its layers, evenly spread, are followed by copies that add nothing yet, since what they
    add is multiplied by zero (block expansion; Wu et al., *LLaMA Pro*, 2024).
    Raises :class:`TrainingError` if the models differ in more than layers.
    """
    import torch

    few, many = small.config.num_hidden_layers, model.config.num_hidden_layers
    alike = [
        [p.shape for p in (*m.model.layers[0].parameters(), m.model.embed_tokens.weight)]
        for m in (small, model)
    ]
    if few > many or alike[0] != alike[1]:
        raise TrainingError(
            f"A model of {few} layers, {small.config.hidden_size} wide, cannot become one of "
            f"{many}, {model.config.hidden_size} wide: expected the same widths and vocabulary, "
            "and as many layers or more. Give a model that fits, or none."
        )
    source = [number * few // many for number in range(many)]
    with torch.no_grad():
        model.model.embed_tokens.weight.copy_(small.model.embed_tokens.weight)
        model.model.norm.weight.copy_(small.model.norm.weight)
        for number, layer in enumerate(model.model.layers):
            layer.load_state_dict(small.model.layers[source[number]].state_dict())
            if number and source[number] == source[number - 1]:
                layer.self_attn.o_proj.weight.zero_()
                layer.mlp.down_proj.weight.zero_()


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


def history(after: Sequence[Path]) -> dict[str, Any]:
    """What a record says of the models that a run goes on from: the first with all that led to it,
    and those that branched off where it did.

    Raises :class:`TrainingError` if some did not.
    """
    records = [read_json(folder / "pretraining.json") for folder in after]
    for folder, record in zip(after, records, strict=True):
        if record.get("after") != records[0].get("after"):
            raise TrainingError(
                f"{after[0]} and {folder} did not go on from the same model: expected its branches "
                "(--after MODEL --branch NUMBER). Give those, or one model."
            )
    return {
        "after": records[0] if records else None,
        "beside": [{**record, "after": None} for record in records[1:]],
    }


def runs_of(record: dict[str, Any]) -> list[dict[str, Any]]:
    """The records of a model's runs, the first one first: each holds that of the run before it, and
    those of that run's other branches."""
    before = record.get("after")
    return [*(runs_of(before) if before else []), *record.get("beside", []), record]


def tokens_read(record: dict[str, Any], form: str, language: str) -> float:
    """Tokens, over all runs of a model, of lessons in a form (``chat``, ``text``) and a language
    (``keywords``, ``sentences``), as their shares say."""
    runs = [run for run in runs_of(record) if run["shape"].get("form", "chat") == form]
    rich = sum(run["tokens"] * run["shape"]["rich"] for run in runs)
    return rich if language == "sentences" else sum(run["tokens"] for run in runs) - rich


def write_record(shape: Shape, lexicon: Lexicon, folder: Path, **known: Any) -> None:
    """Write ``pretraining.json`` beside a model: what it is, how its training went, a lesson."""
    log = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    lesson = next(lessons(lexicon, shape.rich, shape.shown, kind=shape.kind, seed=0, start=EXAMPLE))
    record = manifest(
        model=shape.name,
        seed=shape.seed,
        wall_time_s=log[-1]["seconds"],
        shape=asdict(shape),
        batch=BATCH,
        updates=log[-1]["step"],
        tokens=log[-1]["tokens"],
        losses=_means(log, 200),
        example={"context": lesson.context, "turns": [turn._asdict() for turn in lesson.turns]},
        **known,
    )
    write_json(folder / "pretraining.json", record)


def _means(log: list[dict[str, Any]], points: int) -> list[tuple[int, float]]:
    """Tokens and mean loss of about ``points`` stretches of a log."""
    size = max(1, len(log) // points)
    stretches = [log[start : start + size] for start in range(0, len(log), size)]
    return [
        (part[-1]["tokens"], round(sum(entry["loss"] for entry in part) / len(part), 4))
        for part in stretches
    ]


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
