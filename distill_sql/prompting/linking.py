"""Schema linking: which tables a prompt shows when the whole schema exceeds the token budget.

A schema within the budget is shown whole. Otherwise sample rows are dropped first, and tables only
if the schema without rows is still too long. Tables are ranked against the question by BM25
(Robertson and Zaragoza 2009) over their names, columns and values. Function words of the question
are ignored: "the" carries no meaning, and some table has it in its values. A table inherits part of
its best foreign-key neighbour's score, and each chosen table brings along the tables that join it
to those already chosen (foreign-key closure). Tokens are counted with the model's own tokenizer.
Columns are not ranked, and embeddings are not used.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from distill_sql.data.datasets import Example
from distill_sql.data.schema import Schema, Table
from distill_sql.errors import ParameterError
from distill_sql.prompting.mentions import text_values
from distill_sql.prompting.rendering import (
    COMPACT_ROWS,
    SAMPLE_ROWS,
    Style,
    compact_lines,
    render_table,
    sample_rows,
)
from distill_sql.prompting.words import FUNCTION_WORDS, words

if TYPE_CHECKING:
    from rank_bm25 import BM25Plus

#: Default limit of a schema block, in tokens.
DEFAULT_BUDGET = 1500
#: How many distinct values of each text column are part of its table's document.
VALUES_PER_COLUMN = 50
#: Share of its best foreign-key neighbour's score that a table inherits.
INHERITED = 0.2

#: The number of tokens of a text.
CountTokens: TypeAlias = Callable[[str], int]
Strategy: TypeAlias = Literal["closure", "bm25", "schema-order"]
STRATEGIES: tuple[Strategy, ...] = ("closure", "bm25", "schema-order")


@dataclass(frozen=True)
class Linked:
    """The result of linking for one question.

    ``block`` is the schema block of the prompt. It has ``n_tokens`` tokens, counting the line break
    after it, and ``rows_per_table`` sample rows per table. ``kept`` and ``dropped`` map table names
    to the reason, in the schema's order.
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
    SQLite file, ``count_tokens`` counts a text's tokens with the model's tokenizer, ``style`` is
    that of the prompt, and ``ignored`` are words of the question that do not count in the ranking.
    """

    def __init__(
        self,
        schema: Schema,
        path: Path,
        count_tokens: CountTokens,
        *,
        style: Style = "full",
        ignored: Collection[str] = FUNCTION_WORDS,
    ) -> None:
        self.schema = schema
        self._ignored = ignored
        self._compact = style == "compact"
        #: Numbers of sample rows to try, largest first. The compact style shows no rows.
        self._steps = (COMPACT_ROWS,) if self._compact else tuple(range(SAMPLE_ROWS, -1, -1))
        self._rows = sample_rows(path, schema.tables, self._steps[0])
        self._count = lru_cache(maxsize=4096)(count_tokens)
        self._whole = lru_cache(maxsize=64)(self._show_whole)
        self._index = _index([table_words(path, table) for table in schema.tables])

    def scores(self, question: str) -> dict[str, float]:
        """BM25 score of every table, by name; 0 for a table without any word of the question.

        Ignored words do not count.
        """
        if self._index is None:
            return {table.name: 0.0 for table in self.schema.tables}
        scores = map(float, self._index.get_scores(words(question, ignored=self._ignored)))
        return {table.name: score for table, score in zip(self.schema.tables, scores, strict=True)}

    def rank(self, question: str, *, inherited: float = INHERITED) -> list[tuple[str, float]]:
        """Every table's name and score, best first; ties keep the schema's order.

        The score is BM25's plus ``inherited`` times the best score among the table's foreign-key
        neighbours: questions rarely name a bridge table, but they name the tables it joins.
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

        ``strategy`` is the order in which tables are tried: ``closure`` is the default, ``bm25``
        ignores foreign keys, and ``schema-order`` ignores the question; the last two are baselines.
        The best table is kept even if it alone exceeds the budget: no question can be answered from
        an empty schema.
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
        """Whether these tables fit the budget with the fewest sample rows of the style."""
        return self._tokens(self.schema.restrict(set(names)), self._steps[-1]) <= budget

    def _show_whole(self, budget: int) -> Linked | None:
        """All tables with as many sample rows as fit; None if they do not fit without rows."""
        everything = {table.name: "the whole schema fits" for table in self.schema.tables}
        for rows in self._steps:
            if self._tokens(self.schema, rows) <= budget:
                return self._linked(everything, rows, budget)
        return None

    def _choose(self, question: str, budget: int, strategy: Strategy) -> dict[str, str]:
        """The tables to keep, with reasons: tables are tried in order and kept if they fit."""
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
        """Tables strictly between ``name`` and the nearest kept table, along foreign keys."""
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
        """The schema block and the line break after it, in pieces that are tokenized separately."""
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
def linker_for(
    schema: Schema, path: Path, count_tokens: CountTokens, style: Style = "full"
) -> Linker:
    """The :class:`Linker` of a database, built on first use."""
    return Linker(schema, path, count_tokens, style=style)


def said(example: Example) -> str:
    """The text that tables are ranked against: the question and, on BIRD, its hint."""
    return f"{example.question} {example.evidence}".strip()


def table_words(path: Path, table: Table) -> list[str]:
    """The search document of a table: terms of its names, its columns' names, and its values.

    Descriptions and synonyms count as names.
    """
    return [term for texts in table_texts(path, table) for text in texts for term in words(text)]


def table_texts(path: Path, table: Table) -> tuple[list[str], list[str], list[str]]:
    """The texts of a table's document: its names, its columns' names, and its values."""
    columns = []
    for column in table.columns:
        columns += [column.name, column.description, *column.synonyms]
    values = [value for _, value in text_values(path, table, VALUES_PER_COLUMN)]
    return [table.name, table.description, *table.synonyms], columns, values


def _index(documents: list[list[str]]) -> BM25Plus | None:
    from rank_bm25 import BM25Plus

    # BM25+ with delta 0 is BM25 with an idf that stays positive. The usual idf is 0 or less for a
    # word in at least half of the documents: with three tables, most words. Without any word the
    # mean document length is 0, and rank_bm25 would divide by it.
    return BM25Plus(documents, delta=0) if any(documents) else None
