"""For Faust's own command: `faust -A streams.worker worker`. Settings come from the environment."""

from __future__ import annotations

from streams.app import create_app
from streams.settings import Settings

app = create_app(Settings.from_environment())
