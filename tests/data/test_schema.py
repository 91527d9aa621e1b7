from __future__ import annotations

from pathlib import Path

from distill_sql.data.schema import ForeignKey, Schema, Table
from distill_sql.data.sqlite_schema import schema_from_sqlite


def test_restrict_leaves_no_dangling_foreign_key(toy_dataset: Path) -> None:
    schema = schema_from_sqlite(toy_dataset / "database/shop/shop.sqlite")
    small = schema.restrict({"Customer", "order_item"})
    assert [table.name for table in small.tables] == ["customer", "order_item"]
    assert small.foreign_keys == ()
    assert list(schema.neighbours("ORDERS")) == ["customer", "order_item"]


def test_self_reference_is_no_neighbour() -> None:
    key = ForeignKey("person", ("boss",), "person", ("id",))
    schema = Schema("d", (Table("person", ()),), (key,))
    assert list(schema.neighbours("person")) == []
