import contextlib
import io
import time

import pytest

from lit_vision.data import listing
from lit_vision.utils.bars import progress_bar


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def terminal():
    """A terminal as stderr, which pytest would replace if it were set here rather than in the test."""
    stream = Terminal()
    with contextlib.ExitStack() as stack:
        yield lambda: stack.enter_context(contextlib.redirect_stderr(stream))


def test_a_bar_shows_what_is_done_and_the_time_left(terminal):
    shown = terminal()
    with progress_bar("decoding", 10) as bar:
        bar.update(5)
        bar.refresh()
        assert "decoding:  50%" in shown.getvalue()
        assert "5/10 [00:00<00:00" in shown.getvalue()


def test_without_a_terminal_there_is_no_bar():
    stream = io.StringIO()
    with contextlib.redirect_stderr(stream), progress_bar("decoding", 10) as bar:
        bar.update(5)
        bar.refresh()
    assert stream.getvalue() == ""


def test_a_hidden_bar_stays_hidden(terminal):
    shown = terminal()
    with progress_bar("decoding", 10, hidden=True) as bar:
        bar.update(5)
        bar.refresh()
    assert shown.getvalue() == ""


@pytest.mark.parametrize("slow", [False, True])
def test_listing_has_a_bar_once_it_takes_a_second(terminal, tmp_path, monkeypatch, slow):
    for number in range(13):
        (tmp_path / f"{number}.png").touch()
    is_image = listing.is_image
    monkeypatch.setattr(listing, "is_image", lambda path: (time.sleep(0.1 if slow else 0), is_image(path))[1])
    shown = terminal()
    listing.list_folder(tmp_path)
    assert ("listing" in shown.getvalue()) == slow
