"""Prompts in both styles, and what the data chapter says of their lengths."""

from __future__ import annotations

import pytest

from distill_sql import load_dataset, prompt_messages, recipe_for
from distill_sql.book.pages import prompts
from distill_sql.book.pages.prompts import Prompts
from distill_sql.book.shown import Figure, Table
from distill_sql.prompting.prompts import tokenizer_for


@pytest.fixture(scope="module")
def made() -> Prompts:
    return prompts.prompts(load_dataset("pocket").limit(4), recipe_for("pocket-l"))


def test_prompts_are_made_in_both_styles_and_counted(made: Prompts) -> None:
    dev, counter = made.dataset, tokenizer_for(made.dataset)
    assert list(made.messages) == ["compact", "full"]
    for style, chats in made.messages.items():
        assert chats == [prompt_messages(dev, e, style=style) for e in dev]
        assert made.tokens[style] == [counter.count(counter.render(chat)) for chat in chats]
    assert made.first("full") == counter.render(prompt_messages(dev, dev.examples[0]))


def test_lengths_are_told_for_the_recipes_style_and_compared(made: Prompts) -> None:
    text, figure, table = prompts.prompt_lengths(made)
    own = made.tokens["compact"]
    assert isinstance(text, str)
    assert f"**{sum(own) / 4:,.0f} tokens on average** over dev" in text
    assert "--schema-tokens" not in text
    assert isinstance(figure, Figure)
    assert f"from {min(own)} to {max(own)} tokens" in figure.alt
    assert isinstance(table, Table)
    compact, full = table.rows
    assert compact["students"].startswith("pocket-s, pocket-m, pocket-l")
    assert full["students"].startswith("0.5b, 1.5b")
    assert full["longest"] == max(made.tokens["full"])
    assert min(own) <= compact["mean"] <= compact["95 %"] <= compact["longest"] == max(own)


def test_prompts_over_the_training_limit_are_told() -> None:
    recipe = recipe_for("pocket-l", length=16)
    made = prompts.prompts(load_dataset("pocket").limit(2), recipe)
    text = prompts.prompt_lengths(made)[0]
    assert isinstance(text, str)
    assert "100% have more than 16" in text
    assert "`--schema-tokens` shortens the schema" in text
