"""How the teacher is asked, in one place for the book and the command line.

Answers are filed under these settings, so what one of them paid for is found by the other.
"""

from __future__ import annotations

import os

from distill_sql.errors import TeacherError
from distill_sql.prompting.rendering import Style
from distill_sql.teacher import embedded
from distill_sql.teacher.addresses import OPENAI_URL, split_login
from distill_sql.teacher.work import Settings

#: Longest answer of the embedded teacher, in tokens: it says little, and its context is short.
EMBEDDED_TOKENS = 160


def default_url() -> str:
    """Where a teacher is asked unless it is said: at OPENAI_BASE_URL, or else at OpenAI."""
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
    """The settings for a dataset, by its name or folder; what is empty, 0 or None is filled in.

    Without a model or an address, pocket is asked of the teacher that the package carries, and
    every other dataset of GPT-4o-mini. The embedded teacher reads compact schemas and answers
    briefly. A login in ``base_url`` is left out. Raises :class:`TeacherError` for values that no
    endpoint takes.
    """
    if dataset == "pocket" and not model and not base_url:
        base_url = embedded.BASE_URL
    url = split_login(base_url or default_url())[0]
    is_embedded = url == embedded.BASE_URL
    return Settings(
        model=model or (embedded.name() if is_embedded else Settings.model),
        base_url=url,
        samples=samples,
        # As a float: an answer at 0 and one at 0.0 would be filed under different keys.
        temperature=float(temperature),
        max_tokens=max_tokens or (EMBEDDED_TOKENS if is_embedded else Settings.max_tokens),
        reasoning_share=reasoning_share,
        seed=seed,
        style=style or ("compact" if is_embedded else Settings.style),
        schema_tokens=schema_tokens,
    )


def prices_of(text: str) -> tuple[float, float] | None:
    """The prices in a chapter's parameter, dollars per million tokens; None if it is empty.

    >>> prices_of("0.15 0.6"), prices_of("")
    ((0.15, 0.6), None)
    """
    if not text.strip():
        return None
    try:
        prompt, completion = map(float, text.split())
    except ValueError:
        raise TeacherError(
            f"The prices are {text!r}; expected two numbers, dollars per million tokens asked and "
            "answered, such as 0.15 0.6."
        ) from None
    return prompt, completion
