"""The start of a Lambda function: imports, and the time to the first change."""
