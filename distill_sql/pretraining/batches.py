"""Lessons as batches of token ids with little padding, some of them with renamed words."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from random import Random
from typing import TYPE_CHECKING, NamedTuple

from distill_sql.pretraining.corpus import Lesson, Turn, lessons
from distill_sql.pretraining.ladder import Shape
from distill_sql.pretraining.lexicon import Lexicon
from distill_sql.prompting.tokenizer import ChatTokenizer

if TYPE_CHECKING:
    import torch

#: The approximate number of tokens per update.
BATCH = 4096
#: The most tokens in one forward pass, including padding.
CHUNK = 1024
#: The number of lessons that are sorted together by the length of their contexts.
POOL = 256
#: The share of lessons with renamed words, and the share of renamed words in them.
RENAMED, RENAMED_WORDS = 0.5, 0.5
#: The numbers of pieces of a new word, drawn uniformly.
PIECES = (1, 1, 2, 2, 3)
#: The part of a piece's weight in the draw that does not depend on its error.
FLOOR = 0.1
#: The step of the moving average of errors.
FORGET = 0.3
#: Words with a meaning in SQL or in the prompt, which are never renamed.
KEPT = frozenset((
    "and", "avg", "count", "date", "flag", "has", "max", "min", "name", "names", "per", "question",
    "sql", "sum", "system", "the", "user", "with",
))  # fmt: skip
#: The longest turn in tokens; a longer one is cut off.
LENGTH = 320


class Encoded(NamedTuple):
    """A lesson in token ids: the shared context, and each turn with its labels."""

    context: list[int]
    turns: list[tuple[list[int], list[int]]]

    @property
    def size(self) -> int:
        """The number of tokens, with the context counted once."""
        return len(self.context) + sum(len(ids) for ids, _ in self.turns)


class Chunk(NamedTuple):
    """Padded turns of similar lengths: ids, labels (-100: not learned), and rows of contexts."""

    ids: torch.Tensor
    labels: torch.Tensor
    context: torch.Tensor


class Batch(NamedTuple):
    """Padded contexts with their lengths, and the turns on them.

    ``after`` is the number of the next lesson if the batch is the last of its pool, otherwise -1.
    """

    contexts: torch.Tensor
    lengths: torch.Tensor
    chunks: list[Chunk]
    tokens: int
    after: int


def encode(lesson: Lesson, tokenizer: ChatTokenizer) -> Encoded:
    """A lesson as token ids; only the answers are learned.

    The ids of the context and of a turn together are those of the turn's chat in Qwen's template.
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
    """The tokens of only lower-case letters, sorted; new names are made of them."""
    return sorted(t for t in tokenizer.backend.get_vocab() if re.fullmatch("[a-z]+", t))


def renamed(
    random: Random, lesson: Lesson, pieces: Sequence[str], cum_weights: Sequence[float]
) -> Lesson:
    """Replace some of the words of a lesson's context by new ones, everywhere in the lesson.

    A new word is one or a few pieces, drawn as by :func:`random.choices`. Models do not learn to
    copy tokens that are rarely part of a name: without renaming, models that read a hundred
    thousand lessons could not copy one word in six, and with words of a single piece they could not
    finish *runways*.

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
    """Endless batches from lesson ``start``, which depend only on the seed and on ``doubt``.

    ``doubt`` is the recent mean error of each token: 1 minus its predicted probability. It may
    change while batches are made: tokens that are copied badly become part of more names.
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
            # A saved state resumes at the next pool, so it is saved at the end of one.
            yield collate(group, start if place == len(groups) - 1 else -1)


def collate(group: list[Encoded], after: int = -1) -> Batch:
    """Pad lessons into a batch; turns of similar lengths share a chunk, which limits padding."""
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
    """Update ``doubt`` with the errors of ``tokens``, computed from their losses.

    >>> import torch
    >>> doubt = torch.tensor([0.5, 0.5, 0.5])
    >>> remember(doubt, torch.tensor([0.0, 50.0, 50.0]), torch.tensor([0, 2, 2]))
    >>> [round(share, 2) for share in doubt.tolist()]
    [0.35, 0.5, 0.65]
    """
    count = tokens.bincount(minlength=len(doubt))
    wrong = tokens.bincount((1 - (-losses).exp()).double(), minlength=len(doubt)) / count
    doubt.copy_(doubt.lerp(wrong.to(doubt.dtype), FORGET).where(count > 0, doubt))
