from __future__ import annotations

import argparse
import ast
import re
from pathlib import Path
from typing import Any

import pytest

from distill_sql.cli.teacher import _settings, configure
from distill_sql.data.datasets import load_dataset
from distill_sql.errors import TeacherError
from distill_sql.teacher import Settings, embedded, requests_for
from distill_sql.teacher.settings import prices_of, settings_for

CHAPTER = Path(__file__).parents[2] / "notebooks" / "02_teacher.md"


def by_the_chapter(**given: Any) -> Settings:
    """The settings that chapter 2 makes of its parameters."""
    cells = re.findall(r"```\{code-cell\}.*?\n((?:(?!```).)*)```", CHAPTER.read_text(), re.DOTALL)
    parameters: dict[str, Any] = {}
    exec(re.sub(r"^:.*", "", cells[0], flags=re.MULTILINE), parameters)
    assert set(given) <= set(parameters)
    (made,) = (
        node.value
        for cell in cells
        if "settings_for(" in cell
        for node in ast.walk(ast.parse(re.sub(r"^:.*", "", cell, flags=re.MULTILINE)))
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "settings"
    )
    names = parameters | given | {"settings_for": settings_for}
    found = eval(compile(ast.Expression(made), "chapter", "eval"), names)
    assert isinstance(found, Settings)
    return found


def by_the_verb(*words: str) -> Settings:
    parser = argparse.ArgumentParser()
    configure(parser)
    return _settings(parser.parse_args(["sample", *words]))


LOCAL = "http://localhost:8000/v1"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"dataset": "spider"}, []),
        ({"teacher": "gpt-4o-mini"}, []),
        ({"teacher": "gpt-4o", "max_tokens": 99}, ["--model", "gpt-4o", "--max-tokens", "99"]),
        (
            {"teacher": "m", "base_url": LOCAL},
            ["--model", "m", "--base-url", "HTTP://LocalHost:8000/v1"],
        ),
        ({"base_url": f"{LOCAL}/"}, ["--base-url", LOCAL]),
        (
            {"teacher": "m", "base_url": "http://me:pw@localhost:8000/v1"},
            ["--model", "m", "--base-url", LOCAL],
        ),
        ({"teacher": "m", "temperature": 0}, ["--model", "m", "--temperature", "0"]),
        ({}, ["--base-url", embedded.BASE_URL]),
        ({"teacher": embedded.name(), "base_url": embedded.BASE_URL}, ["--base-url", "embedded"]),
        ({"teacher": "coder-1.5b"}, ["--model", "coder-1.5b"]),
        ({"teacher": "coder-0.5b@torch"}, ["--model", "coder-0.5b@torch", "--base-url", "local"]),
        (
            {"teacher": "coder-1.5b", "base_url": LOCAL},
            ["--model", "coder-1.5b", "--base-url", LOCAL],
        ),
        (
            {"teacher": "m", "samples": 5, "reasoning_share": 0.9, "seed": 7},
            ["--model", "m", "--samples", "5", "--reasoning-share", "0.9", "--seed", "7"],
        ),
    ],
)
@pytest.mark.parametrize("environment", ["", "http://127.0.0.1:7777/v1"])
def test_the_chapter_and_the_command_line_file_answers_alike(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, Any], words: list[str], environment: str
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", environment)
    questions = load_dataset("pocket", split="train").limit(20)
    chapter, verb = by_the_chapter(**given), by_the_verb(*words)
    keys = [[r.key for r in requests_for(questions, found)] for found in (chapter, verb)]
    assert keys[0] == keys[1]
    assert chapter.samples == verb.samples


def test_the_default_build_asks_as_it_always_did() -> None:
    assert by_the_chapter() == Settings(
        model=embedded.name(), base_url="embedded", samples=3, temperature=0.3, max_tokens=160,
        reasoning_share=0.4, seed=42, style="compact",
    )  # fmt: skip
    assert settings_for("spider", base_url=Settings.base_url) == Settings()


@pytest.mark.parametrize("text", ["1", "a b", "1 2 3", "1,2"])
def test_malformed_prices_are_refused(text: str) -> None:
    with pytest.raises(TeacherError, match="expected two numbers"):
        prices_of(text)


def test_zero_tokens_on_the_command_line_is_an_error() -> None:
    with pytest.raises(TeacherError, match="expected 1 or more"):
        by_the_verb("--max-tokens", "0")
