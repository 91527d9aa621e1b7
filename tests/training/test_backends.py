"""Two back ends, one recipe: the same logits, the same losses, the same answers."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from distill_sql.data.carried import CHECKPOINTS
from distill_sql.data.datasets import Dataset
from distill_sql.models.generation import answers
from distill_sql.models.protocol import ClosingFence, Framework
from distill_sql.models.recipes import Recipe
from distill_sql.models.students import open_student
from distill_sql.prompting.prompts import prompt_messages
from distill_sql.prompting.tokenizer import ChatTokenizer, load_tokenizer
from distill_sql.teacher.traces import Trace
from distill_sql.training.outcome import learning_rate
from distill_sql.training.rows import make_rows
from distill_sql.training.student import train_student

torch = pytest.importorskip("torch", reason="the extra train is not installed")
pytestmark = pytest.mark.filterwarnings("default")

from distill_sql.models.inference import lean  # noqa: E402

FRAMEWORKS: list[Framework] = ["torch", "mlx"]


#: Narrow models use our decoder by default; they also work with transformers' decoder.
ON_TORCH = ["torch", "torch with transformers' decoder"]


@pytest.fixture(params=[*ON_TORCH, "mlx"])
def framework(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Framework:
    if request.param == "mlx":
        pytest.importorskip("mlx_lm", reason="the extra mlx is not installed")
        return "mlx"
    if request.param != "torch":
        monkeypatch.setattr(lean, "WIDEST", 0)
    return "torch"


def ids_of(student: Any, dataset: Dataset, number: int) -> list[int]:
    messages = prompt_messages(dataset, dataset.examples[number], style="compact")
    return student.tokenizer.encode(student.tokenizer.render(messages))  # type: ignore[no-any-return]


def test_logits_agree(recipe: Recipe, pocket_train: Dataset) -> None:
    mx = pytest.importorskip("mlx.core", reason="the extra mlx is not installed")
    ours, theirs = (open_student(recipe, framework=name) for name in FRAMEWORKS)
    for number in (0, 50, 150):
        ids = ids_of(ours, pocket_train, number)
        with torch.inference_mode():
            one = ours.model(torch.tensor([ids])).logits  # type: ignore[attr-defined]
        two = torch.tensor(theirs.model(mx.array([ids])).tolist())  # type: ignore[attr-defined]
        assert (one - two).abs().max() < 1e-3


def test_losses_agree_over_fifty_updates(
    recipe: Recipe, traces: list[Trace], tmp_path: Path
) -> None:
    """With the same initial adapter, rows and order, for a model that learns."""
    pytest.importorskip("mlx_lm", reason="the extra mlx is not installed")
    from distill_sql.models import mlx_backend
    from distill_sql.training import mlx_trainer, torch_trainer

    base = CHECKPOINTS / "pocket-s"
    first = replace(recipe, base=str(base), learning_rate=1e-9)
    rows = make_rows(traces[:8], load_tokenizer(base), first)
    start = torch_trainer.train(base, first, rows, tmp_path / "start", progress=False).adapter
    recipe = replace(first, epochs=2, batch=4, learning_rate=5e-3)
    rows = make_rows(traces[:100], load_tokenizer(base), recipe)
    one = torch_trainer.train(base, recipe, rows, tmp_path / "t", progress=False, start=start)
    two = mlx_trainer.train(
        base, recipe, rows, tmp_path / "m", progress=False,
        start=mlx_backend.from_peft(start, tmp_path / "converted"),
    )  # fmt: skip
    assert len(one.updates) == len(two.updates) == 50
    for mine, other in zip(one.updates, two.updates, strict=True):
        assert mine.learning_rate == pytest.approx(other.learning_rate)
        assert mine.loss == pytest.approx(other.loss, rel=0.02)
    losses = [update.loss for update in one.updates]
    # Single updates are noisy: the first ten and the last ten show whether anything was learned.
    assert sum(losses[-10:]) < sum(losses[:10]) / 2, losses


def test_the_rate_ends_where_the_schedule_does(
    framework: Framework, recipe: Recipe, traces: list[Trace], tmp_path: Path
) -> None:
    for micro_batch in (8, 2):
        trained = train_student(
            recipe, traces[:64], tmp_path / str(micro_batch), framework=framework,
            micro_batch=micro_batch, progress=False,
        )  # fmt: skip
        rates = [update.learning_rate for update in trained.updates]
        assert rates == pytest.approx(
            [learning_rate(n, peak=1e-3, warm_up=4, total=8) for n in range(8)]
        )
        assert rates[-1] == pytest.approx(learning_rate(7, peak=1e-3, warm_up=4, total=8))


def test_the_size_of_the_micro_batch_changes_nothing(
    framework: Framework, recipe: Recipe, traces: list[Trace], tmp_path: Path
) -> None:
    losses = [
        [
            update.loss
            for update in train_student(
                recipe, traces[:48], tmp_path / str(size), framework=framework, micro_batch=size,
                progress=False,
            ).updates
        ]
        for size in (8, 2)
    ]  # fmt: skip
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


def test_batched_answers_are_those_of_one_at_a_time(
    framework: Framework, recipe: Recipe, pocket_train: Dataset
) -> None:
    student = open_student(recipe, framework=framework)
    finished = ClosingFence(student.tokenizer)
    batched = [
        answer
        for together in answers(
            student, pocket_train, pocket_train.examples[:160:8], style="compact", max_tokens=12
        )
        for answer in together
    ]
    assert {a.question_id for a in batched} == set(range(0, 160, 8))
    for answer in batched:
        ids = ids_of(student, pocket_train, answer.question_id)
        (alone,) = student.complete([], [ids], max_tokens=12, finished=finished)
        assert student.tokenizer.backend.decode(alone) == answer.raw_text
        assert answer.n_prompt_tokens == len(ids)


@pytest.mark.parametrize("framework", ON_TORCH, indirect=True)
def test_copies_are_one_row_until_they_part(
    framework: Framework,
    recipe: Recipe,
    pocket_train: Dataset,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    student: Any = open_student(recipe, framework=framework)
    prompts = [ids_of(student, pocket_train, number) for number in (0, 1)]
    rows: list[int] = []
    forward = student.model.model.forward

    def counted(**inputs: Any) -> Any:
        rows.append(len(inputs["input_ids"]))
        return forward(**inputs)

    def choose(logits: Any, answers: list[int]) -> Any:
        """Greedy, except for the third token of the third answer."""
        tokens = logits.argmax(-1)
        if len(rows) == 3:
            tokens[answers.index(2)] = logits[answers.index(2)].topk(2).indices[1]
        return tokens

    monkeypatch.setattr(student.model.model, "forward", counted)
    options = {"finished": lambda _: False, "max_tokens": 6}
    written = student.complete([], prompts, choose=choose, copies=3, **options)
    assert rows == [2, 2, 2, 3, 3, 3]
    assert [len(answer) for answer in written] == [6] * 6
    first, second, third, *others = written
    assert first == second != third
    assert first[:2] == third[:2]
    assert others[0] == others[1] == others[2]
    alone = student.complete([], [prompts[0], prompts[0] + third[:3], prompts[1]], **options)
    assert [first, third[3:], others[0]] == [alone[0], alone[1][:3], alone[2]]


@pytest.mark.parametrize("framework", ON_TORCH, indirect=True)
def test_plain_generate_agrees(framework: Framework, recipe: Recipe, pocket_train: Dataset) -> None:
    """The reference is transformers' greedy decoding, one prompt at a time."""
    from transformers import AutoModelForCausalLM

    plain = AutoModelForCausalLM.from_pretrained(recipe.base, dtype=torch.float32)
    student = open_student(recipe, framework=framework)
    prompts = [ids_of(student, pocket_train, number) for number in range(6)]
    shared = len(prompts[0]) // 2
    ours = student.complete(
        prompts[0][:shared], [p[shared:] for p in prompts if p[:shared] == prompts[0][:shared]],
        max_tokens=40, finished=lambda _: False,
    )  # fmt: skip
    assert len(ours) >= 2
    for ids, mine in zip(prompts, ours, strict=False):
        reference = plain.generate(
            torch.tensor([ids]), max_new_tokens=40, do_sample=False, pad_token_id=0
        )[0, len(ids) :]
        assert reference.tolist()[: len(mine)] == mine


def test_an_adapter_answers_alike_merged_and_beside_the_weights(
    recipe: Recipe, traces: list[Trace], pocket_train: Dataset, tiny: Path, tmp_path: Path
) -> None:
    from distill_sql.models import torch_backend

    strong = replace(recipe, learning_rate=3e-2)
    trained = train_student(strong, traces[:64], tmp_path, framework="torch", progress=False)
    ids = ids_of(open_student(recipe, framework="torch"), pocket_train, 3)
    logits = []
    for adapter, merged in ((None, True), (trained.adapter, True), (trained.adapter, False)):
        model = torch_backend.load_base(tiny, recipe)
        if adapter is not None:
            model = torch_backend.with_adapter(model, adapter, merged=merged)
        student = torch_backend.TorchStudent(model, load_tokenizer(tiny))
        assert student.complete(ids[:9], [ids[9:]], max_tokens=2, finished=lambda _: False)
        with torch.inference_mode():
            logits.append(model(torch.tensor([ids])).logits)
    assert (logits[1] - logits[2]).abs().max() < 1e-4
    assert (logits[0] - logits[1]).abs().max() > 1e-2


def test_an_answer_stops_at_the_closing_fence(tiny_tokenizer: ChatTokenizer) -> None:
    finished = ClosingFence(tiny_tokenizer)
    ids = tiny_tokenizer.encode("Think.\n```sql\nSELECT 1\n```\nAnd then")
    stops = [n for n in range(1, len(ids) + 1) if finished(ids[:n])]
    assert tiny_tokenizer.backend.decode(ids[: stops[0]]).endswith("SELECT 1\n```")


KILLED = """
    import os, signal, sys, json
    from pathlib import Path
    from distill_sql.models.recipes import Recipe
    from distill_sql.models import torch_backend
    from distill_sql.training.student import train_student
    from distill_sql.teacher.traces import read_traces
    from distill_sql.training.progress import Progress
    Progress.checkpoint_every = 4
    {kill}
    recipe = Recipe(**json.loads(Path(sys.argv[1]).read_text()))
    train_student(recipe, read_traces(Path(sys.argv[2])), Path(sys.argv[3]),
                  framework="{framework}", progress=False)
"""
#: Kills the process at its sixth update, like a power failure.
KILL = {
    "torch": """
    from transformers import Trainer
    step = Trainer.training_step
    def dying(self, *args, **kwargs):
        if self.state.global_step == 6: os.kill(os.getpid(), signal.SIGKILL)
        return step(self, *args, **kwargs)
    Trainer.training_step = dying
    """,
    "mlx": """
    import mlx.optimizers as optim
    update = optim.Adam.update
    def dying(self, *args, **kwargs):
        if int(self.state["step"].item()) == 6: os.kill(os.getpid(), signal.SIGKILL)
        return update(self, *args, **kwargs)
    optim.Adam.update = dying
    """,
}


@pytest.mark.slow
def test_a_killed_run_ends_as_if_it_had_not_been(
    framework: Framework, recipe: Recipe, traces: list[Trace], tmp_path: Path
) -> None:
    import json
    from dataclasses import asdict

    whole = train_student(
        recipe, traces[:80], tmp_path / "whole", framework=framework, progress=False
    )
    (tmp_path / "recipe.json").write_text(json.dumps(asdict(recipe)))
    lines = (json.dumps(asdict(trace)) + "\n" for trace in traces[:80])
    (tmp_path / "traces.jsonl").write_text("".join(lines))

    def run(kill: str) -> int:
        code = textwrap.dedent(KILLED).format(framework=framework, kill=textwrap.dedent(kill))
        files = [tmp_path / "recipe.json", tmp_path / "traces.jsonl", tmp_path / "killed"]
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", code, *map(str, files)],
            capture_output=True, text=True, timeout=240, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert done.returncode in (0, -signal.SIGKILL), done.stderr
        return done.returncode

    assert run(KILL[framework]) == -signal.SIGKILL
    assert not (tmp_path / "killed" / "manifest.json").exists()
    assert run("") == 0
    resumed = json.loads((tmp_path / "killed" / "losses.json").read_text())["updates"]
    assert [entry["number"] for entry in resumed] == list(range(1, 11))
    assert [entry["loss"] for entry in resumed] == pytest.approx(
        [update.loss for update in whole.updates], rel=1e-4
    )
