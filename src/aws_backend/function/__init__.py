"""The REST API as a Lambda function."""
