"""The modules that all others use: records, errors, timestamps, strict JSON, clocks."""
