"""Classes by the names that a scenario uses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import is_dataclass
from typing import Any, Generic, TypeVar

from spinsim.errors import InputError, did_you_mean

T = TypeVar("T")
PolicyClass = Callable[[Any, Any], T]  # called with parameters and a context; with an attribute ``Params``


class Registry(Generic[T]):
    """The policies of one ``kind``, by name. ``methods``: what each of them is asked."""

    def __init__(self, kind: str, methods: tuple[str, ...] = ()) -> None:
        self.kind = kind
        self._methods = methods
        self._classes: dict[str, Any] = {}

    def register(self, name: str) -> Callable[[PolicyClass[T]], Any]:
        """Class decorator.

        Raises ValueError where the name is taken, and TypeError for a class without ``Params`` or without a
        method of its kind.
        """

        def add(cls: PolicyClass[T]) -> Any:  # mypy checks the class against T and keeps its type
            if name in self._classes:
                raise ValueError(f"two policies for {self.kind} are called {name!r}")
            if not is_dataclass(getattr(cls, "Params", None)):
                raise TypeError(f"{name} has no parameters: a dataclass Params within the class")
            if missing := [each for each in self._methods if not callable(getattr(cls, each, None))]:
                raise TypeError(f"{name} is no {self.kind} policy, which needs {', '.join(missing)}")
            self._classes[name] = cls
            return cls

        return add

    def forget(self, name: str) -> None:
        """Remove a class. Raises KeyError for an unknown name."""
        del self._classes[name]

    def names(self) -> tuple[str, ...]:
        """Every name, sorted."""
        return tuple(sorted(self._classes))

    def items(self) -> tuple[tuple[str, Any], ...]:
        """Names and classes, in the order of their registration."""
        return tuple(self._classes.items())

    def get(self, name: str) -> Any:
        """The class called ``name``. Raises InputError that lists the choices."""
        try:
            return self._classes[name]
        except KeyError:
            choices = ", ".join(self.names()) + did_you_mean(name, self.names())
            raise InputError(
                f"{name!r} is no {self.kind} policy; choose from {choices}", key=f"policies.{self.kind}.name"
            ) from None
