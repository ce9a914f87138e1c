"""The `__signature__` of records, for `inspect` and editors. A program that only uses records does not load this."""

from __future__ import annotations

from inspect import Parameter, Signature, signature

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any


def constructor_signature(constructor: Callable[..., Any]) -> Signature:
    """Return the parameters of a `__new__`, without the class."""
    own = signature(constructor)
    return own.replace(parameters=[*own.parameters.values()][1:], return_annotation=Signature.empty)


def fields_signature(annotations: Mapping[str, Any], defaults: Mapping[str, Any]) -> Signature:
    """Return parameters with these annotations by name, and with the defaults of those that have one."""
    kind, no_default = Parameter.POSITIONAL_OR_KEYWORD, Parameter.empty
    return Signature(
        [
            Parameter(name, kind, default=defaults.get(name, no_default), annotation=annotation)
            for name, annotation in annotations.items()
        ]
    )
