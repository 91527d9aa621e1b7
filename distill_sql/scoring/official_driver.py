"""Runs the official evaluator inside its checkout. It is a script and is never imported.

It imports nothing of this package. Each line of its standard input is one example. For each, it
calls the official ``evaluate`` on files of one line, captures the results of the two metrics, and
writes them as one line of JSON.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
import tempfile
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any


class Official:
    """The checkout's evaluator, patched to capture the results of its two metrics."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.found: dict[str, Any] = {}
        evaluation: Any = import_module("evaluation")
        self.code = evaluation
        self.kmaps = lru_cache(maxsize=1)(evaluation.build_foreign_key_map_from_json)
        evaluation.eval_exec_match = self.note("exec", evaluation.eval_exec_match)
        evaluator = evaluation.Evaluator
        evaluator.eval_exact_match = self.note("exact", evaluator.eval_exact_match)

    def note(self, name: str, function: Any) -> Any:
        """Wrap a function to capture its result; the outermost of nested calls returns last."""

        def noted(*arguments: Any, **options: Any) -> Any:
            self.found[name] = function(*arguments, **options)
            return self.found[name]

        return noted

    def judge(self, case: dict[str, Any]) -> dict[str, Any]:
        """Both metrics of one example; None for one that the official code did not reach."""
        self.found.update(exec=None, exact=None, error="")
        gold, pred = self.folder / "gold", self.folder / "pred"
        try:
            gold.write_text(f"{_line(case['gold'])}\t{case['db_id']}\n", errors="ignore")
            pred.write_text(f"{_line(case['pred'])}\n", errors="ignore")
            self.code.evaluate(
                str(gold),
                str(pred),
                case["databases"],
                case["etype"],
                self.kmaps(case["tables"]),
                case["plug_value"],
                case["keep_distinct"],
                False,
            )
        except Exception as error:  # any failure must not stop the other examples
            self.found["error"] = f"{type(error).__name__}: {error}"
        return self.found


def _line(sql: str) -> str:
    return " ".join(sql.replace("\r", "\n").split("\n")).strip()


def main() -> None:
    """Judge every line of the standard input."""
    sys.path.insert(0, str(Path.cwd()))
    with tempfile.TemporaryDirectory() as folder:
        official = Official(Path(folder))
        for line in sys.stdin:
            quiet = io.StringIO()
            with contextlib.redirect_stdout(quiet), contextlib.redirect_stderr(quiet):
                answer = official.judge(json.loads(line))
            print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
