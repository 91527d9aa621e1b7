"""The pretraining chapter: pocket's ladder of models, their lessons, and how they learned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import altair as alt
import pandas as pd

from distill_sql.book.shown import Figure, Shown, Table
from distill_sql.data.carried import CHECKPOINTS
from distill_sql.files import read_json
from distill_sql.models.folders import weights
from distill_sql.pretraining.records import runs_of, tokens_read

#: The start of a question in a lesson.
_QUESTION = "Question: "


@dataclass(frozen=True)
class Pretrained:
    """A model that the package carries, with the record of its pretraining."""

    name: str
    record: dict[str, Any]

    @property
    def runs(self) -> list[dict[str, Any]]:
        """The records of all runs that led to it, the first one first."""
        return runs_of(self.record)

    def millions(self, form: str, language: str) -> float:
        """Millions of tokens of lessons in a form and a language that it has read."""
        return tokens_read(self.record, form, language) / 1e6


def pretrained(names: Sequence[str]) -> list[Pretrained]:
    """The models of these names."""
    return [Pretrained(name, read_json(CHECKPOINTS / name / "pretraining.json")) for name in names]


def ladder(models: Sequence[Pretrained]) -> Table:
    """Size, tokens read and training time of each model."""
    processors = dict.fromkeys(model.record["hardware"]["cpu"] for model in models)
    return Table(
        [
            {
                "model": model.name.removeprefix("pocket-"),
                "parameters": weights(CHECKPOINTS / model.name),
                "layers": model.record["shape"]["layers"],
                "keywords": model.millions("chat", "keywords"),
                "sentences": model.millions("chat", "sentences"),
                "texts": model.millions("text", "sentences"),
                "minutes": sum(run["wall_time_s"] for run in model.runs) / 60,
            }
            for model in models
        ],
        "The ladder: millions of tokens read, each once, by kind of lesson (chats in keywords, "
        "chats in sentences, plain texts), and training minutes on one core "
        f"({', '.join(processors)}), mostly with another model in training on the other core. l "
        "started from m, and the teacher from l; each count includes that of the model it started "
        "from.",
        formats={
            "parameters": ",d",
            "keywords": ".1f",
            "sentences": ".1f",
            "texts": ".1f",
            "minutes": ".0f",
        },
    )


def lessons(models: Sequence[Pretrained], count: int) -> list[Shown]:
    """A lesson of the first model and one of the last; see :func:`lesson`."""
    ends = dict.fromkeys((0, len(models) - 1))
    return [part for place in ends for part in lesson(models[place], count)]


def lesson(model: Pretrained, count: int) -> list[Shown]:
    """A lesson of a model: its schema, and its first ``count`` questions with their answers."""
    example = model.record["example"]
    turns = example["turns"][:count]
    return [
        f"A lesson of {model.name}: the schema, then {len(turns)} of its {len(example['turns'])} "
        f"questions.\n\n```\n{example['context'].strip()}\n```",
        Table(
            [
                {
                    "question": turn["question"].partition("\n")[0].removeprefix(_QUESTION),
                    "answer": turn["answer"],
                }
                for turn in turns
            ],
            f"Questions to {model.name} about this database, and the answers that it learns.",
            code=["answer"],
        ),
    ]


def learning_points(models: Sequence[Pretrained]) -> list[dict[str, Any]]:
    """The loss of each model's own runs, by the tokens that all runs before had read, too."""
    points = []
    for model in models:
        before = accumulate((run["tokens"] for run in model.runs), initial=0)
        points += [
            {"model": model.name, "tokens": tokens + earlier, "loss": loss}
            for earlier, run in zip(before, model.runs, strict=False)
            if run["shape"]["name"] == model.name
            for tokens, loss in run["losses"]
        ]
    return points


def learning_curves(models: Sequence[Pretrained]) -> Figure:
    """The loss of each model while it was pretrained."""
    chart = alt.Chart(pd.DataFrame(learning_points(models))).mark_line()
    ends = (f"{model.name} ends at {model.record['losses'][-1][1]:.2f}" for model in models)
    return Figure(
        chart.encode(
            x=alt.X("tokens:Q", axis=alt.Axis(format="~s"), title="tokens read"),
            y=alt.Y("loss:Q", scale=alt.Scale(type="log"), title="loss per learned token"),
            color=alt.Color("model:N", sort=[model.name for model in models], title=None),
            tooltip=["model", "tokens", alt.Tooltip("loss", format=".3f")],
        ),
        "Loss on new lessons: every lesson is read only once. Lessons get harder: first lists of "
        "names to repeat, then short queries on one table, then all. l continues from m, the "
        "teacher from l.",
        f"Falling loss curves: {'; '.join(ends)}",
    )
