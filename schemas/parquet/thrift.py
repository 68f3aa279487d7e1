"""Thrift's compact protocol, as far as the headers of Parquet's pages need it.

Source: github.com/apache/thrift, doc/specs/thrift-compact-protocol.md.
"""

from typing import Any

DEEPEST = 8
"""Structs inside of one another; a page's header has three."""
TRUE, FALSE, BYTE, DOUBLE, BINARY, LIST, SET, MAP, STRUCT = 1, 2, 3, 7, 8, 9, 10, 11, 12
INTEGERS = (4, 5, 6)


def read_struct(data: bytes, at: int = 0, depth: int = 0) -> tuple[dict[int, Any], int]:
    """A struct's fields by their numbers, and where it ends; lists and maps are passed over as None.

    Raises `IndexError` where the data ends before it does, and `ValueError` where it is none.
    """
    if depth > DEEPEST:
        raise ValueError("structs nested without end")
    fields: dict[int, Any] = {}
    number = 0
    while head := data[at]:
        at += 1
        if head >> 4:
            number += head >> 4
        else:
            number, at = _integer(data, at)
        kind = head & 15
        if kind in (TRUE, FALSE):
            fields[number] = kind == TRUE
        else:
            fields[number], at = _value(data, at, kind, depth)
    return fields, at + 1


def _value(data: bytes, at: int, kind: int, depth: int) -> tuple[Any, int]:
    if kind in INTEGERS:
        return _integer(data, at)
    if kind == STRUCT:
        return read_struct(data, at, depth + 1)
    if kind == BINARY:
        length, at = _natural(data, at)
        return data[at : at + length], _within(data, at + length)
    if kind in (BYTE, TRUE, FALSE):  # an element of a list takes a byte also where it is a truth
        return None, _within(data, at + 1)
    if kind == DOUBLE:
        return None, _within(data, at + 8)
    if kind in (LIST, SET):
        return None, _passed_list(data, at, depth)
    if kind == MAP:
        return None, _passed_map(data, at, depth)
    raise ValueError(f"no type {kind}")


def _passed_list(data: bytes, at: int, depth: int) -> int:
    head = data[at]
    count, at = _natural(data, at + 1) if head >> 4 == 15 else (head >> 4, at + 1)
    for _ in range(count):
        _, at = _value(data, at, head & 15, depth + 1)
    return at


def _passed_map(data: bytes, at: int, depth: int) -> int:
    count, at = _natural(data, at)
    if not count:
        return at
    kinds = data[at]
    at += 1
    for _ in range(count):
        _, at = _value(data, at, kinds >> 4, depth + 1)
        _, at = _value(data, at, kinds & 15, depth + 1)
    return at


def _integer(data: bytes, at: int) -> tuple[int, int]:
    found, at = _natural(data, at)
    return (found >> 1) ^ -(found & 1), at


def _natural(data: bytes, at: int) -> tuple[int, int]:
    found = shift = 0
    while True:
        byte = data[at]
        at += 1
        found |= (byte & 127) << shift
        if byte < 128:
            return found, at
        shift += 7
        if shift > 63:
            raise ValueError("a number of more than 64 bits")


def _within(data: bytes, at: int) -> int:
    if at > len(data):
        raise IndexError
    return at
