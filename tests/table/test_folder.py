"""The data folder when it is another's, in use, damaged or cut off: a refusal, or offsets in step with the fold."""

from __future__ import annotations

import shutil
import subprocess
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from streams.errors import FolderFault
from streams.freeze_table import FreezeTable
from streams.store import fault_of
from tests.table.endless_writer import PARTITIONS
from tests.table.places import IDENTITY, apply_one, files_of, invert, press, truncate

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]
ACCOUNTS = 2_000


def refusal(folder: Path, identity: dict[str, str] | None = None) -> str:
    """Return the one line with which a folder is refused; the exit code says that an operator has to act."""
    with pytest.raises(FolderFault) as refused:
        FreezeTable(folder, identity or IDENTITY).close()
    message = str(refused.value)
    assert refused.value.exit_code == 4
    assert "\n" not in message
    assert str(folder) in message
    return message


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a closed folder whose freezes lie in an SST file."""
    found = tmp_path / "freezes"
    table = FreezeTable(found, IDENTITY)
    table.apply([press(f"acc-{o}", o, at_ms=o, seconds=900) for o in range(ACCOUNTS)], {0: ACCOUNTS})
    table.close()
    FreezeTable(found, IDENTITY).close()  # what still lay in the log goes into an SST file now
    assert list(files_of(found, "*.sst"))
    return found


@pytest.mark.parametrize(
    "identity",
    [
        {**IDENTITY, "cluster": "cluster-2"},
        {**IDENTITY, "panic-button": "topic-2"},
        {**IDENTITY, "more": "x"},
        {"cluster": IDENTITY["cluster"]},
    ],
    ids=["cluster", "topic", "more", "less"],
)
def test_a_folder_of_another_identity_is_refused(folder: Path, identity: dict[str, str]) -> None:
    """Freezes of another cluster, or of a topic made anew, are not ours; the message names both and what to do."""
    message = refusal(folder, identity)
    (name,) = (name for name in IDENTITY | identity if IDENTITY.get(name) != identity.get(name))
    assert f"({name} {IDENTITY.get(name, 'none')} there, {identity.get(name, 'none')} here)" in message
    assert "name another folder or delete this one" in message
    FreezeTable(folder, IDENTITY).close()  # the refusal has left it as it was, and free


def test_a_folder_in_use_is_refused(tmp_path: Path) -> None:
    """One worker per folder; the first goes on undisturbed."""
    table = FreezeTable(tmp_path, IDENTITY)
    message = refusal(tmp_path)
    assert "in use by another worker" in message
    assert "GATE_DATA_DIR" in message
    apply_one(table, press("acc", 0, at_ms=0))
    table.close()


def test_a_folder_in_use_by_another_process_is_refused(tmp_path: Path) -> None:
    """Two workers that were given one folder: the second ends with one line."""
    with endless_writer(tmp_path / "freezes") as writer:
        wait_for(writer, 1)
        assert "in use by another worker" in refusal(tmp_path / "freezes")
        writer.kill()


@pytest.mark.parametrize("place", ["freezes", "freezes/below"])
def test_a_file_in_the_folders_place_is_refused(tmp_path: Path, place: str) -> None:
    """What is no folder is named, with the setting."""
    (tmp_path / "freezes").write_text("not a folder")
    message = refusal(tmp_path / place)
    assert "can't be used" in message
    assert "GATE_DATA_DIR" in message


def garble(path: Path) -> None:
    """Put other content into a file."""
    path.write_bytes(b"\0garbage\xff\n" * 20)


def cut(path: Path, share: float) -> None:
    """Truncate a file to a share of its size."""
    truncate(path, int(path.stat().st_size * share))


@pytest.mark.parametrize(
    ("pattern", "damage"),
    [
        pytest.param("*.sst", partial(cut, share=0.5), id="SST file truncated in the middle"),
        pytest.param("*.sst", partial(cut, share=0), id="SST file emptied"),
        pytest.param("*.sst", garble, id="SST file of garbage"),
        pytest.param("*.sst", Path.unlink, id="SST file gone"),
        pytest.param("CURRENT", garble, id="CURRENT of garbage"),
        pytest.param("CURRENT", partial(cut, share=0), id="CURRENT emptied"),
        pytest.param(
            "CURRENT", lambda path: path.write_text("MANIFEST-999999\n"), id="CURRENT names what is not there"
        ),
        pytest.param("CURRENT", Path.unlink, id="CURRENT gone"),
        pytest.param("MANIFEST-*", garble, id="MANIFEST of garbage"),
        pytest.param("MANIFEST-*", partial(cut, share=0), id="MANIFEST emptied"),
        pytest.param("MANIFEST-*", partial(cut, share=0.5), id="MANIFEST truncated in the middle"),
        pytest.param("MANIFEST-*", Path.unlink, id="MANIFEST gone"),
    ],
)
def test_a_damaged_folder_is_refused(folder: Path, pattern: str, damage: Callable[[Path], object]) -> None:
    """One line says that it is damaged, and that it can be deleted: the topics hold all of it."""
    for path in files_of(folder, pattern):
        damage(path)
    message = refusal(folder)
    assert "damaged" in message
    assert "delete it, it is rebuilt from the topics" in message


def test_a_damaged_block_never_reads_as_an_account_that_is_not_frozen(folder: Path, tmp_path: Path) -> None:
    """Wherever a file has rotted, a look-up answers as before or raises: it never loses a freeze (G5)."""
    names = [f"acc-{o}" for o in range(ACCOUNTS)]
    (sst,) = files_of(folder, "*.sst")
    size = sst.stat().st_size
    told = []
    for start in range(0, size, size // 24):
        rotten = shutil.copytree(folder, tmp_path / f"rotten-{start}")
        invert(rotten / sst.name, start, 16)
        try:
            table = FreezeTable(rotten, IDENTITY)
        except FolderFault as fault:
            told.append(str(fault))
            continue
        for lookup in (lambda table=table: table.gather(names)[0], lambda table=table: [table.get(n) for n in names]):
            try:
                found = lookup()
            except Exception as error:  # noqa: BLE001  (rocksdict raises nothing more specific)
                told.append(str(fault_of(rotten, error)))
            else:
                assert len(found) == ACCOUNTS
                assert None not in found
        with suppress(Exception):
            assert sum(1 for _ in table.ends(0, 0, 10**12)) == ACCOUNTS
        table.close()
    assert len(told) > 5
    assert all("is damaged; delete it" in line for line in told)


def endless_writer(folder: Path, *batches: str) -> subprocess.Popen[str]:
    """Start a process that folds presses until it is killed, or rests after so many batches."""
    command = [sys.executable, "-m", "tests.table.endless_writer", str(folder), *batches]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def wait_for(writer: subprocess.Popen[str], number: int) -> None:
    """Wait until that batch has been written."""
    assert writer.stdout is not None
    for line in writer.stdout:
        if int(line) >= number:
            return
    pytest.fail("the writer ended by itself")


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """Return the folder of a writer that was killed with SIGKILL, and the last batch that it told of."""
    folder = tmp_path_factory.mktemp("killed") / "freezes"
    with endless_writer(folder) as writer:
        wait_for(writer, 300)
        writer.kill()
        assert writer.stdout is not None
        told = [int(line) for line in writer.stdout if line.endswith("\n")]
    return folder, max(told, default=300)


def check_in_step(folder: Path) -> int:
    """Fail unless everything below the applied offsets is folded, and nothing above; return the next batch."""
    table = FreezeTable(folder, IDENTITY)
    applied = table.applied
    (following,) = set(applied.values()) or {0}
    assert set(applied) in ({0, 1, 2}, set())
    names = [f"a-{p}-{n}" for p in range(PARTITIONS) for n in range(following)]
    found, _ = table.gather(names)
    assert set(found) == set(names)
    for p in range(PARTITIONS):
        assert all(table.outcome(p, n) is not None for n in range(following))
        assert table.outcome(p, following) is None
        assert table.get(f"a-{p}-{following}") is None
        assert sum(1 for _ in table.ends(p, 0, 10**12)) == following
    assert table.count_frozen(0) == following * PARTITIONS
    table.close()
    return following


def test_a_killed_worker_has_lost_nothing_that_it_had_written(killed: tuple[Path, int], tmp_path: Path) -> None:
    """After SIGKILL without a close, every batch that was written is there, offsets and fold in step."""
    folder, told = killed
    assert check_in_step(shutil.copytree(folder, tmp_path / "copy")) > told


@pytest.fixture(scope="module")
def rested(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a writer that was killed between two batches: its log ends with a whole one."""
    folder = tmp_path_factory.mktemp("rested") / "freezes"
    with endless_writer(folder, "300") as writer:
        wait_for(writer, 299)
        writer.kill()
    return folder


@pytest.mark.parametrize("lost", [1, 7, 33, 160, 500, 4_000, 20_000])
def test_a_log_that_lost_its_tail_leaves_offsets_in_step(rested: Path, tmp_path: Path, lost: int) -> None:
    """A power cut that takes the end of the log takes whole batches: offsets are never ahead of the fold (G1)."""
    whole = shutil.copytree(rested, tmp_path / "whole")
    copy = shutil.copytree(rested, tmp_path / "copy")
    (log,) = (path for path in files_of(copy, "*.log") if path.stat().st_size)
    truncate(log, log.stat().st_size - lost)
    assert 0 < check_in_step(copy) < check_in_step(whole)


@pytest.mark.parametrize("place", [0.2, 0.5, 0.9, 0.999])
def test_a_log_that_rotted_leaves_offsets_in_step(killed: tuple[Path, int], tmp_path: Path, place: float) -> None:
    """Damage within the log is refused, or costs what came after it: fold and offsets alike."""
    whole = shutil.copytree(killed[0], tmp_path / "whole")
    copy = shutil.copytree(killed[0], tmp_path / "copy")
    (log,) = (path for path in files_of(copy, "*.log") if path.stat().st_size)
    invert(log, int(log.stat().st_size * place), 8)
    with suppress(FolderFault):
        assert check_in_step(copy) <= check_in_step(whole)


def test_a_log_that_is_gone_leaves_offsets_in_step(killed: tuple[Path, int], tmp_path: Path) -> None:
    """Without its log the folder knows less, and says so: what is missing is read again from the topic."""
    copy = shutil.copytree(killed[0], tmp_path / "copy")
    for path in files_of(copy, "*.log"):
        path.unlink()
    with suppress(FolderFault):
        assert check_in_step(copy) == 0


def test_a_fault_names_the_disk_when_it_is_full(tmp_path: Path) -> None:
    """Deleting the folder would be the wrong advice there."""
    message = str(
        fault_of(tmp_path, Exception("IO error: No space left on device: While appending to file: 000008.log"))
    )
    assert "no space left" in message
    assert "delete" not in message


def test_damage_in_a_folder_whose_name_holds_lock_is_still_damage(tmp_path: Path) -> None:
    """The advice follows from what happened, not from how the operator has named the folder."""
    folder = tmp_path / "BLOCKCHAIN" / "freezes"
    message = str(
        fault_of(folder, Exception(f"Corruption: Sst file size mismatch: {folder}/000009.sst. Expected 97855"))
    )
    assert "damaged" in message
