from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from distill_sql.book.pages import recipe as page
from distill_sql.data.datasets import load_dataset
from distill_sql.models.recipes import recipe_for
from distill_sql.prompting.prompts import prompt_messages

from . import students

pytestmark = pytest.mark.filterwarnings("default")


def test_a_recipe_is_shown_with_what_was_overridden() -> None:
    table = page.recipe_table(recipe_for("0.5b", seed=7, schema_tokens=1200))
    values = {row[""]: row["value"] for row in table.rows}
    assert values["rank, alpha, dropout"] == "16, 32, 0.05"
    assert values["learning rate"].startswith("linear warm-up of 50 updates to 5e-05")
    assert values["prompt"] == "full style, at most 1,200 tokens of a schema"
    assert values["seed"] == 7
    assert table.caption == "The recipe of 0.5b; overridden here: schema_tokens, seed."
    assert page.recipe_table(recipe_for("pocket-s")).caption.endswith(", as it stands.")


def test_sizes_differ_in_how_they_fit_into_memory() -> None:
    rows = {row["recipe"]: row for row in page.sizes_table().rows}
    assert set(rows) == {
        "0.5b", "1.5b", "3b", "7b", "14b", "0.5b-direct", "coder-0.5b", "coder-1.5b",
        "coder-0.5b-direct",
    }  # fmt: skip
    assert rows["coder-0.5b"]["base"] == "Qwen2.5-Coder-0.5B-Instruct (Q4_K_M)"
    assert (rows["3b"]["weights held in"], rows["3b"]["recomputes activations"]) == ("nf4", "yes")
    assert rows["0.5b-direct"]["learns"] == "direct only"


def test_the_schedule_has_a_rate_for_each_update() -> None:
    recipe = recipe_for("pocket-s", batch=2, warm_up=1)
    train = load_dataset("pocket", split="train")
    figure = page.schedule(recipe, students.material(learned=5, validation=0), train)
    [rates] = figure.chart.to_dict()["datasets"].values()
    assert [row["update"] for row in rates] == [0, 1, 2]  # 2, 2 and 1 traces
    assert [row["rate"] for row in rates] == pytest.approx([0, 2e-3, 1e-3])  # half a cosine
    assert "over 3 updates, those of the student below." in figure.caption


def test_without_traces_three_questions_in_four_are_taken_to_have_one() -> None:
    recipe = recipe_for("pocket-s")
    assert page.guessed_updates(recipe, 100) == 9  # 75 traces in batches of 8
    assert page.guessed_updates(recipe, 3) == 2
    train = load_dataset("pocket", split="train").limit(100)
    assert "over 9 updates" in page.schedule(recipe, None, train).caption


def numbers(table_rows: Sequence[object]) -> list[int]:
    return [row["number"] for row in table_rows]  # type: ignore[index]


def test_traces_are_counted_at_each_step() -> None:
    recipe, given = recipe_for("pocket-s"), students.material(learned=4, validation=2)
    table = page.traces_table(recipe, given)
    assert numbers(table.rows) == [6, 1, 3, 2, 4]
    assert "of 1 databases" in table.rows[3]["traces"]
    assert table.caption == "The number of traces at each step."
    sampled = replace(given, learned=given.learned[:3])
    assert numbers(page.traces_table(recipe, sampled).rows) == [6, 1, 3, 2, 4, 3]
    alone = page.traces_table(recipe, students.material(validation=0))
    assert "too few databases" in alone.caption


def test_lengths_are_those_of_the_prompt_and_the_gold_query() -> None:
    train = load_dataset("pocket", split="train").limit(5)
    counter = students.material(1, 0).tokenizer
    recipe = recipe_for("pocket-s")
    found = page.lengths(train, recipe, counter)
    first = next(iter(train))
    prompt = counter.render(prompt_messages(train, first, style="compact"))
    assert found.tokens[0] == counter.count(prompt) + counter.count(f"```sql\n{first.query}\n```")
    tight = replace(found, limit=sorted(found.tokens)[2])
    assert tight.over == 2 / 5
    assert f"Of 5 train examples, **40.0%** exceed {tight.limit:,} tokens" in (
        page.lengths_in_words(tight)
    )
    assert page.lengths_chart(tight).alt == (
        f"Histogram of lengths, median {sorted(found.tokens)[2]}, 40% above {tight.limit}."
    )
