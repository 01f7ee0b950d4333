"""Writes the golden vectors: small saves of scvi-tools with its own answers, checked by tests/model/test_golden.py.

    python -m tests.golden.make_golden

With scvi-tools 1.3.1 or later it writes MODELS, with an older one OLD_MODELS, each to a folder of its name:
`model.pt`, the save without its training history, and `cells.npz`, made-up cells and the answers. With another
version or machine the numbers come out a little different; what is here was written by scvi-tools 1.4.2 and 1.3.0.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import numpy as np
import torch

from tests.parity.models import MC_CELLS, build, table

MODELS = """
z      layers bnorm   lnorm batch       covs    numbers coded log library  missing form     hidden latent name
normal 2      both    none  strings     none    0       yes   yes observed batch   frame    16     6      normal
ln     1      both    none  none        none    0       yes   yes observed none    array    16     6      ln
normal 3      none    both  categorical mixed   2       yes   yes observed none    layer    16     6      layer_norm
ln     2      encoder none  integers    several 1       yes   yes latent   none    mudata   16     6      latent_library
normal 2      decoder none  floats      none    1       yes   no  factor   panel   modality 16     3      no_logarithm
"""
OLD_MODELS = """
z  layers bnorm lnorm batch   covs    numbers coded log library  missing form  hidden latent name
ln 2      both  none  strings several 1       yes   yes observed batch   frame 16     6      scvi_1.3.0
"""
CELLS = MC_CELLS
KEPT = {"init_params_", "is_trained_", "registry_"}
"""Attributes; the others hold the training's history and where and when it ran."""


def main() -> None:
    import scvi

    old = tuple(int(number) for number in scvi.__version__.split(".")[:3]) < (1, 3, 1)
    head, *rows = (line.split() for line in (OLD_MODELS if old else MODELS).strip().splitlines())
    for row in rows:
        (case,) = table("\n".join(" ".join(words[:-1]) for words in (head, row)))
        folder = Path(__file__).with_name(row[-1])
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        with tempfile.TemporaryDirectory() as scratch:
            cells, answers = build(case, Path(scratch) / "save")
            content = torch.load(Path(scratch) / "save" / "model.pt", weights_only=False)
        content["attr_dict"] = {key: value for key, value in content["attr_dict"].items() if key in KEPT}
        torch.save(content, folder / "model.pt")
        np.savez_compressed(
            folder / "cells.npz",
            genes=cells.genes[:CELLS].astype(np.uint32),
            gene_names=cells.gene_names,
            proteins=cells.proteins[:CELLS].astype(np.uint32),
            protein_names=cells.protein_names,
            **{f"obs_{key}": values[:CELLS] for key, values in cells.obs.items() if values[0] is not None},
            **{name: values[:CELLS] for name, values in answers.params.items()},
            **{f"exact_{name}": values[:CELLS] for name, values in answers.exact.items()},
            library=answers.library[:CELLS],
            z=answers.z,
            z_error=answers.z_error,
        )
        print(f"{folder.name}: scvi-tools {scvi.__version__}, {sum(f.stat().st_size for f in folder.iterdir())} bytes")


if __name__ == "__main__":
    main()
