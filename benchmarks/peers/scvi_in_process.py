"""scvi-tools' own `get_latent_representation(batch_size=512)` on one thread; needs scvi-tools and nothing of ours.

    python benchmarks/peers/scvi_in_process.py FOLDER

The folder holds `state.pt` (the encoder's weights) and `cells.npz`. It writes `z.npy` there and a line of JSON, then
answers each line `{"n_cells": …, "seconds": …}` with what calls for so many cells cost in its own process.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any, TextIO

BATCH_SIZE = 512


def load(folder: Path) -> Any:
    """A TOTALVI model of the cells that has the weights."""
    import anndata  # noqa: PLC0415
    import numpy as np  # noqa: PLC0415
    import pandas as pd  # noqa: PLC0415
    import scipy.sparse  # noqa: PLC0415
    import scvi  # noqa: PLC0415
    import torch  # noqa: PLC0415

    torch.set_num_threads(1)
    with np.load(folder / "cells.npz") as file:
        cells = dict(file)
    matrix = scipy.sparse.csr_matrix((cells["counts"], cells["indices"], cells["indptr"]), tuple(cells["shape"]))
    obs = pd.DataFrame({"batch": np.array(["a", "b"])[cells["codes"]]}, index=[f"c{i}" for i in range(matrix.shape[0])])
    data = anndata.AnnData(matrix, obs=obs)
    data.obsm["proteins"] = cells["proteins"]
    scvi.model.TOTALVI.setup_anndata(data, "proteins", batch_key="batch")
    model = scvi.model.TOTALVI(
        data, n_latent=int(cells["n_latent"]), latent_distribution="normal", empirical_protein_background_prior=False
    )
    model.module.encoder.load_state_dict(torch.load(folder / "state.pt", weights_only=True))
    model.module.eval()
    model.is_trained = True
    return model


def measure(model: Any, n_cells: int, seconds: float) -> dict[str, Any]:
    """Processor and wall time of calls for `n_cells` cells, the model's own one part after another."""
    latencies: list[float] = []
    begin, cpu = time.perf_counter(), time.process_time()
    while time.perf_counter() - begin < seconds:
        first = len(latencies) * n_cells % model.adata.n_obs
        start = time.perf_counter()
        model.get_latent_representation(indices=list(range(first, first + n_cells)), batch_size=BATCH_SIZE)
        latencies.append(time.perf_counter() - start)
    return {"cpu_s": time.process_time() - cpu, "wall_s": time.perf_counter() - begin, "latencies_s": latencies}


def main() -> None:
    """Load, then answer until the input ends."""
    # Libraries write to standard output as they please: results get one of their own.
    results: TextIO = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    import numpy as np  # noqa: PLC0415
    import scvi  # noqa: PLC0415
    import torch  # noqa: PLC0415

    folder = Path(sys.argv[1])
    model = load(folder)
    np.save(folder / "z.npy", model.get_latent_representation(batch_size=BATCH_SIZE))
    print(json.dumps({"scvi-tools": scvi.__version__, "torch": torch.__version__}), file=results, flush=True)
    for line in sys.stdin:
        print(json.dumps(measure(model, **json.loads(line))), file=results, flush=True)


if __name__ == "__main__":
    main()
