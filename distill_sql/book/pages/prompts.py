"""The data chapter: prompts in both styles, and their lengths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import altair as alt
import numpy as np
import pandas as pd

from distill_sql.book import survey
from distill_sql.book.shown import Figure, Shown, Table
from distill_sql.data.datasets import Dataset
from distill_sql.models.recipes import RECIPES, Recipe
from distill_sql.prompting.prompts import prompt_messages, tokenizer_for
from distill_sql.prompting.rendering import Style
from distill_sql.prompting.tokenizer import ChatTokenizer, Message

#: What the page says if more than this share of the prompts exceeds the training limit.
MANY = 0.05
TOO_LONG = "Training leaves out longer ones; `--schema-tokens` shortens the schema. "


@dataclass(frozen=True)
class Prompts:
    """The prompts of a split in both styles, that of ``recipe`` first.

    ``messages`` has a chat for each question, in the split's order, and ``tokens`` its length.
    """

    dataset: Dataset
    recipe: Recipe
    counter: ChatTokenizer
    messages: Mapping[Style, Sequence[list[Message]]]
    tokens: Mapping[Style, Sequence[int]]

    def first(self, style: Style) -> str:
        """The text of the first question's prompt, as a model reads it."""
        return self.counter.render(self.messages[style][0])


def prompts(dataset: Dataset, recipe: Recipe, tokenizer: str = "") -> Prompts:
    """Make the prompts of all questions, and count their tokens.

    ``tokenizer`` is the folder of a tokenizer; if it is empty, the students' own counts.
    """
    counter = tokenizer_for(dataset, tokenizer)
    other: Style = "compact" if recipe.style == "full" else "full"
    messages: dict[Style, list[list[Message]]] = {
        style: [
            prompt_messages(
                dataset,
                example,
                style=style,
                schema_tokens=recipe.schema_tokens,
                count=counter.count,
            )
            for example in dataset
        ]
        for style in (recipe.style, other)
    }
    tokens = {
        style: [counter.count(counter.render(chat)) for chat in chats]
        for style, chats in messages.items()
    }
    return Prompts(dataset, recipe, counter, messages, tokens)


def students(style: Style) -> str:
    """The names of the students whose prompts have this style by default."""
    return ", ".join(r.name for r in RECIPES.values() if r.style == style and r.trained)


def prompt_lengths(made: Prompts) -> list[Shown]:
    """The tokens of the prompts: those of the recipe's style in detail, then both styles."""
    recipe, split, name = made.recipe, made.dataset.split, made.counter.name
    own = np.array(made.tokens[recipe.style])
    too_long = float((own > recipe.length).mean())
    text = (
        f"By default, the chapters that follow train {recipe.name} on this dataset, with prompts "
        f"in the **{recipe.style}** style. With the tokenizer `{name}`, such a prompt has "
        f"**{own.mean():,.0f} tokens on average** over {split}. 95 % have at most "
        f"{np.quantile(own, 0.95):,.0f} tokens, and {too_long:.0%} have more than "
        f"{recipe.length:,}, the limit for prompt and answer together in training. "
        + (TOO_LONG if too_long > MANY else "")
        + made.counter.note
    )
    lengths = [
        {
            "style": style,
            "students": students(style),
            "mean": np.mean(tokens),
            "95 %": np.quantile(tokens, 0.95),
            "longest": max(tokens),
        }
        for style, tokens in made.tokens.items()
    ]
    table = Table(
        lengths,
        f"Tokens of the {split} prompts in both styles, counted with {name}, and the students "
        "for which each style is the default.",
        formats={"mean": ",.0f", "95 %": ",.0f", "longest": ",d"},
    )
    return [text, _length_chart(made), table]


def _length_chart(made: Prompts) -> Figure:
    style, split = made.recipe.style, made.dataset.split
    own = made.tokens[style]
    chart = alt.Chart(pd.DataFrame(survey.histogram(own))).mark_bar()
    return Figure(
        chart.encode(
            x=alt.X("from:Q", bin="binned", title="tokens in the prompt"),
            x2="to:Q",
            y=alt.Y("count:Q", title=f"{split} questions"),
            tooltip=["from", "to", "count"],
        ),
        f"Length of the {split} prompts in the {style} style.",
        f"Histogram of prompt lengths, from {min(own)} to {max(own)} tokens.",
    )
