"""Benches of the verification of credentials."""
