"""Examples: two histories to append, a small HTTP client, and a demonstration of it all (`demo.py`)."""
