"""Two demonstrations, and what they are made of.

- `make demo`, or `python examples/demo.py`: the real server on an empty SQLite log, driven over HTTP.
- `python -m examples.dynamodb_demo`: the Python API on a local DynamoDB, which `make dynamodb` starts; then a server.

Both check everything they show, and stop at the first promise that does not hold. `data` has the two histories that
are appended, `support` the HTTP client, the steps of the demonstration, and what they print.
"""
