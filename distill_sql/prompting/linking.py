"""Schema linking: which tables a prompt shows when the whole schema would not fit.

Nothing is linked unless it must be: a schema within the token budget is shown whole. Beyond it,
sample rows are shortened first; only when the bare tables are still too many are some left out.
Tables are ranked against the question by BM25 (Robertson and Zaragoza 2009) over their names,
columns and values, without the question's function words: "the" says nothing, and is found in the
values of some table. A table inherits part of its best foreign-key neighbour's score, and every
choice brings along the tables that join it to those already chosen (foreign-key closure). Tokens
are counted with the model's own tokenizer. Left out: ranking columns, and embeddings.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from distill_sql.data.datasets import Example
from distill_sql.data.schema import Schema, Table
from distill_sql.errors import ParameterError
from distill_sql.prompting.mentions import FUNCTION_WORDS, parts, text_values
from distill_sql.prompting.rendering import (
    COMPACT_ROWS,
    SAMPLE_ROWS,
    Style,
    compact_lines,
    render_table,
    sample_rows,
)

if TYPE_CHECKING:
    from rank_bm25 import BM25Plus

#: Tokens a schema block may have before tables are chosen.
DEFAULT_BUDGET = 1500
#: Distinct values a text column lends to its table's document.
VALUES_PER_COLUMN = 50
#: Share of its best foreign-key neighbour's score that a table inherits.
INHERITED = 0.2

Counter = Callable[[str], int]
Strategy: TypeAlias = Literal["closure", "bm25", "schema-order"]
STRATEGIES: tuple[Strategy, ...] = ("closure", "bm25", "schema-order")


@dataclass(frozen=True)
class Linked:
    """What linking decided for one question.

    ``block`` is the schema block of a prompt; it has ``n_tokens`` tokens with the line break behind
    it, and is made with ``rows_per_table`` sample rows. ``kept`` and ``dropped`` map table names to
    the reason, in the schema's order.
    """

    schema: Schema
    block: str
    n_tokens: int
    budget: int
    rows_per_table: int
    kept: Mapping[str, str]
    dropped: Mapping[str, str]


class Linker:
    """Chooses one database's tables for each question, within a budget of tokens.

    Build it once per database (:func:`linker_for`): it indexes names and values. ``path`` is the
    SQLite file, ``count_tokens`` counts a text's tokens as the model will, ``style`` is that of the
    prompt, and ``ignored`` are words of questions that choose no table.
    """

    def __init__(
        self,
        schema: Schema,
        path: Path,
        count_tokens: Counter,
        *,
        style: Style = "full",
        ignored: Collection[str] = FUNCTION_WORDS,
    ) -> None:
        self.schema = schema
        self._ignored = ignored
        self._compact = style == "compact"
        #: Most sample rows first. The compact style shows no rows: fewer of them save nothing.
        self._steps = (COMPACT_ROWS,) if self._compact else tuple(range(SAMPLE_ROWS, -1, -1))
        self._rows = sample_rows(path, schema.tables, self._steps[0])
        self._count = lru_cache(maxsize=4096)(count_tokens)
        self._whole = lru_cache(maxsize=64)(self._show_whole)
        self._index = _index([table_words(path, table) for table in schema.tables])

    def scores(self, question: str) -> dict[str, float]:
        """BM25 score of every table, by name; a table with no word of the question has 0.

        Words that are ignored count as none.
        """
        if self._index is None:
            return {table.name: 0.0 for table in self.schema.tables}
        scores = map(float, self._index.get_scores(words(question, ignored=self._ignored)))
        return {table.name: score for table, score in zip(self.schema.tables, scores, strict=True)}

    def rank(self, question: str, *, inherited: float = INHERITED) -> list[tuple[str, float]]:
        """Every table's name and score, best first; ties keep the schema's order.

        The score is BM25's plus ``inherited`` times the best score among the table's foreign-key
        neighbours: a bridge table is rarely named in a question, the tables it joins are.
        """
        scores = self.scores(question)
        total = {
            name: score
            + inherited * max((scores[near] for near in self.schema.neighbours(name)), default=0)
            for name, score in scores.items()
        }
        return sorted(total.items(), key=lambda pair: -pair[1])

    def link(
        self, question: str, *, budget: int = DEFAULT_BUDGET, strategy: Strategy = "closure"
    ) -> Linked:
        """The schema block for ``question``, of at most ``budget`` tokens.

        ``strategy`` names the order in which tables are tried: ``closure`` is ours, ``bm25`` leaves
        the foreign keys out, ``schema-order`` leaves the question out; the other two are there to
        be compared with. The best table is kept even if it alone exceeds the budget, since an empty
        schema answers nothing.
        """
        if budget <= 0:
            raise ParameterError(
                f"The token budget is {budget}; expected a positive number, such as the default "
                f"{DEFAULT_BUDGET}."
            )
        if whole := self._whole(budget):
            return whole
        kept = self._choose(question, budget, strategy)
        chosen = self.schema.restrict(set(kept))
        fitting = (rows for rows in self._steps if self._tokens(chosen, rows) <= budget)
        return self._linked(kept, next(fitting, self._steps[-1]), budget)

    def fits(self, names: Collection[str], budget: int) -> bool:
        """Whether these tables alone, with as few sample rows as the style has, fit the budget."""
        return self._tokens(self.schema.restrict(set(names)), self._steps[-1]) <= budget

    def _show_whole(self, budget: int) -> Linked | None:
        """All tables, with as many sample rows as fit; None if the budget is too small for that."""
        everything = {table.name: "the whole schema fits" for table in self.schema.tables}
        for rows in self._steps:
            if self._tokens(self.schema, rows) <= budget:
                return self._linked(everything, rows, budget)
        return None

    def _choose(self, question: str, budget: int, strategy: Strategy) -> dict[str, str]:
        """Names of the tables to keep, with reasons: each one tried in turn, kept if it fits."""
        if strategy == "schema-order":
            ranked = [(table.name, 0.0) for table in self.schema.tables]
        else:
            ranked = self.rank(question, inherited=INHERITED if strategy == "closure" else 0)
        kept: dict[str, str] = {}
        for place, (name, score) in enumerate(ranked, start=1):
            if name in kept:
                continue
            group = {name: f"rank {place}, score {score:.1f}"}
            if strategy == "closure" and kept:
                for bridge in self._path(name, kept):
                    group[bridge] = f"joins {name} to the tables already kept"
            trial = kept | group
            if not kept or self.fits(trial, budget):
                kept = trial
        return kept

    def _path(self, name: str, kept: Mapping[str, str]) -> list[str]:
        """Tables strictly between ``name`` and the nearest kept one, by foreign keys."""
        came_from: dict[str, str | None] = {name: None}
        queue = deque([name])
        while queue:
            here = queue.popleft()
            for there in self.schema.neighbours(here):
                if there in kept:
                    between = []
                    step: str | None = here
                    while step is not None and step != name:
                        between.append(step)
                        step = came_from[step]
                    return between
                if there not in came_from:
                    came_from[there] = here
                    queue.append(there)
        return []

    def _pieces(self, schema: Schema, rows: int) -> list[str]:
        """The schema block and the line break behind it, in pieces that are tokenized alone."""
        if self._compact:
            lines = compact_lines(schema, self._rows)
            return [*lines[:-1], *(f"{last}\n" for last in lines[-1:])]
        shown = {name: every[:rows] for name, every in self._rows.items()}
        return [render_table(schema, t, shown[t.name]) + "\n" for t in schema.tables]

    def _tokens(self, schema: Schema, rows: int) -> int:
        return sum(map(self._count, self._pieces(schema, rows)))

    def _linked(self, kept: Mapping[str, str], rows: int, budget: int) -> Linked:
        schema = self.schema.restrict(set(kept))
        names = [table.name for table in self.schema.tables]
        return Linked(
            schema=schema,
            block="".join(self._pieces(schema, rows)).removesuffix("\n"),
            n_tokens=self._tokens(schema, rows),
            budget=budget,
            rows_per_table=rows,
            kept={name: kept[name] for name in names if name in kept},
            dropped={name: "no room left" for name in names if name not in kept},
        )


@lru_cache(maxsize=1024)
def linker_for(schema: Schema, path: Path, count_tokens: Counter, style: Style = "full") -> Linker:
    """The one :class:`Linker` of a database, made when it is first asked for."""
    return Linker(schema, path, count_tokens, style=style)


def said(example: Example) -> str:
    """The words that tables are chosen by: the question, and BIRD's hint to it."""
    return f"{example.question} {example.evidence}".strip()


def words(text: str, *, ignored: Collection[str] = ()) -> list[str]:
    """Lower-case search terms of a text: whole identifiers, their parts, plurals cut.

    Words that are ``ignored``, in lower case, give no terms.

    >>> words("singer_in_concert")
    ['singer_in_concert', 'singer', 'in', 'concert']
    >>> words("How many StudentIDs?")
    ['how', 'many', 'studentid', 'student', 'id']
    >>> words("Which pets does she have?", ignored=FUNCTION_WORDS)
    ['pet', 'she']
    """
    terms = []
    for whole in re.findall(r"\w+", text):
        if whole.lower() in ignored:
            continue
        inner = parts(whole)
        terms.append(_singular(whole.lower()))
        if len(inner) > 1:
            terms += [_singular(part.lower()) for part in inner]
    return terms


def _singular(word: str) -> str:
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith("s") and not word.endswith("ss") and len(word) > 2:
        return word[:-1]
    return word


def table_words(path: Path, table: Table) -> list[str]:
    """The search document of a table: its name and columns, natural and as spelled, and values.

    Synonyms that a schema lists are names, too.
    """
    return [term for texts in table_texts(path, table) for text in texts for term in words(text)]


def table_texts(path: Path, table: Table) -> tuple[list[str], list[str], list[str]]:
    """What a table's document is made of: its names, its columns' names, and values."""
    columns = []
    for column in table.columns:
        columns += [column.name, column.description, *column.synonyms]
    values = [value for _, value in text_values(path, table, VALUES_PER_COLUMN)]
    return [table.name, table.description, *table.synonyms], columns, values


def _index(documents: list[list[str]]) -> BM25Plus | None:
    from rank_bm25 import BM25Plus

    # BM25+ with delta 0 is BM25 with an idf that stays positive: the usual one is 0 or less for a
    # word in half of the documents, which among three tables is most words. Without any word the
    # mean document length is 0, and rank_bm25 would divide by it.
    return BM25Plus(documents, delta=0) if any(documents) else None
