"""Trees of rows against rows one by one: the same loss, the same gradients, fewer tokens."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest

from distill_sql.models.recipes import Grouping, Recipe
from distill_sql.training import tree
from distill_sql.training.rows import Rows, TokenRow
from distill_sql.training.tree import Tree, loss_sum, trees, use
from tests.training.processes import in_two_processes

torch = pytest.importorskip("torch", reason="the extra train is not installed")
pytestmark = pytest.mark.filterwarnings("default")

from distill_sql.models.inference import lean  # noqa: E402
from distill_sql.training import sft, torch_trainer  # noqa: E402


def some_rows(schemas: int = 3, each: int = 4, seed: int = 0) -> list[TokenRow]:
    """Rows whose prompts begin with one of a few schemas; some prompts are the same to the end."""
    draw = random.Random(seed)

    def tokens(least: int, most: int) -> tuple[int, ...]:
        return tuple(draw.randrange(3, 600) for _ in range(draw.randint(least, most)))

    system = tokens(6, 6)
    rows = []
    for _ in range(schemas):
        schema = tokens(30, 50)
        for number in range(each):
            question = tokens(4, 12)
            prompt = (*system, *schema, *question)
            for _ in range(2 if number == 0 else 1):  # one question with two answers
                rows.append(TokenRow((*prompt, *tokens(1, 15)), len(prompt)))
    draw.shuffle(rows)
    return rows


def adapted(folder: Path) -> Any:
    """The model with LoRA whose product is not zero, in training mode."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    lora = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")
    torch.manual_seed(1)
    wrapped = get_peft_model(model, lora)
    for name, weight in wrapped.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.1)
    return wrapped.train()


def alone(model: Any, row: TokenRow) -> Any:
    """The loss of a row by itself, as transformers computes it."""
    ids = torch.tensor([row.ids])
    logits = model(input_ids=ids, use_cache=False).logits[0, row.prompt - 1 : -1]
    return torch.nn.functional.cross_entropy(logits, ids[0, row.prompt :], reduction="sum")


def gradients(model: Any) -> dict[str, Any]:
    found = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return found


def test_loss_and_every_gradient_are_those_of_rows_one_by_one(tiny: Path) -> None:
    rows = some_rows()
    plain, ours = adapted(tiny), adapted(tiny)
    use(ours.get_base_model())
    one_by_one = sum(alone(plain, row) for row in rows)
    in_trees = sum(loss_sum(ours, one) for one in trees(rows))
    assert in_trees.item() == pytest.approx(one_by_one.item(), rel=1e-5)
    one_by_one.backward()
    in_trees.backward()
    before, after = gradients(plain), gradients(ours)
    assert before.keys() == after.keys()
    assert len(before) == 2 * 2 * 7
    for name, expected in before.items():
        assert (expected - after[name]).norm() < 1e-4 * expected.norm(), name


def test_every_row_is_in_one_tree_and_prefixes_are_read_once() -> None:
    rows = some_rows(schemas=5)
    made = trees(rows)
    assert len(made) == 5
    whole = sorted((*one.prefix, *branch.ids) for one in made for branch in one.branches)
    assert whole == sorted(row.ids for row in rows)
    for one in made:
        assert len(one.prefix) > 30
        assert all(branch.prompt >= 1 for branch in one.branches)
    assert sum(one.tokens for one in made) < 0.5 * sum(len(row.ids) for row in rows)


def test_a_row_alone_and_rows_that_share_the_system_message_only() -> None:
    assert trees([]) == []
    [only] = trees([TokenRow((1, 2, 3), 2)])
    assert only == Tree((1,), (TokenRow((2, 3), 1),))
    apart = trees([TokenRow((1, 2, *range(10, 30)), 20), TokenRow((1, 2, *range(40, 60)), 20)])
    assert len(apart) == 2


def test_a_prompt_of_one_token_has_no_prefix(tiny: Path) -> None:
    model = adapted(tiny)
    row = TokenRow((5, 6, 7), 1)
    expected = alone(model, row).item()
    use(model.get_base_model())
    [only] = trees([row])
    assert only.prefix == ()
    assert loss_sum(model, only).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("micro_batch", "checkpointing"), [(2, False), (4, False), (4, True)])
def test_a_run_has_the_losses_of_a_run_without_trees(
    recipe: Recipe, micro_batch: int, checkpointing: bool, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """With the last batch partial, and the validation rows on databases of their own."""
    monkeypatch.setattr(lean, "WIDEST", 0)
    rows, held = Rows(tuple(some_rows(seed=1)[:14]), 0), some_rows(schemas=1, seed=2)
    strong = replace(recipe, batch=4, learning_rate=0.02, warm_up=0, checkpointing=checkpointing)
    plain, ours = (
        torch_trainer.train(
            Path(recipe.base), replace(strong, grouping=grouping), rows, tmp_path / grouping,
            validation=held, micro_batch=micro_batch, progress=False,
        )
        for grouping in get_args(Grouping)
    )  # fmt: skip
    assert len(ours.updates) == 4
    assert [u.loss for u in ours.updates] == pytest.approx(
        [u.loss for u in plain.updates], rel=1e-4
    )
    assert [v.loss for v in ours.validation] == pytest.approx(
        [v.loss for v in plain.validation], rel=1e-4
    )


def test_on_mlx_loss_and_every_gradient_are_those_of_rows(tiny: Path, recipe: Recipe) -> None:
    mx = pytest.importorskip("mlx.core", reason="the extra mlx is not installed")
    pytest.importorskip("mlx_lm", reason="the extra mlx is not installed")
    from mlx.utils import tree_flatten

    from distill_sql.training import mlx_trainer

    learner = mlx_trainer._Learner(tiny, recipe, share=16, start=None)
    weights = tree_flatten(learner.model.trainable_parameters())
    mx.random.seed(1)
    random_ones = [(name, 0.1 * mx.random.normal(one.shape)) for name, one in weights]
    learner.model.load_weights(random_ones, strict=False)
    rows = [*some_rows(), TokenRow((5, 6, 7), 1)]  # the last one has no prefix

    def summed(grouping: Grouping) -> tuple[float, dict[str, Any]]:
        learner._recipe = replace(recipe, grouping=grouping)
        loss, total = 0.0, None
        for batch in learner._batches(rows):
            part, slope = learner._loss_and_gradient(*batch)
            flat = dict(tree_flatten(slope))
            loss += part.item()
            total = flat if total is None else {n: total[n] + one for n, one in flat.items()}
        assert total is not None
        return loss, total

    (plain, before), (ours, after) = summed("mixed"), summed("database")
    assert ours == pytest.approx(plain, rel=1e-5)
    assert len(before) == 2 * 2 * 7
    for name, expected in before.items():
        difference = mx.linalg.norm((expected - after[name]).flatten()).item()
        assert difference < 1e-4 * mx.linalg.norm(expected.flatten()).item(), name


def test_on_mlx_a_run_uses_trees_unless_it_recomputes_activations(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mlx_lm", reason="the extra mlx is not installed")
    from distill_sql.training import mlx_trainer

    rows = Rows(tuple(some_rows(seed=1)[:14]), 0)
    made: list[int] = []
    monkeypatch.setattr(mlx_trainer, "trees", lambda rows: made.append(len(rows)) or trees(rows))

    def losses(name: str, **changes: Any) -> list[float]:
        strong = replace(recipe, batch=4, learning_rate=0.02, warm_up=0, **changes)
        run = mlx_trainer.train(
            Path(recipe.base), strong, rows, tmp_path / name, progress=False, micro_batch=2
        )
        return [one.loss for one in run.updates]

    plain = losses("mixed")
    assert losses("checkpointing", checkpointing=True, grouping="database") == pytest.approx(
        plain, rel=1e-4
    )
    assert made == []
    assert losses("trees", grouping="database") == pytest.approx(plain, rel=1e-4)
    assert made == [2] * 7


@pytest.mark.slow
def test_two_processes_have_the_losses_of_one(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under gloo. Processes have unlike numbers of trees, and one has no row of the last batch."""
    monkeypatch.setattr(lean, "WIDEST", 0)
    rows, held = Rows(tuple(sorted_in_batches()), 0), some_rows(schemas=1, seed=2)
    strong = replace(recipe, batch=4, learning_rate=0.02, warm_up=0, grouping="database")
    one = torch_trainer.train(
        Path(recipe.base), strong, rows, tmp_path / "one", validation=held, progress=False
    )
    two = in_two_processes(strong, rows, held, tmp_path, widest=0)
    assert two.updates == pytest.approx([u.loss for u in one.updates], rel=1e-3)
    assert two.validation == pytest.approx([v.loss for v in one.validation], rel=1e-3)


def sorted_in_batches() -> list[TokenRow]:
    """Three batches of 4 rows and one of 2; in each, the first two rows are on one database."""
    here, there, elsewhere = (some_rows(schemas=1, each=7, seed=seed) for seed in (3, 4, 5))
    rows = []
    for place in range(3):
        rows += [*here[2 * place : 2 * place + 2], there[place], elsewhere[place]]
    return [*rows, *here[6:8]]


def test_only_a_run_by_databases_on_transformers_decoder_uses_trees(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[str] = []
    use_trees = tree.use
    monkeypatch.setattr(tree, "use", lambda model: (used.append("trees"), use_trees(model)))
    rows = Rows(tuple(some_rows(each=1)[:4]), 0)

    def run(name: str, **changes: Any) -> None:
        torch_trainer.train(
            Path(recipe.base), replace(recipe, batch=4, **changes), rows, tmp_path / name,
            progress=False,
        )  # fmt: skip

    run("narrow", grouping="database")  # its decoder has an attention of its own
    monkeypatch.setattr(lean, "WIDEST", 0)
    run("mixed")
    assert used == []
    run("database", grouping="database")
    assert used == ["trees"]


def test_one_tree_of_a_batch_is_in_memory_at_a_time(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch on four databases: a backward pass, which frees memory, follows each forward pass."""
    monkeypatch.setattr(lean, "WIDEST", 0)
    rows = Rows(tuple(some_rows(schemas=4, each=1, seed=6)), 0)
    passes: list[str] = []

    def watched(model: Any, one: Tree) -> Any:
        passes.append("forward")
        loss = loss_sum(model, one)
        loss.register_hook(lambda _: passes.append("backward"))
        return loss

    monkeypatch.setattr(sft, "loss_sum", watched)
    grouped = replace(recipe, batch=8, grouping="database")
    torch_trainer.train(Path(recipe.base), grouped, rows, tmp_path / "run", progress=False)
    assert passes == ["forward", "backward"] * 4
