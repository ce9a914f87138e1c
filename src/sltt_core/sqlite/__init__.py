"""The change log in an SQLite file."""
