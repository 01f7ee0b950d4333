"""Damaged saves and artifacts, read in a process of its own: what C++ makes of them could end it.

A case is its number: the same number makes the same file, in any process.
"""

from __future__ import annotations

import io
import random
import resource
import shutil
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from model.device_encoder import DeviceEncoder, example_cells
from model.errors import ModelFileError
from model.export import export_save
from model.inspection import inspect_path
from tests.fuzz.mutations import damaged
from tests.saves import ROOT, SaveRecipe

SAVES = 1_600
ARTIFACTS = 800
MOST_BYTES = 8 << 30
"""Of address space: a size in a file must not be believed."""

AT = "case"
"""File in which the process says how far it is."""


def sources(folder: Path) -> tuple[list[bytes], list[bytes]]:
    """Good saves and good artifacts, made in `folder`."""
    recipes = [
        SaveRecipe(),
        SaveRecipe(
            categorical={"donor": ["a", "b"], "lane": [1, 2]}, continuous=["age"], latent_distribution="ln", seed=3
        ),
        SaveRecipe(batches=None, efficiency=None, scvi_version="1.1.5", model_name="TOTALANVI", n_latent=2),
    ]
    written = [recipe.write(folder / str(number)) / "model.pt" for number, recipe in enumerate(recipes)]
    exported = [
        export_save(save, name=f"m{number}", version=1, into=folder / "models").path
        for number, save in enumerate(written[:2])
    ]
    golden = sorted((ROOT / "tests" / "golden").glob("*/model.pt"))
    return [file.read_bytes() for file in (*written, *golden)], [file.read_bytes() for file in exported]


def broken(content: bytes, rng: random.Random) -> bytes:
    """A damaged file: its bytes, or one of its records with the checksums set right again."""
    if rng.random() < 0.25:
        return damaged(content, rng)
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        records = {info.filename: file.read(info) for info in file.infolist()}
    names = list(records)
    telling = [name for name in names if name.endswith((".pkl", ".json", ".py", "byteorder", "version"))]
    name = rng.choice(telling if rng.random() < 0.8 else names)
    match rng.randrange(12):
        case 0:
            del records[name]
        case 1:
            records[rng.choice(("x", "../x", name.upper(), name + "/data.pkl"))] = records.pop(name)
        case 2:
            records[name] = records[rng.choice(names)]
        case _:
            records[name] = damaged(records[name], rng)
    out = io.BytesIO()
    compression = zipfile.ZIP_DEFLATED if rng.random() < 0.03 else zipfile.ZIP_STORED
    with zipfile.ZipFile(out, "w", compression) as file:
        for kept, data in records.items():
            file.writestr(zipfile.ZipInfo(kept), data)
    return out.getvalue()


def read_save_case(content: bytes, folder: Path, rng: random.Random) -> str:
    """Inspect a save; some of those that can be read are exported, too."""
    file = folder / "model.pt"
    file.write_bytes(content)
    inspect_path(file)
    if rng.random() > 0.1:
        return "read"
    export_save(file, name="m", version=1, into=folder / "models")
    return "exported"


def load_artifact_case(content: bytes, folder: Path, rng: random.Random) -> str:
    """Load and warm an artifact, and encode with it."""
    file = folder / "encoder.pt"
    file.write_bytes(content)
    inspect_path(file)
    encoder = DeviceEncoder.load(file, device="cpu", threads=1, max_batch_cells=16)
    posterior = encoder.encode(example_cells(encoder.spec, 5))
    assert posterior.qz_mean.shape == (5, encoder.spec.n_latent)
    return "served"


READS: dict[str, tuple[int, Callable[[bytes, Path, random.Random], str]]] = {
    "save": (SAVES, read_save_case),
    "artifact": (ARTIFACTS, load_artifact_case),
}


def read_damaged(kind: str, folder: Path, n_cases: int, first: int = 0) -> tuple[Counter[str], list[str]]:
    """Read that many damaged files.

    Returns:
        How many ended how, and what was told of each that ended as none may: the number of the case and the error.
    """
    resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, MOST_BYTES))
    saves, artifacts = sources(folder / "sources")
    good = saves if kind == "save" else artifacts
    outcomes: Counter[str] = Counter()
    bugs = []
    for number in range(first, first + n_cases):
        (folder / AT).write_text(str(number))
        rng = random.Random(number)
        case = folder / "case_files"
        case.mkdir()
        try:
            with warnings.catch_warnings(action="ignore"):
                outcomes[READS[kind][1](broken(rng.choice(good), rng), case, rng)] += 1
        except ModelFileError:
            outcomes["refused"] += 1
        except Exception as error:
            bugs.append(f"case {number}: {type(error).__name__}: {str(error)[:300]}")
        shutil.rmtree(case)
    # A good file is read as before.
    (folder / "after").mkdir()
    outcomes["good: " + READS[kind][1](good[0], folder / "after", random.Random(1))] += 1
    return outcomes, bugs
