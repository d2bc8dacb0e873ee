"""Approvals are written the short way: it ends at the bytes of the long one."""

from __future__ import annotations

import orjson
from hypothesis import given
from hypothesis import strategies as st

from schemas.withdrawal_decision import approval_form, encode_decision

# What orjson can write: text without lone surrogates.
IDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=128)


@given(withdrawal_id=IDS, account_id=IDS, offset=st.integers(0, 2**63 - 1), note=IDS, shadow=st.booleans())
def test_a_form_filled_in_is_the_decision_written_out(
    *, withdrawal_id: str, account_id: str, offset: int, note: str, shadow: bool
) -> None:
    """Whatever ids and request hold: quotes, percent signs, control characters, what the form itself uses."""
    request = orjson.dumps({"withdrawal_id": withdrawal_id, "account_id": account_id, "note": f"100 %b %w{note}"})
    form = approval_form(
        decided_at="2026-11-22T09:00:01.250Z",
        valid_until="2026-11-22T09:00:31.250Z",
        partition=3,
        freeze_view="0:41,1:7",
        shadow=shadow,
    )
    assert form % (orjson.dumps(withdrawal_id), orjson.dumps(account_id), offset, request) == encode_decision(
        withdrawal_id=withdrawal_id,
        account_id=account_id,
        reason=None,
        frozen_until=None,
        press_id=None,
        decided_at="2026-11-22T09:00:01.250Z",
        valid_until="2026-11-22T09:00:31.250Z",
        source=f"withdrawal-request:3:{offset}",
        freeze_view="0:41,1:7",
        request=request,
        shadow=shadow,
    )
