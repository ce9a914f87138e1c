"""Points in time as ISO 8601 text in UTC, without `datetime`, whose import takes longer than a request.

`normalise` converts a time to UTC. It keeps every digit of the second's fraction.
"""

from __future__ import annotations

from time import gmtime, time_ns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Clock = Callable[[], int]
    """A clock: nanoseconds since 1970-01-01T00:00:00Z, as `time.time_ns` returns them."""

_DAYS = (0, 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_DAYS_TO_1970 = 719_468  # from 0000-03-01, day 0 of `_days`
MAX_FRACTION = 9
"""Digits of a second's fraction; more are refused, not truncated."""


def format_utc(nanoseconds: int) -> str:
    """Format nanoseconds since 1970 with milliseconds, as JavaScript and Dart do: `2025-03-01T09:30:00.123Z`."""
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    t = gmtime(seconds)
    return (
        f"{t.tm_year:04}-{t.tm_mon:02}-{t.tm_mday:02}T{t.tm_hour:02}:{t.tm_min:02}:{t.tm_sec:02}"
        f".{rest // 1_000_000:03}Z"
    )


def now_utc(clock: Clock = time_ns) -> str:
    """Return the current time as `format_utc` writes it."""
    return format_utc(clock())


def normalise(text: str) -> str:
    """Return the same instant in UTC, ending in `Z`; raises `ValueError` with the reason.

    Accepts `YYYY-MM-DDTHH:MM[:SS[.fraction]]` with `T`, `t` or a space between date and time, and a zone `Z`, `z`,
    `±HH:MM`, `±HHMM` or `±HH`. A time without a zone is UTC, because clients send UTC without one. Refuses times that
    clocks never show: 30 February, 24:00, a leap second (23:59:60).
    """
    if not text.isascii():
        raise ValueError("is not an ISO 8601 time")
    year, month, day = _number(text, 0, 4), _number(text, 5, 2), _number(text, 8, 2)
    hour, minute = _number(text, 11, 2), _number(text, 14, 2)
    if text[4] != "-" or text[7] != "-" or text[10] not in "Tt " or text[13] != ":":
        raise ValueError("is not an ISO 8601 time, like 2025-03-01T09:30:00.123Z")
    second, fraction, at = 0, "", 16
    if text[at : at + 1] == ":":
        second = _number(text, 17, 2)
        at = 19
        if text[at : at + 1] in (".", ","):
            start = at = at + 1
            while text[at : at + 1].isdigit():
                at += 1
            fraction = text[start:at]
            if not fraction:
                raise ValueError("has no digits in the fraction of the second")
            if len(fraction) > MAX_FRACTION:
                raise ValueError(f"has more than {MAX_FRACTION} digits in the fraction of the second")
    _check(month=(month, 1, 12), hour=(hour, 0, 23), minute=(minute, 0, 59), second=(second, 0, 59))
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    _check(year=(year, 1, 9999), day=(day, 1, 28 if month == 2 and not leap else _DAYS[month]))
    offset = _offset_minutes(text[at:])
    if offset:
        days, minutes = divmod(_days(year, month, day) * 1440 + hour * 60 + minute - offset, 1440)
        year, month, day = _date(days)
        hour, minute = divmod(minutes, 60)
        _check(year=(year, 1, 9999))
    point = f".{fraction}" if fraction else ""
    return f"{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{point}Z"


def seconds_of(text: str) -> float:
    """Return the seconds since 1970 of a result of `normalise`; raises `ValueError` for any other text."""
    text = normalise(text)
    days = _days(int(text[:4]), int(text[5:7]), int(text[8:10])) - _DAYS_TO_1970
    return days * 86_400 + int(text[11:13]) * 3600 + int(text[14:16]) * 60 + float(text[17:-1])


def is_time(text: str) -> bool:
    """Return whether `normalise` accepts a text. A time in a minute that was checked before costs two look-ups."""
    if text[:16] not in _minutes or text[16:].translate(_ZEROS) not in _ENDS or text[17] > "5":
        if text != normalise(text):
            return True  # `normalise` accepts it, but it is not in normal form
        if len(_minutes) >= MAX_MINUTES:
            _minutes.clear()
        _minutes.add(text[:16])
    return True


_minutes: set[str] = set()
"""The first 16 characters of times in normal form: `2025-03-01T09:30`."""
MAX_MINUTES = 10_000
_ENDS = {":00Z", *(f":00.{'0' * digits}Z" for digits in range(1, MAX_FRACTION + 1))}
_ZEROS = str.maketrans("123456789", "000000000")


def is_same(one: str, other: str) -> bool:
    """Return whether two results of `normalise` are the same instant, such as `…09:30:00Z` and `…09:30:00.000Z`."""
    return _shortest(one) == _shortest(other)


def _shortest(text: str) -> str:
    return text[:-1].rstrip("0").rstrip(".") if "." in text else text[:-1]


def parse_http_date(text: str) -> float | None:
    """Parse the date of an HTTP header (RFC 9110, section 5.6.7: `Sun, 06 Nov 1994 08:49:37 GMT`).

    Returns seconds since 1970, or `None` for any other text, including the two obsolete forms.
    """
    parts = text.replace(":", " ").split()
    if len(text) != 29 or len(parts) != 8 or parts[7] != "GMT" or parts[2] not in _MONTHS:
        return None
    day, year, hour, minute, second = (parts[place] for place in (1, 3, 4, 5, 6))
    if not f"{day}{year}{hour}{minute}{second}".isdigit() or not text.isascii():
        return None
    days = _days(int(year), _MONTHS.index(parts[2]) + 1, int(day)) - _DAYS_TO_1970
    return days * 86_400 + int(hour) * 3600 + int(minute) * 60 + float(second)


def _number(text: str, at: int, length: int) -> int:
    digits = text[at : at + length]
    if len(digits) != length or not digits.isdigit():
        raise ValueError("is not an ISO 8601 time, like 2025-03-01T09:30:00.123Z")
    return int(digits)


def _check(**ranges: tuple[int, int, int]) -> None:
    for name, (value, low, high) in ranges.items():
        if not low <= value <= high:
            raise ValueError(f"has the {name} {value}, which is not from {low} to {high}")


def _offset_minutes(zone: str) -> int:
    if zone in ("", "Z", "z"):
        return 0
    digits = zone[1:3] + zone[4:] if zone[3:4] == ":" and len(zone) == 6 else zone[1:]
    if zone[0] not in "+-" or len(digits) not in (2, 4) or not digits.isdigit():
        raise ValueError(f"has the zone {zone!r}, which is not valid: Z, +HH:MM, +HHMM or +HH")
    hours, minutes = int(digits[:2]), int(digits[2:] or 0)
    _check(**{"zone hour": (hours, 0, 23), "zone minute": (minutes, 0, 59)})
    return (hours * 60 + minutes) * (-1 if zone[0] == "-" else 1)


def _days(year: int, month: int, day: int) -> int:
    """Return the days since 0000-03-01 of the proleptic Gregorian calendar.

    The algorithm is Howard Hinnant's `days_from_civil`, https://howardhinnant.github.io/date_algorithms.html, which
    counts in eras of 400 years.
    """
    year -= month <= 2
    era, of_era = divmod(year, 400)
    of_year = (153 * (month + (-3 if month > 2 else 9)) + 2) // 5 + day - 1
    return era * 146097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year


def _date(days: int) -> tuple[int, int, int]:
    """Return year, month and day of a result of `_days` (`civil_from_days` of the same source)."""
    era, of_era = divmod(days, 146097)
    year = (of_era - of_era // 1460 + of_era // 36524 - of_era // 146096) // 365
    of_year = of_era - (365 * year + year // 4 - year // 100)
    shifted = (5 * of_year + 2) // 153
    month = shifted + 3 if shifted < 10 else shifted - 9
    return year + era * 400 + (month <= 2), month, of_year - (153 * shifted + 2) // 5 + 1
