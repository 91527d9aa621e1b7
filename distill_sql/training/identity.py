"""What decides a student, and what decides its answers: digests that name their files.

Both are computed from what the model sees and what computes it, not from source files: token ids of
every prompt, the recipe's values, the bytes of the base's files, the precision that this machine
uses, the versions of the packages that compute. So a change in mentions, in the schema's rendering
or in a tokenizer makes another student, and a comment does not. Code that trains or answers cannot
be seen in this way: :data:`~distill_sql.training.student.TRAINING_CODE` and
:data:`~distill_sql.training.student.ANSWERING_CODE` stand for it, and tests hold what it computes.
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

#: The packages whose versions can change what a back end computes.
COMPUTING = {
    "torch": ("torch", "transformers", "peft", "trl", "tokenizers", "bitsandbytes"),
    "mlx": ("mlx", "mlx-lm", "tokenizers"),
}
#: Files of a model's folder that say what it computes and reads.
MODEL_FILES = ("*.json", "*.jinja", "*.txt", "*.safetensors")
TOKENIZER_FILES = ("tokenizer*.json", "*.jinja", "vocab.json", "merges.txt", "added_tokens.json")


def student_digest(
    recipe: Recipe, traces: Sequence[Trace], validation: Sequence[Trace], framework: Framework
) -> str:
    """What decides a student, in twelve digits: the base alone if the recipe is not trained."""
    folder = base_folder(recipe)
    everything: dict[str, Any] = {
        "base": _files_digest(folder, MODEL_FILES),
        "framework": framework,
        "packages": packages(COMPUTING[framework]),
        "precision": precision_used(recipe, framework),
    }
    if recipe.trained:
        values = asdict(recipe)
        for name in ("name", "base", "precision"):  # what they come to is in the others
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
    """What decides a student's answers to a dataset's questions, besides the student."""
    folder = base_folder(recipe)
    return _digest(
        {
            "prompts": _prompts_digest(dataset, recipe, folder, schema_tokens),
            # By the grammar, an answer depends on all of the schema, shown or not.
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


#: Students of one ladder are asked the same prompts, which take a while to make.
_PROMPTS: dict[tuple[str, str, str, int], str] = {}


def _row_digest(folder: Path, trace: Trace) -> str:
    chat = tuple((message["role"], message["content"]) for message in trace.messages)
    key = _files_digest(folder, TOKENIZER_FILES), chat, trace.mode, trace.completion
    if key not in _ROWS:
        row = make_row(trace, load_tokenizer(folder))
        _ROWS[key] = _digest([trace.mode, row.prompt, row.ids])
    return _ROWS[key]


#: The same traces are learned by many students.
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
