"""A student's recipe and schedule, its traces, and the lengths of training examples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import altair as alt
import pandas as pd

from distill_sql.book import survey
from distill_sql.book.pages.ladder import Material
from distill_sql.book.shown import Figure, Table
from distill_sql.data.datasets import Dataset
from distill_sql.models.recipes import RECIPES, Recipe, overridden
from distill_sql.prompting.prompts import prompt_messages
from distill_sql.prompting.tokenizer import ChatTokenizer
from distill_sql.training.outcome import learning_rate
from distill_sql.training.rows import make_rows, updates

_PRECISIONS = {
    "mixed": "float32; multiplied in bfloat16 during training where the machine can",
    "auto": "bfloat16 where the machine multiplies it, else float32",
}


def recipe_table(recipe: Recipe) -> Table:
    """The values of a recipe, and which of them the chapter's parameters changed."""
    schema = (
        f"at most {recipe.schema_tokens:,} tokens of a schema"
        if recipe.schema_tokens
        else "the whole schema"
    )
    values = {
        "rank, alpha, dropout": f"{recipe.rank}, {recipe.alpha}, {recipe.dropout:g}",
        "adapted layers": ", ".join(recipe.targets),
        "optimizer": f"AdamW, betas {recipe.beta1:g} and {recipe.beta2:g}, epsilon "
        f"{recipe.epsilon:g}, weight decay {recipe.weight_decay:g}, gradients clipped to norm "
        f"{recipe.max_norm:g}",
        "learning rate": f"linear warm-up of {recipe.warm_up} updates to "
        f"{recipe.learning_rate:g}, then half a cosine to zero",
        "effective batch": f"{recipe.batch} examples, on any number of devices"
        + (", of one database each" if recipe.grouping == "database" else ""),
        "epochs": recipe.epochs,
        "longest example": f"{recipe.length:,} tokens",
        "prompt": f"{recipe.style} style, {schema}",
        "weights": _PRECISIONS.get(recipe.precision, recipe.precision),
        "loss": "on the completion and its end marker only",
        "checkpoint": "the last",
        "seed": recipe.seed,
    }
    changed = overridden(recipe)
    return Table(
        [{"": name, "value": value} for name, value in values.items()],
        f"The recipe of {recipe.name}"
        + (f"; overridden here: {', '.join(changed)}." if changed else ", as it stands."),
    )


def sizes_table() -> Table:
    """How the recipes that train Qwen2.5 differ."""
    return Table(
        [
            {
                "recipe": one.name,
                "base": one.model,
                "weights held in": one.precision.replace(
                    "auto", "bfloat16 or float32, depending on the machine"
                ),
                "recomputes activations": "yes" if one.checkpointing else "no",
                "learns": "direct and reasoning" if one.modes == "both" else "direct only",
            }
            for one in RECIPES.values()
            if one.trained and not one.pocket
        ],
        "The recipes that train Qwen2.5 and Qwen2.5-Coder. Every size of both also has a recipe "
        "without training, which measures the base, such as 0.5b-base and coder-0.5b-base.",
    )


def schedule(recipe: Recipe, material: Material | None, train: Dataset) -> Figure:
    """The learning rate of each update; without traces, for a guessed number of traces."""
    if material:
        total = updates(recipe, make_rows(material.learned, material.tokenizer, recipe))
        why = ", those of the student below."
    else:
        total = guessed_updates(recipe, len(train))
        why = ". There would be this many if three in four training questions had a kept trace."
    rates = [
        {
            "update": number,
            "rate": learning_rate(
                number, peak=recipe.learning_rate, warm_up=recipe.warm_up, total=total
            ),
        }
        for number in range(total)
    ]
    return Figure(
        alt.Chart(pd.DataFrame(rates))
        .mark_line()
        .encode(
            x=alt.X("update:Q", title="optimizer update"),
            y=alt.Y("rate:Q", title="learning rate", axis=alt.Axis(format="e")),
            tooltip=["update", alt.Tooltip("rate", format=".2e")],
        ),
        f"The learning rate over {total:,} updates{why}",
        f"A line that rises for {recipe.warm_up} updates, then falls along half a cosine to zero.",
    )


def guessed_updates(recipe: Recipe, questions: int) -> int:
    """The updates of an epoch if three in four questions have a trace, at least two."""
    return max(questions * 3 // 4 // recipe.batch, 2)


def traces_table(recipe: Recipe, material: Material) -> Table:
    """How many traces are left out, kept for validation and learned."""
    prepared = material.prepared
    rows = {
        "kept by the teacher chapter": len(material.traces),
        "near duplicates, left out": prepared.near_duplicates,
        f"above {recipe.length:,} tokens, left out": prepared.too_long,
        f"for validation, on {material.held_out} of {material.databases} databases": len(
            prepared.validation
        ),
        "for training": len(prepared.train),
    }
    if len(material.learned) < len(prepared.train):
        rows["sampled from these for this chapter"] = len(material.learned)
    caption = "The number of traces at each step."
    if not material.held_out:
        caption += (
            " There are too few databases to keep one for validation, so all are learned from."
        )
    return Table([{"traces": name, "number": number} for name, number in rows.items()], caption)


@dataclass(frozen=True)
class Lengths:
    """The lengths in tokens of a split's examples with the gold query as completion."""

    split: str
    tokens: Sequence[int]
    limit: int
    note: str

    @property
    def over(self) -> float:
        """The share of examples that exceed the limit."""
        return sum(count > self.limit for count in self.tokens) / len(self.tokens)


def lengths(dataset: Dataset, recipe: Recipe, counter: ChatTokenizer) -> Lengths:
    """The length of each example whose database is there: its prompt and the gold query."""
    return Lengths(
        dataset.split,
        [
            counter.count(
                counter.render(
                    prompt_messages(
                        dataset,
                        example,
                        style=recipe.style,
                        schema_tokens=recipe.schema_tokens,
                        count=counter.count,
                    )
                )
            )
            + counter.count(f"```sql\n{example.query}\n```")
            for example in dataset.present()
        ],
        recipe.length,
        counter.note,
    )


def lengths_in_words(found: Lengths) -> str:
    """The share of examples that are too long, as Markdown."""
    return (
        f"Of {len(found.tokens):,} {found.split} examples, **{found.over:.1%}** exceed "
        f"{found.limit:,} tokens even with this short completion and would be left out. "
        f"{found.note}"
    )


def lengths_chart(found: Lengths) -> Figure:
    """A histogram of the lengths."""
    return Figure(
        alt.Chart(pd.DataFrame(survey.histogram(found.tokens)))
        .mark_bar()
        .encode(
            x=alt.X("from:Q", bin="binned", title="tokens in prompt and gold query"),
            x2="to:Q",
            y=alt.Y("count:Q", title=f"{found.split} questions"),
            tooltip=["from", "to", "count"],
        ),
        "Length of the training examples with the gold query as completion.",
        f"Histogram of lengths, median {median(found.tokens):.0f}, {found.over:.0%} above "
        f"{found.limit}.",
    )
