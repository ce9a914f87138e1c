"""Verification of credentials: JSON Web Tokens of a configured issuer, and the format of device tokens."""
