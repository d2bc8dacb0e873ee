"""Run a program and send it a signal, as `kill` would, when it is about to execute a given line for the n-th time.

python -m tests.connect.signal_at_line SIGKILL LINE TIMES PROGRAM ARGUMENT...
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType

    from _typeshed import TraceFunction


def main() -> None:
    """Trace the lines of the program's own file."""
    number, line, left = signal.Signals[sys.argv[1]], int(sys.argv[2]), int(sys.argv[3])
    sys.argv = sys.argv[4:]
    program = sys.argv[0]

    def trace(frame: FrameType, event: str, _: object) -> TraceFunction | None:
        nonlocal left
        if frame.f_code.co_filename != program:
            return None
        if event == "line" and frame.f_lineno == line:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), number)
        return trace

    sys.settrace(trace)
    runpy.run_path(program, run_name="__main__")


if __name__ == "__main__":
    main()
