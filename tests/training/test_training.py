"""Runs on both back ends: hyperparameters, validation losses, epochs, 4-bit bases."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from distill_sql.errors import MissingDependencyError, OutOfTime
from distill_sql.models.recipes import Recipe
from distill_sql.training.outcome import Trained, measured_after
from distill_sql.training.progress import Progress
from distill_sql.training.rows import Rows, TokenRow, updates
from tests.training.processes import in_two_processes

torch = pytest.importorskip("torch", reason="the extra train is not installed")
pytestmark = pytest.mark.filterwarnings("default")

from distill_sql.models import mlx_backend, torch_backend  # noqa: E402
from distill_sql.models.inference import lean  # noqa: E402
from distill_sql.training import torch_trainer  # noqa: E402

FRAMEWORKS = ["torch", "torch with transformers' decoder", "mlx"]


@pytest.fixture(params=FRAMEWORKS)
def trainer(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    if request.param == "mlx":
        return mlx()
    if request.param != "torch":
        monkeypatch.setattr(lean, "WIDEST", 0)
    return torch_trainer


def mlx() -> Any:
    pytest.importorskip("mlx_lm", reason="the extra mlx is not installed")
    from distill_sql.training import mlx_trainer

    return mlx_trainer


def some_rows(count: int, seed: int = 0) -> tuple[TokenRow, ...]:
    """Rows of 8 to 40 random tokens, with at most the second half in the loss."""
    draw = random.Random(seed)
    found = []
    for _ in range(count):
        ids = tuple(draw.randrange(600) for _ in range(draw.randint(8, 40)))
        found.append(TokenRow(ids, draw.randint(len(ids) // 2, len(ids) - 1)))
    return tuple(found)


def mean_loss(model: Any, rows: Sequence[TokenRow]) -> float:
    """The reference: transformers' loss over the learned tokens, one row at a time."""
    losses, learned = 0.0, 0
    for row in rows:
        labels = torch.tensor([[-100] * row.prompt + list(row.ids[row.prompt :])])
        with torch.no_grad():
            mean = model(input_ids=torch.tensor([row.ids]), labels=labels).loss
        count = len(row.ids) - row.prompt
        losses, learned = losses + mean.item() * count, learned + count
    return losses / learned


def plain(recipe: Recipe, adapter: Path | None = None) -> Any:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(recipe.base, dtype=torch.float32)
    return model.eval() if adapter is None else PeftModel.from_pretrained(model, adapter).eval()


def run(trainer: Any, recipe: Recipe, rows: Rows, out: Path, **options: Any) -> Trained:
    trained: Trained = trainer.train(
        Path(recipe.base), recipe, rows, out, progress=False, **options
    )
    return trained


def losses(trained: Trained) -> list[float]:
    return [update.loss for update in trained.updates]


@pytest.fixture
def start(recipe: Recipe, tmp_path: Path) -> dict[str, Path]:
    """A nonzero adapter in the layout of each back end."""
    first = replace(recipe, learning_rate=0.02, warm_up=0)
    rows = Rows(some_rows(8, seed=7), 0)
    ours = run(torch_trainer, first, rows, tmp_path / "first").adapter
    return {"torch": ours, "mlx": mlx_backend.from_peft(ours, tmp_path / "first of mlx")}


def test_every_hyperparameter_is_the_recipes_on_both(
    recipe: Recipe, start: dict[str, Path], tmp_path: Path
) -> None:
    rows = Rows(some_rows(4) * 8, 0)
    usual = replace(recipe, learning_rate=0.02, warm_up=1, batch=4)
    seen = []
    for changes in (
        {}, {"beta1": 0.2}, {"beta2": 0.5}, {"epsilon": 0.05}, {"weight_decay": 20.0},
        {"max_norm": 1e-6}, {"learning_rate": 0.03}, {"warm_up": 2},
    ):  # fmt: skip
        changed = replace(usual, **changes)
        one, two = (
            losses(run(trainer, changed, rows, tmp_path / f"{name}{changes}", start=start[name]))
            for name, trainer in (("torch", torch_trainer), ("mlx", mlx()))
        )
        assert one == pytest.approx(two, rel=2e-3), changes
        seen.append(one)
    for place, one in enumerate(seen):
        for other in seen[:place]:
            assert one != pytest.approx(other, rel=4e-3)


# --- Validation -----------------------------------------------------------------------------------


def test_validation_losses_are_what_transformers_finds(
    trainer: Any, recipe: Recipe, tmp_path: Path
) -> None:
    rows, held = Rows(some_rows(24), 0), some_rows(5, seed=1)
    strong = replace(recipe, learning_rate=0.2, warm_up=0, dropout=0.3)
    trained = run(trainer, strong, rows, tmp_path, validation=held, micro_batch=2)
    assert [one.update for one in trained.validation] == [0, 1, 2, 3]
    assert trained.validation[0].loss == pytest.approx(mean_loss(plain(recipe), held), rel=1e-4)
    if trainer is torch_trainer:
        after = mean_loss(plain(recipe, trained.adapter), held)
        assert trained.validation[-1].loss == pytest.approx(after, rel=1e-4)
    assert trained.validation[-1].loss != pytest.approx(trained.validation[0].loss, rel=1e-3)


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_measuring_changes_nothing(
    trainer: Any, recipe: Recipe, dropout: float, tmp_path: Path
) -> None:
    rows, recipe = Rows(some_rows(24), 0), replace(recipe, dropout=dropout, learning_rate=0.02)
    without = run(trainer, recipe, rows, tmp_path / "without")
    assert without.validation == ()
    measured = run(trainer, recipe, rows, tmp_path / "with", validation=some_rows(5, seed=1))
    assert losses(measured) == losses(without)


def test_both_measure_the_same(recipe: Recipe, start: dict[str, Path], tmp_path: Path) -> None:
    rows, held = Rows(some_rows(32), 0), some_rows(6, seed=1)
    one, two = (
        run(trainer, recipe, rows, tmp_path / name, validation=held, start=start[name])
        for name, trainer in (("torch", torch_trainer), ("mlx", mlx()))
    )
    assert [v.update for v in one.validation] == [v.update for v in two.validation]
    assert [v.loss for v in one.validation] == pytest.approx(
        [v.loss for v in two.validation], rel=1e-3
    )


def test_it_is_measured_about_five_times() -> None:
    for total in (1, 7, 10, 64, 1000):
        found = sorted(measured_after(total))
        assert (found[0], found[-1]) == (0, total)
        assert len(found) == min(total, 5) + 1
        gaps = [after - before for before, after in pairwise(found)]
        assert max(gaps) - min(gaps) <= 1


class Stopped(Exception):
    """Ends a run like a kill, without ending the test."""


def test_a_resumed_run_keeps_what_was_measured(
    trainer: Any, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its losses, with dropout, and its validation losses are those of an uninterrupted run."""
    monkeypatch.setattr(Progress, "checkpoint_every", 4)
    recipe = replace(recipe, dropout=0.3, learning_rate=0.02, batch=2)
    rows, held = Rows(some_rows(24), 0), some_rows(5, seed=1)
    whole = run(trainer, recipe, rows, tmp_path / "whole", validation=held)
    measure, points = trainer._validation_loss, []

    def dying(*arguments: Any) -> float:
        points.append(1)
        if len(points) == 4:  # at the seventh update; that of the last checkpoint is the fourth
            raise Stopped
        return float(measure(*arguments))

    monkeypatch.setattr(trainer, "_validation_loss", dying)
    with pytest.raises(Stopped):
        run(trainer, recipe, rows, tmp_path / "killed", validation=held)
    resumed = run(trainer, recipe, rows, tmp_path / "killed", validation=held, resume=True)
    assert losses(resumed) == pytest.approx(losses(whole), rel=1e-4)
    assert [v.update for v in resumed.validation] == sorted(measured_after(12))
    assert [v.loss for v in resumed.validation] == pytest.approx(
        [v.loss for v in whole.validation], rel=1e-4
    )
    known = len([point for point in measured_after(12) if point <= 4])
    assert len(points) == 4 + len(measured_after(12)) - known


def test_a_run_out_of_time_is_continued_without_loss(
    trainer: Any, recipe: Recipe, tmp_path: Path
) -> None:
    """Stopped after each update, a run with dropout has the losses of an uninterrupted one."""
    recipe = replace(recipe, dropout=0.3, learning_rate=0.02, batch=2)
    rows = Rows(some_rows(8), 0)
    whole = run(trainer, recipe, rows, tmp_path / "whole")
    for number in (1, 2, 3):
        with pytest.raises(OutOfTime, match=f"after {number} of 4 updates"):
            run(trainer, recipe, rows, tmp_path / "cut", resume=True, stop_at=0.0)
    resumed = run(trainer, recipe, rows, tmp_path / "cut", resume=True, stop_at=0.0)
    assert losses(resumed) == pytest.approx(losses(whole), rel=1e-4)


def test_an_incomplete_checkpoint_is_passed_over(recipe: Recipe, tmp_path: Path) -> None:
    recipe, rows = replace(recipe, batch=2), Rows(some_rows(8), 0)
    with pytest.raises(OutOfTime):
        run(torch_trainer, recipe, rows, tmp_path, stop_at=0.0)
    (tmp_path / "checkpoints" / "checkpoint-3").mkdir()
    resumed = run(torch_trainer, recipe, rows, tmp_path, resume=True)
    assert [update.number for update in resumed.updates] == [1, 2, 3, 4]


# --- Epochs ---------------------------------------------------------------------------------------


@pytest.fixture
def remainder(recipe: Recipe) -> tuple[Recipe, Rows]:
    """Two epochs of 11 rows in batches of 4: the third update of each has 3 rows."""
    first = some_rows(11)
    second = random.Random(2).sample(first, 11)
    return replace(recipe, epochs=2, batch=4, learning_rate=1e-9), Rows((*first, *second), 0)


def expected_losses(recipe: Recipe, rows: Rows) -> list[float]:
    model = plain(recipe)
    return [
        mean_loss(model, rows.rows[epoch : epoch + 11][first : first + 4])
        for epoch in (0, 11)
        for first in (0, 4, 8)
    ]


@pytest.mark.parametrize("micro_batch", [4, 2, 1])
def test_no_update_holds_rows_of_two_epochs(
    trainer: Any, remainder: tuple[Recipe, Rows], micro_batch: int, tmp_path: Path
) -> None:
    recipe, rows = remainder
    trained = run(trainer, recipe, rows, tmp_path, micro_batch=micro_batch)
    assert len(trained.updates) == updates(recipe, rows) == 6
    assert losses(trained) == pytest.approx(expected_losses(recipe, rows), rel=1e-4)


def test_epochs_with_a_remainder_are_learned_alike(
    remainder: tuple[Recipe, Rows], start: dict[str, Path], tmp_path: Path
) -> None:
    recipe, rows = replace(remainder[0], learning_rate=0.01), remainder[1]
    one, two = (
        losses(run(trainer, recipe, rows, tmp_path / name, micro_batch=2, start=start[name]))
        for name, trainer in (("torch", torch_trainer), ("mlx", mlx()))
    )
    assert one == pytest.approx(two, rel=1e-3)


@pytest.mark.slow
def test_two_processes_with_a_remainder_are_as_one(
    remainder: tuple[Recipe, Rows], tmp_path: Path
) -> None:
    """Under gloo: updates, losses and validation losses, each of whose rows counts once."""
    recipe, rows = replace(remainder[0], learning_rate=0.02), remainder[1]
    held = some_rows(5, seed=1)
    found = in_two_processes(recipe, rows, held, tmp_path)
    one = run(torch_trainer, recipe, rows, tmp_path / "one", validation=held)
    assert len(found.updates) == 6
    assert found.updates == pytest.approx(losses(one), rel=1e-3)
    assert found.validation == pytest.approx([value.loss for value in one.validation], rel=1e-3)


# --- How weights are held -------------------------------------------------------------------------


def test_auto_is_what_the_machine_multiplies(
    recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    auto = replace(recipe, precision="auto")
    for device, multiplies, expected in (
        ("cuda", False, "bfloat16"), ("cpu", True, "bfloat16"), ("cpu", False, "float32"),
    ):  # fmt: skip
        monkeypatch.setattr(torch_backend, "device", lambda found=device: found)
        monkeypatch.setattr(torch_backend, "multiplies_bfloat16", lambda found=multiplies: found)
        assert torch_backend.resolve(auto) == replace(recipe, precision=expected)
        for named in ("float32", "mixed", "bfloat16", "nf4"):
            held = replace(recipe, precision=named)
            assert torch_backend.resolve(held) == held
    assert mlx().resolve(auto).precision == "bfloat16"


@pytest.mark.parametrize("multiplies", [True, False])
def test_auto_is_trained_and_asked_in(
    recipe: Recipe, multiplies: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if torch_backend.device() == "cuda":
        pytest.skip("there is a GPU")
    monkeypatch.setattr(torch_backend, "multiplies_bfloat16", lambda: multiplies)
    auto = replace(recipe, precision="auto")
    student = torch_backend.load(Path(recipe.base), auto)
    assert student.model.dtype == (torch.bfloat16 if multiplies else torch.float32)
    found = [
        losses(run(torch_trainer, one, Rows(some_rows(8), 0), tmp_path / one.precision))
        for one in (auto, torch_backend.resolve(auto))
    ]
    assert found[0] == found[1]


def test_four_bits_name_the_extra_that_brings_what_they_need(
    recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch_backend, "device", lambda: "cuda")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'distill-sql\[nf4\]'"):
        torch_backend.load_base(Path(recipe.base), replace(recipe, precision="nf4"))


def test_adapters_of_a_four_bit_base_stay_float32(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """trl rounds them to bfloat16 if a base is marked as 4-bit, as here."""
    import trl

    load, build, seen = torch_backend.load_base, trl.SFTTrainer.__init__, []

    def marked(*arguments: Any) -> Any:
        model = load(*arguments)
        model.is_loaded_in_4bit = True
        return model

    def watched(trainer: Any, *arguments: Any, **options: Any) -> None:
        build(trainer, *arguments, **options)
        trainer.model.get_base_model().is_loaded_in_4bit = False  # or bitsandbytes is asked
        seen.append({w.dtype for w in trainer.model.parameters() if w.requires_grad})

    # Otherwise the trainer uses the quantizer, which this model does not have.
    monkeypatch.setattr("transformers.trainer.validate_quantization_for_training", lambda _: None)
    monkeypatch.setattr(torch_backend, "load_base", marked)
    monkeypatch.setattr(trl.SFTTrainer, "__init__", watched)
    trained = run(torch_trainer, recipe, Rows(some_rows(16), 0), tmp_path)
    assert seen == [{torch.bfloat16}], "trl rounds no more: keep nothing then"
    from safetensors.torch import load_file

    weights = load_file(trained.adapter / "adapter_model.safetensors")
    assert {weight.dtype for weight in weights.values()} == {torch.float32}
    assert all(math.isfinite(loss) for loss in losses(trained))


def test_mlx_leaves_embeddings_as_they_are(
    tiny_tokenizer: Any, recipe: Recipe, tmp_path: Path
) -> None:
    """Only the linear layers are quantized, as by bitsandbytes."""
    from distill_sql.models.folders import random_model

    trainer = mlx()
    import mlx.core as mx
    from mlx.utils import tree_flatten

    folder = random_model(tmp_path / "model", tiny_tokenizer, width=64, inner=128, heads=2)
    model, _ = mlx_backend.load_model_as(folder, replace(recipe, precision="nf4"))
    in_bits = {name for name, value in tree_flatten(model.parameters()) if value.dtype == mx.uint32}
    assert len(in_bits) == 2 * 7
    assert all(name.startswith("model.layers.") for name in in_bits)
    assert model.model.embed_tokens.weight.dtype == mx.bfloat16
    trained = run(trainer, replace(recipe, base=str(folder), precision="nf4"),
                  Rows(some_rows(8), 0), tmp_path / "run")  # fmt: skip
    assert math.isfinite(trained.updates[-1].loss)


def test_recomputing_is_this_runs_alone(recipe: Recipe, tmp_path: Path) -> None:
    trainer = mlx()
    from mlx_lm.models.qwen2 import TransformerBlock

    usual, rows = TransformerBlock.__call__, Rows(some_rows(16), 0)
    for checkpointing in (True, False):
        held = replace(recipe, checkpointing=checkpointing)
        trained = run(trainer, held, rows, tmp_path / str(checkpointing))
        assert TransformerBlock.__call__ is usual
        if checkpointing:
            first = losses(trained)
    assert losses(trained) == pytest.approx(first, rel=1e-4)
