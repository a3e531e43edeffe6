from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.web.links import AcknowledgeLinks, Link, LinkError, LinkProblem

KEY = bytes(range(32))
NOW = 1_700_000_000.0


def links(**how: object) -> AcknowledgeLinks:
    return AcknowledgeLinks(KEY, **how)  # type: ignore[arg-type]


def problem(made: AcknowledgeLinks, token: str, now: float = NOW) -> LinkProblem:
    with pytest.raises(LinkError) as raised:
        made.redeem(token, now)
    with pytest.raises(LinkError):
        made.read(token, now)
    return raised.value.reason


@given(st.text(max_size=30), st.text(max_size=30))
def test_a_link_says_what_it_was_made_for_and_fits_in_an_address(incident: str, person: str) -> None:
    made = links()
    try:
        token = made.make(incident, person, NOW)
    except UnicodeEncodeError:  # lone surrogates are no text
        return
    assert re.fullmatch(r"[A-Za-z0-9._-]+", token)
    assert made.redeem(token, NOW + 60) == Link(incident, person, NOW + 12 * 3600)


def test_reading_spends_nothing_and_redeeming_does() -> None:
    made = links()
    token = made.make("INC-0001", "li", NOW)
    assert made.read(token, NOW) == made.read(token, NOW)
    made.redeem(token, NOW)
    assert problem(made, token) is LinkProblem.USED
    assert made.read(token, NOW, redeemed=True).incident == "INC-0001"
    other = made.make("INC-0001", "li", NOW)
    assert other != token
    assert made.redeem(other, NOW).person == "li"


def test_it_expires() -> None:
    made = links(lifetime=100.0)
    token = made.make("INC-0001", "li", NOW)
    assert made.read(token, NOW + 99.9)
    assert problem(made, token, NOW + 100.0) is LinkProblem.EXPIRED
    with pytest.raises(LinkError):
        made.read(token, NOW + 100.0, redeemed=True)


def test_anything_changed_is_wrong() -> None:
    made = links()
    token = made.make("INC-0001", "li", NOW)
    claims, signature = token.split(".")
    other = made.make("INC-0002", "li", NOW).split(".")
    for forged in (
        "",
        ".",
        claims,
        claims + ".",
        "." + signature,
        other[0] + "." + signature,
        token[:-4],
        "中文." + signature,
        token.replace(".", "!"),
        claims + "." + signature.swapcase(),
    ):
        assert problem(made, forged) is LinkProblem.WRONG
    assert problem(AcknowledgeLinks(b"another key of it"), token) is LinkProblem.WRONG


def test_rewriting_the_same_bytes_does_not_make_a_second_use() -> None:
    """The last base64 character has spare bits; a decoder ignores them."""
    made = links()
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    for number in range(3):
        token = made.make("INC-0001", "l" * number, NOW)
        claims, signature = token.split(".")
        made.redeem(token, NOW)
        for last in alphabet:
            with pytest.raises(LinkError):
                made.redeem(f"{claims[:-1]}{last}.{signature}", NOW)


def test_a_used_link_stays_used_after_a_restart(tmp_path: Path) -> None:
    spent = tmp_path / "spent.json"
    made = links(spent=spent)
    token, old = made.make("INC-0001", "li", NOW), made.make("INC-0001", "li", NOW - 12 * 3600 + 1)
    made.redeem(old, NOW)
    made.redeem(token, NOW + 2)  # forgets what has expired meanwhile
    assert spent.stat().st_mode & 0o077 == 0
    again = links(spent=spent)
    assert problem(again, token, NOW + 2) is LinkProblem.USED
    assert problem(again, old, NOW + 2) is LinkProblem.EXPIRED
    spent.write_text("[]")
    assert links(spent=spent).redeem(token, NOW + 2)


def test_a_short_key_is_refused() -> None:
    with pytest.raises(ValueError, match="16 bytes"):
        AcknowledgeLinks(b"short")
