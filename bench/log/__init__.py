"""The log on SQLite: rates, growth and memory, in Python and over HTTP."""
