"""A DynamoDB client without an SDK: signed HTTP requests. It knows nothing about projects or change logs."""
