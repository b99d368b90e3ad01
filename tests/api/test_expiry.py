"""When containers end, and the rules that say so."""

import pytest

from containerfs.api.expiry import ends_at
from containerfs.api.models import Container, ExpiresAfter
from containerfs.api.rules import describe, parse_rule

IDLE = ExpiresAfter(anchor="last_active_at", minutes=20)
WEEK = ExpiresAfter(anchor="created_at", days=7)


@pytest.mark.parametrize(
    ("fields", "end"),
    [
        ({}, None),
        ({"expires_at": 1_800_000_000, "expires_after": IDLE, "last_active_at": 1}, 1_800_000_000),
        ({"expires_at": 1_800_000_000_000}, 1_800_000_000),
        ({"expires_after": IDLE, "last_active_at": 1_800_000_000, "created_at": 1}, 1_800_001_200),
        ({"expires_after": IDLE, "created_at": 1}, None),
        ({"expires_after": WEEK, "created_at": 1_800_000_000, "last_active_at": 1}, 1_800_604_800),
        ({"expires_after": ExpiresAfter(anchor="created_at"), "created_at": 1_800_000_000}, None),
    ],
)
def test_the_end_is_told_or_follows_from_the_rule(fields: dict[str, object], end: int | None) -> None:
    assert ends_at(Container(id="c", **fields)) == end  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "rule", "words"),
    [
        ("7d", WEEK, "7 days after it was created"),
        ("20m", IDLE, "20 minutes after its last use"),
        ("1d", ExpiresAfter(anchor="created_at", days=1), "1 day after it was created"),
        ("2h", ExpiresAfter(anchor="last_active_at", minutes=120), "120 minutes after its last use"),
    ],
)
def test_a_rule_in_a_word_and_in_words(text: str, rule: ExpiresAfter, words: str) -> None:
    assert parse_rule(text) == parse_rule(rule) == rule
    assert describe(rule) == words


@pytest.mark.parametrize("text", ["", "7", "7 days", "0m", "1\u0667d", "-1d", None])
def test_what_is_no_rule(text: object) -> None:
    with pytest.raises(ValueError, match="is not a time like"):
        parse_rule(text)
