"""Seeded damage: to bytes, and to what a protobuf message or a JSON value says. The same seed does the same damage."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

_WORDS = (b"", b"\0", b"\xff", b"\x7f", b"\x80", b"\xff" * 8, b"\0" * 8, b"\xff\xff\xff\xff\x0f", b"\x80" * 11)
_INTEGERS = (0, 1, -1, 2, 3, 127, 128, 255, 256, 65535, 1 << 31, (1 << 31) - 1, -(1 << 31), 1 << 63, (1 << 63) - 1)
_FLOATS = (0.0, -0.0, -1.0, 0.5, 1e-45, 1e308, -1e308, float("inf"), float("-inf"), float("nan"))
_TEXTS = ("", "a", "\0", "é", "𝄞", "x" * 10_000, "NaN", "null", "-1", "../../x", "a\r\nb: c", "\ud800"[:0])
_VALUES: tuple[Any, ...] = (None, True, False, *_INTEGERS, 1e308, -0.5, 0.5, *_TEXTS, [], {}, [[]], [None], {"": 0})


def damaged(content: bytes, rng: random.Random, others: Sequence[bytes] = ()) -> bytes:
    """Bytes with one to four places damaged; `others` are bytes to splice with."""
    body = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 4))):
        _damage(body, rng, others)
    return bytes(body)


def _damage(body: bytearray, rng: random.Random, others: Sequence[bytes]) -> None:
    start = rng.randrange(len(body) + 1)
    end = min(len(body), start + rng.choice((1, 1, 2, 4, 8, 64, 1024)))
    match rng.randrange(8):
        case 0 if start < len(body):
            body[start] ^= 1 << rng.randrange(8)
        case 1:
            body[start:end] = rng.choice(_WORDS)
        case 2:
            del body[start:end]
        case 3:
            body[start:start] = body[start:end]
        case 4:
            del body[start:]
        case 5:
            body[start:end] = rng.randbytes(end - start)
        case 6 if others:
            other = rng.choice(others)
            cut = rng.randrange(len(other) + 1)
            body[start:] = other[cut:]
        case _:
            body += rng.choice(_WORDS)


def mutated(message: Message, rng: random.Random) -> Message:
    """A message of which one to three fields, at any depth, say something else."""
    changed = copy.deepcopy(message)
    for _ in range(rng.choice((1, 1, 2, 3))):
        places = [place for place in _places(changed) if len(place.DESCRIPTOR.fields)]
        if not places:
            break
        parent = rng.choice(places)
        field = rng.choice(parent.DESCRIPTOR.fields)
        try:
            _change(parent, field, rng)
        except (ValueError, TypeError, KeyError):  # a value that this field cannot hold says nothing to anyone
            continue
    return changed


def _places(message: Message) -> Iterator[Message]:
    """The message and all those within it."""
    yield message
    for field, value in message.ListFields():
        if field.type != FieldDescriptor.TYPE_MESSAGE:
            continue
        if field.message_type.GetOptions().map_entry:
            inner = [item for item in value.values() if isinstance(item, Message)]
        elif field.is_repeated:
            inner = list(value)
        else:
            inner = [value]
        for item in inner:
            yield from _places(item)


def _change(parent: Message, field: FieldDescriptor, rng: random.Random) -> None:
    value = getattr(parent, field.name)
    if field.type == FieldDescriptor.TYPE_MESSAGE and field.message_type.GetOptions().map_entry:
        _change_map(value, rng)
    elif field.is_repeated:
        _change_list(value, field, rng)
    elif field.type == FieldDescriptor.TYPE_MESSAGE:
        parent.ClearField(field.name) if rng.random() < 0.5 else value.SetInParent()
    elif rng.random() < 0.2:
        parent.ClearField(field.name)
    else:
        setattr(parent, field.name, _scalar(field, value, rng))


def _change_map(entries: Any, rng: random.Random) -> None:
    keys = sorted(entries)
    if keys and rng.random() < 0.6:
        key = rng.choice(keys)
        kept = copy.deepcopy(entries[key])
        del entries[key]
        if rng.random() < 0.5:
            entries[rng.choice(_TEXTS)].MergeFrom(kept)
    else:
        entries[rng.choice(_TEXTS)].SetInParent()


def _change_list(items: Any, field: FieldDescriptor, rng: random.Random) -> None:
    choice = rng.randrange(5)
    if choice == 0:
        del items[:]
    elif choice == 1 and len(items):
        del items[rng.randrange(len(items))]
    elif field.type == FieldDescriptor.TYPE_MESSAGE:
        items.add().CopyFrom(rng.choice(items)) if len(items) else items.add()
    elif choice == 2 and len(items):
        at = rng.randrange(len(items))
        items[at] = _scalar(field, items[at], rng)
    elif choice == 3 and len(items):
        items.append(rng.choice(items))
    else:
        items.append(_scalar(field, None, rng))


def _scalar(field: FieldDescriptor, value: Any, rng: random.Random) -> Any:
    """Another value for a field."""
    kind = field.cpp_type
    if kind == FieldDescriptor.CPPTYPE_STRING:
        if field.type == FieldDescriptor.TYPE_BYTES:
            return damaged(value or b"", rng)
        return rng.choice(_TEXTS)
    if kind == FieldDescriptor.CPPTYPE_BOOL:
        return not value
    if kind in (FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT):
        return rng.choice(_FLOATS)
    if kind == FieldDescriptor.CPPTYPE_ENUM:
        return rng.choice((-1, 99, *field.enum_type.values_by_number))
    return rng.choice((*_INTEGERS, *(near for near in ((value or 0) - 1, (value or 0) + 1))))


def mutated_json(value: Any, rng: random.Random) -> Any:
    """A JSON value of which one to three places say something else."""
    changed = copy.deepcopy(value)
    for _ in range(rng.choice((1, 1, 2, 3))):
        changes: list[Callable[[], Any]] = []
        _find_changes(changed, rng, changes, 0)
        if changes:
            rng.choice(changes)()
    return changed


def _find_changes(value: Any, rng: random.Random, changes: list[Callable[[], Any]], depth: int) -> None:
    """Collect what could be changed; of long lists only some places, so that members are as likely as numbers."""
    if isinstance(value, dict):
        for key in list(value):
            changes.append(lambda key=key: value.pop(key, None))
            changes.append(lambda key=key: value.__setitem__(key, rng.choice(_VALUES)))
            changes.append(lambda key=key: value.__setitem__(rng.choice(_TEXTS), value.get(key)))
            _find_changes(value[key], rng, changes, depth + 1)
    elif isinstance(value, list) and value:
        at = rng.randrange(len(value))
        changes.append(lambda: value.__delitem__(slice(at, at + 1)))
        changes.append(lambda: value.__setitem__(slice(at, at + 1), [rng.choice(_VALUES)]))
        changes.append(lambda: value.append(rng.choice(_VALUES)))
        changes.append(lambda: value.extend(value[: at + 1]))
        _find_changes(value[at], rng, changes, depth + 1)
