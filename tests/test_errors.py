"""What is said of errors."""

from tf_simclr.errors import UserError


def test_the_line_of_an_error_is_printable():
    """What it quotes may be the name of a file, with anything in it."""
    error = UserError("--labels=\x1b]0;owned\x07\x7f\x9b\n02:00:00 all is well: no such file")
    assert str(error) == (
        "--labels=\\x1b]0;owned\\x07\\x7f\\x9b 02:00:00 all is well: no such file"
    )
