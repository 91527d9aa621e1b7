"""Decoding with a schema's grammar: accepted queries, excluded queries, correctness."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import numpy as np
import pytest
import sqlglot
from sqlglot import exp

from distill_sql.data.carried import CHECKPOINTS
from distill_sql.data.datasets import Dataset, load_dataset
from distill_sql.data.schema import Column, ForeignKey, Schema, Table
from distill_sql.errors import PredictionError
from distill_sql.prompting.prompts import extract_sql
from distill_sql.prompting.tokenizer import ChatTokenizer, load_tokenizer

pytest.importorskip("llguidance", reason="the extra train is not installed")

from distill_sql.models import grammar
from distill_sql.models.generation import answers
from distill_sql.models.grammar import QueryGrammar, vocabulary
from distill_sql.models.students import open_student

SHOP = Schema(
    "shop",
    (
        Table("customer", (Column("id", "number"), Column("name", "text"), Column("date", "time"))),
        Table("orders", (Column("id", "number"), Column("customer_id", "number"))),
        Table("stock", (Column("count", "number"), Column("Free Rate (K-12)", "number"))),
    ),
    (ForeignKey("orders", ("customer_id",), "customer", ("id",)),),
)


@pytest.fixture(scope="module")
def tokenizer() -> ChatTokenizer:
    return load_tokenizer(CHECKPOINTS / "pocket-m")


@pytest.fixture(scope="module")
def shop(tokenizer: ChatTokenizer) -> QueryGrammar:
    return QueryGrammar(SHOP, vocabulary(tokenizer))


def is_refused(connection: sqlite3.Connection, query: str) -> bool:
    """Whether a query names a table or a column that does not exist."""
    try:
        connection.execute(query)
    except sqlite3.OperationalError as error:
        return str(error).startswith("no such")
    return False


def fenced(query: str) -> str:
    return f"```sql\n{query}\n```"


@pytest.mark.parametrize(
    "query",
    [
        "SELECT name FROM customer",
        "select NAME from Customer where Date > '2020-01-01' and not (id = 1 or name is null)",
        "SELECT DISTINCT customer.name FROM customer JOIN orders "
        "ON orders.customer_id = customer.id WHERE orders.id > 3",
        "SELECT T1.name, count(*) FROM customer AS T1 JOIN orders AS T2 ON T1.id = T2.customer_id "
        "GROUP BY T1.id HAVING count(*) >= 2 ORDER BY count(*) DESC LIMIT 3",
        "SELECT name FROM customer WHERE id NOT IN (SELECT customer_id FROM orders)",
        "SELECT id FROM customer UNION ALL SELECT id FROM orders ORDER BY id",
        "SELECT id FROM customer UNION SELECT id FROM orders",
        "SELECT avg(n) FROM (SELECT count(*) AS n FROM orders GROUP BY customer_id)",
        "SELECT count(*), count FROM stock WHERE `Free Rate (K-12)` BETWEEN 1 AND 2.5",
        'SELECT "Free Rate (K-12)" FROM stock WHERE count IN (1, 2)',
        "SELECT customer.name FROM customer, orders, stock WHERE stock.count = orders.id",
        "SELECT CASE WHEN id > 1 THEN 'a' ELSE 'it''s' END FROM customer",
    ],
)
def test_a_query_on_the_schema_is_taken(shop: QueryGrammar, query: str) -> None:
    assert shop.takes(fenced(query))
    assert shop.takes(query)
    assert shop.takes(f"{query};\n```")
    assert shop.takes(f"The `customer` table will do.\n{fenced(query + ';')}")


@pytest.mark.parametrize(
    "query",
    [
        "SELECT nickname FROM customer",
        "SELECT name FROM customers",
        "SELECT name FROM orders",
        "SELECT customer.customer_id FROM customer",
        "SELECT orders.name FROM customer JOIN orders ON customer.id = orders.customer_id",
        "SELECT name FROM customer WHERE customer_id = 1",
        "SELECT name FROM customer ORDER BY customer_id",
        "SELECT id FROM orders WHERE id IN (SELECT id FROM basket)",
        "SELECT name FROM customer WHERE",
        "DELETE FROM customer",
    ],
)
def test_any_other_is_not(shop: QueryGrammar, query: str) -> None:
    assert not shop.takes(fenced(query))
    assert not shop.takes(query)
    # A query before the block is not free text.
    if query.startswith("SELECT"):
        assert not shop.takes(f"{query}\n{fenced('SELECT name FROM customer')}")


@pytest.mark.parametrize("text", ["Select a table.", "SELECTED: `customer`", "One could SELECT x."])
def test_text_before_the_block_is_free(shop: QueryGrammar, text: str) -> None:
    assert shop.takes(f"{text}\n{fenced('SELECT name FROM customer')}")
    assert not shop.takes(text)


def test_an_answer_may_end_without_a_block(tokenizer: ChatTokenizer, shop: QueryGrammar) -> None:
    """After a complete query the end marker is allowed, and not before."""
    size = tokenizer.backend.get_vocab_size()
    end = tokenizer.encode("<|im_end|>")[0]
    writer = shop.writer()
    scores = np.eye(size, dtype=np.float32)
    query = "SELECT name FROM customer"
    assert writer(scores[tokenizer.encode("SELECT")[0]] + 2 * scores[end]) != end
    writer = shop.writer()
    assert [writer(scores[token]) for token in tokenizer.encode(query)] == tokenizer.encode(query)
    assert writer(scores[end]) == end


def test_a_schema_of_many_tables_does_not_end_answers(tokenizer: ChatTokenizer) -> None:
    """llguidance's default limits end them after the first name, or when a mask is computed."""
    columns = tuple(Column(name, "text") for name in ("name", "place", "day", "size"))
    tables = tuple(Table(f"table_{n}", (Column("id", "number"), *columns)) for n in range(16))
    keys = tuple(ForeignKey(f"table_{n}", ("id",), f"table_{n + 1}", ("id",)) for n in range(15))
    queries = QueryGrammar(Schema("wide", tables, keys), vocabulary(tokenizer))
    scores = np.eye(tokenizer.backend.get_vocab_size(), dtype=np.float32)
    wanted = tokenizer.encode("```sql\nSELECT name FROM table_3\n```")
    nonsense = tokenizer.encode("!")[0]
    writer = queries.writer()
    for token in wanted:
        # The best token is excluded, the second best is the one that is wanted.
        assert writer(scores[token] + 2 * scores[nonsense] * (token not in wanted[:2])) == token


def test_a_schema_that_is_too_much_is_named(
    tokenizer: ChatTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grammar, "grammar_of", lambda _: "start: (")
    with pytest.raises(PredictionError, match="No grammar can be built from shop's schema"):
        QueryGrammar(SHOP, vocabulary(tokenizer))


def test_every_gold_query_of_pocket_is_taken(tokenizer: ChatTokenizer) -> None:
    tokens = vocabulary(tokenizer)
    for split in ("train", "dev"):
        dataset = load_dataset("pocket", split=split)
        grammars = {db: QueryGrammar(schema, tokens) for db, schema in dataset.schemas.items()}
        assert all(grammars[e.db_id].takes(fenced(e.query)) for e in dataset)


def test_spiders_gold_queries_are_taken(spider_dev: Dataset, qwen_dir: Path) -> None:
    tokens = vocabulary(load_tokenizer(qwen_dir))
    asked = {e.db_id for e in spider_dev}
    grammars = {db: QueryGrammar(spider_dev.schema(db), tokens) for db in asked}
    for example in spider_dev:
        query = " ".join(example.query.strip().rstrip(";").split())
        assert grammars[example.db_id].takes(fenced(query)), query


def test_whatever_the_scores_an_answer_runs(tokenizer: ChatTokenizer, shop: QueryGrammar) -> None:
    """Random logits, biased towards the end of an answer, never give a missing table or column."""
    connection = sqlite3.connect(":memory:")
    connection.executescript(
        'CREATE TABLE customer (id, name, "date"); CREATE TABLE orders (id, customer_id);'
        'CREATE TABLE stock ("count", "Free Rate (K-12)");'
    )
    likes = tokenizer.encode("\n``` FROM customer)1")
    random = np.random.default_rng(0)
    size = tokenizer.backend.get_vocab_size()
    ran = set()
    for _ in range(100):
        writer = shop.writer()
        written = [
            writer(np.eye(size, dtype=np.float32)[token])
            for token in tokenizer.encode("```sql\nSELECT")
        ]
        for _ in range(300):
            scores = random.normal(size=size).astype(np.float32)
            scores[likes] += random.integers(9, size=len(likes))
            written.append(writer(scores))
            text = tokenizer.backend.decode(written)
            if text.count("```") == 2:
                break
        query = extract_sql(text)
        if text.count("```") == 2 and query:
            tree = sqlglot.parse_one(query, read="sqlite")
            # The grammar does not check aliases: any alias can qualify any column.
            if not tree.find(exp.TableAlias, exp.Subquery):
                ran.add(query)
    assert len(ran) > 5
    assert not [query for query in ran if is_refused(connection, query)]


@pytest.mark.parametrize("framework", ["torch", "mlx"])
def test_students_answer_by_the_grammar(framework: str) -> None:
    """An untrained base writes wrong names; with the grammar it cannot."""
    pytest.importorskip("mlx_lm" if framework == "mlx" else "peft")
    from distill_sql.models.recipes import recipe_for

    dev = load_dataset("pocket", split="dev")
    asked = dev.examples[:: len(dev) // 48]
    student = open_student(recipe_for("pocket-s-base", precision="float32"), framework=framework)
    wrong = {}
    for bound in (False, True):
        found = [
            answer
            for batch in answers(
                student, dev, asked, style="compact", max_tokens=100, grammar=bound
            )
            for answer in batch
        ]
        wrong[bound] = 0
        for answer in found:
            with sqlite3.connect(dev.database_path(answer.db_id)) as connection:
                wrong[bound] += is_refused(connection, answer.pred_sql)
    assert wrong[False] > 2
    assert wrong[True] == 0
