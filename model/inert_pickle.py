"""Reads a pickle as data. Nothing in it is ever imported or called.

A pickle is a program for a stack machine, and Python's own machine runs whatever the program names. This one knows the
same opcodes, but builds only plain containers, numpy arrays and references to tensors; every other class or function
becomes an `Opaque` with its name, which nobody calls. `torch.load(weights_only=True)` refuses scvi-tools saves
(SETITEMS on a defaultdict), and an allow-list of classes refuses real models that carry, say, a fitted UMAP.

Source: the opcode documentation in the standard library's `pickletools`.
"""

from __future__ import annotations

import dataclasses
import math
import pickletools
import re
import warnings
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from model.errors import ModelFileError

_DTYPE = re.compile(r"[<>|=]?(?:[biuf][1248]|b1|S\d{1,6}|U\d{1,6}|O8?|c(?:8|16)|\?)")


@dataclasses.dataclass(frozen=True, slots=True)
class Global:
    """A class or function the pickle names, not looked up."""

    module: str
    name: str

    def __str__(self) -> str:
        """As `module.name`."""
        return f"{self.module}.{self.name}"


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Opaque:
    """What an unknown class or function would have made; holds its name only."""

    name: str


@dataclasses.dataclass(frozen=True, slots=True)
class StorageRef:
    """A tensor storage, named but not read.

    Attributes:
        kind: torch's storage class, `FloatStorage` and so on.
        key: name of its record in the archive.
        n_values: length in values.
    """

    kind: str
    key: str
    n_values: int


@dataclasses.dataclass(frozen=True, slots=True)
class TensorRef:
    """A tensor: a strided view of a storage, all in values, not bytes; checked when it is read."""

    storage: StorageRef
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


@dataclasses.dataclass(slots=True, eq=False)
class _Dtype:
    """A numpy dtype under construction: its byte order arrives later, by BUILD."""

    dtype: np.dtype[Any]


class _Mark:
    """The one object that MARK pushes."""


@dataclasses.dataclass(frozen=True, slots=True)
class Pickled:
    """A pickle read as data.

    Attributes:
        value: the top-level object.
        foreign: names of the classes and functions that were left inert, sorted.
    """

    value: Any
    foreign: tuple[str, ...]


def read_pickle(data: bytes) -> Pickled:
    """Read a pickle of any protocol without running it, in time and memory proportional to its length.

    Raises:
        ModelFileError: it is truncated, or not what a pickle can be.
    """
    machine = _Machine(len(data))
    try:
        with warnings.catch_warnings():
            # A damaged string literal makes the standard library warn about its escapes.
            warnings.simplefilter("ignore")
            for opcode, argument, _ in pickletools.genops(data):
                machine.step(opcode.name, argument)
    except ModelFileError:
        raise
    except (ValueError, TypeError, IndexError, KeyError, AttributeError, OverflowError, MemoryError) as error:
        raise ModelFileError(f"the pickle inside is damaged ({type(error).__name__})") from error
    return Pickled(machine.result, tuple(sorted(machine.foreign)))


class _Machine:
    def __init__(self, length: int) -> None:
        self.copied = 0
        self.copies_allowed = 4 * length + 1_000_000
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.foreign: set[str] = set()
        self.result: Any = None

    def step(self, name: str, argument: Any) -> None:
        if name in _PUSH:
            self.stack.append(argument)
        elif name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name]())
        elif name in _PUT:
            self.memo[len(self.memo) if argument is None else argument] = self.stack[-1]
        elif name in _GET:
            self.stack.append(self.memo[argument])
        elif name not in _IGNORE:
            operation = self.OPERATIONS.get(name)
            if operation is None:
                raise ModelFileError(f"the pickle inside uses {name}, which no scvi-tools save does")
            operation(self, argument)

    def pop_mark(self) -> list[Any]:
        """Everything above the last mark; the mark goes too."""
        for position in range(len(self.stack) - 1, -1, -1):
            if self.stack[position] is _Mark:
                items = self.stack[position + 1 :]
                del self.stack[position:]
                return items
        raise ModelFileError("the pickle inside is damaged (no mark)")

    def pop_many(self, count: int) -> tuple[Any, ...]:
        if len(self.stack) < count:
            raise ModelFileError("the pickle inside is damaged (empty stack)")
        items = tuple(self.stack[len(self.stack) - count :])
        del self.stack[len(self.stack) - count :]
        return items

    def named(self, module: str, name: str) -> Global:
        """A class or function by its name; told of unless it is one that every save names."""
        found = Global(module, name)
        if _canonical(found) not in _BUILDERS and _canonical(found) not in _NAMED_ONLY and not _is_storage(found):
            self.foreign.add(str(found))
        return found

    def opaque(self, source: object) -> Opaque:
        """What calling `source` would have made."""
        name = source.name if isinstance(source, Opaque) else str(source)
        self.foreign.add(name)
        return Opaque(name)

    def call(self, function: Any, arguments: Any) -> Any:
        builder = _BUILDERS.get(_canonical(function)) if isinstance(function, Global) else None
        if builder is None or not isinstance(arguments, tuple):
            return self.opaque(function if isinstance(function, Global | Opaque) else type(function).__name__)
        # A call may copy what the memo holds once: a few bytes of pickle, any number of times.
        self.copied += sum(len(argument) for argument in arguments if isinstance(argument, _SIZED))
        if self.copied > self.copies_allowed:
            raise ModelFileError("the pickle inside copies its own content over and over")
        return builder(*arguments)

    def op_reduce(self, _: Any) -> None:
        function, arguments = self.pop_many(2)
        self.stack.append(self.call(function, arguments))

    def op_newobj_ex(self, _: Any) -> None:
        function, arguments, keywords = self.pop_many(3)
        self.stack.append(self.opaque(function) if keywords else self.call(function, arguments))

    def op_obj(self, _: Any) -> None:
        function, *arguments = self.pop_mark()
        self.stack.append(self.call(function, tuple(arguments)))

    def op_inst(self, argument: str) -> None:
        self.stack.append(self.call(self.named(*_module_and_name(argument)), tuple(self.pop_mark())))

    def op_build(self, _: Any) -> None:
        target, state = self.pop_many(2)
        if isinstance(target, np.ndarray):
            _fill_array(target, state)
        elif isinstance(target, _Dtype) and isinstance(state, tuple) and state[1] in ("<", ">", "|", "="):
            target.dtype = target.dtype.newbyteorder(state[1]) if state[1] in "<>" else target.dtype
        # Any other state belongs to an inert object (or to a dict's attributes) and is dropped.
        self.stack.append(target)

    def op_setitems(self, _: Any) -> None:
        items = self.pop_mark()
        self.set_items(list(zip(items[::2], items[1::2], strict=True)))

    def op_setitem(self, _: Any) -> None:
        self.set_items([self.pop_many(2)])

    def set_items(self, pairs: list[Any]) -> None:
        if isinstance(self.stack[-1], dict):
            self.stack[-1].update(_plain_keys(pairs))

    def op_appends(self, _: Any) -> None:
        items = self.pop_mark()
        if isinstance(self.stack[-1], list):
            self.stack[-1].extend(items)

    def op_append(self, _: Any) -> None:
        (item,) = self.pop_many(1)
        if isinstance(self.stack[-1], list):
            self.stack[-1].append(item)

    def op_dict(self, _: Any) -> None:
        items = self.pop_mark()
        self.stack.append(_plain_keys(list(zip(items[::2], items[1::2], strict=True))))

    def op_persistent_id(self, _: Any) -> None:
        (identifier,) = self.pop_many(1)
        self.stack.append(_storage(identifier))

    def op_stack_global(self, _: Any) -> None:
        module, name = self.pop_many(2)
        self.stack.append(self.named(str(module), str(name)))

    def op_stop(self, _: Any) -> None:
        (self.result,) = self.pop_many(1)

    def op_pop(self, _: Any) -> None:
        self.pop_many(1)

    def op_pop_mark(self, _: Any) -> None:
        self.pop_mark()

    OPERATIONS: ClassVar[dict[str, Callable[[_Machine, Any], None]]] = {
        "MARK": lambda self, _: self.stack.append(_Mark),
        "POP": op_pop,
        "POP_MARK": op_pop_mark,
        "DUP": lambda self, _: self.stack.append(self.stack[-1]),
        "TUPLE": lambda self, _: self.stack.append(tuple(self.pop_mark())),
        "TUPLE1": lambda self, _: self.stack.append(self.pop_many(1)),
        "TUPLE2": lambda self, _: self.stack.append(self.pop_many(2)),
        "TUPLE3": lambda self, _: self.stack.append(self.pop_many(3)),
        "LIST": lambda self, _: self.stack.append(self.pop_mark()),
        "FROZENSET": lambda self, _: self.stack.append(self.pop_mark()),
        "ADDITEMS": op_appends,
        "APPENDS": op_appends,
        "APPEND": op_append,
        "DICT": op_dict,
        "SETITEM": op_setitem,
        "SETITEMS": op_setitems,
        "GLOBAL": lambda self, argument: self.stack.append(self.named(*_module_and_name(argument))),
        "STACK_GLOBAL": op_stack_global,
        "EXT1": lambda self, code: self.stack.append(self.opaque(f"copyreg extension {code}")),
        "EXT2": lambda self, code: self.stack.append(self.opaque(f"copyreg extension {code}")),
        "EXT4": lambda self, code: self.stack.append(self.opaque(f"copyreg extension {code}")),
        "REDUCE": op_reduce,
        "NEWOBJ": op_reduce,
        "NEWOBJ_EX": op_newobj_ex,
        "OBJ": op_obj,
        "INST": op_inst,
        "BUILD": op_build,
        "PERSID": lambda self, argument: self.stack.append(_storage(argument)),
        "BINPERSID": op_persistent_id,
        "STOP": op_stop,
    }


_PUSH = frozenset(
    {
        "INT",
        "BININT",
        "BININT1",
        "BININT2",
        "LONG",
        "LONG1",
        "LONG4",
        "FLOAT",
        "BINFLOAT",
        "STRING",
        "BINSTRING",
        "SHORT_BINSTRING",
        "UNICODE",
        "SHORT_BINUNICODE",
        "BINUNICODE",
        "BINUNICODE8",
        "SHORT_BINBYTES",
        "BINBYTES",
        "BINBYTES8",
        "BYTEARRAY8",
    }
)
_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_SET": list,
}
_SIZED = (str, bytes, bytearray, list, tuple, dict)
# Classes that arrays and dtypes name beside their builders; they are not called.
_NAMED_ONLY = {("numpy", "ndarray"), ("numpy.matrixlib.defmatrix", "matrix"), ("builtins", "object")}
_PUT = frozenset({"PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"})
_GET = frozenset({"GET", "BINGET", "LONG_BINGET"})
_IGNORE = frozenset({"PROTO", "FRAME"})


def _module_and_name(argument: str) -> tuple[str, str]:
    module, _, name = argument.partition(" ")
    return module, name


def _is_storage(named: Global) -> bool:
    return named.module == "torch" and named.name.endswith("Storage")


def _canonical(function: Global) -> tuple[str, str]:
    """Module and name, with the spellings of Python 2 and of numpy before 2 made one."""
    module = function.module.replace("numpy.core.", "numpy._core.")
    return ("builtins" if module == "__builtin__" else module), function.name


def _plain_keys(pairs: list[Any]) -> dict[Any, Any]:
    """The pairs whose key is a plain value; hashing a nested tuple of a hostile pickle can take for ever."""
    return {key: value for key, value in pairs if key is None or isinstance(key, str | int | float | bytes)}


def _storage(identifier: Any) -> StorageRef:
    match identifier:
        case ("storage", Global(name=kind), str(key), _, int(n_values)) if n_values >= 0:
            return StorageRef(kind, key, n_values)
    raise ModelFileError("the pickle inside names a tensor storage in a way that torch does not")


def _tensor(storage: Any, offset: Any, shape: Any, stride: Any, *_: Any) -> TensorRef | Opaque:
    if not isinstance(storage, StorageRef):
        return Opaque("tensor without storage")
    numbers = (offset, *shape, *stride)
    if len(shape) != len(stride) or not all(isinstance(number, int) and number >= 0 for number in numbers):
        raise ModelFileError("a tensor in the save has an impossible shape")
    return TensorRef(storage, offset, tuple(shape), tuple(stride))


def _dtype(description: Any, *_: Any) -> _Dtype | Opaque:
    if not isinstance(description, str) or not _DTYPE.fullmatch(description):
        return Opaque("numpy dtype")
    return _Dtype(np.dtype(description))


def _bytes(content: Any) -> bytes:
    """Bytes, which before protocol 3 were written as text. A number would be a size: refused."""
    if isinstance(content, str):
        return content.encode("latin1")
    if not isinstance(content, bytes | bytearray):
        raise ModelFileError("bytes in the save are damaged")
    return bytes(content)


def _fill_array(array: np.ndarray[Any, Any], state: Any) -> None:
    """What ndarray.__setstate__ does, after checking that the state is consistent."""
    match state:
        case (_, tuple(shape), _Dtype(dtype=dtype), fortran, content):
            pass
        case _:
            raise ModelFileError("a numpy array in the save is damaged")
    content = content if isinstance(content, list) else _bytes(content)
    size = math.prod(shape) if all(isinstance(n, int) and n >= 0 for n in shape) else -1
    length = len(content) if dtype.hasobject else len(content) / dtype.itemsize if dtype.itemsize else -1
    if length != size or dtype.hasobject is not isinstance(content, list):
        raise ModelFileError("a numpy array in the save has the wrong length")
    # numpy's stub asks for numpy.bool, which numpy itself refuses.
    array.__setstate__((1, shape, dtype, bool(fortran), content))  # type: ignore[arg-type]


def _array_from_buffer(content: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray[Any, Any]:
    """How pickle protocol 5 stores a contiguous array."""
    array = np.empty(0)
    _fill_array(array, (1, tuple(shape), dtype, order == "F", content))
    return array


def _scalar(dtype: Any, content: Any = None) -> Any:
    if not isinstance(dtype, _Dtype) or dtype.dtype.hasobject:
        return content
    return np.frombuffer(_bytes(content), dtype.dtype, count=1)[0].item()


_BUILDERS: dict[tuple[str, str], Callable[..., Any]] = {
    ("collections", "OrderedDict"): lambda items=(): _plain_keys([tuple(item) for item in items]),
    # The factory is dropped: a missing key of a save is an error, not a new list.
    ("collections", "defaultdict"): lambda *_: {},
    ("builtins", "dict"): lambda items=(): _plain_keys([tuple(item) for item in items]),
    ("builtins", "list"): lambda items=(): list(items),
    ("builtins", "tuple"): lambda items=(): tuple(items),
    ("builtins", "set"): lambda items=(): list(items),
    ("builtins", "frozenset"): lambda items=(): list(items),
    ("builtins", "bytes"): lambda *_: b"",
    ("builtins", "bytearray"): lambda content=b"", *_: _bytes(content),
    ("_codecs", "encode"): lambda text, *_: text.encode("latin1"),
    ("numpy", "dtype"): _dtype,
    ("numpy._core.multiarray", "_reconstruct"): lambda *_: np.empty(0),
    ("numpy._core.multiarray", "scalar"): _scalar,
    ("numpy._core.numeric", "_frombuffer"): _array_from_buffer,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): lambda data, *_: data,
}
"""What the machine builds itself. Each takes plain values and returns plain values."""
