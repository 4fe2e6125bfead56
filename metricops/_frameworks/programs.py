"""The text in which an exported program holds the config of an operation.

An exported program has to load for years, so its format has a version, and it holds no
name of the code that may change. Format 1 is a JSON object::

    {"format": 1, "config": {"word": value, ...}}

A value is true, false, null or a string, ``{"number": i}`` for the i-th entry of a list
of floats beside the text, ``{"size": i}`` for the i-th of a list of ints, or
``{"record": "word", "config": {...}}``. Floats and ints are kept in lists beside the
text, as they may be symbols while a program is traced. The words of a config are the
names of its fields. A field that is renamed keeps its word by `register_words`.

The name of an operation, and of each record inside a config, is looked up in a table of
ours. Nothing in a program says where to look for code.
"""

import json
from typing import Any, NamedTuple, NoReturn

from metricops._frameworks.operations import Operation, Search

FORMAT = 1
_RECORDS: dict[str, type] = {}
_WORDS: dict[type, dict[str, str]] = {}


class Encoded(NamedTuple):
    """A config as an exported program holds it."""

    text: str
    numbers: list[float]
    sizes: list[int]


def register_record(word: str, record: type) -> None:
    """Enter a record that may stand inside a config, by its word in programs."""
    _RECORDS[word] = record


def register_words(record: type, words: dict[str, str]) -> None:
    """Say which fields of a record have another word in programs than their name."""
    _WORDS[record] = words


def encode(config: Any) -> Encoded:
    """Return a config as an exported program holds it."""
    numbers: list[float] = []
    sizes: list[int] = []
    text = _encoded(config, numbers, sizes)
    return Encoded(f'{{"format": {FORMAT}, "config": {text}}}', numbers, sizes)


def decode(operation: Operation | Search, encoded: Encoded) -> Any:
    """Return the config of an operation, or search, that a program holds."""
    found = json.loads(encoded.text)
    version = found.get("format")
    if version != FORMAT:
        msg = (
            f"The program holds format {version!r} of metricops; this version of "
            f"metricops reads format {FORMAT}."
        )
        raise ValueError(msg)
    return _decoded(operation.config, found["config"], encoded)


def _encoded(record: Any, numbers: list[float], sizes: list[int]) -> str:
    # By hand, as Dynamo cannot trace the json module.
    words = _WORDS.get(type(record), {})
    parts = []
    for name in _fields(type(record)):
        value = _value(getattr(record, name), numbers, sizes)
        parts.append(f'"{words.get(name, name)}": {value}')
    return "{" + ", ".join(parts) + "}"


def _value(value: Any, numbers: list[float], sizes: list[int]) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f'"{value}"'
    for word, record in _RECORDS.items():
        if isinstance(value, record):
            inner = _encoded(value, numbers, sizes)
            return f'{{"record": "{word}", "config": {inner}}}'
    if _is_whole(value):
        sizes.append(value)
        return f'{{"size": {len(sizes) - 1}}}'
    if isinstance(value, float) or hasattr(value, "__float__"):
        numbers.append(value)
        return f'{{"number": {len(numbers) - 1}}}'
    msg = f"No program can hold a {type(value).__name__}."
    raise TypeError(msg)


def _is_whole(value: Any) -> bool:
    """Return whether a number is an int, or the symbol of one.

    A symbol is neither an int nor a float, except while Dynamo traces: then it passes
    for its type, and has no other attributes to ask for.
    """
    if isinstance(value, float):
        return False
    return isinstance(value, int) or hasattr(value, "__index__")


def _decoded(record: type, found: dict[str, Any], encoded: Encoded) -> Any:
    words = _WORDS.get(record, {})
    names = {words.get(name, name): name for name in _fields(record)}
    for word in found:
        if word not in names:
            _refuse("option", word, names)
    values = {names[word]: _resolved(value, encoded) for word, value in found.items()}
    return record(**values)


def _resolved(value: Any, encoded: Encoded) -> Any:
    if not isinstance(value, dict):
        return value
    if "number" in value:
        return encoded.numbers[value["number"]]
    if "size" in value:
        return encoded.sizes[value["size"]]
    word = value.get("record")
    if word not in _RECORDS:
        _refuse("record", word, _RECORDS)
    return _decoded(_RECORDS[word], value["config"], encoded)


def _fields(record: Any) -> tuple[str, ...]:
    """Return the names of the fields of a NamedTuple or a dataclass."""
    if issubclass(record, tuple):  # older releases of Dynamo trace no `hasattr` here
        return tuple(record._fields)
    return tuple(getattr(record, "__dataclass_fields__", ()))


def _refuse(kind: str, word: Any, known: Any) -> NoReturn:
    msg = f"The program names the {kind} {word!r}; metricops has {', '.join(known)}."
    raise ValueError(msg)
