"""The change log in a DynamoDB table: its items, transactions and reads."""
