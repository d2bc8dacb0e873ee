"""The worker's log, on stderr: state changes and refusals, never an account id or what a record holds."""

from __future__ import annotations

import json
import logging
import sys
from typing import TYPE_CHECKING

from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web import RequestPayloadError

from schemas.wire import rfc3339

if TYPE_CHECKING:
    from streams.settings import Settings

TEXT_FORM = "%(asctime)s %(levelname)s %(name)s: %(message)s"
# What a line tells beside its message, given as `extra`. Whatever else a library adds stays out.
FIELDS = ("check", "topic", "partition", "partitions", "remaining_records", "frozen_accounts")
# Their lines below a warning are about themselves.
QUIET = ("faust", "mode", "aiokafka", "asyncio")


class JsonLines(logging.Formatter):
    """One JSON object a line, in ASCII: a line break, an escape sequence or half a character can't break out of it."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line: ts, level, logger, message, then those of FIELDS that it has, and an exception's trace."""
        line = {
            "ts": rfc3339(int(record.created * 1000)),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **{name: getattr(record, name) for name in FIELDS if hasattr(record, name)},
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, separators=(",", ":"))


def set_up_logging(settings: Settings) -> None:
    """Let this process log as the settings say."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if settings.log_format == "json" else logging.Formatter(TEXT_FORM))
    logging.basicConfig(level=settings.log.upper(), handlers=[handler])
    for quiet in QUIET:
        logging.getLogger(quiet).setLevel(max(logging.WARNING, logging.getLogger().level))
    logging.getLogger("aiohttp.server").addFilter(_quotes_no_request)


def _quotes_no_request(record: logging.LogRecord) -> bool:
    """Drop what quotes a request that is no HTTP: its bytes can hold an account id, and whoever connects sent them.

    So a body that can't be decoded is no news either.
    """
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError | RequestPayloadError))
