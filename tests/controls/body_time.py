"""Takes the time of a press from its body, when that says one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from schemas.wire import parse_rfc3339
from streams.cli import main
from streams.follow import Follow

if TYPE_CHECKING:
    from confluent_kafka import Message

_pressed_ms = Follow._pressed_ms


def _by_the_body(self: Follow, message: Message) -> int:
    said = json.loads(message.value() or b"{}").get("pressed_at")
    return parse_rfc3339(said) if said else _pressed_ms(self, message)


Follow._pressed_ms = _by_the_body  # type: ignore[method-assign]

if __name__ == "__main__":
    main()
