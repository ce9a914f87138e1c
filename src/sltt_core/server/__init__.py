"""The local server (extra `server`): the REST API on uvicorn, any storage behind it."""
