"""`Record`: the base class of immutable values with named fields.

It replaces `collections.namedtuple`, which calls `exec`, and frozen dataclasses: `dataclasses` loads `inspect`, which
costs more than the rest of a cold start. Creating a record costs as much as creating a tuple: `Change.of(row)` is one
C call.
"""

from __future__ import annotations

from _operator import itemgetter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, ClassVar, Self, dataclass_transform

    Tuple = object  # that a record is a tuple is an implementation detail
else:
    Tuple = tuple

    def dataclass_transform(**_: object) -> Any:
        """Replace `typing.dataclass_transform`, which only a type checker needs."""
        return lambda cls: cls


_tuple: Any = tuple
_new: Any = tuple.__new__
_equal: Any = tuple.__eq__


class _Signature:
    """The `__signature__` of a record class, computed on each use."""

    def __get__(self, record: object, owner: type[Record]) -> Any:
        from sltt_core.base.signatures import signature_of  # loads `inspect`

        return signature_of(owner, Record.__new__)


@dataclass_transform(frozen_default=True, kw_only_default=False)
class Record(Tuple):
    """Base class of immutable values. The class body annotates the fields and sets defaults with `=`.

    Two records are equal if they have the same class and equal fields. A record is hashable if its fields are.
    Assigning or deleting an attribute raises `AttributeError`.
    """

    __slots__ = ()
    fields: ClassVar[tuple[str, ...]]
    """The names of the fields, in order."""
    _defaults: ClassVar[dict[str, Any]]
    """The defaults of the fields that have one."""
    __signature__ = _Signature()

    def __init_subclass__(cls, init: bool = True) -> None:
        """`init=False` declares to type checkers that the class has its own `__new__`."""
        kinds = cls.__dict__.get("__annotations__", {})
        cls.fields = tuple(kinds)
        cls._defaults = {name: cls.__dict__[name] for name in cls.fields if name in cls.__dict__}
        for place, name in enumerate(cls.fields):
            setattr(cls, name, property(itemgetter(place), doc=kinds[name]))

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Bind positional and keyword arguments to the fields as a dataclass does; raises `TypeError`."""
        names = cls.fields
        if len(args) > len(names):
            raise TypeError(f"{cls.__name__}() has {len(names)} fields, but {len(args)} values were given")
        values = list(args)
        for name in names[len(args) :]:
            if name in kwargs:
                values.append(kwargs.pop(name))
            elif name in cls._defaults:
                values.append(cls._defaults[name])
            else:
                raise TypeError(f"{cls.__name__}() needs {name!r}")
        if kwargs:
            raise TypeError(f"{cls.__name__}() has no field {sorted(kwargs)[0]!r} to set")
        return _new(cls, values)  # type: ignore[no-any-return]

    @classmethod
    def of(cls, values: Iterable[Any]) -> Self:
        """Create a record from all its values in order, unchecked. This is the fast way from a database row."""
        return _new(cls, values)  # type: ignore[no-any-return]

    def replace(self, **changes: Any) -> Self:
        """Return a copy in which the named fields have other values."""
        return type(self)(**{**dict(zip(self.fields, self.as_tuple(), strict=True)), **changes})

    def as_tuple(self) -> tuple[Any, ...]:
        """Return the values in order."""
        return _tuple(self)  # type: ignore[no-any-return]

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and bool(_equal(self, other))

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = Tuple.__hash__

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self).of, (self.as_tuple(),)

    if not TYPE_CHECKING:  # otherwise type checkers accept any name in an assignment

        def __setattr__(self, name: str, value: object) -> None:
            raise AttributeError(f"{type(self).__name__} is immutable: {name!r} cannot be set")

        def __delattr__(self, name: str) -> None:
            raise AttributeError(f"{type(self).__name__} is immutable: {name!r} cannot be deleted")

    def __repr__(self) -> str:
        pairs = ", ".join(f"{name}={value!r}" for name, value in zip(self.fields, self.as_tuple(), strict=True))
        return f"{type(self).__name__}({pairs})"
