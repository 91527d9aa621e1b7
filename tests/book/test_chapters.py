from __future__ import annotations

import os
from pathlib import Path

import pytest

from distill_sql.book.chapters import Chapter, Parameter
from distill_sql.errors import ChapterError, ParameterError
from distill_sql.models.recipes import RECIPES

from .conftest import MakeBook, chapter_text

PARAMETERS = """\
dataset = "pocket"  # pocket | spider | a folder in Spider's layout
size = "0.5b"  # 0.5b | 1.5b; how large the student is
seed = 0  # any whole number
rate = 1e-4  # any number
quick = True
sizes = ["a", "b"]  # a | b | c
"""


def load(text: str, path: str = "notebooks/01_x.md") -> Chapter:
    return Chapter(name="01_x", path=Path(path), text=text)


@pytest.fixture(scope="module")
def chapter() -> Chapter:
    return load(chapter_text(PARAMETERS, "print(size)"))


def test_defaults_are_the_literals_of_the_cell(chapter: Chapter, tmp_path: Path) -> None:
    assert chapter.resolve({}, root=tmp_path) == {
        "dataset": "pocket",
        "size": "0.5b",
        "seed": 0,
        "rate": 1e-4,
        "quick": True,
        "sizes": ["a", "b"],
    }


def test_text_takes_the_type_of_the_default(chapter: Chapter, tmp_path: Path) -> None:
    given = {"seed": "7", "rate": "3", "quick": "false", "sizes": "c,a"}
    values = chapter.resolve(given, root=tmp_path)
    assert (values["seed"], values["rate"], values["quick"]) == (7, 3.0, False)
    assert isinstance(values["rate"], float)
    assert values["sizes"] == ["c", "a"]
    assert chapter.resolve({"sizes": '["b"]'}, root=tmp_path)["sizes"] == ["b"]


@pytest.mark.parametrize("text", ["0.5", "0.5b", "007", "true", "1e3"])
def test_a_string_parameter_is_never_read_as_a_number(text: str, tmp_path: Path) -> None:
    assert Parameter("size", "x", "").parse(text, root=tmp_path) == text


def test_unknown_name_lists_the_known_ones_and_the_nearest(
    chapter: Chapter, tmp_path: Path
) -> None:
    with pytest.raises(ParameterError, match="it knows dataset, size, seed, rate, quick, sizes"):
        chapter.resolve({"nonsense": "1"}, root=tmp_path)
    with pytest.raises(ParameterError, match="Did you mean size"):
        chapter.resolve({"sise": "0.5b"}, root=tmp_path)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("size", "3b", r"expected 0.5b \| 1.5b$"),
        ("dataset", "spidr", "a folder in Spider's layout; there is no file or folder"),
        ("seed", "x", "expected a whole number"),
        ("seed", "1.5", "expected a whole number"),
        ("seed", True, "expected a value of type int, found bool"),
        ("rate", "fast", "expected a number"),
        ("quick", "yes", "expected true or false"),
        ("sizes", "a,d", r"expected a \| b \| c"),
        ("sizes", "[1", "JSON"),
    ],
)
def test_a_value_that_is_not_allowed_says_what_is(
    chapter: Chapter, tmp_path: Path, name: str, value: object, message: str
) -> None:
    with pytest.raises(ParameterError, match=message):
        chapter.resolve({name: value}, root=tmp_path)


def test_a_folder_is_returned_relative_to_the_book(
    chapter: Chapter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "book" / "inside").mkdir(parents=True)
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path / "book" / "inside")
    values = chapter.resolve({"dataset": "../../data"}, root=tmp_path / "book")
    assert values["dataset"] == os.path.join("..", "data")  # noqa: PTH118


def test_empty_is_allowed_only_where_it_is_named(tmp_path: Path) -> None:
    assert Parameter("x", "", "empty | a folder of files").parse("", root=tmp_path) == ""
    with pytest.raises(ValueError, match="expected a folder of files"):
        Parameter("x", "y", "a folder of files").parse("", root=tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("# No cells\n", "0 cells tagged 'parameters', expected exactly one"),
        (chapter_text("a = 1") + chapter_text("b = 1"), "2 cells tagged"),
        (chapter_text("a = 1  # x = y"), "without a second '='"),
        (chapter_text("import os\na = 1"), "assigns"),
        (chapter_text("a = len('x')"), "written as a Python literal"),
        (chapter_text('a = "c"  # a | b'), "is not allowed"),
        ("---\nkernelspec: [\n---\n" + chapter_text("a = 1"), "not a MyST text notebook"),
    ],
)
def test_a_chapter_that_breaks_the_rules_is_an_error(
    text: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises((ChapterError, ParameterError), match=message):
        load(text).resolve({}, root=tmp_path)


def test_the_training_chapter_offers_every_size_that_is_trained(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "notebooks" / "04_training.md").read_text()
    size = load(text).parameters["size"]
    trained = [one.name for one in RECIPES.values() if one.trained and one.modes == "both"]
    assert set(size.choices or ()) == {"empty", *trained}
    assert all(f"{name}-base" in RECIPES for name in trained)


def test_inputs_are_the_recorded_results_unless_declared() -> None:
    assert load(chapter_text("a = 1")).inputs == ("book/results",)
    declared = "---\ndistill_sql:\n  inputs: [data/x.json]\n---\n" + chapter_text("a = 1")
    assert load(declared).inputs == ("data/x.json",)


def test_the_contents_and_the_sources_must_agree(make_book: MakeBook) -> None:
    book = make_book(**{"01_a": ("x = 1",), "02_b": ("x = 1",)})
    assert book.chapter_names == ("01_a", "02_b")
    for text in ("01_a", "1", "01", "a", "notebooks/01_a.md"):
        assert book.chapter_name(text) == "01_a"
    with pytest.raises(ChapterError, match="no chapter '3': the book has 01_a, 02_b"):
        book.chapter_name("3")
    (book.notebooks / "03_c.md").write_text(chapter_text("x = 1"))
    with pytest.raises(ChapterError, match=r"notebooks/03_c.md is not in _toc.yml"):
        type(book)(root=book.root).chapter_names  # noqa: B018
    (book.notebooks / "03_c.md").unlink()
    (book.notebooks / "01_a.md").unlink()
    with pytest.raises(ChapterError, match=r"there is no notebooks/01_a.md"):
        type(book)(root=book.root).chapter_names  # noqa: B018
