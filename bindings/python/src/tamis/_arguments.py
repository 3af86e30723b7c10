"""Scalar arguments on their way to C: ctypes wraps integers and takes what it can; these refuse by name."""

from __future__ import annotations

from typing import Any

from .errors import InvalidArgumentError


def integer(value: Any, argument: str, bits: int = 63) -> int:
    """`value` as an int that fits; ctypes would silently wrap."""
    try:
        number = value.__index__()
    except AttributeError:
        raise InvalidArgumentError(f"{argument} is {value!r}, expected an integer") from None
    if not -(2**bits) <= number < 2**bits:
        raise InvalidArgumentError(f"{argument} is {number}, which does not fit {bits + 1} bits")
    return int(number)


def int32(value: Any, argument: str) -> int:
    """`value` as an int32."""
    return integer(value, argument, 31)


def choice(value: Any, names: dict[str, int], argument: str) -> int:
    """The number of a named choice."""
    if value not in names:
        raise InvalidArgumentError(f"{argument} is {value!r}, expected one of {', '.join(map(repr, names))}")
    return names[value]


def number(value: Any, argument: str) -> float:
    """`value` as a float; None is 0, which C reads as the default."""
    return 0.0 if value is None else real(value, argument)


def real(value: Any, argument: str) -> float:
    """`value` as a float."""
    try:
        return float(value)
    except (TypeError, ValueError):
        raise InvalidArgumentError(f"{argument} is {value!r}, expected a number") from None
