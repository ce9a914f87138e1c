"""The command `sltt` (extra `cli`)."""
