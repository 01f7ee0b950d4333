"""Pickles are read as data: nothing in them runs, whatever opcode asks for it."""

import collections
import io
import os
import pickle
import pickletools
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model.errors import ModelFileError
from model.inert_pickle import Opaque, read_pickle


class Touches:
    """Unpickling it creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.path}",)


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def hostile(path: Path) -> dict[str, bytes]:
    """The ways a pickle can call os.system, by opcode."""
    command = f"touch {path}"
    function, argument = b"cposix\nsystem\n", text(command)
    stack_global = text("posix") + text("system") + b"\x93"
    return {
        "REDUCE": function + b"(" + argument + b"tR.",
        "REDUCE with TUPLE1": b"\x80\x02" + function + argument + b"\x85R.",
        "NEWOBJ": b"\x80\x02" + function + argument + b"\x85\x81.",
        "NEWOBJ_EX": b"\x80\x04" + function + argument + b"\x85}\x92.",
        "NEWOBJ_EX with keywords": b"\x80\x04" + function + b")}" + text("command") + argument + b"s\x92.",
        "INST": b"(" + argument + b"iposix\nsystem\n.",
        "OBJ": b"(" + function + argument + b"o.",
        "STACK_GLOBAL": b"\x80\x04" + stack_global + argument + b"\x85R.",
        "through the memo": function + b"p0\n0g0\n(" + argument + b"tR.",
        "through DUP": function + b"20(" + argument + b"tR.",
        "in a list": b"](" + function + argument + b"\x85Re.",
        "as a dict value": b"}" + text("k") + function + argument + b"\x85Rs.",
        "as a dict key": b"}" + function + argument + b"\x85R" + text("v") + b"s.",
        "in a set": b"\x80\x04\x8f(" + function + argument + b"\x85R\x90.",
        "as BUILD state": b"cbuiltins\nobject\n)R" + function + argument + b"\x85Rb.",
        "BUILD of a state with a call": b"cos\nenviron\n}" + text("x") + function + argument + b"\x85Rsb.",
        "builtins.eval": b"cbuiltins\neval\n" + text(f"__import__('os').system({command!r})") + b"\x85R.",
        "getattr chain": b"cbuiltins\ngetattr\ncposix\nsystem\n" + text("__call__") + b"\x86R" + argument + b"\x85R.",
        "functools.partial": b"cfunctools\npartial\n" + function + argument + b"\x86R)R.",
        "dotted name": b"\x80\x04" + text("os") + text("path.os.system") + b"\x93" + argument + b"\x85R.",
        "defaultdict factory": b"ccollections\ndefaultdict\n" + function + b"\x85R" + argument + b"Ns.",
        "numpy through a lie": b"cnumpy\ndtype\n" + function + argument + b"\x85R\x85R.",
        "by copyreg": b"ccopyreg\n_reconstructor\n" + function + b"cbuiltins\nobject\nN\x87R.",
        "twice called": function + argument + b"\x85R)R.",
    }


@pytest.mark.parametrize("name", hostile(Path("x")))
def test_a_payload_is_not_run(name: str, tmp_path: Path) -> None:
    flag = tmp_path / "executed"
    read_pickle(hostile(flag)[name])
    assert not flag.exists()


@pytest.mark.parametrize("payload", [b"\x82\x01.", b"\x83\x01\x00.", b"\x84\x01\x00\x00\x00."])
def test_extension_codes_are_inert(payload: bytes) -> None:
    assert isinstance(read_pickle(b"\x80\x02" + payload).value, Opaque)


@pytest.mark.parametrize("payload", [b"Pid\n.", text("id") + b"Q.", b")Q."])
def test_persistent_ids_that_torch_does_not_write_are_refused(payload: bytes) -> None:
    with pytest.raises(ModelFileError, match="storage"):
        read_pickle(payload)


def test_the_names_of_what_was_left_inert_are_told(tmp_path: Path) -> None:
    pickled = read_pickle(pickle.dumps([Touches(tmp_path / "executed"), collections.Counter("ab")]))
    assert pickled.foreign == ("collections.Counter", "posix.system")
    assert not (tmp_path / "executed").exists()


VALUES = [
    None,
    True,
    -1,
    1 << 40,
    1 << 200,
    2.5,
    "é",
    b"\xff",
    bytearray(b"ab"),
    (),
    (1,),
    (1, 2, 3, 4),
    [1, [2, [3]]],
    {"a": 1, 2: {"b": None}},
    collections.OrderedDict(a=1, b=2),
]


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("value", VALUES, ids=str)
def test_plain_values_come_back(value: Any, protocol: int) -> None:
    assert read_pickle(pickle.dumps(value, protocol)).value == value


@pytest.mark.parametrize("protocol", range(6))
def test_sets_come_back_as_lists(protocol: int) -> None:
    assert sorted(read_pickle(pickle.dumps({3, 1, 2}, protocol)).value) == [1, 2, 3]
    assert sorted(read_pickle(pickle.dumps(frozenset({3, 1}), protocol)).value) == [1, 3]


def test_a_default_dict_is_a_dict() -> None:
    value = collections.defaultdict(list, a=[1])
    assert read_pickle(pickle.dumps(value)).value == {"a": [1]}


ARRAYS = [
    np.arange(6).astype(dtype).reshape(2, 3) for dtype in ("<i2", ">i4", "<u8", "<f2", "<f4", ">f8", "?", "<c8")
] + [
    np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    np.array(["b2", "b0"], dtype=object),
    np.array(["b2", "b01"]),
    np.array([b"x"]),
    np.array(3.5),
    np.zeros((0, 3)),
    np.array([[1, "a"], [None, 2.5]], dtype=object),
]


@pytest.mark.parametrize("protocol", range(2, 6))
@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: f"{array.dtype}{array.shape}")
def test_numpy_arrays_come_back(array: np.ndarray[Any, Any], protocol: int) -> None:
    found = read_pickle(pickle.dumps(array, protocol)).value
    # numpy reads the other byte order into this machine's own.
    assert found.dtype == array.dtype.newbyteorder("=")
    np.testing.assert_array_equal(found, array)


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
def test_a_numpy_matrix_is_an_array() -> None:
    found = read_pickle(pickle.dumps(np.matrix([[True, False]]), 2)).value
    np.testing.assert_array_equal(found, [[True, False]])


@pytest.mark.parametrize("scalar", [np.int64(3), np.float32(1.5), np.bool_(True), np.str_("x")])
def test_numpy_scalars_become_python_values(scalar: Any) -> None:
    found = read_pickle(pickle.dumps(scalar)).value
    assert found == scalar.item() and type(found) is type(scalar.item())


@pytest.mark.parametrize("module", [b"numpy.core.multiarray", b"numpy._core.multiarray"])
def test_numpy_1_and_2_module_names_are_one(module: bytes) -> None:
    payload = pickle.dumps(np.arange(3), 2).replace(b"numpy._core.multiarray", module)
    np.testing.assert_array_equal(read_pickle(payload).value, [0, 1, 2])


@pytest.mark.parametrize(
    "state",
    [
        (1, (3,), np.dtype("<i8"), False, b"\0" * 16),
        (1, (1 << 40,), np.dtype("<i8"), False, b"\0" * 8),
        (1, (-1,), np.dtype("<i8"), False, b""),
        (1, (2,), np.dtype("O"), False, [1]),
        (1, (1,), np.dtype("O"), False, b"12345678"),
        (1, (1,), np.dtype("<i8"), False, [1]),
    ],
    ids=str,
)
def test_an_array_whose_state_lies_is_refused(state: Any) -> None:
    class Lies:
        def __reduce__(self) -> tuple[Any, ...]:
            return np._core.multiarray._reconstruct, (np.ndarray, (0,), b"b"), state

    with pytest.raises(ModelFileError, match="array"):
        read_pickle(pickle.dumps(Lies(), 2))


def test_nested_tuples_as_keys_cost_nothing() -> None:
    """Hashing ((…),(…)) nested 60 deep takes 2**60 steps; such a key is dropped instead."""
    payload = io.BytesIO()
    payload.write(b"\x80\x02})")
    for _ in range(60):
        payload.write(b"2\x86")
    payload.write(b"K\x01s.")
    assert read_pickle(payload.getvalue()).value == {}


@pytest.mark.parametrize("name", ["list", "tuple"])
def test_copying_the_memo_over_and_over_is_refused(name: str) -> None:
    """A few bytes each, and without a bound a hundred thousand values each."""
    first = pickle.dumps(list(range(100_000)), 2)[:-1] + b"q\xff0"
    again = f"cbuiltins\n{name}\n".encode() + b"h\xff\x85R0"
    with pytest.raises(ModelFileError, match="over and over"):
        read_pickle(first + 1000 * again + b"N.")


def test_huge_claims_allocate_nothing() -> None:
    for payload in (
        b"\x80\x04\x8e" + struct.pack("<Q", 1 << 60) + b"abc.",
        b"B" + struct.pack("<I", 1 << 31) + b"abc.",
        b"N" + b"r" + struct.pack("<I", (1 << 32) - 1) + b".",
    ):
        try:
            read_pickle(payload)
        except ModelFileError:
            continue


def test_truncation_at_any_byte_is_an_error_of_ours() -> None:
    payload = pickle.dumps({"a": np.arange(5), "b": [1, (2, "x")], "c": collections.OrderedDict(d=1)}, 2)
    for length in range(len(payload)):
        with pytest.raises(ModelFileError):
            read_pickle(payload[:length])


def test_mutated_pickles_give_an_answer_or_an_error_of_ours() -> None:
    payload = pickle.dumps({"a": np.arange(5), "b": [1, (2, "x")], "c": {"d": np.float64(1)}}, 2)
    rng = np.random.default_rng(0)
    for _ in range(3000):
        mutated = bytearray(payload)
        for position in rng.integers(0, len(payload), size=rng.integers(1, 4)):
            mutated[position] = rng.integers(0, 256)
        try:
            read_pickle(bytes(mutated))
        except ModelFileError:
            continue


def test_every_opcode_is_known_or_refused_by_name() -> None:
    with pytest.raises(ModelFileError, match="NEXT_BUFFER"):
        read_pickle(b"\x80\x05\x97.")
    assert len(pickletools.opcodes) == 68, "a new pickle opcode: decide what it may do"
