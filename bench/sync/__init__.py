"""Benches of a device that syncs with a server, and its peers."""
