"""The local server (extra `server`): the REST API on uvicorn, with any storage."""
