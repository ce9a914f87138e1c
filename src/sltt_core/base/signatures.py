"""The `__signature__` of records, for `inspect` and editors. A program that only uses records does not load this."""

from __future__ import annotations

from inspect import Parameter, Signature, signature
from typing import Any


def signature_of(owner: type[Any], inherited: object) -> Signature:
    """Return the parameters of a record class: those of its own `__new__` if it has one, else its fields.

    `inherited` is the `__new__` of a class that has none of its own.
    """
    constructor = owner.__new__
    if constructor is not inherited:
        own = signature(constructor)
        return own.replace(parameters=[*own.parameters.values()][1:], return_annotation=Signature.empty)
    annotations = owner.__dict__.get("__annotations__", {})
    return Signature(
        [
            Parameter(
                name,
                Parameter.POSITIONAL_OR_KEYWORD,
                default=owner._defaults.get(name, Parameter.empty),
                annotation=annotations[name],
            )
            for name in owner.fields
        ]
    )
