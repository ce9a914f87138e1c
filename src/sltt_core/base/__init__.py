"""What everything else stands on: records, errors, times, strict JSON."""
