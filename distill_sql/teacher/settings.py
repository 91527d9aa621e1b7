"""The settings for asking the teacher, shared by the book and the command line.

Answers are stored under these settings, so each finds the answers that the other paid for.
"""

from __future__ import annotations

import os

from distill_sql.errors import TeacherError
from distill_sql.prompting.rendering import Style
from distill_sql.teacher import embedded
from distill_sql.teacher.addresses import LOCAL, OPENAI_URL, split_login
from distill_sql.teacher.open_model import is_recipe, open_model
from distill_sql.teacher.work import Settings

#: Maximum answer of the embedded teacher, in tokens: its answers and its context are short.
EMBEDDED_TOKENS = 160


def default_url() -> str:
    """The default address of the teacher: OPENAI_BASE_URL, or else OpenAI."""
    return os.environ.get("OPENAI_BASE_URL") or OPENAI_URL


def settings_for(
    dataset: str,
    *,
    model: str = "",
    base_url: str = "",
    samples: int = Settings.samples,
    temperature: float = Settings.temperature,
    max_tokens: int = 0,
    reasoning_share: float = Settings.reasoning_share,
    seed: int = Settings.seed,
    style: Style | None = None,
    schema_tokens: int = Settings.schema_tokens,
) -> Settings:
    """The settings for a dataset, by its name or folder; empty, 0 and None mean the default.

    If neither a model nor an address is given, pocket's teacher is the model that ships with the
    package, and the teacher of every other dataset is GPT-4o-mini. The embedded teacher gets
    compact prompts and short answers. The name of a recipe without an address means the recipe's
    base model, served on this machine (:mod:`~distill_sql.teacher.open_model`). A login in
    ``base_url`` is removed. Raises :class:`TeacherError` for values that no endpoint accepts.
    """
    if not base_url and is_recipe(model):
        base_url = LOCAL
    if dataset == "pocket" and not model and not base_url:
        base_url = embedded.BASE_URL
    url = split_login(base_url or default_url())[0]
    is_embedded = url == embedded.BASE_URL
    if url == LOCAL:
        model = open_model(model).name
    return Settings(
        model=model or (embedded.name() if is_embedded else Settings.model),
        base_url=url,
        samples=samples,
        # As a float: answers at 0 and 0.0 would be stored under different keys.
        temperature=float(temperature),
        max_tokens=max_tokens or (EMBEDDED_TOKENS if is_embedded else Settings.max_tokens),
        reasoning_share=reasoning_share,
        seed=seed,
        style=style or ("compact" if is_embedded else Settings.style),
        schema_tokens=schema_tokens,
    )


def prices_of(text: str) -> tuple[float, float] | None:
    """The prices in a chapter's parameter, in dollars per million tokens; None if it is empty.

    >>> prices_of("0.15 0.6"), prices_of("")
    ((0.15, 0.6), None)
    """
    if not text.strip():
        return None
    try:
        prompt, completion = map(float, text.split())
    except ValueError:
        raise TeacherError(
            f"The prices are {text!r}; expected two numbers, the dollars per million prompt and "
            "completion tokens, such as 0.15 0.6."
        ) from None
    return prompt, completion
