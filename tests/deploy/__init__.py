"""Tests of the files in deploy/: offline, with AWS's own schemas, and compared with the code."""
