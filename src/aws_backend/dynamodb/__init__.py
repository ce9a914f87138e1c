"""How DynamoDB is called: signed HTTP without an SDK. Knows nothing of projects or logs."""
