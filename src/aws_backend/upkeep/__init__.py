"""Finds damage of a log in DynamoDB (`audit`) and repairs it (`repair`)."""
