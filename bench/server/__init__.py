"""The server: clients that wait for changes."""
