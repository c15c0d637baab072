"""A table in its forms."""

from sacbrax.view.tables import Table


def test_markdown_has_one_line_for_each_row_whatever_is_in_it() -> None:
    table = Table(("what", "count"), [["plain", "1"], ["a|b\nsecond line", "20"]], frozenset({"count"}))
    assert table.markdown() == "| what | count |\n|---|--:|\n| plain | 1 |\n| a/b second line | 20 |\n"
