"""The record of one prediction."""

from __future__ import annotations

from distill_sql.data.predictions import Prediction


def test_a_record_has_the_known_fields_in_order() -> None:
    assert Prediction(3, "shop", "").record() == {"question_id": 3, "db_id": "shop", "pred_sql": ""}
    whole = Prediction(3, "shop", "", raw_text="", latency_s=0.0, n_prompt_tokens=9)
    assert list(whole.record()) == [
        "question_id", "db_id", "pred_sql", "raw_text", "latency_s", "n_prompt_tokens",
    ]  # fmt: skip
    assert Prediction(**whole.record()) == whole
