"""Credentials for a web identity and for an SSO login, from servers that respond as AWS's do."""

from __future__ import annotations

import json
from hashlib import sha1
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest

from aws_backend.dynamodb.sigv4 import Credentials
from tests.aws_backend.dynamodb.test_credentials import (
    CONFIG_FILE,
    CREDENTIALS_FILE,
    FOUND,
    KEY,
    LATER,
    NOW,
    SECRET,
    TOKEN,
    Places,
    Response,
    SeenRequest,
    failure,
    key_section,
    section,
    serving,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

ROLE = "arn:aws:iam::123456789012:role/deploy"
TOKEN_FILE = "/var/run/secrets/token"
JWT = "eyJSENTINEL.e30.c2ln"
EKS = {"AWS_WEB_IDENTITY_TOKEN_FILE": TOKEN_FILE, "AWS_ROLE_ARN": ROLE, "AWS_REGION": "eu-west-1"}


def sts_document(**changes: str) -> str:
    fields = {"AccessKeyId": KEY, "SecretAccessKey": SECRET, "SessionToken": TOKEN, "Expiration": LATER, **changes}
    inside = "".join(f"      <{name}>{value}</{name}>\n" for name, value in fields.items())
    return f"""<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
  <AssumeRoleWithWebIdentityResult>
    <Audience>sts.amazonaws.com</Audience>
    <AssumedRoleUser><AssumedRoleId>AROA:x</AssumedRoleId><Arn>arn</Arn></AssumedRoleUser>
    <Credentials>
{inside}    </Credentials>
  </AssumeRoleWithWebIdentityResult>
  <ResponseMetadata><RequestId>c6104cbe</RequestId></ResponseMetadata>
</AssumeRoleWithWebIdentityResponse>
"""


def with_token(config: str = "", **environ: str) -> Places:
    places = Places(**environ)
    places.files[TOKEN_FILE] = f"{JWT}\n"
    if config:
        places.files[CONFIG_FILE] = config
    return places


def posted(request: SeenRequest) -> Mapping[str, list[str]]:
    return parse_qs(request.body.decode(), strict_parsing=True)


STS_PLACES = {
    "environment": ("", EKS, "sts.eu-west-1.amazonaws.com"),
    "default region": ("", {**EKS, "AWS_REGION": "", "AWS_DEFAULT_REGION": "us-east-2"}, "sts.us-east-2.amazonaws.com"),
    "china": ("", {**EKS, "AWS_REGION": "cn-north-1"}, "sts.cn-north-1.amazonaws.com.cn"),
    "fips": ("", {**EKS, "AWS_USE_FIPS_ENDPOINT": "true"}, "sts-fips.eu-west-1.amazonaws.com"),
    "endpoint": ("", {**EKS, "AWS_ENDPOINT_URL_STS": "https://sts.example.org"}, "sts.example.org"),
    "profile": (
        section("profile ci", role_arn=ROLE, web_identity_token_file=TOKEN_FILE, region="eu-west-1"),
        {"AWS_PROFILE": "ci"},
        "sts.eu-west-1.amazonaws.com",
    ),
}


@pytest.mark.parametrize(("config", "environ", "host"), STS_PLACES.values(), ids=STS_PLACES)
def test_a_web_identity_gets_credentials(config: str, environ: dict[str, str], host: str) -> None:
    places = with_token(config, **environ)
    with serving(lambda _: Response(200, sts_document())) as service:
        places.services["https", host, 443] = service
        assert places.get() == FOUND
    (request,) = service.requests
    assert (request.method, request.path, request.headers["host"]) == ("POST", "/", host)
    assert "authorization" not in request.headers
    assert posted(request) == {
        "Action": ["AssumeRoleWithWebIdentity"],
        "Version": ["2011-06-15"],
        "RoleArn": [ROLE],
        "RoleSessionName": [f"sltt-{int(NOW)}"],
        "WebIdentityToken": [JWT],
    }


def test_a_session_may_have_a_name_and_the_token_is_read_each_time() -> None:
    places = with_token(**EKS, AWS_ROLE_SESSION_NAME="deploy")
    with serving(lambda _: Response(200, sts_document())) as service:
        places.services["https", "sts.eu-west-1.amazonaws.com", 443] = service
        chain = places.chain()
        chain.get()
        places.files[TOKEN_FILE] = "another"
        places.now = NOW + 6 * 3600 - 60
        chain.get()
    assert [posted(request)["WebIdentityToken"] for request in service.requests] == [[JWT], ["another"]]
    assert posted(service.requests[0])["RoleSessionName"] == ["deploy"]


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (400, "<ErrorResponse><Error><Code>ExpiredTokenException</Code></Error></ErrorResponse>", "400: ExpiredToken"),
        (403, "<ErrorResponse><Error><Code>AccessDenied</Code></Error></ErrorResponse>", "status 403: AccessDenied"),
        (403, "<html>SENTINEL</html>", "status 403"),
        (400, "<Code>SENTINEL !</Code>", "status 400"),
        (200, "", "does not contain credentials"),
        (200, "<html>SENTINEL</html>", "does not contain credentials"),
        (200, sts_document(SecretAccessKey=""), "does not contain credentials"),
        (200, sts_document(SecretAccessKey="SENTINEL&lt;"), "does not contain credentials"),
        (200, sts_document(SessionToken="<a>SENTINEL</a>"), "does not contain credentials"),
        (200, sts_document().replace("Credentials>", "Credential>"), "does not contain credentials"),
        (200, sts_document() + sts_document(), "does not contain credentials"),
        (200, "<!DOCTYPE x>" + sts_document(), "does not contain credentials"),
        (200, sts_document().replace("AssumeRoleWith", "GetRoleWith"), "does not contain credentials"),
        (200, sts_document(SecretAccessKey="SENTINEL x"), "SecretAccessKey is not valid"),
        (200, sts_document(Expiration="SENTINEL"), "Expiration is not an ISO 8601 time"),
        (200, sts_document(Expiration="2025-03-01T09:29:59Z"), "they have expired"),
        (500, "SENTINEL", "status 500"),
    ],
)
def test_a_web_identity_that_is_refused(status: int, body: str, reason: str) -> None:
    places = with_token(**EKS)
    places.files[CREDENTIALS_FILE] = key_section("default", "OTHER")
    with serving(lambda _: Response(status, body)) as service:
        places.services["https", "sts.eu-west-1.amazonaws.com", 443] = service
        message = failure(places.get).message
    assert "web identity" in message
    assert reason in message


@pytest.mark.parametrize(
    ("file", "environ", "reason"),
    [
        (FileNotFoundError(2, "No such file or directory"), {}, "token file does not exist"),
        (PermissionError(13, "Permission denied", "/SENTINEL"), {}, "token file cannot be read (Permission denied)"),
        (ValueError("SENTINEL"), {}, "token file is not UTF-8"),
        ("", {}, "token file does not contain a token"),
        ("SENTINEL x", {}, "token file does not contain a token"),
        (JWT, {"AWS_REGION": ""}, "a web identity needs a region; set AWS_REGION"),
        (JWT, {"AWS_REGION": "eu/west"}, "the region is not valid"),
        (JWT, {"AWS_ROLE_ARN": ""}, "AWS_ROLE_ARN is not"),
    ],
)
def test_a_web_identity_that_is_not_complete(file: Any, environ: dict[str, str], reason: str) -> None:
    places = with_token(**{**EKS, **environ})
    places.files[TOKEN_FILE] = file
    places.files[CREDENTIALS_FILE] = key_section("default", "OTHER")
    assert reason in failure(places.get).message
    assert not places.opened


# SSO

SSO = {"sso_account_id": "123456789012", "sso_role_name": "Deployer"}
START = "https://team.awsapps.com/start"
SESSION = section("profile p", sso_session="team", **SSO) + section(
    "sso-session team", sso_region="eu-west-1", sso_start_url=START
)
LEGACY = section("profile p", sso_start_url=START, sso_region="eu-west-1", **SSO)
LOGIN = "run: aws sso login --profile p"


def login_file(name: str) -> str:
    return f"/home/u/.aws/sso/cache/{sha1(name.encode()).hexdigest()}.json"


def login(**changes: Any) -> str:
    return json.dumps({"accessToken": "aoa-SENTINEL", "expiresAt": LATER, "region": "eu-west-1", **changes})


def role_credentials(**changes: Any) -> str:
    expiration = int((NOW + 6 * 3600) * 1000)
    keys = {"accessKeyId": KEY, "secretAccessKey": SECRET, "sessionToken": TOKEN, "expiration": expiration, **changes}
    return json.dumps({"roleCredentials": keys})


def logged_in(config: str = SESSION, name: str = "team", text: str | None = None) -> Places:
    places = Places(AWS_PROFILE="p")
    places.files[CONFIG_FILE] = config
    places.files[login_file(name)] = login() if text is None else text
    return places


@pytest.mark.parametrize(("config", "name"), [(SESSION, "team"), (LEGACY, START)])
def test_an_sso_login_gets_credentials(config: str, name: str) -> None:
    places = logged_in(config, name)
    with serving(lambda _: Response(200, role_credentials())) as service:
        places.services["https", "portal.sso.eu-west-1.amazonaws.com", 443] = service
        assert places.get() == Credentials(KEY, SECRET, TOKEN, NOW + 6 * 3600)
    (request,) = service.requests
    url = urlsplit(request.path)
    assert (request.method, url.path) == ("GET", "/federation/credentials")
    assert parse_qs(url.query) == {"account_id": ["123456789012"], "role_name": ["Deployer"]}
    assert request.headers["x-amz-sso_bearer_token"] == "aoa-SENTINEL"
    assert "authorization" not in request.headers


def test_the_old_form_of_an_expiry() -> None:
    places = logged_in(LEGACY, START, login(expiresAt="2025-03-01T15:30:00UTC"))
    with serving(lambda _: Response(200, role_credentials())) as service:
        places.services["https", "portal.sso.eu-west-1.amazonaws.com", 443] = service
        assert places.get().access_key == KEY


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (login(expiresAt="2025-03-01T09:30:00Z"), f"the SSO login has expired; {LOGIN}"),
        (login(accessToken=""), f"the SSO login is not valid; {LOGIN}"),
        (login(accessToken=["SENTINEL"]), f"the SSO login is not valid; {LOGIN}"),
        (login(expiresAt=7), f"the SSO login is not valid; {LOGIN}"),
        (login(expiresAt="SENTINEL"), "expiresAt is not an ISO 8601 time"),
        ("SENTINEL", "the SSO login is not a JSON object"),
    ],
)
def test_an_sso_login_that_cannot_be_used_names_the_command(text: str, reason: str) -> None:
    assert reason in failure(logged_in(text=text).get).message


def test_a_missing_sso_login_names_the_command() -> None:
    places = logged_in()
    del places.files[login_file("team")]
    places.files[CREDENTIALS_FILE] = key_section("p", "OTHER")
    assert f"the SSO login does not exist; {LOGIN}" in failure(places.get).message
    places.environ["AWS_PROFILE"] = "my own"
    places.files[CONFIG_FILE] = SESSION.replace("profile p", "profile my own")
    assert 'run: aws sso login --profile "my own"' in failure(places.get).message


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        (Response(401, '{"message":"SENTINEL"}'), f"the SSO login is not accepted; {LOGIN}"),
        (Response(403, '{"message":"SENTINEL"}'), "status 403; check sso_account_id and sso_role_name"),
        (Response(200, "SENTINEL"), "is not a JSON object"),
        (Response(200, "{}"), "does not contain roleCredentials"),
        (Response(200, '{"roleCredentials": ["SENTINEL"]}'), "does not contain roleCredentials"),
        (Response(200, role_credentials(expiration="SENTINEL")), "is not complete"),
        (Response(200, role_credentials(expiration=True)), "is not complete"),
        (Response(200, role_credentials(sessionToken="")), "is not complete"),
        (Response(200, role_credentials(accessKeyId="")), "accessKeyId is missing"),
        (Response(200, role_credentials(secretAccessKey=7)), "secretAccessKey is not valid"),
        (Response(200, role_credentials(expiration=1000)), "they have expired"),
    ],
)
def test_an_sso_login_that_is_refused(response: Response, reason: str) -> None:
    places = logged_in()
    with serving(lambda _: response) as service:
        places.services["https", "portal.sso.eu-west-1.amazonaws.com", 443] = service
        assert reason in failure(places.get).message


@pytest.mark.parametrize("missing", ["sso_region", "sso_start_url", "sso_account_id", "sso_role_name"])
@pytest.mark.parametrize("config", [SESSION, LEGACY])
def test_an_sso_profile_that_is_not_complete_names_what_is_missing(config: str, missing: str) -> None:
    lines = [line for line in config.splitlines() if not line.startswith(missing)]
    assert (
        f"'p' uses SSO, but has no {missing}; run: aws configure sso"
        in failure(logged_in("\n".join(lines)).get).message
    )


@pytest.mark.parametrize("key", ["source_profile", "credential_source"])
def test_a_role_by_another_profile_names_the_setting_that_works(key: str) -> None:
    places = Places(AWS_PROFILE="p")
    places.files[CONFIG_FILE] = section("profile p", role_arn=ROLE, **{key: "base"}) + key_section("profile base", "A")
    message = failure(places.get).message
    assert "'p' has role_arn, which is not supported; set AWS_PROFILE to a new profile" in message
    assert "credential_process = aws configure export-credentials --format process --profile p" in message
