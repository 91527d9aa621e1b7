"""The training script: labels, losses, copying, and resuming an interrupted run."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import pytest

from distill_sql.errors import TrainingError
from distill_sql.files import read_json
from distill_sql.pretraining import batches, beginnings, forward, records
from distill_sql.pretraining import pretrain as script
from distill_sql.pretraining.corpus import lessons
from distill_sql.pretraining.ladder import LADDER, Shape, train_ladder_tokenizer
from distill_sql.pretraining.lexicon import Lexicon
from distill_sql.prompting.tokenizer import ChatTokenizer

torch = pytest.importorskip("torch", reason="the extra train is not installed")
pytestmark = pytest.mark.filterwarnings("default")

TINY = Shape("tiny", 64, 2, 96, 2, 1, 1.0, 0.0, 12_000)


def model_of(shape: Shape) -> Any:
    from transformers import Qwen2Config, Qwen2ForCausalLM

    return Qwen2ForCausalLM(Qwen2Config(**shape.config(bos=0, eos=2))).eval()


@pytest.fixture(scope="module")
def tokenizer(lexicon: Lexicon) -> ChatTokenizer:
    stream = islice(lessons(lexicon, 1.0, start=20_000), 200)
    return train_ladder_tokenizer(
        [message["content"] for one in stream for turn in one.turns for message in one.chat(turn)]
    )


def test_a_turn_has_the_tokens_of_the_chat_that_a_student_sees(
    lexicon: Lexicon,
    tokenizer: ChatTokenizer,
) -> None:
    for lesson in islice(lessons(lexicon, 1.0, start=40_001), 5):
        encoded = batches.encode(lesson, tokenizer)
        for turn, (ids, labels) in zip(lesson.turns, encoded.turns, strict=True):
            whole = tokenizer.render(lesson.chat(turn), add_generation_prompt=False)
            assert encoded.context + ids == tokenizer.encode(whole.removesuffix("\n"))
            learned = [one for one in labels if one != -100]
            assert tokenizer.backend.decode(learned, skip_special_tokens=False) == (
                f"{turn.answer}<|im_end|>"
            )
            assert ids[-len(learned) :] == learned


def test_a_renamed_lesson_differs_only_in_words_of_its_schema(
    lexicon: Lexicon,
    tokenizer: ChatTokenizer,
) -> None:
    pieces = batches.pieces_of(tokenizer)
    changed: dict[str, str] = {}
    for number, lesson in enumerate(islice(lessons(lexicon, 1.0, start=40_001), 8)):
        other = batches.renamed(Random(number), lesson, pieces, range(1, len(pieces) + 1))
        assert other.system == lesson.system
        names: dict[str, str] = {}
        pairs = [(lesson.context, other.context)]
        for turn, new in zip(lesson.turns, other.turns, strict=True):
            pairs += zip(turn, new, strict=True)
        for before, after in pairs:
            assert re.sub("[a-z]+", "", before) == re.sub("[a-z]+", "", after)
            found = (re.findall("[A-Za-z]+", text) for text in (before, after))
            for one, two in zip(*found, strict=True):
                assert names.setdefault(one, two) == two
        different = {one: two for one, two in names.items() if one != two}
        present = set(re.findall("[a-z]+", lesson.context))
        assert different.keys() <= present - batches.KEPT
        assert not present & set(different.values())
        assert len(set(different.values())) == len(different)
        changed |= different
    assert len(changed) > 40
    assert any(len(tokenizer.encode(word)) > 1 for word in changed)
    assert any(len(tokenizer.encode(word)) > 1 for word in changed.values())


def test_tokens_that_are_copied_badly_become_part_of_more_names(
    lexicon: Lexicon,
    tokenizer: ChatTokenizer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in {"POOL": 16, "RENAMED": 1.0, "RENAMED_WORDS": 1.0}.items():
        monkeypatch.setattr(batches, name, value)
    places = [tokenizer.encode(piece)[0] for piece in batches.pieces_of(tokenizer)[::40]]
    doubt = torch.zeros(len(tokenizer.backend.get_vocab()))
    stream = batches.batches(lexicon, TINY, tokenizer, 30_000, doubt)

    def found_in_a_pool() -> int:
        found = 0
        while True:
            batch = next(stream)
            found += int(torch.isin(batch.contexts, torch.tensor(places)).sum())
            if batch.after >= 0:
                return found

    before = found_in_a_pool()
    doubt[places] = 1.0
    assert found_in_a_pool() > 2 * before


def test_the_loss_is_that_of_transformers_on_each_turn_alone(
    lexicon: Lexicon,
    tokenizer: ChatTokenizer,
) -> None:
    torch.manual_seed(0)
    model = model_of(TINY)
    beginnings.begin_with_copying(model, TINY)
    group = [
        batches.encode(one, tokenizer) for one in islice(lessons(lexicon, 1.0, start=30_000), 6)
    ]
    batch = batches.collate(group)
    losses = []
    for encoded in group:
        for ids, labels in encoded.turns:
            target = torch.tensor([-100] * len(encoded.context) + labels)[1:]
            logits = model(torch.tensor([encoded.context + ids])).logits[0, :-1]
            losses.append(torch.nn.functional.cross_entropy(logits, target, reduction="none"))
            losses[-1] = losses[-1][target != -100]
    expected = torch.cat(losses).mean()
    each, learned = forward.losses(model, batch)
    found = each.mean()
    labels = torch.cat([chunk.labels[:, 1:].flatten() for chunk in batch.chunks])
    assert learned.tolist() == labels[labels != -100].tolist()
    assert found.item() == pytest.approx(expected.item(), rel=2e-3)
    parameters = list(model.parameters())
    exact, rounded = (
        torch.cat([part.flatten() for part in torch.autograd.grad(value, parameters)])
        for value in (expected, found)
    )
    assert torch.cosine_similarity(exact, rounded, 0) > 0.99
    assert rounded.norm().item() == pytest.approx(exact.norm().item(), rel=0.03)
    assert batch.tokens == sum(one.size for one in group)
    assert len(batch.chunks) > 1


def test_a_name_has_the_same_tokens_everywhere(tokenizer: ChatTokenizer) -> None:
    pieces = tokenizer.encode("lantern_origin")
    for before in (".", "(", "'", "T1.", " ", "[", "_", "FROM "):
        assert tokenizer.encode(f"{before}lantern_origin")[-len(pieces) :] == pieces


def test_the_rate_warms_up_stays_and_decays() -> None:
    shares = [script.rate(seen, seen // 250, 100_000) for seen in range(0, 100_001, 1000)]
    assert shares[0] < shares[5] < 1
    assert shares[15] == shares[39] == 1
    assert shares[70] == pytest.approx(0.5)
    assert shares[-1] == 0.02


def test_copying_is_learned_quickly_from_the_initialization() -> None:
    """Repeated random tokens at varying distances can only be predicted by copying."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    shape = LADDER["pocket-m"]
    losses = []
    for begin in (lambda *_: None, beginnings.begin_with_copying):
        torch.manual_seed(0)
        config = shape.config(bos=0, eos=2) | {"vocab_size": 256}
        model = Qwen2ForCausalLM(Qwen2Config(**config))
        begin(model, shape)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        draw = torch.Generator().manual_seed(1)
        for _ in range(80):
            count = int(torch.randint(6, 20, (1,), generator=draw))
            ids = torch.randint(3, 256, (16, count), generator=draw).repeat(1, 2)
            logits = model(ids).logits[:, count:-1]
            loss = torch.nn.functional.cross_entropy(
                logits.flatten(0, 1), ids[:, count + 1 :].flatten()
            )
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[0] > 5
    assert losses[1] < 3.5


@pytest.fixture
def run(
    lexicon: Lexicon,
    tokenizer: ChatTokenizer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., Path]:
    """Pretrains a shape in a folder with a name, in small batches; an interrupted run resumes."""
    monkeypatch.setattr(batches, "BATCH", 512)
    monkeypatch.setattr(batches, "POOL", 8)

    def pretrained(name: str, shape: Shape, **options: Any) -> Path:
        (tmp_path / name).mkdir(exist_ok=True)
        tokenizer.backend.save(str(tmp_path / name / "tokenizer.json"))
        return script.pretrain(shape, lexicon, tmp_path / name, **options)

    return pretrained


def test_an_interrupted_run_ends_like_an_uninterrupted_one(
    run: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(script, "SECONDS_BETWEEN_SAVES", 0)
    whole = run("whole", TINY)

    class Stop(Exception):
        pass

    saves: list[int] = []
    save = script._save

    def stopping(*args: object) -> None:
        save(*args)  # type: ignore[arg-type]
        saves.append(1)
        if len(saves) == 3:
            raise Stop

    monkeypatch.setattr(script, "_save", stopping)
    with pytest.raises(Stop):
        run("stopped", TINY)
    monkeypatch.setattr(script, "_save", save)
    # As if the process had been killed some time after that save.
    with (tmp_path / "stopped" / TINY.name / "log.jsonl").open("a") as log:
        log.write(json.dumps({"step": 10_000, "tokens": 10**9, "loss": 0.0, "seconds": 1}) + "\n")
    resumed = run("stopped", TINY)
    one, two = (
        json.loads((folder / "log.jsonl").read_text().splitlines()[-1])
        for folder in (whole, resumed)
    )
    assert one["tokens"] == two["tokens"]
    assert one["loss"] == pytest.approx(two["loss"], rel=1e-3)
    first, second = (read_json(folder / "pretraining.json") for folder in (whole, resumed))
    assert first["tokens"] == one["tokens"] == first["losses"][-1][0]
    assert [tokens for tokens, _ in first["losses"]] == [tokens for tokens, _ in second["losses"]]
    assert first["example"]["turns"]
    assert (whole / "model.safetensors").stat().st_size == (
        resumed / "model.safetensors"
    ).stat().st_size


def test_branches_of_a_model_are_averaged(run: Callable[..., Path]) -> None:
    from safetensors.torch import load_file

    short = replace(TINY, tokens=600)
    root = run("root", short)
    branches = [run(f"branch{n}", short, after=[root], branch=n) for n in (0, 1)]
    # With a learning rate of 0 the result is the average.
    both = run("both", short, after=branches, share=0.0)
    one, two, mean = (
        load_file(folder / "model.safetensors")["model.norm.weight"].float()
        for folder in (*branches, both)
    )
    torch.testing.assert_close(mean, (one + two) / 2, atol=2**-8, rtol=0)
    written = [read_json(folder / "pretraining.json") for folder in (root, *branches, both)]
    assert written[1]["losses"] != written[2]["losses"]  # each has its own lessons
    found = records.runs_of(written[3])
    assert [one["losses"] for one in found] == [record["losses"] for record in written]
    with pytest.raises(TrainingError, match="did not continue from the same model"):
        run("wrong", short, after=[branches[0], both])


def test_tokens_are_counted_by_form_and_language_over_all_runs() -> None:
    first = {"tokens": 1000, "shape": {"rich": 0.25, "form": "chat"}}
    second = {"tokens": 400, "shape": {"rich": 1.0, "form": "text"}, "after": first}
    last = {"tokens": 200, "shape": {"rich": 1.0}, "after": second}
    found = {
        (form, language): records.tokens_read(last, form, language)
        for form in ("chat", "text")
        for language in ("keywords", "sentences")
    }
    assert found == {
        ("chat", "keywords"): 750,
        ("chat", "sentences"): 450,
        ("text", "keywords"): 0,
        ("text", "sentences"): 400,
    }


def test_an_expanded_model_has_the_same_logits() -> None:
    torch.manual_seed(0)
    small, large = model_of(TINY), model_of(replace(TINY, layers=5))
    beginnings.expand(small, large)
    ids = torch.arange(40)[None]
    assert torch.equal(small(ids).logits, large(ids).logits)
    layers = large.model.layers
    assert [bool(layer.mlp.down_proj.weight.any()) for layer in layers] == [1, 0, 0, 1, 0]
    assert torch.equal(layers[3].mlp.up_proj.weight, layers[4].mlp.up_proj.weight)


@pytest.mark.parametrize("shape", [replace(TINY, layers=1), replace(TINY, inner=128)])
def test_a_model_that_cannot_be_expanded_is_an_error(shape: Shape) -> None:
    with pytest.raises(TrainingError, match="2 layers, 64 wide, cannot be expanded to one of"):
        beginnings.expand(model_of(TINY), model_of(shape))
