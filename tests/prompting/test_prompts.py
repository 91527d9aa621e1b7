from __future__ import annotations

import sqlite3
import time
from collections import Counter
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings

from distill_sql.data.datasets import Dataset, Example, load_dataset
from distill_sql.data.sqlite_schema import schema_from_sqlite
from distill_sql.errors import ParameterError
from distill_sql.prompting import prompts
from distill_sql.prompting.prompts import (
    build_messages,
    extract_sql,
    prompt_messages,
    tokenizer_for,
    trace_mode,
)
from distill_sql.prompting.rendering import (
    COMPACT_ROWS,
    SampleRows,
    Style,
    render_compact,
    render_schema,
    sample_rows,
)
from distill_sql.prompting.tokenizer import Message
from tests.hostile import Database, databases, write_dataset

GOLDEN = """\
CREATE TABLE customer (
  id NUMERIC PRIMARY KEY,
  name TEXT,
  "home town" TEXT
);
/* 3 rows:
id | name | home town
1 | Ada | Leeds
2 | Bo | York
3 | NULL | Leeds
*/

CREATE TABLE orders (
  id NUMERIC PRIMARY KEY,
  customer_id NUMERIC,
  placed_on DATETIME,
  paid BOOLEAN,
  FOREIGN KEY (customer_id) REFERENCES customer (id)
);
/* 2 rows:
id | customer_id | placed_on | paid
10 | 1 | 2024-01-02 | 1
11 | 2 | 2024-02-03 | 0
*/

CREATE TABLE order_item (
  order_id NUMERIC,
  line NUMERIC,
  product TEXT,
  price NUMERIC,
  PRIMARY KEY (order_id, line),
  FOREIGN KEY (order_id) REFERENCES orders (id)
);
/* 3 rows:
order_id | line | product | price
10 | 1 | lamp | 12.5
10 | 2 | chair * / x | 40.0
11 | 1 | rug | 7.0
*/
"""


def test_schema_block_does_not_change(toy_dataset: Path) -> None:
    path = toy_dataset / "database/shop/shop.sqlite"
    schema = schema_from_sqlite(path)
    assert render_schema(schema, sample_rows(path, schema.tables)) == GOLDEN


def test_user_turn_ends_with_question_and_instruction(toy_dataset: Path) -> None:
    dataset = load_dataset(toy_dataset)
    system, user = prompt_messages(dataset, dataset.examples[0])
    assert system["role"] == "system"
    assert user["content"] == (
        f"{GOLDEN}\nQuestion: How many customers are there?\n"
        "Answer with one SQLite query in a ```sql block, and nothing else."
    )


def test_modes_differ_in_the_instruction_only_and_share_the_prefix(toy_dataset: Path) -> None:
    dataset = load_dataset(toy_dataset)
    first, second = dataset.examples
    direct = prompt_messages(dataset, first)[1]["content"]
    reasoning = prompt_messages(dataset, first, mode="reasoning")[1]["content"]
    other = prompt_messages(dataset, second)[1]["content"]
    question = "Question: How many customers are there?\n"
    assert direct.split(question)[0] == reasoning.split(question)[0] == GOLDEN + "\n"
    assert direct != reasoning
    assert other.startswith(GOLDEN)


def test_evidence_becomes_a_hint() -> None:
    example = Example(0, "d", "How many?", "SELECT 1", evidence="many = 2")
    assert "Question: How many?\nHint: many = 2\n" in build_messages(example, "")[1]["content"]


def test_unknown_mode_is_refused() -> None:
    with pytest.raises(ParameterError, match="expected one of direct, reasoning"):
        build_messages(Example(0, "d", "q", "s"), "", mode="clever")  # type: ignore[arg-type]


def test_cells_are_short_and_on_one_line(toy_dataset: Path) -> None:
    table = schema_from_sqlite(toy_dataset / "database/shop/shop.sqlite").table("customer")
    from distill_sql.data.schema import Schema
    from distill_sql.prompting.rendering import render_table

    text = render_table(Schema("d", (table,)), table, [(1, "a\nb" + "x" * 90, b"\x00\xff")])
    shown = text.splitlines()[-2]
    assert shown == "1 | a b" + "x" * 34 + "... | <2 bytes>"


def test_the_compact_style_lists_tables_and_joins_as_queries_spell_them(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "shop.sqlite") as database:
        database.executescript("""
            CREATE TABLE person (id INTEGER PRIMARY KEY, name TEXT, boss INTEGER REFERENCES person);
            CREATE TABLE "order line" (o INTEGER, n INTEGER, paid INTEGER, PRIMARY KEY (o, n));
            CREATE TABLE refund (o INTEGER, n INTEGER, day DATE, why TEXT,
                FOREIGN KEY (o, n) REFERENCES "order line" (o, n));
        """)
    schema = schema_from_sqlite(tmp_path / "shop.sqlite")
    rows: SampleRows = {
        "order line": [(7, 1, 0), (7, 2, 1)],
        "refund": [(7, 2, "2020-01-01", why) for why in ("late", "late", "torn", "late")],
    }
    block = render_compact(schema, rows)
    assert block.splitlines() == [
        "person: id, name, boss",
        '"order line": o, n, paid flag',
        "refund: o, n, day date, why 'late' 'torn'",
        "person AS T1 JOIN person AS T2 ON T1.boss = T2.id",
        'refund JOIN "order line" ON refund.o = "order line".o AND refund.n = "order line".n',
    ]
    with sqlite3.connect(tmp_path / "shop.sqlite") as database:
        for join in block.splitlines()[3:]:
            database.execute(f"SELECT count(*) FROM {join}")


def test_schema_naming_what_the_file_lacks_shows_no_rows(toy_dataset: Path) -> None:
    from distill_sql.data.schema import Column, Table

    table = Table("customer", (Column("id"), Column("shoe_size")))
    rows = sample_rows(toy_dataset / "database/shop/shop.sqlite", (table, Table("nowhere", ())))
    assert rows == {"customer": [], "nowhere": []}


@pytest.mark.parametrize(
    ("completion", "sql"),
    [
        ("```sql\nSELECT 1;\n```", "SELECT 1"),
        ("```\nSELECT 1\n```", "SELECT 1"),
        ("```SQLite\nSELECT 1\n```", "SELECT 1"),
        ("```sql SELECT 1```", "SELECT 1"),
        ("Reasoning.\n```sql\nSELECT 1", "SELECT 1"),  # cut off before the closing fence
        ("```sql\nSELECT 1\n```\nBetter:\n```sql\nSELECT 2\n```", "SELECT 2"),
        ("```sql\nSELECT 1\n```\nIt gives:\n```\n1 row\n```", "SELECT 1"),
        ("```sql\n-- count\nWITH a AS (SELECT 1) SELECT * FROM a\n```",
         "-- count\nWITH a AS (SELECT 1) SELECT * FROM a"),
        ("```sql\nDELETE FROM t\n```", "DELETE FROM t"),  # SQL, which the sandbox refuses
        ("```sql\nSELECT 1; SELECT 2;\n```", "SELECT 1; SELECT 2"),
        ("SELECT name FROM singer;", "SELECT name FROM singer"),
        ("SELECT name FROM singer\n```", "SELECT name FROM singer"),
        ("", None),
        ("```", None),
        ("```sql\n```", None),
        ("I cannot answer that.", None),
        ("Select the singers from the table.", None),
        ("Select singers", None),
        ("With this schema there is no answer.", None),
        ("```\nnothing to see\n```", None),
    ],
)  # fmt: skip
def test_sql_out_of_a_completion(completion: str, sql: str | None) -> None:
    assert extract_sql(completion) == sql


@pytest.mark.parametrize("part", ["1 AND ", "(", "1 UNION SELECT ", "a.", "CASE WHEN ", "'"])
def test_answers_of_any_length_are_read_at_once(part: str) -> None:
    began = time.monotonic()
    assert extract_sql("SELECT " + part * (2_000_000 // len(part))) is None
    assert time.monotonic() - began < 2


def test_trace_mode_share_and_independence() -> None:
    examples = [Example(i, "d", f"question {i}", "") for i in range(4000)]
    share = Counter(map(trace_mode, examples))["reasoning"] / len(examples)
    assert abs(share - 0.4) < 0.03  # four standard deviations of a fair draw
    # the position in the file (which a limit or another order changes) plays no part
    assert trace_mode(Example(7, "d", "question 1", "")) == trace_mode(examples[1])
    assert {trace_mode(e, reasoning_share=0) for e in examples} == {"direct"}
    assert {trace_mode(e, reasoning_share=1) for e in examples} == {"reasoning"}
    seeds = [[trace_mode(e, seed=seed) for e in examples[:50]] for seed in (1, 2)]
    assert seeds[0] != seeds[1]


def test_spider_dev_loads_and_renders_in_under_three_seconds(spider_dir: Path) -> None:
    sample_rows.cache_clear()
    start = time.perf_counter()
    dataset = load_dataset("spider", path=spider_dir)
    prompts = [prompt_messages(dataset, example) for example in dataset]
    seconds = time.perf_counter() - start
    assert len(prompts) == 1034
    assert all("/* " in user["content"] for _, user in prompts)
    assert seconds < 3


def test_prompt_lengths_on_spider_dev(spider_dev: Dataset, qwen_dir: Path) -> None:
    """The published study counted its budget in characters; these are tokens."""
    from distill_sql.prompting.tokenizer import load_tokenizer

    tokenizer = load_tokenizer(qwen_dir)
    lengths = [
        tokenizer.count(tokenizer.render(prompt_messages(spider_dev, e))) for e in spider_dev
    ]
    assert 600 < sum(lengths) / len(lengths) < 900
    assert max(lengths) > 1500


def test_whose_tokenizer_counts(
    toy_dataset: Path, spider_dev: Dataset, qwen_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TOKENIZER_DIR", raising=False)
    pocket = load_dataset("pocket")
    assert tokenizer_for(pocket).name == "pocket-l"
    assert tokenizer_for(pocket).backend.get_vocab_size() == 2048
    assert tokenizer_for(pocket, qwen_dir).name == qwen_dir.name
    assert tokenizer_for(spider_dev).name == qwen_dir.name  # the folder beside Spider
    monkeypatch.setenv("TOKENIZER_DIR", str(qwen_dir))
    assert tokenizer_for(load_dataset(toy_dataset)).name == qwen_dir.name


def built(tmp_path: Path, *statements: str) -> Path:
    path = tmp_path / "x.sqlite"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for sql in statements:
            connection.execute(sql)
    return path


def test_generated_columns_are_shown_with_their_values(tmp_path: Path) -> None:
    path = built(
        tmp_path,
        "CREATE TABLE t (a INT, b INT AS (a * 2) STORED, c TEXT AS ('n' || a))",
        "INSERT INTO t (a) VALUES (1), (2)",
    )
    schema = schema_from_sqlite(path)
    assert render_schema(schema, sample_rows(path, schema.tables)) == (
        "CREATE TABLE t (\n  a NUMERIC,\n  b NUMERIC,\n  c TEXT\n);\n"
        "/* 2 rows:\na | b | c\n1 | 2 | n1\n2 | 4 | n2\n*/\n"
    )


def test_odd_names_break_neither_line_nor_comment(tmp_path: Path) -> None:
    path = built(
        tmp_path,
        'CREATE TABLE "order" ("a\n*/ b" TEXT, "" INT, "to" INT, "it\'s" INT, "q""q" INT)',
        "INSERT INTO \"order\" VALUES ('*/', 1, 2, 3, 4)",
    )
    schema = schema_from_sqlite(path)
    block = render_schema(schema, sample_rows(path, schema.tables))
    statement, _, comment = block.partition("/* 1 row:\n")
    assert comment == "a * / b |  | to | it's | q\"q\n* / | 1 | 2 | 3 | 4\n*/\n"
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(statement)
        columns = [name for _, name, *_ in connection.execute('PRAGMA table_info("order")')]
    assert columns == [column.name for column in schema.tables[0].columns]


def test_long_texts_blobs_and_lone_bytes_take_a_cell(tmp_path: Path) -> None:
    path = built(
        tmp_path,
        "CREATE TABLE t (a)",
        "INSERT INTO t VALUES (hex(zeroblob(1500000))), (zeroblob(3000000))",
        "INSERT INTO t VALUES (CAST(x'41ff42' AS TEXT))",
        "CREATE TABLE too_long (a)",
        "INSERT INTO too_long VALUES (hex(zeroblob(20000000)))",
    )
    schema = schema_from_sqlite(path)
    block = render_schema(schema, sample_rows(path, schema.tables))
    assert "\n" + "0" * 37 + "...\n<3000000 bytes>\nAB\n" in block
    assert block.endswith("CREATE TABLE too_long (\n  a TEXT\n);\n")


@settings(max_examples=40, deadline=None)
@given(database=databases())
def test_any_database_has_a_prompt_that_can_be_written(
    tmp_path_factory: pytest.TempPathFactory, database: Database
) -> None:
    dataset = load_dataset(write_dataset(tmp_path_factory.mktemp("any"), database))
    for style in ("full", "compact"):
        for example in (dataset.examples[0], dataset.examples[-1]):
            text = prompt_messages(dataset, example, style=style)[1]["content"]
            assert "there_is_one" in text
            text.encode()


def compact_count(dataset: Dataset) -> int:
    """The tokens of the toy database's compact block with the line break after it."""
    path = dataset.database_path("shop")
    schema = dataset.schema("shop")
    block = render_compact(schema, sample_rows(path, schema.tables, COMPACT_ROWS))
    return len((block + "\n").split())


def count_words(text: str) -> int:
    return len(text.split())


def test_only_a_schema_that_does_not_fit_is_cut(toy_dataset: Path) -> None:
    dataset = load_dataset(toy_dataset)
    example = replace(dataset.examples[0], question="Which customers are called Ada?")
    for style in ("full", "compact"):
        options = {"style": style, "count": count_words}
        whole = prompt_messages(dataset, example, **options)  # type: ignore[arg-type]
        large = prompt_messages(dataset, example, schema_tokens=10_000, **options)  # type: ignore[arg-type]
        small = prompt_messages(dataset, example, schema_tokens=1, **options)  # type: ignore[arg-type]
        assert large == whole
        assert "order_item" in whole[1]["content"]
        assert "order_item" not in small[1]["content"]
        assert "customer" in small[1]["content"]
    fits = compact_count(dataset)
    at, below = (
        prompt_messages(dataset, example, style="compact", schema_tokens=n, count=count_words)
        for n in (fits, fits - 1)
    )
    assert at == whole
    assert below != whole


def test_marks_are_of_tables_that_are_shown(toy_dataset: Path) -> None:
    dataset = load_dataset(toy_dataset)
    example = replace(dataset.examples[0], question="Did the customer Ada of York buy a lamp?")

    def asked(tokens: int) -> str:
        messages = prompt_messages(
            dataset, example, style="compact", schema_tokens=tokens, count=count_words
        )
        return messages[1]["content"].split("Question: ")[1].splitlines()[0]

    assert asked(0) == (
        "Did the customer [customer] Ada [customer.name = 'Ada'] of York [customer.\"home town\" "
        "= 'York'] buy a lamp [order_item.product = 'lamp']?"
    )
    assert asked(1) == asked(0).replace(" [order_item.product = 'lamp']", "")


def test_the_hint_chooses_tables_too(toy_dataset: Path) -> None:
    dataset = load_dataset(toy_dataset)
    asked = Example(0, "shop", "How expensive is it?", "", evidence="refers to order_item.price")
    shown = [
        prompt_messages(dataset, one, schema_tokens=1, count=count_words)[1]["content"]
        for one in (asked, replace(asked, evidence=""))
    ]
    assert ["CREATE TABLE order_item" in text for text in shown] == [True, False]


@pytest.mark.parametrize("tokens", [-1, 1.5, "500", True, None])
def test_a_budget_is_a_whole_number(toy_dataset: Path, tokens: object) -> None:
    dataset = load_dataset(toy_dataset)
    with pytest.raises(ParameterError, match=r"--schema-tokens .* is .*expected a whole number"):
        prompt_messages(dataset, dataset.examples[0], schema_tokens=tokens)  # type: ignore[arg-type]


def schema_part(messages: list[Message]) -> str:
    return messages[1]["content"].split("\nQuestion: ")[0]


@pytest.mark.parametrize("style", ["full", "compact"])
@pytest.mark.parametrize("split", ["train", "dev"])
def test_what_fits_is_the_same_text_for_every_question(split: str, style: Style) -> None:
    """On all of pocket, at a budget that some schemas exceed and others do not."""
    dataset = load_dataset("pocket", split=split)
    count = tokenizer_for(dataset).count
    budget = 250 if style == "compact" else 1250
    shown: dict[str, set[str]] = {}
    cut, whole = 0, 0
    for example in dataset:
        block = schema_part(prompt_messages(dataset, example, style=style, schema_tokens=budget))
        fits = count(schema_part(prompt_messages(dataset, example, style=style)) + "\n") <= budget
        shown.setdefault(example.db_id, set()).add(block)
        if fits:
            whole += 1
            assert block == schema_part(prompt_messages(dataset, example, style=style))
            assert len(shown[example.db_id]) == 1
        else:
            cut += 1
            assert count(block + "\n") <= budget
    assert whole
    assert cut


def test_what_fits_is_the_same_text_on_spider_dev(spider_dev: Dataset, qwen_dir: Path) -> None:
    from distill_sql.prompting.tokenizer import load_tokenizer

    count = load_tokenizer(qwen_dir).count
    changed = {0: 0, 1500: 0, 500: 0}
    for example in spider_dev:
        whole = prompt_messages(spider_dev, example)
        fits = count(schema_part(whole) + "\n")
        for tokens in changed:
            made = prompt_messages(spider_dev, example, schema_tokens=tokens, count=count)
            assert (made == whole) == (not tokens or fits <= tokens)
            changed[tokens] += made != whole
    assert changed[0] == 0
    assert 0 < changed[1500] < changed[500]


def test_prompts_are_made_in_one_place() -> None:
    """No other module renders a schema, so teacher, training and inference show the same."""
    package = Path(prompts.__file__).parent
    makers = ("build_messages", "render_schema", "linker_for")
    for file in package.rglob("*.py"):
        if file.name not in ("prompts.py", "rendering.py", "linking.py", "recall.py"):
            text = file.read_text(encoding="utf-8")
            assert not [name for name in makers if f"{name}(" in text], file
