"""Changes: their fields, their checks, and the hash chain."""
