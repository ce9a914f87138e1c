"""Benches of the REST API."""
