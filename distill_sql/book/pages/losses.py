"""Losses of training runs: the training chapter's one run, and the scaling chapter's many."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt
import pandas as pd

from distill_sql.book.pages.ladder import Material
from distill_sql.book.shown import Figure, Table
from distill_sql.models.recipes import Recipe
from distill_sql.training.experiments import Outcome
from distill_sql.training.outcome import Trained, Validation

#: Updates in a smoothed training loss: of one run, and of each of many.
WINDOW, WINDOW_OF_MANY = 10, 15
#: A last validation loss that is this share above the least counts as overfitting.
OVERFITS = 0.02


def rolling(losses: Sequence[float], window: int) -> list[float]:
    """The mean of each loss and those before it, ``window`` in all where there are so many.

    >>> rolling([1.0, 3.0, 5.0], 2)
    [1.0, 2.0, 4.0]
    """
    return list(pd.Series(losses, dtype=float).rolling(window, min_periods=1).mean())


def least(measured: Sequence[Validation]) -> Validation:
    """The first of the measurements with the smallest loss."""
    return min(measured, key=lambda one: one.loss)


def speed(trained: Trained) -> str:
    """Updates, tokens, time and memory of a run, as Markdown."""
    return (
        f"{len(trained.updates):,} updates over {trained.tokens:,} tokens, "
        f"{trained.learned_tokens:,} of them learned, in {trained.seconds:,.0f} s: "
        f"**{trained.tokens_per_second:,.0f} tokens/s**, peak memory "
        f"{trained.peak_memory / 2**30:.1f} GiB. The time does not include measuring the "
        "validation loss. On a CPU several students are trained in parallel and share the cores."
    )


def one_run(recipe: Recipe, trained: Trained, material: Material) -> Figure:
    """The training loss of each update, its rolling mean, and the validation loss."""
    smooth = rolling([one.loss for one in trained.updates], WINDOW)
    updates = pd.DataFrame(
        {"update": one.number, "loss": one.loss, "learning_rate": one.learning_rate, "mean": mean}
        for one, mean in zip(trained.updates, smooth, strict=True)
    )
    curves = [
        {"update": one.number, "loss": mean, "of": "training, mean of ten updates"}
        for one, mean in zip(trained.updates, smooth, strict=True)
    ] + [
        {"update": one.update, "loss": one.loss, "of": "validation, on databases not trained on"}
        for one in trained.validation
    ]
    loss = alt.Y("loss:Q", title="loss per learned token", scale=alt.Scale(zero=False))
    value = alt.Tooltip("loss", format=".3f")
    base = alt.Chart(updates).encode(x=alt.X("update:Q", title="optimizer update"))
    lines = alt.Chart(pd.DataFrame(curves)).encode(
        x="update:Q",
        y=loss,
        color=alt.Color("of:N", sort=None, title=None, legend=alt.Legend(orient="top", columns=1)),
        tooltip=["of", "update", value],
    )
    chart = (
        base.mark_circle(size=12, opacity=0.35).encode(
            y=loss, tooltip=["update", value, alt.Tooltip("learning_rate", format=".2e")]
        )
        + lines.mark_line()
        + lines.transform_filter("indexof(datum.of, 'validation') == 0").mark_point(
            filled=True, size=50
        )
    )
    read = f"Training loss from {trained.updates[0].loss:.2f} to {smooth[-1]:.2f}"
    if trained.validation:
        first, *_, last = (one.loss for one in trained.validation)
        read += f", validation loss from {first:.2f} to {last:.2f}"
    return Figure(
        chart,
        f"Loss of {recipe.name} over {recipe.epochs} epoch{'s' * (recipe.epochs > 1)}, seed "
        f"{recipe.seed}. Small points: each update. Line: mean of the last {WINDOW} updates. Large "
        "points: validation loss, the mean over the learned tokens of "
        f"{len(material.prepared.validation):,} traces on {_databases(material)} held out from "
        "training.",
        f"{read}.",
    )


def validation_in_words(trained: Trained, material: Material) -> str:
    """Whether the validation loss shows overfitting, as Markdown; empty if it was not measured."""
    if not trained.validation:
        return ""
    last, best = trained.validation[-1], least(trained.validation)
    overfits = last.loss > (1 + OVERFITS) * best.loss
    found = (
        "The last loss is more than 2 % above it: the student overfits by this measure, and the "
        "last checkpoint is not its best."
        if overfits
        else "The last loss is at most 2 % above it: there is no sign of overfitting."
    )
    return (
        f"Validation loss ends at **{last.loss:.3f}**; its minimum is {best.loss:.3f}, after "
        f"update {best.update:,}. {found} This is one run, measured on the teacher's answers on "
        f"{_databases(material)}. It says little about other databases, and it does not measure "
        "whether the student's own answers are right; accuracy does."
    )


def many_runs(outcomes: Sequence[Outcome], sizes: Sequence[str], material: Material) -> Figure:
    """Smoothed training losses as lines and validation losses as points, by size and seed."""
    curves, points = [], []
    for one in outcomes:
        if one.trained is None:
            continue
        smooth = rolling([update.loss for update in one.trained.updates], WINDOW_OF_MANY)
        curves += [
            {"update": update.number, "loss": mean} | _about(one, "training")
            for update, mean in zip(one.trained.updates, smooth, strict=True)
        ]
        points += [
            {"update": each.update, "loss": each.loss} | _about(one, "validation")
            for each in one.trained.validation
        ]
    line = alt.Chart(pd.DataFrame(curves)).encode(
        x=alt.X("update:Q", title="optimizer update"),
        y=alt.Y("loss:Q", title="loss per learned token"),
        color=alt.Color("size:N", sort=list(sizes), title=None),
        tooltip=["size", "seed", "of", "update", alt.Tooltip("loss", format=".3f")],
    )
    held = pd.DataFrame(points, columns=["update", "loss", "size", "seed", "of"])
    return Figure(
        line.mark_line(strokeWidth=1.3).encode(strokeDash=alt.StrokeDash("seed:N", title="seed"))
        + line.mark_point(size=30, filled=True).encode().properties(data=held),
        f"Lines: training loss of each size and seed, mean of the last {WINDOW_OF_MANY} updates. "
        f"Points: validation loss on {len(material.prepared.validation):,} traces about held-out "
        f"databases ({material.held_out} of {material.databases}).",
        "Falling loss curves by size; the last validation losses are in the table below.",
    )


def validation_table(outcomes: Sequence[Outcome], material: Material) -> Table | None:
    """The last and the least validation loss of each run; None if none was measured."""
    rows = [
        {
            "model": one.experiment.recipe.name,
            "seed": one.experiment.recipe.seed,
            "last": one.trained.validation[-1].loss,
            "least": least(one.trained.validation).loss,
        }
        for one in outcomes
        if one.trained and one.trained.validation
    ]
    if not rows:
        return None
    return Table(
        rows,
        f"Validation loss on {len(material.prepared.validation):,} traces, after the last update "
        "and at its minimum. With so few databases, use it only to compare the runs with each "
        "other; it says little about other databases.",
        columns={
            "model": "model",
            "seed": "seed",
            "last": "last validation loss",
            "least": "minimum",
        },
        formats={"last": ".3f", "least": ".3f"},
    )


def _about(one: Outcome, of: str) -> dict[str, Any]:
    recipe = one.experiment.recipe
    return {"size": recipe.name, "seed": recipe.seed, "of": of}


def _databases(material: Material) -> str:
    count = material.held_out
    return f"{count} database{'s' * (count != 1)}"
