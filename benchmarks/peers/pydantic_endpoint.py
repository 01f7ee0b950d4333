"""The endpoint that one would write by hand in an hour: FastAPI, pydantic lists, the eager encoder on dense rows.

It takes the dense JSON body of the service and gives the same numbers. Run with uvicorn's own defaults.
"""

from __future__ import annotations

import json
import socket
import sys

import numpy as np
import torch
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

from model.encoder_totalvi import EncoderTOTALVI

BATCHES = {"a": 0, "b": 1}


class Cells(BaseModel):
    """A request."""

    gene_counts: list[list[float]]
    protein_counts: list[list[float]]
    batch: list[str]


class Normal(BaseModel):
    """A distribution for each cell."""

    mean: list[list[float]]
    variance: list[list[float]]


class Library(BaseModel):
    """The size of each cell's library."""

    observed: list[float]


class Latent(BaseModel):
    """An answer."""

    qz: Normal
    library: Library


def build_app(encoder: EncoderTOTALVI) -> FastAPI:
    """The application."""
    app = FastAPI()

    @app.post("/encode")
    def encode(cells: Cells) -> Latent:
        genes = torch.from_numpy(np.array(cells.gene_counts, dtype=np.float32))
        proteins = torch.from_numpy(np.array(cells.protein_counts, dtype=np.float32))
        batch = torch.tensor([[BATCHES[label]] for label in cells.batch])
        with torch.inference_mode():
            data = torch.cat([torch.log1p(x / (1 + x.mean(1, keepdim=True))) for x in (genes, proteins)], dim=1)
            qz_mean, qz_variance, _, _ = encoder.posterior(data, batch)
        return Latent(
            qz=Normal(mean=qz_mean.tolist(), variance=qz_variance.tolist()),
            library=Library(observed=genes.sum(1).tolist()),
        )

    return app


def main() -> None:
    """Serve on a free port until ended."""
    encoder = torch.load(sys.argv[1], weights_only=False)
    listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
    print(json.dumps({"port": listener.getsockname()[1]}), flush=True)
    uvicorn.Server(uvicorn.Config(build_app(encoder), log_level="warning")).run([listener])


if __name__ == "__main__":
    main()
