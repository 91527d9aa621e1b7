"""The folder of a recipe's base model: in the package, on this machine, or from the hub."""

from __future__ import annotations

import hashlib
import math
import os
import warnings
from pathlib import Path

from distill_sql.data.carried import CHECKPOINTS
from distill_sql.errors import MissingDependencyError, TrainingError
from distill_sql.files import read_json
from distill_sql.models.gguf_file import RECORD, SHA256, converted, weights_record
from distill_sql.models.recipes import Recipe
from distill_sql.prompting.tokenizer import ChatTokenizer

#: What transformers calls the embeddings and the output matrix.
EMBEDDINGS, HEAD = "model.embed_tokens.weight", "lm_head.weight"
#: Two matrices are roundings of the same weights if they differ by less than this share of their
#: norm in their first rows. Of 4 and 6 bits it is 7 %; matrices of their own differ by 140 %.
ALIKE, COMPARED = 0.3, 256


def base_folder(recipe: Recipe) -> Path:
    """The folder of the recipe's base model, downloaded from the hub if it is not on this machine.

    ``MODELS_DIR`` is a folder with models named by the last part of their hub id, such as
    ``Qwen2.5-0.5B-Instruct``, and with GGUF files, which are converted into the cache. Raises
    :class:`TrainingError` if the model cannot be found.
    """
    if recipe.pocket:
        return checked(CHECKPOINTS / recipe.base)
    if recipe.base.endswith(".gguf"):
        file = gguf_path(recipe.base)
        return checked(converted(file, sha256=SHA256.get(file.name, "")))
    if Path(recipe.base).is_dir():
        return checked(Path(recipe.base))
    given = os.environ.get("MODELS_DIR")
    if given and (Path(given) / recipe.base.rpartition("/")[2]).is_dir():
        return checked(Path(given) / recipe.base.rpartition("/")[2])
    from huggingface_hub import snapshot_download

    try:
        return checked(
            Path(snapshot_download(recipe.base, allow_patterns=["*.json", "*.safetensors"]))
        )
    except TrainingError:
        raise
    except Exception as error:  # the hub's client raises many types, all for a failed download
        raise TrainingError(
            f"The weights of {recipe.base} are not on this machine and could not be downloaded "
            f"from the hub ({type(error).__name__}). Set MODELS_DIR to a folder that contains "
            f"{recipe.base.rpartition('/')[2]}, or go online."
        ) from error


def gguf_path(base: str) -> Path:
    """A GGUF file: a path, or ``owner/repository/file.gguf`` in ``MODELS_DIR`` or on the hub."""
    repository, _, name = base.rpartition("/")
    given = os.environ.get("MODELS_DIR")
    for file in (Path(base), *([Path(given) / name] if given else [])):
        if file.is_file():
            return file
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(repository, name))
    except Exception as error:  # the hub's client raises many types, all for a failed download
        raise TrainingError(
            f"The file {name} is not on this machine and could not be downloaded from "
            f"{repository} on the hub ({type(error).__name__}). Set MODELS_DIR to a folder that "
            "contains it, or go online."
        ) from error


def checked(folder: Path) -> Path:
    """The folder, after a check that it has a complete model.

    Raises :class:`TrainingError` if configuration, weights, tokenizer or chat template is missing.
    """
    if not (folder / "config.json").is_file():
        raise TrainingError(f"No model in {folder}: expected config.json, weights, a tokenizer.")
    if not any(folder.glob("*.safetensors")):
        raise TrainingError(
            f"{folder} has a configuration but no weights (*.safetensors). Download them too."
        )
    settings = folder / "tokenizer_config.json"
    template = settings.is_file() and read_json(settings).get("chat_template")
    if not template and not (folder / "chat_template.jinja").is_file():
        raise TrainingError(
            f"The model in {folder} has no chat template, so its prompt format is unknown. Use an "
            "instruction-tuned base, or add chat_template to its tokenizer_config.json."
        )
    return folder


def parameters(recipe: Recipe) -> int:
    """The number of weights of the recipe's base model, without an adapter."""
    return weights(base_folder(recipe))


def weights(folder: Path) -> int:
    """The number of weights of the model in a folder; tied weights count once.

    Qwen's GGUF files hold tied weights twice, in fewer bits as the embeddings and in more bits as
    the head. Computing uses both, but the count has them once: 494 million for the 0.5B, whose file
    and folder have 630 million (:func:`stored`).
    """
    from safetensors import safe_open

    shapes = stored(folder)
    if (folder / RECORD).is_file() and {EMBEDDINGS, HEAD} <= shapes.keys():
        places = read_json(folder / "model.safetensors.index.json")["weight_map"]
        rows = []
        for name in (EMBEDDINGS, HEAD):
            with safe_open(folder / places[name], "np") as file:
                rows.append(file.get_slice(name)[:COMPARED])
        if ((rows[0] - rows[1]) ** 2).sum() < ALIKE**2 * (rows[0] ** 2).sum():
            del shapes[HEAD]
    return sum(map(math.prod, shapes.values()))


def stored(folder: Path) -> dict[str, tuple[int, ...]]:
    """The shapes of all tensors in a model folder, by name."""
    from safetensors import safe_open

    shapes: dict[str, tuple[int, ...]] = {}
    for path in folder.glob("*.safetensors"):
        with safe_open(path, "np") as file:
            shapes |= {name: tuple(file.get_slice(name).get_shape()) for name in list(file.keys())}
    return shapes


def check_vocabulary(tokenizer: ChatTokenizer, size: int, folder: Path) -> None:
    """Raise :class:`TrainingError` if the tokenizer has more tokens than the model."""
    found = tokenizer.backend.get_vocab_size()
    if found > size:
        raise TrainingError(
            f"The tokenizer in {folder} has {found:,} tokens and the model {size:,}: they do not "
            "belong together. Download the model's folder again."
        )


def check_adapter(adapter: Path, recipe: Recipe, folder: Path) -> None:
    """Raise :class:`TrainingError` unless ``adapter`` was trained on the recipe's base.

    ``folder`` is that of :func:`base_folder`. Where it was converted from a GGUF file, the adapter
    must have been trained on the same file.
    """
    record = adapter.parent / "manifest.json"
    if not (adapter / "adapter_config.json").is_file():
        raise TrainingError(
            f"No adapter in {adapter}: expected adapter_config.json and weights. Train one: "
            f"distill-sql train {recipe.name}."
        )
    trained = read_json(record) if record.is_file() else {}
    base = trained.get("model")
    if base is not None and base != recipe.base:
        raise TrainingError(
            f"The adapter in {adapter} was trained on {base}, but the base of recipe {recipe.name} "
            f"is {recipe.base}. Use an adapter and a recipe that belong together."
        )
    then, now = trained.get("base_weights"), weights_record(folder)
    if then and now and then["sha256"] != now["sha256"]:
        raise TrainingError(
            f"The adapter in {adapter} was trained on a file {then['file']} with the SHA-256 "
            f"{then['sha256'][:16]}..., but the file here has {now['sha256'][:16]}...: the same "
            "name, other weights. Use the file of its training, or train again."
        )


def random_model(
    folder: Path,
    tokenizer: ChatTokenizer,
    *,
    width: int = 96,
    layers: int = 2,
    inner: int = 256,
    heads: int = 4,
    kv_heads: int = 2,
    vocabulary: int | None = None,
    seed: int = 42,
) -> Path:
    """Write a Qwen2 model with random weights and its tokenizer, in Hugging Face's layout.

    It is for tests and benchmarks where only the shape of a model matters. ``vocabulary`` may be
    larger than the tokenizer's. The same seed gives the same weights.

    Raises :class:`MissingDependencyError` without the extra ``train``.
    """
    try:
        with warnings.catch_warnings():  # about notebook widgets, which are not used
            warnings.simplefilter("ignore")
            import torch
            import transformers
    except ImportError as error:
        raise MissingDependencyError(
            "Making a model needs torch and transformers: pip install 'distill-sql[train]'."
        ) from error
    marks = {text: tokenizer.encode(text)[0] for text in ("<|endoftext|>", "<|im_end|>")}
    config = transformers.Qwen2Config(
        vocab_size=vocabulary or tokenizer.backend.get_vocab_size(),
        hidden_size=width,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
        # Qwen2.5's values, which are mlx-lm's defaults.
        rope_parameters={"rope_type": "default", "rope_theta": 1e6},
        bos_token_id=marks["<|endoftext|>"],
        eos_token_id=marks["<|im_end|>"],
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = transformers.Qwen2ForCausalLM(config)
    save_model(model, tokenizer, folder)
    return folder


def save_model(model: object, tokenizer: ChatTokenizer, folder: Path) -> None:
    """Write a transformers model and its tokenizer to ``folder`` in Hugging Face's layout."""
    import transformers
    from transformers.utils import logging

    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    model.save_pretrained(folder)  # type: ignore[attr-defined]
    if bars:
        logging.enable_progress_bar()
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer.backend, eos_token="<|im_end|>", pad_token="<|endoftext|>"
    )
    fast.chat_template = tokenizer.chat_template
    fast.save_pretrained(folder)


def name_with_digest(folder: Path) -> str:
    """The name of a model folder with a digest of its weights, for the keys of its answers."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return f"{folder.name}-{digest.hexdigest()[:8]}"
