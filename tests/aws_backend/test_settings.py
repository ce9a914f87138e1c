"""Settings: the storage that the environment names, and the errors for invalid settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aws_backend.settings import open_dynamodb, storage_from_environment
from aws_backend.storage import LOCAL_ENDPOINT
from sltt_core.base.errors import InvalidInput
from sltt_core.http_client.transport import parse_origin

if TYPE_CHECKING:
    from collections.abc import Mapping

TABLE_CHARS = "abcXYZ019_.-"
TRUE = ("1", "true", "TRUE", " yes ", "On")
FALSE = ("0", "false", "False", "no", " off")


def place_of(environ: Mapping[str, str]) -> tuple[bool, str | None, str]:
    """Return whether the storage is local, its region, and its place."""
    storage = open_dynamodb("team", None, environ)
    return storage.local, storage.region, storage.place


@pytest.mark.parametrize(
    ("environ", "place"),
    [
        ({}, (False, None, "")),
        ({"DYNAMODB_REGION": "eu-west-1"}, (False, "eu-west-1", "")),
        ({"DYNAMODB_REGION": " "}, (False, None, "")),
        ({"USE_LOCAL_DYNAMODB": "true"}, (True, None, f"at {LOCAL_ENDPOINT}")),
        ({"DYNAMODB_ENDPOINT": "http://127.0.0.1:9/"}, (True, None, "at http://127.0.0.1:9/")),
        ({"DYNAMODB_ENDPOINT": " "}, (False, None, "")),
        ({"USE_LOCAL_DYNAMODB": "", "DYNAMODB_ENDPOINT": "http://h:9"}, (True, None, "at http://h:9")),
        (
            {"USE_LOCAL_DYNAMODB": "1", "DYNAMODB_ENDPOINT": "http://[::1]:9", "DYNAMODB_REGION": "xx-test-1"},
            (True, "xx-test-1", "at http://[::1]:9"),
        ),
    ],
)
def test_the_environment_sets_the_place_of_the_table(
    environ: dict[str, str], place: tuple[bool, str | None, str]
) -> None:
    assert place_of(environ) == place


@pytest.mark.parametrize(("texts", "local"), [(TRUE, True), (FALSE, False)])
def test_a_flag_has_several_spellings(texts: tuple[str, ...], local: bool) -> None:
    for text in texts:
        assert place_of({"USE_LOCAL_DYNAMODB": text})[0] is local


@given(st.one_of(st.sampled_from((*TRUE, *FALSE)), st.text(max_size=12)))
def test_a_flag_is_true_false_or_refused(text: str) -> None:
    meant = text.strip().lower()
    for local, known in ((True, TRUE), (False, ("", *FALSE))):
        if meant in [word.strip().lower() for word in known]:
            assert place_of({"USE_LOCAL_DYNAMODB": text})[0] is local
            return
    with pytest.raises(InvalidInput, match="USE_LOCAL_DYNAMODB") as caught:
        place_of({"USE_LOCAL_DYNAMODB": text})
    assert caught.value.field == "USE_LOCAL_DYNAMODB"


@given(st.one_of(st.text(max_size=40), st.from_regex(r"https?://[\w.:\[\]/-]{0,40}")))
def test_an_endpoint_is_a_valid_origin_or_refused(text: str) -> None:
    endpoint = text.strip()
    try:
        is_place = not endpoint or bool(parse_origin(endpoint))
    except ValueError:
        is_place = False
    if is_place:
        expected = (True, None, f"at {endpoint}") if endpoint else (False, None, "")
        assert place_of({"DYNAMODB_ENDPOINT": text}) == expected
        return
    with pytest.raises(InvalidInput, match=r"^DYNAMODB_ENDPOINT: ") as caught:
        place_of({"DYNAMODB_ENDPOINT": text})
    assert (caught.value.field, caught.value.hint) == ("DYNAMODB_ENDPOINT", f"An example is {LOCAL_ENDPOINT}.")


@pytest.mark.parametrize("host", ["dynamodb.eu-west-1.amazonaws.com", "dynamodb.cn-north-1.amazonaws.com.cn"])
def test_an_endpoint_on_aws_is_not_local(host: str) -> None:
    assert place_of({"DYNAMODB_ENDPOINT": f"https://{host}"}) == (False, None, f"at https://{host}")


def test_an_endpoint_that_is_not_local_gets_real_credentials() -> None:
    for no in FALSE:
        place = place_of({"DYNAMODB_ENDPOINT": "http://127.0.0.1:9", "USE_LOCAL_DYNAMODB": no})
        assert place == (False, None, "at http://127.0.0.1:9")


@given(st.text(TABLE_CHARS, min_size=3, max_size=255))
def test_a_valid_table_name_is_accepted(name: str) -> None:
    assert open_dynamodb(name, "p", {}).table_name == name
    assert storage_from_environment({"DYNAMODB_TABLE": f" {name} "}, "p").table_name == name


@given(
    st.one_of(
        st.text(TABLE_CHARS, max_size=2),
        st.text(TABLE_CHARS, min_size=256, max_size=300),
        st.builds(
            "{}{}{}".format,
            st.text(TABLE_CHARS, min_size=1),
            st.sampled_from("é /#\n\0:"),
            st.text(TABLE_CHARS, min_size=1),
        ),
    )
)
def test_an_invalid_table_name_is_reported_with_its_setting(name: str) -> None:
    with pytest.raises(InvalidInput, match=r"^storage: ") as caught:
        open_dynamodb(name, None, {})
    assert (caught.value.field, "3–255 characters" in caught.value.hint) == ("storage", True)
    with pytest.raises(InvalidInput, match=r"^DYNAMODB_TABLE( is not set|: )") as caught:
        storage_from_environment({"DYNAMODB_TABLE": name})
    assert caught.value.field == "DYNAMODB_TABLE"


@pytest.mark.parametrize("environ", [{}, {"DYNAMODB_TABLE": ""}, {"DYNAMODB_TABLE": " "}])
def test_a_missing_table_name_is_reported(environ: dict[str, str]) -> None:
    with pytest.raises(InvalidInput, match="DYNAMODB_TABLE is not set"):
        storage_from_environment(environ)


def test_project_and_options_are_passed_to_the_storage() -> None:
    storage = storage_from_environment({"DYNAMODB_TABLE": "team"}, "ruth", chunk_changes=7)
    assert (storage.project_id, storage._chunk_changes) == ("ruth", 7)


@pytest.mark.parametrize(
    "name",
    [
        *("//team", "///team", "team/", "//localhost:8000/team", "http://localhost:8000/team", "table/team"),
        *("dynamodb:team", "arn:aws:dynamodb:eu-west-1:123456789012:table/team"),
    ],
)
def test_a_url_or_an_arn_is_refused_with_the_name_of_its_table(name: str) -> None:
    with pytest.raises(InvalidInput, match=r"table name .* is not valid") as caught:
        open_dynamodb(name, None, {})
    assert caught.value.hint.startswith("Did you mean dynamodb:team? Table names are")
    with pytest.raises(InvalidInput, match=r"table name .* is not valid") as caught:
        storage_from_environment({"DYNAMODB_TABLE": name})
    assert caught.value.hint.startswith("Did you mean team? Table names are")
    for other in ("te am", "//localhost:8000", "x"):
        with pytest.raises(InvalidInput) as caught:
            open_dynamodb(other, None, {})
        assert caught.value.hint.startswith("Table names are")
