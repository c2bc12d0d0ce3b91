"""Sizes and hours as settings write them."""

import re
from datetime import datetime, time, timedelta

_SIZE = re.compile(r"(\d{1,9}(?:\.\d{1,3})?)\s*([kmgt]?)i?b?")
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_HOURS = re.compile(r"(\d{1,2}):(\d\d)\s*-\s*(\d{1,2}):(\d\d)")


def read_size(text: str) -> int | None:
    """`12G`, `800M`, `1.5g` in bytes (of 1,024 each step); None where it is no size above 0."""
    found = _SIZE.fullmatch(text.strip().lower())
    size = int(float(found[1]) * _UNITS[found[2]]) if found else 0
    return size or None


def read_hours(text: str) -> tuple[tuple[time, time], ...]:
    """`08:00-12:00,13:00-18:00` as pairs of times; an end before its start is on the next day, and
    24:00 is midnight. Raises ValueError."""
    pairs = []
    for part in filter(None, map(str.strip, text.split(","))):
        found = _HOURS.fullmatch(part)
        if found is None:
            raise ValueError(part)
        end = (0, 0) if (found[3], found[4]) == ("24", "00") else (int(found[3]), int(found[4]))
        start, ends = time(int(found[1]), int(found[2])), time(*end)
        if start == ends:
            raise ValueError(part)
        pairs.append((start, ends))
    return tuple(pairs)


def quiet_until(hours: tuple[tuple[time, time], ...], now: datetime) -> datetime | None:
    """When the quiet hours end that `now` (in their zone) lies in; None outside of them.

    By the wall clock: an hour that is set forward or back counts as the clock on the wall says.
    Hours that follow one another without a break are one.
    """
    end: datetime | None = None
    moment = now
    for _each in range(len(hours) + 1):  # each pass may reach the next pair
        found = _end_of(hours, moment)
        if found is None or (end is not None and found <= end):
            return end
        end = moment = found
    return end


def _end_of(hours: tuple[tuple[time, time], ...], now: datetime) -> datetime | None:
    clock = now.time().replace(tzinfo=None)
    ends = []
    for start, end in hours:
        over_night = end <= start
        inside = clock >= start or clock < end if over_night else start <= clock < end
        if inside:
            day = now.date() + timedelta(days=1 if over_night and clock >= start else 0)
            ends.append(datetime.combine(day, end, now.tzinfo))
    return max(ends) if ends else None
