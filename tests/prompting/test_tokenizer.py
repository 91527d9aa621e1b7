from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from distill_sql.data.carried import CHECKPOINTS
from distill_sql.data.datasets import Dataset
from distill_sql.errors import DatasetError
from distill_sql.prompting.prompts import prompt_messages
from distill_sql.prompting.tokenizer import Message, load_tokenizer, train_tokenizer

CHAT: list[Message] = [
    {"role": "system", "content": "You write SQL."},
    {"role": "user", "content": "How many singers?"},
]


def test_same_ids_and_chat_as_transformers(
    spider_dev: Dataset, qwen_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    transformers = pytest.importorskip("transformers")
    reference = transformers.AutoTokenizer.from_pretrained(qwen_dir)
    ours = load_tokenizer(qwen_dir)
    for example in spider_dev.examples[::50]:
        messages = prompt_messages(spider_dev, example)
        text = reference.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        assert ours.render(messages) == text
        assert ours.encode(text) == reference.encode(text, add_special_tokens=False)


def test_same_ids_as_the_published_counts(spider_dir: Path, qwen_dir: Path) -> None:
    """The gold file has 36,856 tokens according to two independent implementations."""
    assert load_tokenizer(qwen_dir).count((spider_dir / "dev_gold.sql").read_text()) == 36856


def test_trained_tokenizer_is_reproducible_and_reversible(tmp_path: Path) -> None:
    texts = ["SELECT name FROM singer WHERE age > 30", "How many singers are there? Größe"] * 20
    first, second = (train_tokenizer(texts, vocabulary=320, name="t") for _ in range(2))
    ids = first.encode(texts[0])
    assert ids == second.encode(texts[0])
    assert first.backend.decode(first.encode(texts[1])) == texts[1]
    assert len(ids) < len(texts[0])
    assert first.backend.get_vocab_size() <= 320
    first.backend.save(str(tmp_path / "tokenizer.json"))
    assert load_tokenizer(tmp_path).encode(texts[1]) == first.encode(texts[1])


def test_chat_markers_are_single_tokens() -> None:
    tokenizer = train_tokenizer(["a"], vocabulary=300, name="t")
    text = tokenizer.render(CHAT)
    assert text == (
        "<|im_start|>system\nYou write SQL.<|im_end|>\n"
        "<|im_start|>user\nHow many singers?<|im_end|>\n<|im_start|>assistant\n"
    )
    marker = tokenizer.backend.token_to_id("<|im_start|>")
    assert tokenizer.encode(text).count(marker) == 3
    assert not tokenizer.render(CHAT, add_generation_prompt=False).endswith("assistant\n")


def test_folder_without_a_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"expected tokenizer\.json, or vocab\.json"):
        load_tokenizer(tmp_path)


FETCH = """
import sys, time
from distill_sql.prompting import prompts, tokenizer
from distill_sql.data.datasets import load_dataset
tokenizer.HUB_SECONDS = 0.5
dataset = load_dataset(sys.argv[1])
started = time.monotonic()
for _ in range(3):
    counter = prompts.tokenizer_for(dataset)
print(counter.name, counter.note, time.monotonic() - started, sep="\\n")
"""


def counted_with(dataset: Path, hub: Path, endpoint: str) -> list[str]:
    """Name and note of a dataset's tokenizer, and the seconds that loading took."""
    environment = os.environ | {"HF_ENDPOINT": endpoint, "HF_HOME": str(hub)}
    environment.pop("TOKENIZER_DIR", None)
    command = [sys.executable, "-c", FETCH, str(dataset)]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout.splitlines()


def test_a_hub_that_does_not_answer_is_not_waited_for(toy_dataset: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        name, note, seconds = counted_with(toy_dataset, tmp_path, endpoint)
    assert name == "pocket-l, in place of Qwen2.5's"
    assert "about twice as many as Qwen2.5's. The tokenizer of Qwen/" in note
    assert note.endswith("Set TOKENIZER_DIR to a folder that has it.")
    assert float(seconds) < 20  # the hub's client retries for minutes


def test_the_hubs_own_cache_comes_before_the_hub(
    toy_dataset: Path, qwen_dir: Path, tmp_path: Path
) -> None:
    cached = tmp_path / "hub" / "models--Qwen--Qwen2.5-0.5B-Instruct"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text("abc")
    folder = cached / "snapshots" / "abc"
    folder.mkdir(parents=True)
    load_tokenizer(qwen_dir).backend.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text("{}")
    name, note, _ = counted_with(toy_dataset, tmp_path, "http://127.0.0.1:9")
    assert (name, note) == ("Qwen/Qwen2.5-0.5B-Instruct", "")


def test_the_substitute_for_qwens_counts_about_twice_as_many(
    spider_dev: Dataset, qwen_dir: Path
) -> None:
    prompts = [prompt_messages(spider_dev, e) for e in spider_dev.examples[::50]]
    ours, theirs = (
        sum(tokenizer.count(tokenizer.render(messages)) for messages in prompts)
        for tokenizer in (load_tokenizer(CHECKPOINTS / "pocket-l"), load_tokenizer(qwen_dir))
    )
    assert 1.8 < ours / theirs < 2.3
