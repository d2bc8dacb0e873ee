"""A RocksDB folder: opened with bounded memory, bound to one cluster and topic, its faults told in one line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson
from rocksdict import BlockBasedOptions, Cache, Options, Rdict, WriteBatch

from streams.errors import FolderFault

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

# Block cache and write buffers of one folder; with 1,000,000 freezes a worker stays under 300 MB resident.
BLOCK_CACHE_BYTES = 16 * 1024 * 1024
WRITE_BUFFER_BYTES = 8 * 1024 * 1024
# Ten bits a key: one look-up in a hundred of an absent account reads a block (design.md, "Where a record's time goes").
BLOOM_BITS_PER_KEY = 10
# Share of the write buffer that its own filter takes: 6.7 million bits for some 100,000 keys.
MEMTABLE_BLOOM_RATIO = 0.1

_IDENTITY_KEY = b"m:identity"


def open_store(folder: Path, identity: dict[str, str]) -> Rdict:
    """Open or create a folder that belongs to `identity` for ever; raise FolderFault with what to do."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        database = Rdict(str(folder), _options())
        stored = database.get(_IDENTITY_KEY)
    except OSError as error:
        message = f"data folder {folder} can't be used ({error.strerror}); name another in GATE_DATA_DIR or mend it"
        raise FolderFault(message) from error
    except Exception as error:  # rocksdict raises bare Exception
        raise fault_of(folder, error) from error
    if stored is None:
        database[_IDENTITY_KEY] = orjson.dumps(identity)
    elif (found := orjson.loads(stored)) != identity:
        database.close()
        names = sorted(name for name in {*found, *identity} if found.get(name) != identity.get(name))
        differs = ", ".join(
            f"{name} {found.get(name, 'none')} there, {identity.get(name, 'none')} here" for name in names
        )
        message = f"data folder {folder} belongs to another place ({differs}); name another folder or delete this one"
        raise FolderFault(message)
    return database


def fault_of(folder: Path, error: Exception) -> FolderFault:
    """Say what an error of RocksDB means for the operator."""
    reason = " ".join(str(error).split())
    if "lock hold by" in reason or "While lock file" in reason:
        return FolderFault(f"data folder {folder} is in use by another worker; give each worker its own GATE_DATA_DIR")
    if "No space" in reason:
        return FolderFault(f"data folder {folder} has no space left; free some, then start again ({reason})")
    return FolderFault(f"data folder {folder} is damaged; delete it, it is rebuilt from the topics ({reason})")


def scan(database: Rdict, start: bytes, stop: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the entries with start <= key < stop, in order."""
    entries = database.iter()
    entries.seek(start)
    while entries.valid():
        key = entries.key()
        if key >= stop:
            return
        yield key, entries.value()
        entries.next()
    entries.status()


def get_many(database: Rdict, keys: Sequence[bytes]) -> list[bytes | None]:
    """Return the value of each key, None for one that is absent.

    One by one: a get of many sorts the keys first, which takes longer than it saves (absent keys in a store of
    1,000,000: 0.47 instead of 0.54 µs each, those of an empty bucket 0.23 instead of 0.42 µs).
    """
    return [*map(database.get, keys)]


def write_batch() -> WriteBatch:
    """Return an empty batch: all of it is written, or nothing."""
    return WriteBatch(raw_mode=True)


def _options() -> Options:
    blocks = BlockBasedOptions()
    # Index and filter blocks stay out of the cache: a filter of 1,000,000 keys is larger than one of the cache's
    # shards, would never be kept, and every look-up would read it again (64 instead of 2 µs, measured).
    blocks.set_block_cache(Cache(BLOCK_CACHE_BYTES))
    blocks.set_bloom_filter(BLOOM_BITS_PER_KEY, block_based=False)
    options = Options(raw_mode=True)
    options.create_if_missing(create_if_missing=True)
    options.set_block_based_table_factory(blocks)
    options.set_write_buffer_size(WRITE_BUFFER_BYTES)
    # A filter for what has not reached a file yet, too: without it each look-up there compares some twenty keys.
    options.set_memtable_whole_key_filtering(whole_key_filter=True)
    options.set_memtable_prefix_bloom_ratio(MEMTABLE_BLOOM_RATIO)
    options.set_max_write_buffer_number(2)
    options.set_keep_log_file_num(2)
    options.set_paranoid_checks(enabled=True)
    return options
