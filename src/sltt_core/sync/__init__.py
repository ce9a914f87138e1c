"""The device's half of sync, and the client of the REST API."""
