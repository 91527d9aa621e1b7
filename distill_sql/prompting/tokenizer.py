"""A model's own tokenizer, without torch: token counts and chat messages as the model sees them.

Reads what Hugging Face model folders hold: ``tokenizer.json``, or Qwen2's older pair
``vocab.json`` and ``merges.txt``; and the chat template of ``tokenizer_config.json``. Training and
generation use the model library's own tokenizer; a test holds this one equal to it.
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

#: How Qwen2 cuts text before byte-pair encoding: contractions, words, single digits, punctuation.
QWEN2_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)

#: How the pocket ladder cuts text: words, SQL's keywords and marks with the spaces around them,
#: other spaces on their own. A name is cut alike wherever it stands: to copy it is to copy tokens.
LADDER_SPLIT = r"\p{N}| ?\p{Lu}{2,}(?!\p{Ll}) ?|\p{L}+| ?[^\s\p{L}\p{N}]+ ?|\s*[\r\n]+|\s+"

#: Whose tokenizer counts when nothing else is said: all sizes of Qwen2.5 share it.
DEFAULT_MODEL = "Qwen/Qwen2.5-0.5B-Instruct"

#: Seconds that the hub has to answer, since a machine without a network should not wait long.
HUB_SECONDS = 3.0

#: Qwen2.5's two markers of a chat turn, and the end of a text.
SPECIAL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")

#: The plain part of Qwen2.5's chat format: what it renders when no tools are involved.
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


class Message(TypedDict):
    """One chat turn, as the OpenAI API and every chat template take it."""

    role: str
    content: str


@dataclass(frozen=True)
class ChatTokenizer:
    """Counts tokens and renders chats; ``name`` says whose tokenizer it is.

    ``note`` is a sentence for the reader where it stands in for another one, else empty.
    """

    name: str
    backend: Tokenizer
    chat_template: str = CHATML
    note: str = ""

    def encode(self, text: str) -> list[int]:
        """Token ids of ``text``; the chat markers in it become their single ids."""
        ids: list[int] = self.backend.encode(text, add_special_tokens=False).ids
        return ids

    def count(self, text: str) -> int:
        """How many tokens ``text`` is."""
        return len(self.encode(text))

    def render(self, messages: Sequence[Message], *, add_generation_prompt: bool = True) -> str:
        """The text a model is given for ``messages``, ending where its answer begins."""
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
    template = folder / "chat_template.jinja"  # where newer folders keep it
    own = read_text(template) if template.is_file() else None
    return ChatTokenizer(folder.name, backend, own or settings.get("chat_template") or CHATML)


def fetch_tokenizer(model: str = DEFAULT_MODEL) -> ChatTokenizer:
    """The tokenizer of a model on the hub, from the hub's cache if it is there.

    Raises :class:`DatasetError` when there is no network, or the hub does not answer within
    :data:`HUB_SECONDS`: then a folder is the way.
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
            # The folder is called by its commit.
            return replace(load_tokenizer(Path(files[0]).parent), name=model)
        except Exception as error:  # the hub's client raises many kinds, all meaning "not fetched"
            reason = error
    raise DatasetError(
        f"The tokenizer of {model} is not on this machine and could not be fetched from the "
        f"hub ({type(reason).__name__}). Set TOKENIZER_DIR to a folder that has it."
    ) from reason


def _ask_hub(model: str) -> None:
    """Raise an error unless the hub answers in time.

    The hub's client tries for minutes to download what it does not have, and looking up the hub's
    address takes no limit of time: hence one request, in a thread that is not waited for.
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
    """Train a byte-level BPE tokenizer with Qwen2's chat markers and, unless told, cutting rule.

    ``vocabulary`` counts the 256 bytes and the markers. The same texts in the same order give the
    same tokenizer.
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
