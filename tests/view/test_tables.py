"""A table in its forms."""

from sacbrax.view.tables import Table


def test_markdown_has_one_line_for_each_row_whatever_is_in_it() -> None:
    table = Table(("what", "count"), [["plain", "1"], ["a|b\nsecond line", "20"]], frozenset({"count"}))
    assert table.markdown() == "| what | count |\n|---|--:|\n| plain | 1 |\n| a/b second line | 20 |\n"


def test_text_is_a_line_for_each_row_and_is_folded_for_a_terminal() -> None:
    table = Table(("name", "what it is"), [["one", "a text of some words that is long"], ["two", "short"]])
    assert table.text() == "name  what it is\none   a text of some words that is long\ntwo   short\n"
    assert table.text(30) == "name  what it is\none   a text of some words\n      that is long\ntwo   short\n"
    assert table.text(20) == table.text(), "too narrow to be folded"
    assert Table(table.names, table.rows, frozenset({"what it is"})).text(30).count("\n") == 3
