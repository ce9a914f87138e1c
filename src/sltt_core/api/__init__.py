"""The REST API: no server, no framework, and no input or output of its own. `Request` in, `Response` out."""
