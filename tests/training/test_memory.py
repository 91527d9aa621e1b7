"""Estimates of memory against the counts of PyTorch and MLX; advice that works."""

from __future__ import annotations

import gc
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from distill_sql.cli import main
from distill_sql.errors import TrainingError
from distill_sql.files import read_json
from distill_sql.models.recipes import RECIPES, Recipe, recipe_for
from distill_sql.runs.peaks import Case, make_model, measure
from distill_sql.training.kept import Load, Way
from distill_sql.training.memory import (
    CONFIGS,
    check_memory,
    estimate_memory,
    heaviest,
    way_of,
)
from distill_sql.training.rows import Rows, TokenRow
from tests.training import gpu_check

torch = pytest.importorskip("torch", reason="the extra train is not installed")
pytestmark = pytest.mark.filterwarnings("default")

from distill_sql.models import torch_backend  # noqa: E402
from distill_sql.training import torch_trainer  # noqa: E402

GIB = 2**30
#: Wide enough that what is counted outweighs small tensors, and quick.
SMALL = Case(320, 3, 1280, 8, 2, 8192, batch=2, length=192, learned=32)


def expected(case: Case, folder: Path) -> int:
    recipe = case.recipe(str(folder))
    way = way_of(folder, recipe, case.framework)
    load = heaviest(recipe, case.rows(1), case.batch)
    config = read_json(folder / "config.json")
    found = estimate_memory(config, recipe, micro_batch=case.batch, way=way, load=load)
    return found.total - found.buffers  # which are no tensors


@pytest.mark.parametrize(
    "case",
    [
        SMALL,
        replace(SMALL, padded=False),
        replace(SMALL, dropout=0.1),
        replace(SMALL, checkpointing=True, layers=6),
        replace(SMALL, learned=191),
        replace(SMALL, learned=2),
        replace(SMALL, precision="mixed"),
        replace(SMALL, precision="mixed", dropout=0.1),
        replace(SMALL, precision="bfloat16"),
        replace(SMALL, precision="bfloat16", dropout=0.1),
        replace(SMALL, precision="bfloat16", checkpointing=True, layers=6, length=768),
        replace(SMALL, learned=2, dropout=0.1),
        replace(SMALL, learned=2, precision="bfloat16"),
        replace(SMALL, learned=2, inner=2560),
        replace(SMALL, learned=2, width=256),
        replace(SMALL, width=256),  # from here on through the lean decoder
        replace(SMALL, width=256, precision="mixed"),
        replace(SMALL, width=256, precision="mixed", heads=4, kv_heads=1, length=384),
    ],
    ids=lambda case: (
        f"{case.precision}-{case.width}-{case.dropout}-{case.checkpointing}"
        f"-{case.learned}-{case.padded}"
    ),
)
def test_an_estimate_is_what_pytorch_holds_at_most(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Never below and at most 15 % above PyTorch's count of allocated memory."""
    if torch_backend.device() == "cuda":
        pytest.skip("there is a GPU")
    if case.precision != "float32" and not torch_backend.multiplies_bfloat16():
        pytest.skip("this processor does not multiply bfloat16")
    monkeypatch.setenv("HF_DEACTIVATE_ASYNC_LOAD", "1")  # other threads are not counted
    folder = make_model(case, tmp_path / "model")
    peak = held_by_pytorch(folder, case.recipe(str(folder)), case.rows(2), tmp_path / "run")
    assert 1 <= expected(case, folder) / peak <= 1.15


def held_by_pytorch(folder: Path, recipe: Recipe, rows: Rows, out: Path) -> int:
    """The most bytes that PyTorch holds at once in a run."""
    gc.collect()
    with torch.autograd.profiler.profile(profile_memory=True) as seen:
        torch_trainer.train(folder, recipe, rows, out, progress=False)
    events = sorted(
        (event.start_ns(), event.nbytes())
        for event in seen.kineto_results.events()
        if event.name() == "[memory]"
    )
    held = peak = 0
    for _, size in events:
        held += size
        peak = max(peak, held)
    return peak


def on_databases(shared: int, own: int) -> Rows:
    """An update on one database, and one on two; rows share that many first tokens."""
    schemas = enumerate([1] * 8 + [2] * 4 + [3] * 4)
    return Rows(
        tuple(
            TokenRow((*[schema] * shared, *range(number, number + own)), shared + own // 2)
            for number, schema in schemas
        ),
        0,
    )


@pytest.mark.parametrize(
    ("shared", "own", "changes"),
    [
        (256, 24, {}),
        (256, 24, {"dropout": 0.1}),
        (64, 96, {}),
        (256, 24, {"checkpointing": True, "layers": 6}),
        (256, 24, {"precision": "bfloat16"}),
        (256, 24, {"precision": "bfloat16", "dropout": 0.1}),
        (256, 24, {"precision": "mixed"}),
    ],
)
def test_an_estimate_of_trees_is_what_pytorch_holds_at_most(
    shared: int, own: int, changes: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Never below and at most 20 % above; the second update is on two databases."""
    if torch_backend.device() == "cuda":
        pytest.skip("there is a GPU")
    case = replace(SMALL, **changes)
    if case.precision != "float32" and not torch_backend.multiplies_bfloat16():
        pytest.skip("this processor does not multiply bfloat16")
    monkeypatch.setenv("HF_DEACTIVATE_ASYNC_LOAD", "1")  # other threads are not counted
    folder = make_model(case, tmp_path / "model")
    recipe = replace(case.recipe(str(folder)), grouping="database", batch=8)
    rows = on_databases(shared, own)
    peak = held_by_pytorch(folder, recipe, rows, tmp_path / "run")
    found = check_memory(folder, recipe, rows=rows, free=100 * GIB)

    assert 1 <= (found.total - found.buffers) / peak <= 1.2
    in_rows = check_memory(folder, replace(recipe, grouping="mixed"), rows=rows, free=100 * GIB)
    assert found.activations < in_rows.activations


@pytest.mark.parametrize(
    ("shared", "own", "changes"),
    [
        (256, 24, {}),
        (256, 24, {"dropout": 0.1}),
        (64, 96, {}),
        (256, 24, {"precision": "bfloat16"}),
    ],
)
def test_an_estimate_of_trees_is_what_mlx_holds_at_most(
    shared: int, own: int, changes: dict[str, Any], tmp_path: Path
) -> None:
    """At most 25 % above: the last layer's prefix has no effect and is not kept, but is counted."""
    pytest.importorskip("mlx_lm", reason="the extra mlx is not installed")
    from distill_sql.training import mlx_trainer

    case = replace(SMALL, framework="mlx", layers=4, **changes)
    folder = make_model(case, tmp_path / "model")
    recipe = replace(case.recipe(str(folder)), grouping="database", batch=8)
    rows = on_databases(shared, own)
    trained = mlx_trainer.train(folder, recipe, rows, tmp_path / "run", progress=False)
    found = check_memory(folder, recipe, rows=rows, free=100 * GIB, framework="mlx")
    assert 1 <= found.total / trained.peak_memory <= 1.25


@pytest.mark.slow
def test_an_estimate_is_what_a_process_of_its_own_takes() -> None:
    """With the width of Qwen2.5-0.5B: resident memory without that of the libraries."""
    if torch_backend.device() == "cuda" or not Path("/proc/self/clear_refs").exists():
        pytest.skip("counted on Linux, without a GPU")
    found, peak = measure(Case(896, 2, 4864, 14, 2, batch=2, length=512, dropout=0.05))
    assert 1 <= found.total / peak <= 1.15


def test_estimates_hold_what_a_gpu_was_measured_to_hold() -> None:
    """Current estimates for the recorded trainings, against PyTorch's counts."""
    path = Path(__file__).parents[2] / "book" / "results" / "gpu" / "h200.json"
    recorded = read_json(path)
    for name, (size, recipe, case) in gpu_check.TRAININGS.items():
        found = recorded[name]["result"]
        recipe = replace(recipe, precision=found["precision"], batch=case.batch)
        load = heaviest(recipe, case.rows(1), case.batch)
        way = Way(on_gpu=True, rounds=recipe.precision != "float32")
        shape = CONFIGS[gpu_check.SIZES[size]]
        total = (
            estimate_memory(shape, recipe, micro_batch=case.batch, way=way, load=load).total / 2**20
        )
        assert found["allocated_mib"] <= total <= 1.15 * found["allocated_mib"], name


def test_logits_of_mlx_are_those_of_learned_tokens_alone(tmp_path: Path) -> None:
    """Earlier, logits were computed for every token, in float32."""
    pytest.importorskip("mlx_lm", reason="the extra mlx is not installed")
    from distill_sql.training import mlx_trainer

    case = replace(SMALL, framework="mlx", vocabulary=65536, layers=1, learned=8)
    folder = make_model(case, tmp_path / "model")
    trained = mlx_trainer.train(
        folder, case.recipe(str(folder)), case.rows(1), tmp_path / "run", progress=False
    )
    every_logit = case.batch * case.length * case.vocabulary * 4
    weights = expected(replace(case, learned=1), folder)
    assert trained.peak_memory < weights + every_logit / 4


def test_masks_of_dropout_are_counted() -> None:
    """1 byte per input of an adapter on a GPU, 4 on a CPU."""
    config, recipe = CONFIGS["Qwen/Qwen2.5-0.5B-Instruct"], recipe_for("0.5b", precision="bfloat16")
    inputs = 24 * 8 * 1024 * (6 * 896 + 4864)
    for on_gpu, size in ((True, 1), (False, 4)):
        way = Way(on_gpu=on_gpu, rounds=True)
        with_masks, without = (
            estimate_memory(config, replace(recipe, dropout=p), micro_batch=8, way=way).activations
            for p in (0.05, 0.0)
        )
        assert with_masks - without == inputs * size


def test_the_load_is_that_of_the_heaviest_part() -> None:
    recipe = recipe_for("0.5b", batch=4)

    def row(length: int, learned: int) -> TokenRow:
        return TokenRow((1,) * length, length - learned)

    rows = Rows((row(9, 1), row(9, 2), row(9, 7), row(9, 7), row(30, 3), row(20, 3)), 0)
    assert heaviest(recipe, rows, 4) == Load(4, 30, 17)
    assert heaviest(recipe, rows, 2) == Load(2, 30, 14)
    alike = Rows(rows.rows[:4], 0)
    assert heaviest(recipe, alike, 2) == Load(2, 9, 14, padded=False)
    assert heaviest(recipe, alike, 1).rows == 1


# --- Advice ---------------------------------------------------------------------------------------


def told(folder: Path, recipe: Recipe, free: float, **options: int) -> str:
    (folder / "config.json").write_text(json.dumps(CONFIGS[recipe.base]))
    with pytest.raises(TrainingError) as error:
        check_memory(folder, recipe, free=int(free), **options)
    return str(error.value)


def test_advice_exists_in_the_command_line_and_in_chapters(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = recipe_for("0.5b", precision="float32")
    smaller = told(tmp_path, recipe, 12 * GIB)
    narrower = told(tmp_path, recipe, 5 * GIB)
    other = told(tmp_path, recipe_for("7b", precision="bfloat16"), 14 * GIB)
    assert re.search(r"With --micro-batch \d it fits \(in a chapter: -p micro_batch \d\)", smaller)
    assert "With --micro-batch 1 --set precision=bfloat16 it fits" in narrower
    assert re.search(r"Recipe \S+ fits with --micro-batch 1", other)
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    flags = capsys.readouterr().out
    chapters = [
        path.read_text().split(":tags: [parameters]")[1].split("```")[0]
        for name in ("04_training", "06_scaling")
        for path in [Path(__file__).parents[2] / "notebooks" / f"{name}.md"]
    ]
    for message in (smaller, narrower, other):
        for flag in re.findall(r"--[a-z-]+", message):
            assert flag in flags
        for name in re.findall(r"-p (\w+)", message):
            assert all(re.search(rf"^{name} = ", chapter, re.MULTILINE) for chapter in chapters)
        for name in re.findall(r"Recipe (\S+) fits", message):
            assert RECIPES[name].trained


def test_what_is_advised_fits(tmp_path: Path) -> None:
    recipe = recipe_for("0.5b", precision="float32")
    for free in (12 * GIB, 25 * GIB):
        size = int(re.search(r"--micro-batch (\d)", told(tmp_path, recipe, free))[1])  # type: ignore[index]
        assert check_memory(tmp_path, recipe, micro_batch=size, free=free).total <= free
    narrow = replace(recipe, precision="bfloat16")
    assert check_memory(tmp_path, narrow, micro_batch=1, free=5 * GIB)


def test_recipes_in_four_bits_are_advised_where_they_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch_backend, "device", lambda: "cpu")
    seven = recipe_for("7b", precision="bfloat16")
    assert "Recipe 1.5b fits" in told(tmp_path, seven, 12 * GIB, micro_batch=1)
    monkeypatch.setattr(torch_backend, "device", lambda: "cuda")
    assert RECIPES["14b"].precision == "nf4"
    assert "Recipe 14b fits" in told(tmp_path, seven, 14 * GIB, micro_batch=1)
    coder = recipe_for("coder-1.5b", precision="float32")
    assert "Recipe coder-0.5b fits" in told(tmp_path, coder, 8 * GIB, micro_batch=1)


def test_processes_share_the_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = recipe_for("0.5b", precision="float32")
    (tmp_path / "config.json").write_text(json.dumps(CONFIGS[recipe.base]))
    monkeypatch.setenv("WORLD_SIZE", "4")
    shared = check_memory(tmp_path, recipe, free=200 * GIB)
    monkeypatch.delenv("WORLD_SIZE")
    assert shared == check_memory(tmp_path, recipe, micro_batch=2, free=200 * GIB)
