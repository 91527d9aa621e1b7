"""The Host headers of a server."""

from __future__ import annotations

import pytest

from distill_sql.models.hosts import authorities


@pytest.mark.parametrize(
    "name", ["", "a b", "a/b", "*", "a:b", "a:123456", "[::g]", "http://a", "a\n"]
)
def test_what_is_no_name_of_a_host(name: str) -> None:
    with pytest.raises(ValueError, match="is not a host name"):
        authorities(name, 80)
