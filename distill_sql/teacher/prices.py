"""The cost of requests in integer nano-dollars (1e-9 $), so that sums are exact.

Costs are rounded up and budgets down, so rounding never allows more spending.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from fractions import Fraction

from distill_sql.errors import TeacherError
from distill_sql.teacher.addresses import OPENAI_URL, is_openai, is_own

__all__ = [
    "AS_OF", "NANO", "OPENAI_URL", "PRICES", "Price", "budget_of", "dollars", "price_of",
]  # fmt: skip

NANO = 10**9
#: When the table was last compared with https://openai.com/api/pricing.
AS_OF = "2025-06-01"
#: The highest price, in dollars per million tokens; a higher one is a typing error.
HIGHEST_PRICE = 100_000
#: The highest budget in dollars; the ledger can hold more.
HIGHEST_BUDGET = 1_000_000


@dataclass(frozen=True)
class Price:
    """Nano-dollars per token; 150 is $0.15 per million tokens. Fractions are exact."""

    prompt: int | Fraction
    completion: int | Fraction

    def cost(self, prompt_tokens: int, completion_tokens: int) -> int:
        """The cost of one request, in nano-dollars, rounded up.

        >>> Price(150, 600).cost(1000, 100) / NANO
        0.00021
        >>> Price(Fraction(2, 5), 0).cost(1, 0)
        1
        """
        return math.ceil(self.prompt * prompt_tokens + self.completion * completion_tokens)

    def halved(self) -> Price:
        """The Batch API's price: half, rounded up in the unit of the price."""
        return Price(_half(self.prompt), _half(self.completion))


def _half(price: int | Fraction) -> int | Fraction:
    return Fraction(-(-price.numerator // 2), price.denominator)


#: Standard prices, by model: $ per million prompt tokens and per million completion tokens.
PRICES = {
    "gpt-4o-mini": Price(150, 600),
    "gpt-4o": Price(2_500, 10_000),
    "gpt-4o-2024-05-13": Price(5_000, 15_000),  # the first version costs more than later ones
    "gpt-4.1-nano": Price(100, 400),
    "gpt-4.1-mini": Price(400, 1_600),
    "gpt-4.1": Price(2_000, 8_000),
}


def price_of(model: str, base_url: str, given: tuple[float, float] | None = None) -> Price:
    """The price of a model: as given ($ per million tokens), from the table, or 0 if local.

    A dated name such as ``gpt-4o-mini-2024-07-18`` has the price of its model. An endpoint on this
    machine or in this network is free unless a price is given. Raises :class:`TeacherError` for any
    other model that is not in the table, and for an invalid price.
    """
    if given is not None:
        prompt, completion = (_amount(part, "--price", HIGHEST_PRICE) * 1000 for part in given)
        return Price(prompt, completion)
    if is_own(base_url):
        return Price(0, 0)
    fix = (
        "Give one with --price PROMPT COMPLETION, in dollars per million tokens; --price 0 0 means "
        "that it is free."
    )
    if not is_openai(base_url):
        raise TeacherError(
            f"No price is known for {model!r} at {base_url}: it may cost money. {fix}"
        )
    name = model if model in PRICES else re.sub(r"-20\d\d-\d\d-\d\d\Z", "", model)
    if name not in PRICES:
        raise TeacherError(f"No price for {model!r}; known ({AS_OF}): {', '.join(PRICES)}. {fix}")
    return PRICES[name]


def budget_of(amount: float) -> int:
    """A budget in dollars as nano-dollars, rounded down; :class:`TeacherError` if invalid."""
    return math.floor(_amount(amount, "--budget", HIGHEST_BUDGET) * NANO)


def _amount(value: float, name: str, highest: int) -> Fraction:
    """A number of dollars exactly as written; a float only approximates it."""
    if not 0 <= value <= highest:
        raise TeacherError(f"{name} is {value}; expected dollars from 0 to {highest:,}.")
    return Fraction(repr(float(value)))


def dollars(nano: int) -> str:
    """An amount as text.

    >>> dollars(1_234_567_890), dollars(30_600), dollars(400)
    ('$1.23', '$0.00003', '$0.0000004')
    """
    if nano >= NANO // 100 or not nano:
        return f"${nano / NANO:.2f}"
    return f"${nano / NANO:.5f}" if nano >= 10_000 else f"${nano / NANO:.9f}".rstrip("0")
