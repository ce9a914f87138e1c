"""An evaluator of IAM policies, for calls of DynamoDB.

It knows what the policies in the documents use, and refuses the rest. Sources: AWS, "IAM JSON policy elements
reference", "Policy evaluation logic", "Multivalued context keys", and "Using IAM policy conditions for fine-grained
access control" (DynamoDB).
"""

from __future__ import annotations

import re
from fnmatch import translate
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

ACCOUNT = "arn:aws:dynamodb:eu-west-1:123456789012:table/"
LEADING_KEYS = "dynamodb:LeadingKeys"
_TRANSACTED = {
    "Put": "PutItem",
    "Update": "UpdateItem",
    "Delete": "DeleteItem",
    "ConditionCheck": "ConditionCheckItem",
    "Get": "GetItem",
}
"""The permissions of a transaction's actions (AWS: "Using IAM with DynamoDB transactions")."""


class Access(NamedTuple):
    """One access to a table or an index, which a policy allows or not."""

    action: str
    resource: str
    leading_keys: tuple[str, ...] = ()
    """The values of the partition key of the table, or of the index, that the request names."""


def accesses(operation: str, payload: Mapping[str, Any]) -> Iterator[Access]:
    """Yield what a call needs the permission for."""
    action = f"dynamodb:{operation}"
    if operation.startswith("Transact"):
        for member in payload["TransactItems"]:
            ((kind, part),) = member.items()
            yield Access(f"dynamodb:{_TRANSACTED[kind]}", ACCOUNT + part["TableName"], (_pk(part),))
    elif operation.startswith("Batch"):
        for table, part in payload["RequestItems"].items():
            yield Access(action, ACCOUNT + table, tuple(dict.fromkeys(key["pk"]["S"] for key in part["Keys"])))
    elif operation == "Query":
        index = f"/index/{payload['IndexName']}" if "IndexName" in payload else ""
        found = re.match(r"(?:pk|registry) = (:\w+)", payload["KeyConditionExpression"])
        assert found is not None, payload
        key = payload["ExpressionAttributeValues"][found[1]]["S"]
        yield Access(action, ACCOUNT + payload["TableName"] + index, (key,))
    elif "Key" in payload or "Item" in payload:
        yield Access(action, ACCOUNT + payload["TableName"], (_pk(payload),))
    else:
        yield Access(action, ACCOUNT + payload["TableName"])


def _pk(payload: Mapping[str, Any]) -> str:
    key: Mapping[str, Any] = payload.get("Key") or payload["Item"]
    return str(key["pk"]["S"])


def allowing(policy: Mapping[str, Any], access: Access) -> list[int]:
    """Return the numbers of the statements that allow an access; none if a statement denies it, or none allows it."""
    matching = [(number, one) for number, one in enumerate(policy["Statement"]) if _matches(one, access)]
    if any(statement["Effect"] == "Deny" for _, statement in matching):
        return []
    return [number for number, _ in matching]


def _matches(statement: Mapping[str, Any], access: Access) -> bool:
    assert statement.keys() <= {"Sid", "Effect", "Action", "Resource", "Condition"}, statement
    assert statement["Effect"] in ("Allow", "Deny")
    return (
        any(_like(pattern.lower(), access.action.lower()) for pattern in _listed(statement["Action"]))
        and any(_like(pattern, access.resource) for pattern in _listed(statement["Resource"]))
        and all(
            _holds(operator, key, _listed(values), access)
            for operator, keys in statement.get("Condition", {}).items()
            for key, values in keys.items()
        )
    )


def _holds(operator: str, key: str, values: Sequence[str], access: Access) -> bool:
    assert key == LEADING_KEYS, f"the condition key {key} is unknown"
    quantifier, _, comparison = operator.rpartition(":")
    assert comparison in ("StringEquals", "StringLike"), operator
    matches = [
        any(_like(value, given) if comparison == "StringLike" else value == given for value in values)
        for given in access.leading_keys
    ]
    if quantifier == "ForAllValues":
        return all(matches)  # true also for a request without the key, such as a Scan
    assert quantifier == "ForAnyValue", operator
    return any(matches)


def _listed(values: str | Sequence[str]) -> Sequence[str]:
    return [values] if isinstance(values, str) else values


def _like(pattern: str, text: str) -> bool:
    """Return whether a text matches a pattern with `*` and `?`, which are the only wildcards."""
    assert "${" not in pattern, "policy variables are unknown"
    return re.fullmatch(translate(pattern.replace("[", "[[]")), text) is not None
