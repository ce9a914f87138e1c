"""Schedules with devices: real devices sync with the API, whose storage is on the simulated DynamoDB."""
