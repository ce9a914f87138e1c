"""Two demonstrations, and the modules that they use.

- `make demo`, or `python examples/demo.py`: the real server on an empty SQLite log, driven over HTTP.
- `python -m examples.dynamodb_demo`: the Python API on a local DynamoDB, which `make dynamodb` starts; then a server.

Both check everything that they show, and stop at the first promise that does not hold. `data` contains the two
histories that are appended. `support` contains the HTTP client, the steps and the report.
"""
