"""Digests that identify a student and its answers; files are named after them.

A digest covers the inputs of the computation, not source files: token ids of every prompt, the
recipe's values, the bytes of the base's files, the precision on this machine, the versions of the
packages that compute. A change to mentions, to the rendering of schemas or to a tokenizer gives
another student; a changed comment does not. The code that trains or answers is represented by
:data:`~distill_sql.training.student.TRAINING_CODE` and
:data:`~distill_sql.models.students.ANSWERING_CODE`; tests pin its results.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

from distill_sql.data.datasets import Dataset
from distill_sql.models.folders import base_folder
from distill_sql.models.generation import prompt_ids
from distill_sql.models.protocol import Framework
from distill_sql.models.recipes import Recipe
from distill_sql.models.students import ANSWERING_CODE
from distill_sql.prompting.tokenizer import load_tokenizer
from distill_sql.provenance import packages
from distill_sql.teacher.traces import Trace
from distill_sql.training.rows import make_row
from distill_sql.training.student import TRAINING_CODE, precision_used

#: The packages whose versions can change the results of a back end.
COMPUTING = {
    "torch": ("torch", "transformers", "peft", "trl", "tokenizers", "bitsandbytes"),
    "mlx": ("mlx", "mlx-lm", "tokenizers"),
}
#: The files of a model folder that determine its results, and those of its tokenizer.
MODEL_FILES = ("*.json", "*.jinja", "*.txt", "*.safetensors")
TOKENIZER_FILES = ("tokenizer*.json", "*.jinja", "vocab.json", "merges.txt", "added_tokens.json")


def student_digest(
    recipe: Recipe, traces: Sequence[Trace], validation: Sequence[Trace], framework: Framework
) -> str:
    """The digest of a student, twelve digits; of the base only if the recipe is not trained."""
    folder = base_folder(recipe)
    everything: dict[str, Any] = {
        "base": _files_digest(folder, MODEL_FILES),
        "framework": framework,
        "packages": packages(COMPUTING[framework]),
        "precision": precision_used(recipe, framework),
    }
    if recipe.trained:
        values = asdict(recipe)
        for name in ("name", "base", "precision"):  # covered by the other entries
            del values[name]
        everything |= {
            "recipe": values,
            "training code": TRAINING_CODE,
            "learned": [_row_digest(folder, one) for one in traces],
            "validation": [_row_digest(folder, one) for one in validation],
        }
    return _digest(everything)


def asked_digest(
    recipe: Recipe, dataset: Dataset, *, schema_tokens: int, grammar: bool, max_tokens: int
) -> str:
    """The digest of everything but the student that determines its answers to a dataset."""
    folder = base_folder(recipe)
    return _digest(
        {
            "prompts": _prompts_digest(dataset, recipe, folder, schema_tokens),
            # With a grammar, an answer depends on the whole schema, even with a shorter prompt.
            "grammar": [repr(dataset.schema(name)) for name in dataset.db_ids] if grammar else None,
            "max_tokens": max_tokens,
            "answering code": ANSWERING_CODE,
        }
    )


def _prompts_digest(dataset: Dataset, recipe: Recipe, folder: Path, schema_tokens: int) -> str:
    key = (dataset.fingerprint, recipe.style, _files_digest(folder, TOKENIZER_FILES), schema_tokens)
    if key not in _PROMPTS:
        tokenizer = load_tokenizer(folder)
        _PROMPTS[key] = _digest(
            [
                (
                    example.question_id,
                    prompt_ids(
                        tokenizer, dataset, example, style=recipe.style, schema_tokens=schema_tokens
                    ),
                )
                for example in dataset
            ]
        )
    return _PROMPTS[key]


#: A cache: the students of a ladder share their prompts, which take time to render.
_PROMPTS: dict[tuple[str, str, str, int], str] = {}


def _row_digest(folder: Path, trace: Trace) -> str:
    chat = tuple((message["role"], message["content"]) for message in trace.messages)
    key = _files_digest(folder, TOKENIZER_FILES), chat, trace.mode, trace.completion
    if key not in _ROWS:
        row = make_row(trace, load_tokenizer(folder))
        _ROWS[key] = _digest([trace.mode, row.prompt, row.ids])
    return _ROWS[key]


#: A cache: many students are trained on the same traces.
_ROWS: dict[tuple[Any, ...], str] = {}


@lru_cache(maxsize=64)
def _files_digest(folder: Path, patterns: tuple[str, ...]) -> str:
    digest = hashlib.sha256()
    for path in sorted({path for pattern in patterns for path in folder.glob(pattern)}):
        with path.open("rb") as file:
            digest.update(path.name.encode() + b"\0")
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:12]
