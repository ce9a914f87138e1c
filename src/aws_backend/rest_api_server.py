"""`AwsRestApiServer`: the REST API on a port of this machine, with a log in DynamoDB (extra `server`)."""

from __future__ import annotations

from aws_backend.settings import storage_from_environment
from sltt_core.server.rest_api_server import RestApiServer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from sltt_core.log.storage import BaseStorageService


class AwsRestApiServer(RestApiServer):
    """A `RestApiServer` whose default storage is the one that DYNAMODB_TABLE and the related variables name."""

    def __init__(self, *, storage: BaseStorageService | None = None, server_name: str = "sltt", **options: Any) -> None:
        """`options` are passed to `RestApiServer`. Raises `InvalidInput` as `storage_from_environment` does."""
        super().__init__(
            storage=storage_from_environment() if storage is None else storage, server_name=server_name, **options
        )
