"""The zip file around a save is not believed either."""

import dataclasses
import zipfile
from pathlib import Path

import pytest
import torch

from model.errors import ModelFileError
from model.inert_pickle import StorageRef, TensorRef, read_pickle
from model.scvi_save import read_save
from model.tensor_archive import TensorArchive
from tests.saves import SaveRecipe, write_save


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write_save(tmp_path, {"a": torch.arange(6.0).reshape(2, 3)}) / "model.pt"


def ref_of(archive: TensorArchive) -> TensorRef:
    ref = read_pickle(archive.record("data.pkl")).value["a"]
    assert isinstance(ref, TensorRef)
    return ref


def test_a_tensor_comes_back(file: Path) -> None:
    with TensorArchive.open(file) as archive:
        assert torch.equal(archive.tensor(ref_of(archive)), torch.arange(6.0).reshape(2, 3))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shape": (2, 4)}, "beyond its storage"),
        ({"offset": 1}, "beyond its storage"),
        ({"stride": (4, 1)}, "beyond its storage"),
        ({"shape": (1 << 40, 3)}, "beyond its storage"),
        ({"shape": (1 << 40, 3), "stride": (0, 1)}, "repeats its storage"),
        ({"shape": (3, 3), "stride": (1, 1)}, "repeats its storage"),
        ({"storage": StorageRef("FloatStorage", "0", 7)}, "wrong length"),
        ({"storage": StorageRef("FloatStorage", "0", 5)}, "too large"),
        ({"storage": StorageRef("FloatStorage", "../data.pkl", 6)}, "missing"),
        ({"storage": StorageRef("ComplexFloatStorage", "0", 6)}, "storage class"),
    ],
)
def test_a_view_that_lies_is_refused(file: Path, change: dict[str, object], message: str) -> None:
    with TensorArchive.open(file) as archive, pytest.raises(ModelFileError, match=message):
        archive.tensor(dataclasses.replace(ref_of(archive), **change))


def test_an_empty_tensor_is_empty(file: Path) -> None:
    with TensorArchive.open(file) as archive:
        assert archive.tensor(dataclasses.replace(ref_of(archive), shape=(0, 3))).shape == (0, 3)


def rewritten(file: Path, compression: int = zipfile.ZIP_STORED, extra: str | None = None) -> Path:
    target = file.with_name("rewritten.pt")
    with zipfile.ZipFile(file) as source, zipfile.ZipFile(target, "w", compression) as sink:
        for name in source.namelist():
            sink.writestr(name, source.read(name))
        if extra is not None:
            sink.writestr(extra, b"")
    return target


def test_compressed_records_are_refused(file: Path) -> None:
    with pytest.raises(ModelFileError, match="compressed"):
        TensorArchive.open(rewritten(file, zipfile.ZIP_DEFLATED))


def test_two_pickles_are_refused(file: Path) -> None:
    with pytest.raises(ModelFileError, match="not one that torch"):
        TensorArchive.open(rewritten(file, extra="other/data.pkl"))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_record_that_stands_twice_is_refused(file: Path) -> None:
    with pytest.raises(ModelFileError, match="not one that torch"):
        TensorArchive.open(rewritten(file, extra="model/data/0"))


def test_what_is_no_zip_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_bytes(b"\x80\x02}.")
    with pytest.raises(ModelFileError, match=r"not a file that torch\.save wrote"):
        TensorArchive.open(tmp_path / "model.pt")


def test_a_save_truncated_anywhere_is_an_error_of_ours(tmp_path: Path) -> None:
    content = (SaveRecipe().write(tmp_path) / "model.pt").read_bytes()
    for length in range(0, len(content), 97):
        (tmp_path / "model.pt").write_bytes(content[:length])
        with pytest.raises(ModelFileError):
            read_save(tmp_path)


def test_a_flipped_byte_gives_an_answer_or_an_error_of_ours(tmp_path: Path) -> None:
    content = (SaveRecipe().write(tmp_path) / "model.pt").read_bytes()
    for position in range(0, len(content), 61):
        mutated = bytearray(content)
        mutated[position] ^= 0xFF
        (tmp_path / "model.pt").write_bytes(mutated)
        try:
            read_save(tmp_path)
        except ModelFileError:
            continue


def test_a_big_endian_save_is_refused(tmp_path: Path) -> None:
    file = SaveRecipe().write(tmp_path) / "model.pt"
    target = tmp_path / "big" / "model.pt"
    target.parent.mkdir()
    with zipfile.ZipFile(file) as source, zipfile.ZipFile(target, "w") as sink:
        for name in source.namelist():
            sink.writestr(name, b"big" if name.endswith("/byteorder") else source.read(name))
    with pytest.raises(ModelFileError, match="big-endian"):
        read_save(target)
