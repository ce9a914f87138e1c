"""An HTTP/1.1 client for DynamoDB and for sync."""
