"""`sltt serve` with the settings `AUTH_…`: a real process, and an issuer with a real port."""

from __future__ import annotations

from pathlib import Path

import httpx

from tests.sltt_core.auth.issuers import running_issuer
from tests.sltt_core.auth.samples import SECRET, SETTINGS, b64, ec_jwk, key_set, rsa_jwk, secret_jwk, token
from tests.sltt_core.server.command import read_banner, start_sltt

CHANGE = {"projectId": "ruth", "entityType": "note", "entityId": "n-1", "data": {}}


def test_the_keys_come_from_the_issuer_and_no_token_is_logged(tmp_path: Path) -> None:
    with running_issuer(key_set(rsa_jwk(), ec_jwk(), secret_jwk())) as issuer:
        settings = {**SETTINGS, "AUTH_JWKS": issuer.url}
        process = start_sltt("serve", "--port", "0", "--storage", f"sqlite:{tmp_path / 'a.db'}", **settings)
        with process:
            try:
                url, banner = read_banner(process)
                assert sum("-H 'Authorization: Bearer TOKEN'" in line for line in banner) == 3
                assert issuer.requests == []
                with httpx.Client(base_url=url, timeout=30) as client:
                    assert client.post("/api/changes", json=[CHANGE]).status_code == 401
                    texts = [token("RS256"), token("ES256"), token("HS256")]
                    statuses = [
                        client.post(
                            "/api/changes", json=[CHANGE], headers={"authorization": f"Bearer {text}"}
                        ).status_code
                        for text in texts
                    ]
                    assert statuses == [200, 200, 401]  # a secret at a URL is none
                    page = client.get("/api/projects/ruth/changes", headers={"authorization": f"Bearer {texts[0]}"})
                    assert [change["changeBy"] for change in page.json()["changes"]] == [
                        "anna"
                    ] * 3  # the first is the grant to the owner
                    metadata = client.get("/.well-known/oauth-protected-resource").json()
                    assert metadata["resource"] == url
            finally:
                process.terminate()
            out, err = process.communicate(timeout=30)
        assert issuer.requests == ["GET /keys?v=1"]
    assert "/api/changes" in err
    assert not any(part in out + err for text in texts for part in text.split("."))


def test_half_of_the_settings_end_the_start(tmp_path: Path) -> None:
    settings = {**SETTINGS, "AUTH_AUDIENCE": ""}
    with start_sltt("serve", "--port", "0", "--storage", f"sqlite:{tmp_path / 'a.db'}", **settings) as process:
        out, err = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "the setting AUTH_AUDIENCE is missing, but AUTH_ISSUER, AUTH_JWKS" in err
    assert "Hint: Set AUTH_ISSUER, AUTH_AUDIENCE and AUTH_JWKS, or none of them." in err
    assert b64(SECRET) not in out + err
    assert not (tmp_path / "a.db").exists()
