"""A change: its fields, how they are checked, and the hash chain."""
