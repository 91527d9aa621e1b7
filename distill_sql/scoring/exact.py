"""Exact set match and its component scores, with the semantics of Spider's official evaluator.

Two queries match if their components are equal in any order: SELECT, WHERE, GROUP BY, HAVING, ORDER
BY, AND/OR, set operations, keywords, tables. The rules are those of ``evaluation.py`` of
taoyds/test-suite-sql-eval (commit e97acc5) with its default flags: values and DISTINCT are not
compared, and columns linked by a foreign key count as one. The metric is from Yu et al., "Spider"
(EMNLP 2018), section 5. It rejects many correct queries and accepts a few wrong ones.

Some odd rules are kept. ON conditions are not compared. Nested queries are compared with DISTINCT
and without foreign keys, and those in FROM also with their values.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, replace

from distill_sql.data.schema import Schema
from distill_sql.scoring.execution import prediction_text
from distill_sql.scoring.spider_parser import parse_query
from distill_sql.scoring.spider_query import (
    ColumnUnit,
    Condition,
    Conditions,
    OrderBy,
    Query,
    SelectItem,
    SpiderSqlError,
    Value,
    ValueUnit,
)
from distill_sql.sql.sandbox import SQL_BYTES

#: The components, in the order in which the official evaluator prints them.
COMPONENTS = (
    "select",
    "select(no AGG)",
    "where",
    "where(no OP)",
    "group(no Having)",
    "group",
    "order",
    "and/or",
    "IUEN",
    "keywords",
)


@dataclass(frozen=True)
class ComponentScore:
    """The score of one component of one pair, and its number of parts in gold and prediction.

    Accuracy, recall and F1 of a single pair are all 1 or all 0 (``get_scores``); there is no
    partial credit.
    """

    correct: bool
    gold_total: int
    pred_total: int


def exact_set_match(pred_sql: str, gold_sql: str, schema: Schema) -> bool:
    """Whether a prediction matches the gold query in every component.

    A prediction that Spider's parser rejects, or that is too long to be run, counts as an empty
    query, which matches no gold query; no prediction raises an error. A gold query that the parser
    rejects raises :class:`SpiderSqlError`: the official evaluator stops there, and the pair has no
    verdict.
    """
    pred, gold = _comparable_pair(pred_sql, gold_sql, schema)
    try:
        return _match(pred, gold)
    except RecursionError:  # almost too deeply nested to parse, so it matches no gold query
        return False


def component_scores(pred_sql: str, gold_sql: str, schema: Schema) -> dict[str, ComponentScore]:
    """The scores of one pair, by the names in :data:`COMPONENTS`.

    A component that neither query has is right. Errors are those of :func:`exact_set_match`.
    """
    pred, gold = _comparable_pair(pred_sql, gold_sql, schema)
    try:
        return _components(pred, gold)
    except RecursionError:
        return _components(Query(), gold)


def partial_match(
    scores: Iterable[Mapping[str, ComponentScore]],
) -> dict[str, tuple[float, float, float]]:
    """Accuracy, recall and F1 of each component over many pairs, as in the official report.

    Accuracy is the share of right pairs among those whose prediction has the component, and recall
    among those whose gold query has it. F1 is their harmonic mean, and 1 if both are 0, as the
    official report prints it.
    """
    rows = list(scores)
    table = {}
    for name in COMPONENTS:
        column = [row[name] for row in rows]
        accuracy = _share([score.correct for score in column if score.pred_total])
        recall = _share([score.correct for score in column if score.gold_total])
        f1 = 2 * accuracy * recall / (accuracy + recall) if accuracy + recall else 1.0
        table[name] = (accuracy, recall, f1)
    return table


def _share(right: list[bool]) -> float:
    return sum(right) / len(right) if right else 0.0


# --- Making two queries comparable --------------------------------------------------------------


def _comparable_pair(pred_sql: str, gold_sql: str, schema: Schema) -> tuple[Query, Query]:
    keys = foreign_key_map(schema)
    gold = _read(gold_sql, schema, keys)
    if len(pred_sql) > SQL_BYTES:
        return Query(distinct=None), gold
    try:
        return _read(prediction_text(pred_sql), schema, keys), gold
    except SpiderSqlError:
        return Query(distinct=None), gold


def foreign_key_map(schema: Schema) -> dict[str, str]:
    """Map each column of a foreign key to its representative (``build_foreign_key_map``).

    The representative is the first column, in the schema's order, of a group of columns linked by
    keys. Groups grow as keys are read and are never merged: a key between two groups is added to
    the older one, and a column in both belongs to the newer one.
    """
    order = {
        f"{table.name}.{column.name}".lower(): position
        for position, (table, column) in enumerate(
            (table, column) for table in schema.tables for column in table.columns
        )
    }
    groups: list[set[str]] = []
    for key in schema.foreign_keys:
        for name, ref_name in zip(key.columns, key.ref_columns, strict=True):
            pair = {f"{key.table}.{name}".lower(), f"{key.ref_table}.{ref_name}".lower()}
            for group in groups:
                if group & pair:
                    group |= pair
                    break
            else:
                groups.append(pair)
    return {column: min(group, key=order.__getitem__) for group in groups for column in group}


def _read(sql: str, schema: Schema, keys: Mapping[str, str]) -> Query:
    query = parse_query(sql, schema)
    here = {name: to for name, to in keys.items() if name.partition(".")[0] in query.tables}
    try:
        return _with_keys(_without_values(query), here)
    except RecursionError:
        raise SpiderSqlError(
            "A query is nested too deeply to be compared. Score it by execution."
        ) from None


def _without_values(query: Query) -> Query:
    """A query without the values of its conditions, at every depth (``rebuild_sql_val``).

    Queries on the right side of conditions are kept, without their values. Queries in FROM keep
    their values.
    """
    return replace(
        query,
        on=_conditions_without_values(query.on),
        where=_conditions_without_values(query.where),
        having=_conditions_without_values(query.having),
        intersect=query.intersect and _without_values(query.intersect),
        union=query.union and _without_values(query.union),
        except_=query.except_ and _without_values(query.except_),
    )


def _conditions_without_values(conditions: Conditions) -> Conditions:
    if not conditions.terms:
        return conditions
    terms = tuple(
        Condition(
            term.negated,
            term.operator,
            term.left,
            _nested_only(term.value),
            _nested_only(term.second),
        )
        for term in conditions.terms
    )
    return Conditions(terms, conditions.connectors)


def _nested_only(value: Value) -> Query | None:
    return _without_values(value) if isinstance(value, Query) else None


def _with_keys(query: Query, keys: Mapping[str, str]) -> Query:
    """A query with linked columns replaced by one, and without DISTINCT (``rebuild_sql_col``).

    ``keys`` is limited to the tables in the FROM of the outermost, leftmost query, also for the
    queries after a UNION. Queries in conditions and in FROM are not changed, so DISTINCT and the
    choice between linked columns matter there.
    """

    def column(unit: ColumnUnit) -> ColumnUnit:
        return ColumnUnit(unit.aggregate, keys.get(unit.column, unit.column), None)

    def value(unit: ValueUnit) -> ValueUnit:
        return ValueUnit(unit.operator, column(unit.left), unit.right and column(unit.right))

    def conditions(clause: Conditions) -> Conditions:
        if not clause.terms:
            return clause
        terms = tuple(
            Condition(term.negated, term.operator, value(term.left), term.value, term.second)
            for term in clause.terms
        )
        return Conditions(terms, clause.connectors)

    order = query.order_by
    return Query(
        select=tuple(SelectItem(item.aggregate, value(item.value)) for item in query.select),
        distinct=None,
        tables=query.tables,
        on=conditions(query.on),
        where=conditions(query.where),
        group_by=tuple(map(column, query.group_by)),
        having=conditions(query.having),
        order_by=order and OrderBy(order.direction, tuple(map(value, order.items))),
        limit=query.limit,
        intersect=query.intersect and _with_keys(query.intersect, keys),
        union=query.union and _with_keys(query.union, keys),
        except_=query.except_ and _with_keys(query.except_, keys),
    )


# --- Comparing ----------------------------------------------------------------------------------


def _match(pred: Query, gold: Query) -> bool:
    """Every component is right, and the tables are the same in any order (``eval_exact_match``).

    A gold query without tables matches any tables. The official evaluator crashes on two different
    queries in one FROM; here they are compared like tables.
    """
    if not all(score.correct for score in _components(pred, gold).values()):
        return False
    return not gold.tables or Counter(pred.tables) == Counter(gold.tables)


def _components(pred: Query, gold: Query) -> dict[str, ComponentScore]:
    """``eval_partial_match``."""
    return {
        "select": _parts(pred.select, gold.select),
        "select(no AGG)": _parts(
            [item.value for item in pred.select], [item.value for item in gold.select]
        ),
        "where": _parts(pred.where.terms, gold.where.terms),
        "where(no OP)": _parts(
            [term.left for term in pred.where.terms], [term.left for term in gold.where.terms]
        ),
        "group(no Having)": _parts(_group_names(pred), _group_names(gold)),
        "group": _group(pred, gold),
        "order": _order(pred, gold),
        "and/or": _connectors(pred, gold),
        "IUEN": _set_operations(pred, gold),
        "keywords": _parts(keywords(pred), keywords(gold)),
    }


def _parts(pred: Iterable[Hashable], gold: Iterable[Hashable]) -> ComponentScore:
    """Right if the parts are equal as multisets."""
    left, right = Counter(pred), Counter(gold)
    return ComponentScore(left == right, right.total(), left.total())


def _group_names(query: Query) -> list[str]:
    """The columns of GROUP BY without their tables and aggregates (``eval_group``)."""
    return [unit.column.split(".")[-1] for unit in query.group_by]


def _group(pred: Query, gold: Query) -> ComponentScore:
    """GROUP BY with tables, and HAVING; both are compared in order (``eval_having``).

    HAVING is not compared if neither query has GROUP BY.
    """
    same = [unit.column for unit in pred.group_by] == [unit.column for unit in gold.group_by]
    correct = same and (not gold.group_by or pred.having == gold.having)
    return ComponentScore(correct, int(bool(gold.group_by)), int(bool(pred.group_by)))


def _order(pred: Query, gold: Query) -> ComponentScore:
    """ORDER BY, and whether there is a LIMIT (``eval_order``).

    If neither query has ORDER BY, LIMIT is only compared as a keyword.
    """
    same = pred.order_by == gold.order_by
    correct = same and (gold.order_by is None or pred.limit == gold.limit)
    return ComponentScore(correct, int(gold.order_by is not None), int(pred.order_by is not None))


def _connectors(pred: Query, gold: Query) -> ComponentScore:
    """Whether AND and OR occur in WHERE, regardless of place and number (``eval_and_or``).

    If they differ, the totals of gold and prediction are swapped, as in the official evaluator.
    """
    left, right = set(pred.where.connectors), set(gold.where.connectors)
    if left == right:
        return ComponentScore(True, 1, 1)
    return ComponentScore(False, gold_total=len(left), pred_total=len(right))


def _set_operations(pred: Query, gold: Query) -> ComponentScore:
    """INTERSECT, UNION, EXCEPT and the queries that follow them (``eval_IUEN``)."""
    pairs = [
        (pred.intersect, gold.intersect),
        (pred.except_, gold.except_),
        (pred.union, gold.union),
    ]
    matched = sum(bool(left and right and _match(left, right)) for left, right in pairs)
    gold_total = sum(right is not None for _, right in pairs)
    pred_total = sum(left is not None for left, _ in pairs)
    return ComponentScore(matched == pred_total == gold_total, gold_total, pred_total)


def keywords(query: Query) -> set[str]:
    """The keywords of the outermost query (``get_keywords``); NOT, IN, LIKE and OR also from ON.

    JOIN, the columns of GROUP BY and the keywords of nested queries are not included.
    """
    found = {
        word
        for word, present in {
            "where": query.where.terms,
            "group": query.group_by,
            "having": query.having.terms,
            "limit": query.limit,
            "except": query.except_,
            "union": query.union,
            "intersect": query.intersect,
        }.items()
        if present
    }
    if query.order_by:
        found |= {"order", query.order_by.direction}
    for clause in (query.on, query.where, query.having):
        if "or" in clause.connectors:
            found.add("or")
        for term in clause.terms:
            if term.negated:
                found.add("not")
            if term.operator in ("in", "like"):
                found.add(term.operator)
    return found
