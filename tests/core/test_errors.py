"""How a failure becomes one line."""

import pytest

from sacbrax.core.errors import RunError, last_line, one_line


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("a key\nand pages more"), "a key"),
        (ValueError("\n  below an empty line \n"), "below an empty line"),
        (ValueError(), "ValueError"),
        (ValueError(" \n"), "ValueError"),
        (OSError(28, "No space left on device"), "No space left on device"),
        (FileNotFoundError(2, "No such file or directory", "a.xml"), "No such file or directory: a.xml"),
        (OSError("the encoder ended"), "the encoder ended"),
        (RunError("a name\nwith a line break"), "a name with a line break"),
    ],
)
def test_an_error_is_its_first_line(error: Exception, line: str) -> None:
    assert one_line(error) == line


def test_an_error_is_cut_unless_it_is_known_to_be_short() -> None:
    error = ValueError("x" * 5000)
    assert one_line(error) == "x" * 300
    assert one_line(error, longest=None) == "x" * 5000


def test_a_program_is_its_last_line() -> None:
    assert last_line("Traceback:\n  line 1\nKeyError: 'a'\n\n", "status 1") == "KeyError: 'a'"
    assert last_line(" \n", "status 1") == "status 1"
