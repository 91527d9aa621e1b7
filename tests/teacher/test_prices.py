from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill_sql.errors import TeacherError
from distill_sql.teacher.prices import NANO, OPENAI_URL, Price, budget_of, dollars, price_of

ODD = [-1.0, -1e-9, math.nan, math.inf, -math.inf, 1e30]


@pytest.mark.parametrize("value", ODD)
def test_impossible_prices_and_budgets_are_errors(value: float) -> None:
    for given_price in ((value, 1.0), (1.0, value)):
        with pytest.raises(TeacherError, match="--price is"):
            price_of("m", "http://localhost/v1", given_price)
    with pytest.raises(TeacherError, match="--budget is"):
        budget_of(value)


@given(
    st.floats(0, 1000, exclude_min=True), st.floats(0, 1000), st.integers(1, 10**6),
    st.integers(0, 10**6),
)  # fmt: skip
def test_a_cost_is_never_below_the_exact_one(
    prompt: float, completion: float, prompt_tokens: int, completion_tokens: int
) -> None:
    price = price_of("m", "http://x/v1", (prompt, completion))
    exact = 1000 * (Fraction(prompt) * prompt_tokens + Fraction(completion) * completion_tokens)
    cost = price.cost(prompt_tokens, completion_tokens)
    assert cost >= 1
    assert cost == pytest.approx(float(exact), rel=1e-9, abs=1)
    assert 2 * price.halved().cost(prompt_tokens, completion_tokens) >= cost


def test_a_price_below_a_nano_dollar_a_token_is_counted() -> None:
    price = price_of("m", "http://x/v1", (0.0004, 0.0004))
    assert price == Price(Fraction(2, 5), Fraction(2, 5))
    assert price.cost(1000, 500) == 600
    assert price.cost(1, 1) == 1
    assert price.halved() == Price(Fraction(1, 5), Fraction(1, 5))


@given(st.floats(0, 1_000_000))
def test_a_budget_is_rounded_down(amount: float) -> None:
    assert budget_of(amount) <= Fraction(repr(amount)) * NANO < budget_of(amount) + 1


def test_a_budget_is_exactly_as_written() -> None:
    assert budget_of(0.1) == NANO // 10
    assert budget_of(1e-10) == 0


@pytest.mark.parametrize("host", ["openrouter.ai", "8.8.8.8", "api.openai.com.example.com", "box"])
def test_other_endpoints_need_a_price(host: str) -> None:
    url = f"https://{host}/v1"
    with pytest.raises(TeacherError, match="--price 0 0 means that it is free"):
        price_of("gpt-4o-mini", url)
    assert price_of("gpt-4o-mini", url, (0, 0)) == Price(0, 0)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:8000", "10.0.0.7", "gpu.local", "[::1]"])
def test_on_this_machine_and_network_it_is_free_unless_a_price_is_given(host: str) -> None:
    assert price_of("m", f"http://{host}/v1") == price_of("m", "embedded") == Price(0, 0)
    assert price_of("m", f"http://{host}/v1", (1, 2)) == Price(1000, 2000)


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("gpt-4o-mini", Price(150, 600)),
        ("gpt-4o-mini-2024-07-18", Price(150, 600)),
        ("gpt-4.1-2025-04-14", Price(2000, 8000)),
        ("gpt-4o-2024-05-13", Price(5000, 15_000)),
    ],
)
@pytest.mark.parametrize(
    "url", [OPENAI_URL, "https://eu.api.openai.com/v1", "https://API.openai.com.:443/v1/"]
)
def test_prices_of_openai(url: str, model: str, expected: Price) -> None:
    assert price_of(model, url) == expected


@pytest.mark.parametrize(
    "model", ["gpt-4", "gpt-4o-mini-audio", "ft:gpt-4o-mini:me", "gpt-4o-2024", "gpt-4o-20xx", ""]
)
def test_models_of_openai_without_a_known_price(model: str) -> None:
    with pytest.raises(TeacherError, match="No price for"):
        price_of(model, OPENAI_URL)


@given(st.integers(1, 10**15))
def test_no_amount_is_shown_as_zero(nano: int) -> None:
    assert float(dollars(nano).removeprefix("$")) > 0
