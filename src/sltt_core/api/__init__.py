"""The REST API as a function from `Request` to `Response`, without a server, a framework or network access."""
