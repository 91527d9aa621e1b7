"""GGUF files as bases, against transformers' own loader; damaged files."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from distill_sql.errors import TrainingError
from distill_sql.files import read_json, write_json
from distill_sql.models import gguf_file
from distill_sql.models.folders import (
    EMBEDDINGS,
    base_folder,
    check_adapter,
    checked,
    stored,
    weights,
)
from distill_sql.models.gguf_file import NAMES, converted, weights_record
from distill_sql.models.recipes import recipe_for
from distill_sql.models.students import open_student
from distill_sql.prompting.tokenizer import load_tokenizer

torch = pytest.importorskip("torch", reason="the extra train is not installed")
gguf = pytest.importorskip("gguf", reason="the extra train is not installed")
pytestmark = pytest.mark.filterwarnings("default")

REAL = "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf"


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTILL_SQL_CACHE", str(tmp_path / "cache"))


def write_gguf(
    model: Path,
    out: Path,
    *,
    architecture: str = "qwen2",
    leave_out: str = "",
    own_head: bool = False,
) -> Path:
    """A model folder as a GGUF file: products in Q8_0, the rest in float32, the head apart.

    The head is in Q8_0, too, and the embeddings that it repeats are in Q4_0.
    """
    from safetensors.numpy import load_file

    config = read_json(model / "config.json")
    tokenizer = json.loads((model / "tokenizer.json").read_text())
    writer = gguf.GGUFWriter(out, architecture)
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    vocabulary = tokenizer["model"]["vocab"] | {
        token["content"]: token["id"] for token in tokenizer["added_tokens"]
    }
    tokens = sorted(vocabulary, key=lambda token: int(vocabulary[token]))
    special = {token["content"] for token in tokenizer["added_tokens"]}
    writer.add_token_list(tokens)
    writer.add_token_types([3 if token in special else 1 for token in tokens])
    writer.add_token_merges([" ".join(merge) for merge in tokenizer["model"]["merges"]])
    writer.add_eos_token_id(vocabulary["<|im_end|>"])
    writer.add_bos_token_id(vocabulary["<|endoftext|>"])
    writer.add_pad_token_id(vocabulary["<|endoftext|>"])
    writer.add_chat_template((model / "chat_template.jinja").read_text())
    theirs = {ours: name for name, ours in NAMES.items()}
    weights = load_file(model / "model.safetensors")
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"]
    if own_head:
        weights["lm_head.weight"] = weights["lm_head.weight"][::-1].copy()
    for name, weight in weights.items():
        stem, _, kind = name.rpartition(".")
        layer = ""
        if stem.startswith("model.layers."):
            _, _, number, stem = stem.split(".", 3)
            layer = f"blk.{number}."
        called = f"{layer}{theirs[stem]}.{kind}"
        if called == leave_out:
            continue
        if weight.ndim == 2:
            kinds = gguf.GGMLQuantizationType
            kept = kinds.Q4_0 if "embed" in name else kinds.Q8_0
            writer.add_tensor(called, gguf.quantize(weight, kept), raw_dtype=kept)
        else:
            writer.add_tensor(called, weight)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return out


@pytest.fixture
def file(tiny: Path, tmp_path: Path) -> Path:
    return write_gguf(tiny, tmp_path / "tiny.gguf")


def logits(model: Any, ids: list[int]) -> np.ndarray[Any, Any]:
    with torch.no_grad():
        found: np.ndarray[Any, Any] = model(torch.tensor([ids])).logits[0].numpy()
    return found


def test_logits_and_tokens_are_those_of_transformers_own_loader(
    file: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import AutoModelForCausalLM

    monkeypatch.setattr(gguf_file, "SHARD", 2**14)  # several files of weights
    folder = checked(converted(file))
    assert len(list(folder.glob("*.safetensors"))) > 2
    ours = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    theirs = AutoModelForCausalLM.from_pretrained(
        file.parent, gguf_file=file.name, dtype=torch.float32
    )
    ids = list(range(5, 60))
    assert logits(ours, ids) == pytest.approx(logits(theirs, ids), abs=1e-5)
    before = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32)
    assert logits(ours, ids) != pytest.approx(logits(before, ids), abs=1e-5)  # it was rounded
    one, two = load_tokenizer(folder), load_tokenizer(tiny)
    messages: list[Any] = [{"role": "user", "content": "How many singers are there in 2014?"}]
    assert one.encode(one.render(messages)) == two.encode(two.render(messages))


def test_it_is_converted_once_and_says_how_it_was_held(file: Path) -> None:
    folder = converted(file)
    record = read_json(folder / "gguf.json")
    assert record["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert record["weights_by_type"].keys() == {"Q4_0", "Q8_0", "F32"}
    # 18 bytes for 32 weights of the embeddings, 34 for others, 4 for a norm's
    assert 4.5 < record["bits_per_weight"] < 8.5
    stamp = (folder / "model-00000.safetensors").stat().st_mtime_ns
    assert converted(file, sha256=record["sha256"]) == folder
    assert (folder / "model-00000.safetensors").stat().st_mtime_ns == stamp


def test_what_is_wrong_with_a_file_is_said_and_nothing_is_left(
    file: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = file.read_bytes()
    (tmp_path / "cut.gguf").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "stump.gguf").write_bytes(whole[:16])
    (tmp_path / "page.gguf").write_text("<html>not found</html>")
    write_gguf(tiny, tmp_path / "llama.gguf", architecture="llama")
    write_gguf(tiny, tmp_path / "headless.gguf", leave_out="token_embd.weight")
    for name, told in {
        "none": "cannot be read",
        "cut": "cut or damaged",
        "stump": "cut or damaged",
        "page": "no GGUF file: it begins with",
        "llama": "architecture 'llama'; expected 'qwen2'",
        "headless": "no tensor token_embd.weight",
    }.items():
        with pytest.raises(TrainingError, match=told):
            converted(tmp_path / f"{name}.gguf")
    with pytest.raises(TrainingError, match="expected abc"):
        converted(file, sha256="abc")
    full = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: full)
    with pytest.raises(TrainingError, match=r"GiB are free at .*DISTILL_SQL_CACHE"):
        converted(file)
    assert not list((tmp_path / "cache").rglob("*.safetensors"))


def test_a_recipe_takes_a_gguf_file_from_a_path_or_from_models_dir(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = recipe_for("coder-0.5b", base=str(file), precision="float32")
    student = open_student(recipe, framework="torch")
    [answer] = student.complete([5, 6], [[7]], max_tokens=3, finished=lambda _: False)
    assert len(answer) <= 3
    monkeypatch.setenv("MODELS_DIR", str(tmp_path))
    elsewhere = recipe_for("coder-0.5b", base=f"owner/repository/{file.name}")
    folder = base_folder(elsewhere)
    assert folder == base_folder(recipe)
    record = weights_record(folder)
    assert record is not None
    assert record["file"] == file.name
    assert weights_record(tmp_path) is None


def test_a_file_that_is_nowhere_and_one_of_another_hash(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(*_: str) -> None:
        raise ConnectionError

    monkeypatch.setattr("huggingface_hub.hf_hub_download", offline)
    monkeypatch.setenv("MODELS_DIR", str(tmp_path / "empty"))
    with pytest.raises(TrainingError, match=r"Coder-0\.5B-Instruct-GGUF on the hub \(Connection"):
        base_folder(recipe_for("coder-0.5b"))
    (tmp_path / "empty").mkdir()
    shutil.copyfile(file, tmp_path / "empty" / REAL)
    with pytest.raises(TrainingError, match=r"it is another file, or a damaged one"):
        base_folder(recipe_for("coder-0.5b"))


def test_a_head_in_other_bits_than_its_embeddings_counts_once_and_one_of_its_own_counts(
    file: Path, tiny: Path, tmp_path: Path
) -> None:
    folder = converted(file)
    head = weights(converted(write_gguf(tiny, tmp_path / "own.gguf", own_head=True)))
    embeddings = math.prod(stored(tiny)[EMBEDDINGS])
    assert weights(folder) == weights(tiny) == head - embeddings
    assert sum(map(math.prod, stored(folder).values())) == head
    config = read_json(folder / "config.json")
    assert config["tie_word_embeddings"] is False  # both are used


def test_converting_is_refused_without_memory_and_holds_one_file_of_weights_at_a_time(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gguf_file, "of_machine", lambda: 2**28)
    with pytest.raises(
        TrainingError, match=r"takes 0\.8 GiB of memory, and 0\.2 GiB are available"
    ):
        converted(file)
    monkeypatch.setattr(gguf_file, "of_machine", lambda: 2**40)
    monkeypatch.setattr(gguf_file, "SHARD", 2**14)
    written: list[Any] = []
    write, read = safetensors.numpy.save_file, gguf.dequantize

    def watched_write(shard: dict[str, Any], *options: Any, **more: Any) -> None:
        written[:] = [weakref.ref(one) for one in shard.values()]
        write(shard, *options, **more)

    def watched_read(*options: Any) -> Any:
        assert all(one() is None for one in written), "a written file's weights are in memory"
        return read(*options)

    monkeypatch.setattr("safetensors.numpy.save_file", watched_write)
    monkeypatch.setattr("gguf.dequantize", watched_read)
    converted(file)
    assert written


def test_an_adapter_of_another_file_of_the_same_name(file: Path, tmp_path: Path) -> None:
    recipe = recipe_for("coder-0.5b", base=str(file))
    adapter = tmp_path / "run" / "adapter"
    write_json(adapter / "adapter_config.json", {})
    folder = base_folder(recipe)
    record: dict[str, Any] = {"model": recipe.base, "base_weights": weights_record(folder)}
    write_json(adapter.parent / "manifest.json", record)
    check_adapter(adapter, recipe, folder)
    record["base_weights"]["sha256"] = "0" * 64
    write_json(adapter.parent / "manifest.json", record)
    with pytest.raises(TrainingError, match=r"SHA-256 0000000000000000\.\.\., but the file here"):
        open_student(recipe, adapter=adapter, framework="torch")


@pytest.mark.slow
def test_the_official_file_tokenizes_as_qwen_does(qwen_dir: Path) -> None:
    place = Path(os.environ.get("MODELS_DIR", "none")) / REAL
    if not place.is_file():
        pytest.skip(f"no {REAL} in MODELS_DIR")
    folder = converted(place)
    config = read_json(folder / "config.json")
    assert (config["hidden_size"], config["num_hidden_layers"]) == (896, 24)
    assert read_json(folder / "gguf.json")["bits_per_weight"] == pytest.approx(6.2, abs=0.05)
    assert weights(folder) == 494_032_768  # as the hub counts the model that was quantized
    one, two = load_tokenizer(folder), load_tokenizer(qwen_dir)
    for text in ("SELECT count(*) FROM singer", "Überraschung 12,345\n\n\t", "<|im_start|>it's"):
        assert one.encode(text) == two.encode(text)
