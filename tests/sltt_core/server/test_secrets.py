"""The secrets of device tokens and invitations are in no line of the server's log, whatever becomes of the request."""

from __future__ import annotations

import io
import json
import logging
from typing import TYPE_CHECKING

import httpx
import pytest

from sltt_core.api.access import LIST, AllowAll
from sltt_core.api.device_tokens import DeviceTokens
from sltt_core.base.errors import StorageUnavailable
from sltt_core.server.access_log import AccessLog
from sltt_core.server.rest_api_server import RestApiServer
from sltt_core.sqlite.storage import LocalStorageService

if TYPE_CHECKING:
    from pathlib import Path

    from sltt_core.api.access import Principal


class Failing(AllowAll):
    """Fails in a handler, after it has read the body."""

    error: Exception | None = None

    def authorize(self, principal: Principal | None, action: str, project_id: str | None) -> None:
        if self.error is not None and action == LIST:
            raise self.error


def test_no_log_line_has_a_secret(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    stream = io.StringIO()
    caplog.set_level(logging.DEBUG)
    access_log, access = AccessLog(stream), Failing()
    storage = LocalStorageService(tmp_path / "log.db")
    server = RestApiServer(storage=storage, access_log=access_log, access=access)
    server.start(port=0)
    try:
        with httpx.Client(base_url=server.url) as client:
            token = client.post("/api/projects/p/tokens", json={"name": "tablet", "role": "editor"}).json()["token"]
            code = client.post("/api/projects/p/invitations", json={"role": "editor"}).json()["code"]
            bearer = {"authorization": f"Bearer {token}"}
            client.get("/api/projects/p/tokens", headers=bearer)
            statuses = []
            for error in (None, StorageUnavailable("no response"), RuntimeError("a bug")):
                access.error = error
                for body in ({"code": code}, {"code": code + "x"}, {"code": [code]}, {"code": code, "more": code}):
                    statuses.append(client.post("/api/invitations/accept", json=body, headers=bearer).status_code)
            assert statuses == [403, 403, 400, 400, 503, 503, 400, 400, 500, 500, 400, 400]
        with pytest.raises(Exception, match="not valid") as caught:
            DeviceTokens(storage).use_token(token[:-1])
    finally:
        server.stop()
    lines = stream.getvalue() + caplog.text + str(caught.value)
    assert "a bug" in caplog.text
    assert len(stream.getvalue().splitlines()) == 15
    assert all(json.loads(line) for line in stream.getvalue().splitlines())
    for secret in (token, code):
        assert secret.partition("_")[2].partition("_")[2][:43] not in lines
