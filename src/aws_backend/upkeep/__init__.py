"""A damaged log in DynamoDB: found (`audit`) and repaired (`repair`)."""
