"""Time-ordered ids: UUID version 7 (RFC 9562), as the usual 36 characters.

Ids made by one process are strictly increasing, so that "newest first" is the order of the primary key.
The id of an answer is public (`x-request-id`); it identifies and does not authorise.
"""

from __future__ import annotations

import random
import time

_random = random.SystemRandom()
_source = random.Random(_random.getrandbits(256))  # noqa: S311 - uniqueness, not secrecy; a system call per id is not needed
_last = 0


def new_id() -> str:
    """A new UUIDv7: 48 bits of Unix milliseconds, then 74 bits that grow within the same millisecond.

    Returns:
        36 characters of lower-case hexadecimal with hyphens; they sort by time as text.
    """
    global _last  # noqa: PLW0603 - the last id is what makes the next one larger
    bits = _source.getrandbits(62)
    value = (time.time_ns() // 1_000_000) << 74 | (bits >> 50) << 62 | bits & 0x3FFF_FFFF_FFFF_FFFF
    if value <= _last:
        value = _last + 1 + (bits & 0xFFFF)
    _last = value
    # value holds time(48) | rand_a(12) | rand_b(62); version and variant go between them.
    text = f"{value >> 74:012x}7{value >> 62 & 0xFFF:03x}{0x8000_0000_0000_0000 | value & 0x3FFF_FFFF_FFFF_FFFF:016x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def time_of(request_id: str) -> float:
    """Unix seconds at which an id was made (to the millisecond).

    Raises:
        ValueError: the text is not a UUID.
    """
    digits = request_id.replace("-", "")
    if len(digits) != 32:  # noqa: PLR2004 - a UUID has 32 hexadecimal digits
        raise ValueError(f"{request_id!r} is not a UUID")
    return int(digits[:12], 16) / 1000


def lowest_id(unix_seconds: float) -> str:
    """The smallest id of an instant: where a time range begins in an index of ids."""
    text = f"{max(0, int(unix_seconds * 1000)):012x}"
    return f"{text[:8]}-{text[8:12]}-7000-8000-000000000000"


def id_at(unix_us: int) -> str:
    """An id of an instant in the past, for records that are made up or brought in from elsewhere.

    Ids of one instant are random, not increasing. What happens now gets `new_id`.
    """
    text = f"{unix_us // 1000:012x}7{_source.getrandbits(12):03x}{0x8000_0000_0000_0000 | _source.getrandbits(62):016x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
