from __future__ import annotations

import pytest

from distill_sql.sql.skeletons import skeleton, skeletons


@pytest.mark.parametrize(
    ("sql", "left"),
    [
        ("select count(*) from (select a as b from t group by a) as x",
         "SELECT COUNT(*) FROM (SELECT _ FROM _ GROUP BY _)"),
        ("SELECT T1.a, max(T2.b) FROM t AS T1 INNER JOIN u AS T2 ON T1.id = T2.id "
         "WHERE T1.a = 'x' AND T2.c <> -3 OR T1.d IS NULL GROUP BY T1.a HAVING count(*) >= 2",
         "SELECT _, MAX(_) FROM _ JOIN _ ON _ = _ "
         "WHERE _ = ? AND _ <> ? OR _ IS NULL GROUP BY _ HAVING COUNT(*) >= ?"),
        ("SELECT a FROM t WHERE b IN ('x', 'y') UNION SELECT a FROM u",
         "SELECT _ FROM _ WHERE _ IN (?, ?) UNION SELECT _ FROM _"),
        ("WITH w(q) AS (SELECT a FROM t) SELECT w.q FROM w",
         "WITH _(_) AS (SELECT _ FROM _) SELECT _ FROM _"),
        ("SELECT CASE WHEN a = 1 THEN 'x' ELSE b END AS z FROM t AS q LEFT JOIN u USING (id)",
         "SELECT CASE WHEN _ = ? THEN ? ELSE _ END FROM _ LEFT JOIN _ USING (_)"),
        ("SELECT t.* FROM t ORDER BY a DESC LIMIT 1", "SELECT * FROM _ ORDER BY _ DESC LIMIT ?"),
    ],
)  # fmt: skip
def test_names_and_values_are_removed(sql: str, left: str) -> None:
    assert skeleton(sql) == left


def test_names_values_case_and_aliases_make_no_difference() -> None:
    assert len(skeletons([
        "SELECT name FROM singer WHERE age > 20 ORDER BY age",
        'select S."first name" as n from "the singers" S where S.b > -1.5 order by S.c ASC;',
    ])) == 1  # fmt: skip


@pytest.mark.parametrize(
    "other",
    [
        "SELECT a, b FROM t WHERE c = 1",
        "SELECT a FROM t WHERE c >= 1",
        "SELECT a FROM t WHERE c = 1 AND d = 2",
        "SELECT a FROM t WHERE c = d",
        "SELECT DISTINCT a FROM t WHERE c = 1",
        "SELECT max(a) FROM t WHERE c = 1",
        "SELECT a FROM t JOIN u ON t.i = u.i WHERE c = 1",
        "SELECT a FROM t WHERE c = (SELECT c FROM t)",
    ],
)
def test_another_form_is_another_skeleton(other: str) -> None:
    assert len(skeletons(["SELECT a FROM t WHERE c = 1", other])) == 2


def test_invalid_sql_has_no_skeleton() -> None:
    assert skeleton("SELEC a") is None
    assert skeleton("SELECT " + "(" * 3000 + "1" + ")" * 3000) is None
    skeleton("SELECT " + " + ".join(["1"] * 2000))  # deep: None or text, and no error
    assert skeletons(["", "SELECT a FROM t"]) == {"SELECT _ FROM _"}
