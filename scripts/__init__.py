"""Tools for the developers of this project."""
