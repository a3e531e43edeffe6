"""The list file and the states of destinations."""

from pathlib import Path

import pytest

from demo_platform.dispatcher import Dispatcher, DispatcherError, read_list
from demo_platform.layout import Address

LIST = "1 sip:127.0.0.11:15061 0 10 epoch=6\n1 sip:127.0.0.12:15061 4 5 epoch=6\n"
PRIMARY, BACKUP = "sip:127.0.0.11:15061", "sip:127.0.0.12:15061"


@pytest.fixture
def list_file(tmp_path: Path) -> Path:
    path = tmp_path / "dispatcher.list"
    path.write_text(LIST)
    return path


def test_a_line_says_set_uri_flags_priority_and_attributes(list_file: Path) -> None:
    first, second = read_list(list_file)[1]
    assert (first.uri, first.address, first.flags) == (PRIMARY, Address("127.0.0.11", 15061), "AX")
    assert (first.priority, first.attributes) == (10, "epoch=6")
    assert (second.uri, second.flags) == (BACKUP, "DX")


@pytest.mark.parametrize(
    ("line", "flags"),
    [
        ("1 sip:127.0.0.1", "AX"),
        ("1 sip:127.0.0.1 2", "TX"),
        ("1 sip:127.0.0.1 1 0", "IX"),
        ("1 sip:127.0.0.1 8 0 x=1", "AP"),
    ],
)
def test_what_a_line_leaves_out_is_zero(tmp_path: Path, line: str, flags: str) -> None:
    (tmp_path / "list").write_text(line)
    assert read_list(tmp_path / "list")[1][0].flags == flags


@pytest.mark.parametrize(
    "line",
    ["", "# note", "1", "x sip:127.0.0.1", "1 bad", "1 sip:127.0.0.1 x", "1 tel:110", "1 sip:[::1 0 0"],
)
def test_a_line_that_makes_no_sense_is_left_out(tmp_path: Path, line: str) -> None:
    (tmp_path / "list").write_text(f"{line}\n{LIST}")
    assert [d.uri for d in read_list(tmp_path / "list")[1]] == [PRIMARY, BACKUP]


def test_the_highest_priority_that_takes_calls_comes_first(list_file: Path) -> None:
    dispatcher = Dispatcher(list_file)
    assert [d.uri for d in dispatcher.active(1)] == [PRIMARY]
    dispatcher.set_state("a", 1, BACKUP)
    assert [d.uri for d in dispatcher.active(1)] == [PRIMARY, BACKUP]
    dispatcher.set_state("t", 1, PRIMARY)
    assert [d.uri for d in dispatcher.active(1)] == [PRIMARY, BACKUP]
    dispatcher.set_state("d", 1, PRIMARY)
    assert [d.uri for d in dispatcher.active(1)] == [BACKUP]
    assert dispatcher.active(7) == []


def test_a_reload_loses_what_was_set_at_run_time_and_must_wait(list_file: Path) -> None:
    dispatcher = Dispatcher(list_file, reload_delta=5)
    dispatcher.set_state("d", 1, PRIMARY)
    dispatcher.reload(100.0)
    assert [d.uri for d in dispatcher.active(1)] == [PRIMARY]
    with pytest.raises(DispatcherError, match="Ongoing reload"):
        dispatcher.reload(104.9)
    list_file.unlink()
    with pytest.raises(DispatcherError, match="Reload Failed"):
        dispatcher.reload(105.1)
    assert [d.uri for d in dispatcher.active(1)] == [PRIMARY]
