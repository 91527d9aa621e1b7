"""What a request costs, in whole nano-dollars (1e-9 $), so that sums are exact."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from distill_sql.errors import TeacherError

NANO = 10**9
OPENAI_URL = "https://api.openai.com/v1"
#: When the table was last compared with https://openai.com/api/pricing.
AS_OF = "2025-06-01"


@dataclass(frozen=True)
class Price:
    """Nano-dollars per token; 150 is $0.15 per million tokens."""

    prompt: int
    completion: int

    def cost(self, prompt_tokens: int, completion_tokens: int) -> int:
        """The cost of one request, in nano-dollars.

        >>> Price(150, 600).cost(1000, 100) / NANO
        0.00021
        """
        return self.prompt * prompt_tokens + self.completion * completion_tokens

    def halved(self) -> Price:
        """The Batch API's price: half, rounded up."""
        return Price(-(-self.prompt // 2), -(-self.completion // 2))


#: Standard prices, by model: $ per million prompt tokens and per million completion tokens.
PRICES = {
    "gpt-4o-mini": Price(150, 600),
    "gpt-4o": Price(2_500, 10_000),
    "gpt-4.1-nano": Price(100, 400),
    "gpt-4.1-mini": Price(400, 1_600),
    "gpt-4.1": Price(2_000, 8_000),
}


def price_of(model: str, base_url: str, given: tuple[float, float] | None = None) -> Price:
    """The price of a model: as given ($ per million tokens), from the table, or 0 for one's own.

    A dated name such as ``gpt-4o-mini-2024-07-18`` has the price of the longest name it begins
    with. An endpoint that is not OpenAI's costs nothing unless a price is given. Raises
    :class:`TeacherError` for an OpenAI model that the table does not have.
    """
    if given is not None:
        return Price(round(given[0] * 1000), round(given[1] * 1000))
    if urlsplit(base_url).hostname != urlsplit(OPENAI_URL).hostname:
        return Price(0, 0)
    names = [name for name in PRICES if model == name or model.startswith(f"{name}-20")]
    if not names:
        raise TeacherError(
            f"No price for {model!r}; known ({AS_OF}): {', '.join(PRICES)}. Give one with "
            "--price PROMPT COMPLETION, in dollars per million tokens."
        )
    return PRICES[max(names, key=len)]


def dollars(nano: int) -> str:
    """An amount for people.

    >>> dollars(1_234_567_890), dollars(30_600)
    ('$1.23', '$0.00003')
    """
    return f"${nano / NANO:.2f}" if nano >= NANO // 100 or not nano else f"${nano / NANO:.5f}"
