"""Templates of CloudFormation: `load` reads one, `Template` evaluates it for given parameters.

The functions are those that deploy/template.yaml uses (AWS: Intrinsic function reference); another one is an error.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from samtranslator.yaml_helper import yaml_parse

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

PSEUDO = {
    "AWS::AccountId": "123456789012",
    "AWS::Partition": "aws",
    "AWS::Region": "eu-west-1",
    "AWS::StackName": "sltt-test-all",
    "AWS::URLSuffix": "amazonaws.com",
}
NO_VALUE = object()


def load(path: Path) -> dict[str, Any]:
    """Read a template in YAML or JSON; the short forms of functions (`!Ref`) become their long forms."""
    found: dict[str, Any] = yaml_parse(path.read_text())
    return found


class Template:
    """A template with values of its parameters."""

    def __init__(self, content: Mapping[str, Any], **parameters: object) -> None:
        """`parameters` replace the defaults."""
        self._content = content
        self._values = {name: str(entry["Default"]) for name, entry in content["Parameters"].items()}
        assert parameters.keys() <= self._values.keys(), parameters
        self._values |= {name: str(value) for name, value in parameters.items()}

    @property
    def resources(self) -> dict[str, Any]:
        """The resources that this stack has, evaluated."""
        return {
            name: self.evaluate(resource)
            for name, resource in self._content["Resources"].items()
            if self._holds(resource.get("Condition"))
        }

    def of_type(self, kind: str) -> dict[str, Any]:
        """Return the properties of all resources of a type, such as `AWS::DynamoDB::Table`."""
        return {name: entry["Properties"] for name, entry in self.resources.items() if entry["Type"] == kind}

    def broken_rules(self) -> list[str]:
        """Return the descriptions of the rules that the parameters break."""
        return [
            assertion["AssertDescription"]
            for rule in self._content["Rules"].values()
            if self.evaluate(rule["RuleCondition"])
            for assertion in rule["Assertions"]
            if not self.evaluate(assertion["Assert"])
        ]

    def evaluate(self, value: Any) -> Any:
        """Return a value without functions. A `Fn::GetAtt` becomes the text `NAME.ATTRIBUTE`."""
        if isinstance(value, list):
            return [found for entry in value if (found := self.evaluate(entry)) is not NO_VALUE]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            ((name, given),) = value.items()
            if name == "Condition" and isinstance(given, str):
                return self._holds(given)
            if name == "Ref" or name.startswith("Fn::"):
                return self._call(name, given)
        # A text is a resource's condition, which holds. An object is the condition of a policy.
        entries = [(name, entry) for name, entry in value.items() if name != "Condition" or not isinstance(entry, str)]
        return {name: found for name, entry in entries if (found := self.evaluate(entry)) is not NO_VALUE}

    def _call(self, name: str, given: Any) -> Any:
        if name == "Ref":
            return NO_VALUE if given == "AWS::NoValue" else self._value(given)
        if name == "Fn::If":
            condition, yes, no = given
            return self.evaluate(yes if self._holds(condition) else no)
        if name == "Fn::Sub":
            text, names = given if isinstance(given, list) else (given, {})
            values = {key: self.evaluate(entry) for key, entry in names.items()}
            return re.sub(r"\$\{([^}]+)\}", lambda found: str(values.get(found[1]) or self._value(found[1])), text)
        if name == "Fn::GetAtt":
            return given if isinstance(given, str) else ".".join(given)
        if name == "Fn::Join":
            return str(given[0]).join(self.evaluate(given[1]))
        entries = [self.evaluate(entry) for entry in given]
        tests = {"Fn::Equals": lambda: len(set(map(str, entries))) == 1, "Fn::Not": lambda: not entries[0]}
        tests |= {"Fn::And": lambda: all(entries), "Fn::Or": lambda: any(entries)}
        return tests[name]()

    def _value(self, name: str) -> str:
        return self._values.get(name) or ("" if name in self._values else PSEUDO.get(name, name))

    def _holds(self, condition: object) -> bool:
        return not isinstance(condition, str) or bool(self.evaluate(self._content["Conditions"][condition]))
