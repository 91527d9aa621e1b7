"""A model's tokenizer without torch: token counts and rendered chats.

Reads the files of Hugging Face model folders: ``tokenizer.json``, or Qwen2's older pair
``vocab.json`` and ``merges.txt``, and the chat template of ``tokenizer_config.json``. Training and
generation use the tokenizer of transformers; a test checks that both agree.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any, TypedDict

from distill_sql.errors import DatasetError
from distill_sql.files import read_json, read_text

if TYPE_CHECKING:
    from jinja2 import Template
    from tokenizers import Tokenizer

#: Qwen2's split before byte-pair encoding: contractions, words, single digits, punctuation.
QWEN2_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)

#: The split of the pocket ladder: words, SQL's keywords and marks with the spaces around them, and
#: other spaces on their own. A name has the same tokens in every context, so that it can be copied.
LADDER_SPLIT = r"\p{N}| ?\p{Lu}{2,}(?!\p{Ll}) ?|\p{L}+| ?[^\s\p{L}\p{N}]+ ?|\s*[\r\n]+|\s+"

#: The model of the default tokenizer: all sizes of Qwen2.5 share it.
DEFAULT_MODEL = "Qwen/Qwen2.5-0.5B-Instruct"

#: Timeout of the hub, in seconds: a machine without a network should not wait long.
HUB_SECONDS = 3.0

#: Qwen2.5's end of text, and its two markers of a chat turn.
SPECIAL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")

#: The plain part of Qwen2.5's chat format: what it renders when no tools are involved.
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


class Message(TypedDict):
    """One chat turn, in the format of the OpenAI API and of chat templates."""

    role: str
    content: str


@dataclass(frozen=True)
class ChatTokenizer:
    """Counts tokens and renders chats; ``name`` is the model whose tokenizer it is.

    ``note`` is a sentence for the reader if the tokenizer is a substitute for another, else empty.
    """

    name: str
    backend: Tokenizer
    chat_template: str = CHATML
    note: str = ""

    def encode(self, text: str) -> list[int]:
        """Token ids of ``text``; each chat marker becomes a single id."""
        ids: list[int] = self.backend.encode(text, add_special_tokens=False).ids
        return ids

    def count(self, text: str) -> int:
        """The number of tokens of ``text``."""
        return len(self.encode(text))

    def render(self, messages: Sequence[Message], *, add_generation_prompt: bool = True) -> str:
        """The model's input text for ``messages``, which ends where its answer begins."""
        return self._template.render(
            messages=messages, add_generation_prompt=add_generation_prompt, tools=None
        )

    @cached_property
    def _template(self) -> Template:
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
        return environment.from_string(self.chat_template)


@lru_cache(maxsize=8)
def load_tokenizer(folder: Path | str) -> ChatTokenizer:
    """Load the tokenizer of a model folder; raises :class:`DatasetError` if there is none."""
    from tokenizers import Tokenizer

    folder = Path(folder).expanduser()
    if (folder / "tokenizer.json").is_file():
        backend = Tokenizer.from_file(str(folder / "tokenizer.json"))
    elif (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
        backend = _qwen2(folder)
    else:
        raise DatasetError(
            f"No tokenizer in {folder}: expected tokenizer.json, or vocab.json and merges.txt. "
            "Point at the folder of a downloaded model, such as Qwen2.5-0.5B-Instruct."
        )
    config = folder / "tokenizer_config.json"
    settings: dict[str, Any] = read_json(config) if config.is_file() else {}
    template = folder / "chat_template.jinja"  # newer folders have it here
    own = read_text(template) if template.is_file() else None
    return ChatTokenizer(folder.name, backend, own or settings.get("chat_template") or CHATML)


def fetch_tokenizer(model: str = DEFAULT_MODEL) -> ChatTokenizer:
    """The tokenizer of a model on the hub, from the local cache if it is there.

    Raises :class:`DatasetError` without a network, or if the hub does not answer within
    :data:`HUB_SECONDS`: give a folder then.
    """
    from huggingface_hub import hf_hub_download

    for local in (True, False):
        try:
            if not local:
                _ask_hub(model)
            files = [
                hf_hub_download(model, name, local_files_only=local)
                for name in ("tokenizer.json", "tokenizer_config.json")
            ]
            # The folder's name is a commit hash.
            return replace(load_tokenizer(Path(files[0]).parent), name=model)
        except Exception as error:  # the hub's client raises many kinds; all mean "not there"
            reason = error
    raise DatasetError(
        f"The tokenizer of {model} is not on this machine and could not be fetched from the "
        f"hub ({type(reason).__name__}). Set TOKENIZER_DIR to a folder that has it."
    ) from reason


def _ask_hub(model: str) -> None:
    """Raise an error unless the hub answers in time.

    The hub's client retries downloads for minutes, and name resolution has no timeout. So this
    sends one request in a thread, and stops waiting for it after the timeout.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    outcome: list[Exception | None] = []

    def ask() -> None:
        try:
            get_hf_file_metadata(hf_hub_url(model, "tokenizer.json"), timeout=HUB_SECONDS)
            outcome.append(None)
        except Exception as error:  # as above
            outcome.append(error)

    thread = Thread(target=ask, daemon=True)
    thread.start()
    thread.join(HUB_SECONDS)
    if not outcome:
        raise TimeoutError
    if outcome[0] is not None:
        raise outcome[0]


def _qwen2(folder: Path) -> Tokenizer:
    from tokenizers import AddedToken, Tokenizer
    from tokenizers.models import BPE

    vocabulary, merges = BPE.read_file(str(folder / "vocab.json"), str(folder / "merges.txt"))
    backend = _byte_level(Tokenizer(BPE(vocabulary, merges)))
    added = folder / "added_tokens.json"
    tokens = read_json(added) if added.is_file() else dict.fromkeys(SPECIAL_TOKENS, 0)
    ordered = sorted(tokens, key=tokens.__getitem__)
    backend.add_special_tokens([AddedToken(token, normalized=False) for token in ordered])
    return backend


def _byte_level(backend: Tokenizer, split: str = QWEN2_SPLIT) -> Tokenizer:
    from tokenizers import Regex, decoders, normalizers, pre_tokenizers

    backend.normalizer = normalizers.NFC()
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(split), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    return backend


def train_tokenizer(
    texts: Iterable[str], *, vocabulary: int, name: str, split: str = QWEN2_SPLIT
) -> ChatTokenizer:
    """Train a byte-level BPE tokenizer with Qwen2's chat markers.

    ``split`` is the pattern that splits texts before BPE. ``vocabulary`` includes the 256 bytes and
    the markers. The same texts in the same order give the same tokenizer.
    """
    from tokenizers import Tokenizer, pre_tokenizers
    from tokenizers.models import BPE
    from tokenizers.trainers import BpeTrainer

    backend = _byte_level(Tokenizer(BPE()), split)
    trainer = BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    return ChatTokenizer(name, backend)
