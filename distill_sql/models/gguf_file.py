"""A GGUF file as a base model: dequantized once into the cache, as an ordinary model folder.

The file's own tokenizer and chat template come along. The weights are what the quantized file
says: they are the reference of such a base, and they have lost what its quantization lost. Read are
Qwen2 models, whose layers GGUF stores as transformers has them.
"""

from __future__ import annotations

import hashlib
import math
import shutil
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from distill_sql.errors import MissingDependencyError, TrainingError
from distill_sql.files import read_json, write_json
from distill_sql.models.free import of_machine
from distill_sql.settings import cache_dir

if TYPE_CHECKING:
    import numpy as np
    from gguf import GGUFReader, ReaderTensor

#: The file in a converted folder that says what it was converted from.
RECORD = "gguf.json"
#: The first bytes of a GGUF file.
MAGIC = b"GGUF"
#: SHA-256 (hex) of official files, as their page on the hub has it.
SHA256 = {
    "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf": (
        "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32"
    ),
    "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf": (
        "cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046"
    ),
}
#: Bytes of one file of converted weights, about. Converting holds one file in memory.
SHARD = 2**29
#: Bytes that the process takes besides weights, about.
LIBRARIES = 2**28
#: Rows of a matrix that are dequantized at a time.
ROWS = 4096
#: What GGUF calls a Qwen2 model's tensors, and what transformers calls them.
NAMES = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


@dataclass(frozen=True)
class Quantization:
    """How a file holds its weights: bits per weight on average, and weights by type."""

    bits_per_weight: float
    types: dict[str, int]


def converted(file: Path, *, sha256: str = "") -> Path:
    """The model folder of a GGUF file, in float32; converted into the cache on first use.

    ``sha256`` (hex) is what the file should be. Beside the weights stands ``gguf.json`` with the
    file's name, hash and quantization. Raises :class:`TrainingError` if the file is not a whole
    GGUF file of a Qwen2 model, is another than ``sha256`` says, or if disk or memory is too small.
    """
    _check_header(file)
    state = file.stat()
    digest = _digest(file, state.st_size, state.st_mtime_ns)
    if sha256 and digest != sha256:
        raise TrainingError(
            f"{file} has the SHA-256 {digest[:16]}..., expected {sha256[:16]}...: it is another "
            "file, or a damaged one. Download it again."
        )
    target = _home() / f"{file.stem}-{digest[:16]}"
    if (target / RECORD).is_file():
        return target
    reader = _read(file)
    config = _config(reader, file)
    _check_space(reader, target, file)
    _check_memory(reader, file)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix="new-") as scratch:
        folder = Path(scratch) / "model"
        folder.mkdir()
        write_json(folder / "config.json", config)
        _write_weights(reader, folder, file)
        _write_tokenizer(file, folder)
        found = quantization(reader.tensors)
        record = {"file": file.name, "sha256": digest, "bits_per_weight": found.bits_per_weight,
                  "weights_by_type": found.types}  # fmt: skip
        write_json(folder / RECORD, record)
        try:
            folder.rename(target)
        except OSError:  # another process converted it meanwhile
            if not (target / RECORD).is_file():
                raise
    return target


def conversions(name: str) -> list[Path]:
    """The folders in the cache that files of this name were converted to."""
    return sorted(_home().glob(f"{Path(name).stem}-*"))


def _home() -> Path:
    return cache_dir() / "gguf"


def weights_record(folder: Path) -> dict[str, Any] | None:
    """How a base was quantized before it was used, for manifests; None for other model folders."""
    record: dict[str, Any] | None = None
    if (folder / RECORD).is_file():
        record = read_json(folder / RECORD)
    return record


def quantization(tensors: list[ReaderTensor]) -> Quantization:
    """How the tensors of a file are held; a head that is stored beside the embeddings counts."""
    types: Counter[str] = Counter()
    for tensor in tensors:
        types[tensor.tensor_type.name] += int(tensor.n_elements)
    size = sum(int(tensor.n_bytes) for tensor in tensors)
    return Quantization(round(8 * size / types.total(), 3), dict(types))


def _check_header(file: Path) -> None:
    try:
        with file.open("rb") as opened:
            magic = opened.read(4)
    except OSError as error:
        raise TrainingError(f"{file} cannot be read ({error.strerror}). Check the path.") from None
    if magic != MAGIC:
        raise TrainingError(
            f"{file} is no GGUF file: it begins with {magic!r}, expected {MAGIC!r}. Download it "
            "again; a model folder of transformers needs no conversion."
        )


@lru_cache(maxsize=16)
def _digest(file: Path, size: int, changed: int) -> str:
    """The SHA-256 of a file that has this size and was changed then; read once in a process."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _read(file: Path) -> GGUFReader:
    try:
        from gguf import GGUFReader
    except ImportError as error:
        raise MissingDependencyError(
            "Reading a GGUF file needs the package gguf: pip install 'distill-sql[train]'."
        ) from error
    try:
        return GGUFReader(file)
    except Exception as error:  # of many kinds: what a cut or damaged file runs into
        raise TrainingError(
            f"{file} is cut or damaged ({type(error).__name__}: {error}). Download it again."
        ) from error


def _field(reader: GGUFReader, name: str, file: Path) -> Any:
    field = reader.get_field(name)
    if field is None:
        raise TrainingError(f"{file} has no field {name}: it is not a whole Qwen2 model.")
    return field.contents()


def _config(reader: GGUFReader, file: Path) -> dict[str, Any]:
    """The model's configuration as transformers reads it."""
    kind = _field(reader, "general.architecture", file)
    if kind != "qwen2":
        raise TrainingError(
            f"{file} holds a model of the architecture {kind!r}; expected 'qwen2'. Qwen2.5 and "
            "Qwen2.5-Coder have it."
        )

    def number(name: str) -> Any:
        return _field(reader, f"qwen2.{name}", file)

    vocabulary = next((t for t in reader.tensors if t.name == "token_embd.weight"), None)
    if vocabulary is None:
        raise TrainingError(f"{file} has no tensor token_embd.weight: it is not a whole model.")
    return {
        "architectures": ["Qwen2ForCausalLM"],
        "model_type": "qwen2",
        "vocab_size": int(vocabulary.shape[1]),
        "hidden_size": number("embedding_length"),
        "intermediate_size": number("feed_forward_length"),
        "num_hidden_layers": number("block_count"),
        "num_attention_heads": number("attention.head_count"),
        "num_key_value_heads": number("attention.head_count_kv"),
        "max_position_embeddings": number("context_length"),
        "rms_norm_eps": number("attention.layer_norm_rms_epsilon"),
        "rope_parameters": {"rope_type": "default", "rope_theta": number("rope.freq_base")},
        "hidden_act": "silu",
        "torch_dtype": "float32",
        # A file may hold the head again, in other bits than the embeddings that it shares with.
        "tie_word_embeddings": all(tensor.name != "output.weight" for tensor in reader.tensors),
        "eos_token_id": _field(reader, "tokenizer.ggml.eos_token_id", file),
        "bos_token_id": _field(reader, "tokenizer.ggml.bos_token_id", file),
    }


def _check_space(reader: GGUFReader, target: Path, file: Path) -> None:
    needed = 4 * sum(int(tensor.n_elements) for tensor in reader.tensors)
    there = next(parent for parent in target.parents if parent.exists())
    free = shutil.disk_usage(there).free
    if needed > free:
        raise TrainingError(
            f"{file.name} takes {needed / 2**30:.1f} GiB in float32, and {free / 2**30:.1f} GiB "
            f"are free at {there}. Free some space, or set DISTILL_SQL_CACHE to a folder elsewhere."
        )


def _check_memory(reader: GGUFReader, file: Path) -> None:
    """A file of weights ends with the tensor that fills it, which may be the largest.

    Converting the 1.5B took 1.4 GiB, besides the pages of the file that are read.
    """
    needed = SHARD + 4 * max(int(tensor.n_elements) for tensor in reader.tensors) + LIBRARIES
    free = of_machine()
    if needed > free:
        raise TrainingError(
            f"Converting {file.name} takes {needed / 2**30:.1f} GiB of memory, and "
            f"{free / 2**30:.1f} GiB are available. Close other programs, or convert it on another "
            "machine and copy the folder DISTILL_SQL_CACHE."
        )


def _named(tensor: str, file: Path) -> str:
    """What transformers calls a tensor.

    >>> _named("blk.3.attn_q.bias", Path("x.gguf"))
    'model.layers.3.self_attn.q_proj.bias'
    """
    stem, _, kind = tensor.rpartition(".")
    layer = ""
    if stem.startswith("blk."):
        _, number, stem = stem.split(".", 2)
        layer = f"model.layers.{number}."
    if stem not in NAMES:
        raise TrainingError(f"{file} has a tensor {tensor!r}, which no Qwen2 model has.")
    return f"{layer}{NAMES[stem]}.{kind}"


def _shards(reader: GGUFReader, file: Path) -> Iterator[dict[str, np.ndarray[Any, Any]]]:
    """Weights in float32 by their names, as many at once as a shard has."""
    shard: dict[str, np.ndarray[Any, Any]] = {}
    for tensor in tqdm(reader.tensors, desc=f"reading {file.name}", unit="tensor"):
        # Under no other name, which would keep a tensor in memory after its file is written.
        shard[_named(tensor.name, file)] = _in_float32(tensor)
        if sum(one.nbytes for one in shard.values()) > SHARD:
            yield shard
            shard = {}
    if shard:
        yield shard


def _in_float32(tensor: ReaderTensor) -> np.ndarray[Any, Any]:
    """A tensor dequantized by blocks of rows; all at once would take its size twice."""
    import numpy as np
    from gguf import dequantize

    found = np.empty(tensor.shape[::-1], np.float32)
    for first in range(0, len(found), ROWS):
        rows = tensor.data[first : first + ROWS]
        found[first : first + ROWS] = dequantize(rows, tensor.tensor_type)
    return found


def _write_weights(reader: GGUFReader, folder: Path, file: Path) -> None:
    """The weights as safetensors in several files with an index, as large models come."""
    from safetensors.numpy import save_file

    places: dict[str, str] = {}
    size = 0
    for number, shard in enumerate(_shards(reader, file)):
        name = f"model-{number:05d}.safetensors"
        save_file(shard, str(folder / name), metadata={"format": "pt"})
        places |= dict.fromkeys(shard, name)
        size += sum(math.prod(one.shape) * 4 for one in shard.values())
        shard.clear()  # before the next one is read
    index = {"metadata": {"total_size": size}, "weight_map": places}
    write_json(folder / "model.safetensors.index.json", index)


def _write_tokenizer(file: Path, folder: Path) -> None:
    """The file's tokenizer and chat template, as transformers reads them from it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from transformers import AutoTokenizer

        AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name).save_pretrained(folder)
