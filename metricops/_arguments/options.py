"""Options that are numbers."""

from typing import Any

from metricops import _checks
from metricops._arguments.arrays import numbers
from metricops._frameworks import Library
from metricops._frameworks.host import is_number
from metricops._typing import Array


def temperature_of(
    lib: Library, main: str, like: Array, temperature: Any
) -> tuple[float | None, Array | None]:
    """Return the temperature as a positive number, or else as an array."""
    if type(temperature) is float or is_number(temperature):
        number = _checks.check_temperature(temperature)
        traced = lib.traced_number(number, like)
        return (number, None) if traced is None else (None, traced)
    return None, scalar_of(lib, "temperature", main, like, temperature)


def scalar_of(lib: Library, name: str, main: str, like: Array, value: Any) -> Array:
    """Return a number, or an array of shape (), as such an array."""
    if value is None or isinstance(value, (bool, str)):
        _checks.refuse_type(name, "a number or an array", value)
    if is_number(value):
        check_number(name, value)
    need, kinds = "of a real number", ("float", "int")
    array = numbers(lib, name, value, main, like, need, kinds)
    if lib.shape(array) != ():
        _checks.refuse_shape(name, "shape ()", lib.shape(array))
    return array


def check_number(name: str, value: Any) -> float:
    """Return a number, or raise unless `value` is one."""
    number = _number(name, value)
    if number != number:  # Dynamo does not trace `math.isnan` of a symbol
        _checks.refuse_value(name, "a number", value)
    return number


def _number(name: str, value: Any) -> float:
    """Return a number, NaN too, or raise unless `value` is one."""
    if type(value) is not float and not is_number(value):
        _checks.refuse_type(name, "a number", value)
    return _checks.to_float(value)


def check_positive(name: str, value: Any) -> float:
    """Return a positive number, or raise unless `value` is one."""
    number = _number(name, value)
    if not 0 < number < float("inf"):
        _checks.refuse_value(name, "positive and finite", value)
    return number


def check_share(name: str, value: Any) -> float:
    """Return a number from 0 to 1, or raise unless `value` is one."""
    number = _number(name, value)
    if not 0 <= number <= 1:
        _checks.refuse_value(name, "from 0 to 1", value)
    return number
