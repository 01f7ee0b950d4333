"""The zip file that `torch.save` writes: its pickle, and the tensors the pickle refers to. Nothing in it is run."""

from __future__ import annotations

import dataclasses
import math
import zipfile
from pathlib import Path
from typing import Self

import torch

from model.errors import ModelFileError
from model.inert_pickle import TensorRef

MAX_PICKLE_BYTES = 512 * 1024 * 1024
_DTYPES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


@dataclasses.dataclass(slots=True)
class TensorArchive:
    """An open archive. Close it, or use it in a `with` statement.

    Attributes:
        file: the zip file.
        folder: the one folder that all records lie in.
    """

    file: zipfile.ZipFile
    folder: str

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open an archive after checking its directory.

        Raises:
            ModelFileError: not a zip file, compressed, encrypted, or with a directory that torch does not write.
        """
        try:
            file = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
            raise ModelFileError(
                f"{path.name} is not a file that torch.save wrote (scvi-tools 0.15 or later writes such a model.pt), "
                "or it is truncated"
            ) from error
        records = file.infolist()
        names = [record.filename for record in records]
        pickles = [name for name in names if name.count("/") == 1 and name.endswith("/data.pkl")]
        if len(pickles) != 1 or len(set(names)) != len(names):
            file.close()
            raise ModelFileError(f"{path.name} is a zip file, but not one that torch.save wrote")
        # torch stores its records uncompressed; what unpacks to more than it weighs is no tensor archive.
        if any(record.compress_type != zipfile.ZIP_STORED or record.flag_bits & 1 for record in records):
            file.close()
            raise ModelFileError(f"{path.name} has compressed or encrypted records, which torch.save does not write")
        return cls(file, pickles[0].removesuffix("/data.pkl"))

    def __enter__(self) -> Self:
        """The archive itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self.file.close()

    def pickle(self) -> bytes:
        """The pickle that says which tensors there are.

        Raises:
            ModelFileError: it is damaged, or the tensors are of the other byte order.
        """
        if f"{self.folder}/byteorder" in self.file.namelist() and self.record("byteorder", 16) != b"little":
            raise ModelFileError("the save was written on a big-endian machine, which is not supported")
        return self.record("data.pkl")

    def record(self, name: str, max_bytes: int = MAX_PICKLE_BYTES) -> bytes:
        """The content of one record.

        Raises:
            ModelFileError: it is missing, larger than `max_bytes`, or damaged.
        """
        try:
            info = self.file.getinfo(f"{self.folder}/{name}")
            if info.file_size > max_bytes:
                raise ModelFileError(f"record {name!r} of the save is too large")
            return self.file.read(info)
        except KeyError as error:
            raise ModelFileError(f"record {name!r} of the save is missing") from error
        except (zipfile.BadZipFile, OSError, ValueError, EOFError, NotImplementedError) as error:
            raise ModelFileError(f"record {name!r} of the save is damaged or truncated") from error

    def tensor(self, ref: TensorRef) -> torch.Tensor:
        """Read the tensor a reference describes, as a contiguous copy of its own.

        Raises:
            ModelFileError: unknown storage class, a view beyond the storage, or a damaged record.
        """
        dtype = _DTYPES.get(ref.storage.kind)
        if dtype is None:
            raise ModelFileError(f"a tensor of the save has the storage class {ref.storage.kind!r}, which is not known")
        size = ref.storage.n_values * dtype.itemsize
        data = self.record(f"data/{ref.storage.key}", max_bytes=size)
        if len(data) != size:
            raise ModelFileError(f"tensor storage {ref.storage.key!r} of the save has the wrong length")
        empty = 0 in ref.shape
        last = ref.offset + sum((n - 1) * step for n, step in zip(ref.shape, ref.stride, strict=True))
        if not empty and last >= ref.storage.n_values:
            raise ModelFileError(f"a tensor of the save reaches beyond its storage {ref.storage.key!r}")
        # Overlapping views may claim any size from a small storage; no trained weight is stored so.
        if math.prod(ref.shape) > ref.storage.n_values:
            raise ModelFileError(f"a tensor of the save repeats its storage {ref.storage.key!r}")
        if empty or not data:
            return torch.empty(ref.shape, dtype=dtype)
        flat = torch.frombuffer(bytearray(data), dtype=dtype)
        return flat.as_strided(ref.shape, ref.stride, ref.offset).clone(memory_format=torch.contiguous_format)
