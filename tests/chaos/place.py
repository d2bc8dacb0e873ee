"""Where a worker runs: its machine's disk, clock and links, and what starts it again there when it has ended."""

from __future__ import annotations

import shutil
import subprocess
import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from streams.errors import FolderFault, KafkaUnreachable, PromiseAtRisk
from tests.chaos import moved_clock

if TYPE_CHECKING:
    from pathlib import Path

    from tests.chaos.cluster import Cluster
    from tests.deployment import Deployment
    from tests.processes import Worker

# A worker with two empty RocksDB folders takes less than 1 MB; a run of a minute writes some 10 MB.
DISK_BYTES = 64 * 1024 * 1024
TOOL_SECONDS = 10
LAST_LINES = 3


class Disk:
    """A file system of its own under a folder: a tmpfs, which is as full as a disk can be."""

    def __init__(self, folder: Path) -> None:
        """Mount it; raises OSError where that is not allowed."""
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._ballast = folder / "ballast"
        _run("mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder))

    def fill(self) -> None:
        """Leave no room at all."""
        with self._ballast.open("ab", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(65_536))
            except OSError:
                return

    def free(self) -> None:
        """Make room again."""
        self._ballast.unlink(missing_ok=True)

    def close(self) -> None:
        """Unmount it, at once if nobody uses it and else when nobody does any more."""
        _run("umount", "--lazy", str(self.folder))


def no_disk(folder: Path) -> str | None:
    """Return why no disk can be filled on this machine, None if one can."""
    try:
        Disk(folder).close()
    except OSError as error:
        return str(error)
    return None


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=TOOL_SECONDS, check=False)
    if done.returncode:
        message = f"{command[0]}: {done.stderr.strip() or done.returncode}"
        raise OSError(message)


@dataclass
class Place:
    """A data folder that outlives the worker, and all that the worker meets there."""

    gate: Deployment
    cluster: Cluster
    number: int
    module: str
    seen: list[str]
    # Ends that a worker chose itself, by exit code; those that nothing explains are findings as well.
    ends: Counter[str] = field(default_factory=Counter)
    may_be_cut_off: bool = True
    damaged: bool = False
    # Whether the disk was full at some time since the worker was started.
    filled: bool = False
    worker: Worker | None = None
    disk: Disk | None = None
    # Whoever disturbs its links holds this meanwhile.
    links_lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        """Set the clock right."""
        self.folder = f"place-{self.number}"
        self.data = self.gate.folder / self.folder / "data"
        self.data.mkdir(parents=True)
        self._clock = self.data.parent / "clock"
        self.move_clock(0)

    def start(self) -> None:
        """Start a worker there."""
        self.filled = False
        self.worker = self.gate.worker(
            self.folder,
            moved_clock.__name__,
            GATE_KAFKA_BOOTSTRAP=self.cluster.links.bootstrap(self.number),
            **{moved_clock.MODULE: self.module, moved_clock.OFFSET_FILE: str(self._clock)},
        )

    def running(self) -> Worker:
        """Return the worker; one that has ended by itself is started again, as a supervisor would."""
        if self.worker is None or self.ended() is not None:
            self.start()
        assert self.worker is not None
        return self.worker

    def ended(self) -> int | None:
        """Return with which exit code the worker has ended, None if it runs; one without a good reason is noted."""
        assert self.worker is not None
        status = self.worker.process.poll()
        if status is None:
            return None
        self.note_end(status)
        return status

    def note_end(self, status: int) -> None:
        """Count an end that a worker chose itself; one without a good reason is a finding."""
        if status == FolderFault.exit_code and self.filled and "no space left" in self._log():
            self.ends[f"{status} (disk full)"] += 1
            return
        self.ends[str(status)] += 1
        if status == PromiseAtRisk.exit_code and self.damaged:
            self.forget()
        elif status != KafkaUnreachable.exit_code or not self.may_be_cut_off:
            self.seen.append(f"a worker ended with exit code {status}: {self.last_lines()}")

    def last_lines(self) -> str:
        """Return what the worker said last, without the paths of this machine."""
        lines = self._log().replace(str(self.gate.folder), "…").splitlines()
        return " / ".join(line.strip() for line in lines[-LAST_LINES:])

    def _log(self) -> str:
        assert self.worker is not None
        return self.worker.log.read_text("utf-8", "replace")

    def kill(self) -> None:
        """Kill -9."""
        self.running().kill()

    def forget(self) -> None:
        """Delete what the data folder holds; the folder itself may be where a disk is mounted."""
        for path in self.data.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        self.damaged = False

    def move_clock(self, seconds: int) -> None:
        """Let the worker's clock be off by that from now on."""
        new = self._clock.with_suffix(".new")
        new.write_text(str(seconds))
        new.replace(self._clock)  # never read half

    def close(self) -> None:
        """Give the disk back."""
        if self.disk is not None:
            self.disk.close()
