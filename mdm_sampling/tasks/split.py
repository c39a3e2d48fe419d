"""The split between what the embedded model may train on and what the tasks ask: one key in 16 is held out."""

from zlib import crc32

HELD_OUT_SHARE = 16


def is_held_out(key: str) -> bool:
    """Whether an item with this key is kept for tests: a fixed hash of the key, the same on every machine."""
    return crc32(key.encode()) % HELD_OUT_SHARE == 0
