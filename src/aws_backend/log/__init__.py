"""The change log in a DynamoDB table: items, transactions, reads."""
