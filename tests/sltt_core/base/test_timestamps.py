from __future__ import annotations

import re
from calendar import monthrange
from datetime import UTC, datetime, timedelta, timezone
from email.utils import formatdate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sltt_core.base.timestamps import format_utc, is_same, normalise, now_utc, parse_http_date

TAKEN = [
    ("2025-03-01T09:30:00.123Z", "2025-03-01T09:30:00.123Z"),
    # Without a zone it is UTC; seconds may be missing.
    ("2025-03-01T09:30:00", "2025-03-01T09:30:00Z"),
    ("2025-03-01T09:30", "2025-03-01T09:30:00Z"),
    ("2025-03-01T09:30Z", "2025-03-01T09:30:00Z"),
    ("2025-03-01T09:30+01:00", "2025-03-01T08:30:00Z"),
    ("2025-03-01 09:30:00", "2025-03-01T09:30:00Z"),
    ("2025-03-01t09:30:00z", "2025-03-01T09:30:00Z"),
    # Every digit of the fraction is kept, and none is added.
    ("2025-03-01T09:30:00.1Z", "2025-03-01T09:30:00.1Z"),
    ("2025-03-01T09:30:00.10Z", "2025-03-01T09:30:00.10Z"),
    ("2025-03-01T09:30:00.000Z", "2025-03-01T09:30:00.000Z"),
    ("2025-03-01T09:30:00.123456Z", "2025-03-01T09:30:00.123456Z"),
    ("2025-03-01T09:30:00.123456789Z", "2025-03-01T09:30:00.123456789Z"),
    ("2025-03-01T09:30:00,5", "2025-03-01T09:30:00.5Z"),
    ("2025-03-01T09:30:00.999999999+00:01", "2025-03-01T09:29:00.999999999Z"),
    # Zones.
    ("2025-03-01T09:30:00+0200", "2025-03-01T07:30:00Z"),
    ("2025-03-01T09:30:00+02", "2025-03-01T07:30:00Z"),
    ("2025-03-01T09:30:00-02:30", "2025-03-01T12:00:00Z"),
    ("2025-03-01T09:30:00+00:00", "2025-03-01T09:30:00Z"),
    ("2025-03-01T09:30:00-00:00", "2025-03-01T09:30:00Z"),
    ("2025-03-01T09:30:00+05:45", "2025-03-01T03:45:00Z"),
    ("2025-03-01T09:30:00+14:00", "2025-02-28T19:30:00Z"),
    ("2025-03-01T00:00:00+23:59", "2025-02-28T00:01:00Z"),
    ("2025-12-31T23:59:59-00:01", "2026-01-01T00:00:59Z"),
    ("2024-03-01T00:00:00+00:01", "2024-02-29T23:59:00Z"),
    ("1900-03-01T00:00:00+00:01", "1900-02-28T23:59:00Z"),
    ("2000-03-01T00:00:00+00:01", "2000-02-29T23:59:00Z"),
    # The limits of the calendar, and leap days.
    ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
    ("9999-12-31T23:59:59.999Z", "9999-12-31T23:59:59.999Z"),
    ("0001-01-01T00:00:00-00:01", "0001-01-01T00:01:00Z"),
    ("9999-12-31T23:59:59+00:01", "9999-12-31T23:58:59Z"),
    ("2024-02-29T12:00:00Z", "2024-02-29T12:00:00Z"),
    ("2000-02-29T12:00:00Z", "2000-02-29T12:00:00Z"),
]

REFUSED = [
    # Times that clocks never show.
    *("2025-02-29T09:30:00Z", "1900-02-29T09:30:00Z", "2025-02-30T09:30:00Z", "2025-04-31T09:30:00Z"),
    *("2025-00-01T09:30:00Z", "2025-13-01T09:30:00Z", "2025-03-00T09:30:00Z", "2025-03-32T09:30:00Z"),
    *("2025-03-01T24:00:00Z", "2025-03-01T09:60:00Z", "2025-03-01T09:30:60Z", "2016-12-31T23:59:60Z"),
    *("0000-01-01T00:00:00Z", "0001-01-01T00:00:00+00:01", "9999-12-31T23:59:59-00:01"),
    # Fractions.
    *("2025-03-01T09:30:00.Z", "2025-03-01T09:30:00.", "2025-03-01T09:30:00.1234567890Z", "2025-03-01T09:30:00.1.2Z"),
    *("2025-03-01T09:30.5Z", "2025-03-01T09:30:00.-5Z", "2025-03-01T09:30:00.1_0Z", "2025-03-01T09:30:00 .5Z"),
    # Zones.
    *("2025-03-01T09:30:00+24:00", "2025-03-01T09:30:00+02:60", "2025-03-01T09:30:00+2", "2025-03-01T09:30:00+02:0"),
    *("2025-03-01T09:30:00+02:", "2025-03-01T09:30:00+", "2025-03-01T09:30:00+:0200", "2025-03-01T09:30:00+020"),
    *("2025-03-01T09:30:00+02:00:00", "2025-03-01T09:30:00+0:200", "2025-03-01T09:30:00 +02:00"),
    *("2025-03-01T09:30:00+02:000", "2025-03-01T09:30:00++2:00", "2025-03-01T09:30:00+020:0"),
    *("2025-03-01T09:30:00ZZ", "2025-03-01T09:30:00Z+00:00", "2025-03-01T09:30:00 UTC", "2025-03-01T09:30:00CET"),
    # Other forms.
    *("", "Z", "2025", "2025-03-01", "2025-03-01T", "2025-03-01T09", "2025-03-01T09:", "2025-03-01T09:3", "09:30:00Z"),
    *("20250301T093000Z", "2025-3-1T09:30:00Z", "2025-060T09:30:00Z", "2025-W09-6T09:30:00Z", "25-03-01T09:30:00Z"),
    *("2025/03/01T09:30:00Z", "2025-03-01_09:30:00Z", "2025-03-01T09.30.00Z", "2025-03-01T09:30:0Z", "1740821400123"),
    *("2025-03-01T09:30:", "2025-03-01T09:30:Z", "2025-03-01T09-30:00Z", "+2025-03-01T09:30:00Z"),
    *(" 2025-03-01T09:30:00Z", "2025-03-01T09:30:00Z ", "2025-03-01T09:30:00Z\n", "2025-03-01T09:30:00\0Z"),
    *("2025-03- 1T09:30:00Z", "2025-03-+1T09:30:00Z", "202_-03-01T09:30:00Z", "0x25-03-01T09:30:00Z"),
    "-025-03-01T09:30:00Z",
    # Digits that are not ASCII.
    *("\u0662\u0660\u0662\u0665-03-01T09:30:00Z", "2025-03-01T09:30:\uff10\uff10Z", "2025-03-01T09:30:00.\u00b2Z"),
    *("2025-03-01T09:30:00\u221202:00", "2025\u201103\u201101T09:30:00Z"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "same"), TAKEN)
def test_a_time_is_written_in_utc(text: str, same: str) -> None:
    assert normalise(text) == same


@pytest.mark.parametrize("text", REFUSED)
def test_an_invalid_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^(is not an ISO 8601 time|has (a|the|no|more) )"):
        normalise(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("tomorrow", "is not an ISO 8601 time, like 2025-03-01T09:30:00.123Z"),
        ("2025-13-01T09:30Z", "has the month 13, which is not from 1 to 12"),
        ("2025-02-29T09:30Z", "has the day 29, which is not from 1 to 28"),
        ("2025-03-01T24:00Z", "has the hour 24, which is not from 0 to 23"),
        ("2025-03-01T09:30:60Z", "has the second 60, which is not from 0 to 59"),
        ("2025-03-01T09:30:00.0123456789Z", "has more than 9 digits in the fraction of the second"),
        ("2025-03-01T09:30:00.Z", "has no digits in the fraction of the second"),
        ("2025-03-01T09:30:00 CET", "has the zone ' CET', which is not valid: Z, +HH:MM, +HHMM or +HH"),
        ("2025-03-01T09:30:00+99:00", "has the zone hour 99, which is not from 0 to 23"),
        ("2025-03-01T09:30:00+02:60", "has the zone minute 60, which is not from 0 to 59"),
        ("0001-01-01T00:00+01:00", "has the year 0, which is not from 1 to 9999"),
    ],
)
def test_the_error_contains_the_reason(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(reason)}$"):
        normalise(text)


@pytest.mark.parametrize("year", [1900, 2000, 2023, 2024])
@pytest.mark.parametrize("month", range(1, 13))
def test_each_month_has_its_number_of_days(year: int, month: int) -> None:
    last = monthrange(year, month)[1]
    assert normalise(f"{year}-{month:02}-{last}T09:30") == f"{year}-{month:02}-{last}T09:30:00Z"
    with pytest.raises(ValueError, match=f"has the day {last + 1}, which is not from 1 to {last}"):
        normalise(f"{year}-{month:02}-{last + 1}T09:30")


offsets = st.integers(-23 * 60 - 59, 23 * 60 + 59)


@settings(deadline=None, max_examples=300)
@given(st.datetimes(), offsets, st.sampled_from("Tt "), st.integers(0, 9), st.sampled_from(["%H:%M", "%H%M"]))
def test_it_agrees_with_datetime(moment: datetime, offset: int, between: str, digits: int, style: str) -> None:
    zone = f"{'-' if offset < 0 else '+'}{timedelta_text(abs(offset), style)}"
    fraction = f"{moment.microsecond:06}789"[:digits]
    point = f".{fraction}" if fraction else ""
    local = f"{moment:%m-%d}{between}{moment:%H:%M:%S}"
    text = f"{moment.year:04}-{local}{point}{zone}"
    try:
        utc = moment.replace(microsecond=0, tzinfo=timezone(timedelta(minutes=offset))).astimezone(UTC)
    except OverflowError:
        with pytest.raises(ValueError, match="has the year"):
            normalise(text)
        return
    expected = f"{utc.replace(tzinfo=None).isoformat()}{point}Z"
    assert normalise(text) == expected
    assert normalise(expected) == expected


def timedelta_text(minutes: int, style: str) -> str:
    return style.replace("%H", f"{minutes // 60:02}").replace("%M", f"{minutes % 60:02}")


@settings(deadline=None, max_examples=200)
@given(st.dates(), st.sampled_from([-1, 1]))
def test_zones_change_to_the_right_neighbouring_day(day: object, step: int) -> None:
    noon = datetime.fromisoformat(f"{day}T12:00:00+00:00")
    # Noon on the day before or after: 23:00-13:00 is 12:00Z on the next day, 01:00+13:00 on the day before.
    text = f"{day}T{'23' if step > 0 else '01'}:00:00{'-' if step > 0 else '+'}13:00"
    try:
        expected = noon + timedelta(days=step)
    except OverflowError:
        with pytest.raises(ValueError, match="has the year"):
            normalise(text)
        return
    assert normalise(text) == f"{expected.replace(tzinfo=None).isoformat()}Z"


@settings(deadline=None, max_examples=300)
@given(
    st.text("0123456789-+:.,TtZz ", max_size=34)
    | st.text(max_size=30)
    | st.from_regex(r"[0-2][0-9]{3}-[01][0-9]-[0-3][0-9][Tt ][0-2][0-9]:[0-5][0-9](:[0-5]?[0-9]?(\.\d*)?)?.{0,7}")
)
def test_any_text_is_normalised_or_refused_with_a_reason(text: str) -> None:
    try:
        same = normalise(text)
    except ValueError as refusal:
        reason = str(refusal)
    else:
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z", same, re.ASCII)
        assert normalise(same) == same
        return
    assert re.match(r"is not an ISO 8601 time|has (a|the|no|more) ", reason)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2025-03-01T09:30:00Z", "2025-03-01T09:30:00Z", True),
        ("2025-03-01T09:30:00Z", "2025-03-01T09:30:00.000Z", True),
        ("2025-03-01T09:30:10.1Z", "2025-03-01T09:30:10.100Z", True),
        ("2025-03-01T09:30:10.0Z", "2025-03-01T09:30:10Z", True),
        ("2025-03-01T09:30:10Z", "2025-03-01T09:30:01Z", False),
        ("2025-03-01T09:30:10.01Z", "2025-03-01T09:30:10.1Z", False),
        ("2025-03-01T09:30:00Z", "2025-03-01T09:30:00.001Z", False),
        ("2025-03-01T09:30:00Z", "2025-03-02T09:30:00Z", False),
    ],
)
def test_trailing_zeros_do_not_change_an_instant(one: str, other: str, same: bool) -> None:
    assert is_same(one, other) is same
    assert is_same(other, one) is same


EPOCH = datetime(1970, 1, 1)


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1_740_821_400_123_456_789, "2025-03-01T09:30:00.123Z"),
        (999_999, "1970-01-01T00:00:00.000Z"),
        (1_000_000, "1970-01-01T00:00:00.001Z"),
        (999_999_999, "1970-01-01T00:00:00.999Z"),
        (-1, "1969-12-31T23:59:59.999Z"),
        (-1_000_000, "1969-12-31T23:59:59.999Z"),
        (-1_000_001, "1969-12-31T23:59:59.998Z"),
        (-1_000_000_000, "1969-12-31T23:59:59.000Z"),
        (951_782_400_000_000_000, "2000-02-29T00:00:00.000Z"),
        (-62_135_596_800_000_000_000, "0001-01-01T00:00:00.000Z"),
        (253_402_300_799_999_999_999, "9999-12-31T23:59:59.999Z"),
    ],
)
def test_an_instant_is_formatted_with_milliseconds_rounded_down(nanoseconds: int, text: str) -> None:
    assert format_utc(nanoseconds) == text


@settings(deadline=None, max_examples=200)
@given(st.integers(-62_135_596_800_000_000_000, 253_402_300_799_999_999_999))
def test_an_instant_is_formatted_as_datetime_does(nanoseconds: int) -> None:
    moment = EPOCH + timedelta(microseconds=nanoseconds // 1000)
    text = format_utc(nanoseconds)
    assert text == f"{moment.isoformat(timespec='milliseconds')}Z"
    assert normalise(text) == text


def test_now_utc_formats_the_time_of_the_clock() -> None:
    assert now_utc(lambda: 1_740_821_400_123_456_789) == "2025-03-01T09:30:00.123Z"
    before = datetime.now(UTC) - timedelta(milliseconds=1)
    now = datetime.fromisoformat(now_utc())
    assert before <= now <= datetime.now(UTC)


@pytest.mark.parametrize("seconds", [0, 784_111_777, 951_782_400, 1_740_821_400, 4_102_444_799, 253_402_300_799])
def test_an_http_date_is_read(seconds: int) -> None:
    assert parse_http_date(formatdate(seconds, usegmt=True)) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Sunday, 06-Nov-94 08:49:37 GMT",
        "Sun Nov  6 08:49:37 1994",
        "Sun, 06 Nov 1994 08:49:37 UTC",
        "Sun, 06 Now 1994 08:49:37 GMT",
        "Sun, xx Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 08:49:3٣ GMT",
    ],
)
def test_an_invalid_http_date_is_none(text: str) -> None:
    assert parse_http_date(text) is None
