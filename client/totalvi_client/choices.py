"""What a caller may choose; all of it is optional."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from totalvi_client.errors import InputError
from totalvi_client.results import Label

KEY = "X_totalVI"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """What to take from the data, and what to ask of the server.

    Attributes:
        model: name of the model; None: the only one that is served.
        version: None: its default one.
        key: of `obsm`, for the latent representation, and of `uns`, for where it came from.
        layer: where the raw gene counts are: a layer, `X` or `raw`. None: found, and told in the report.
        gene_column: column of `var` with the names of the genes as the model knows them; None: `var_names`.
        modality: of a MuData, the one with the genes; None: found by its name.
        proteins: where the protein counts are: a key of `obsm`; False: there are none, and each counts 0. None: found.
        protein_names: names of their columns, where those are an array: a key of `uns`, or the names.
        protein_modality: of a MuData, the one with the proteins; None: found by its name.
        protein_layer: layer of it with raw counts; None: found.
        batch_key: column of `obs` with the batch; None: the one that the model was trained with.
        batch: one label for all cells, instead.
        batch_map: labels of the data and what the model calls them.
        covariate_keys: columns of `obs` by the model's name of the covariate, where the names differ.
        covariates: one value for all cells by the model's name of the covariate, instead.
        distribution: also keep mean and variance of q(z).
        library: also keep the observed library size.
        n_samples: draws from q(z) to keep for each cell.
        seed: of the draws; None: one is drawn, and told in the report.
        min_gene_coverage: share of the model's genes below which it is an error; None: the server's, 0.5.
        allow_non_integer: take counts with fractions, as programs that remove ambient counts write them.
        slice_cells: cells of a request; None: as many as suit the limits.
        in_flight: requests at once.
        priority: None: bulk.
        timeout: seconds for each request, retries included; None: the client's.
    """

    model: str | None = None
    version: str | int | None = None
    key: str = KEY
    layer: str | None = None
    gene_column: str | None = None
    modality: str | None = None
    proteins: str | Literal[False] | None = None
    protein_names: str | Sequence[str] | None = None
    protein_modality: str | None = None
    protein_layer: str | None = None
    batch_key: str | None = None
    batch: Label | None = None
    batch_map: Mapping[Any, Label] | None = None
    covariate_keys: Mapping[str, str] | None = None
    covariates: Mapping[str, Label] | None = None
    distribution: bool = False
    library: bool = False
    n_samples: int = 0
    seed: int | None = None
    min_gene_coverage: float | None = None
    allow_non_integer: bool = False
    slice_cells: int | None = None
    in_flight: int = 4
    priority: Literal["interactive", "bulk"] | None = None
    timeout: float | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if self.batch is not None and self.batch_key is not None:
            raise InputError("give batch= (one label for all cells) or batch_key= (a column of obs), not both")
        if self.slice_cells is not None and self.slice_cells < 1:
            raise InputError("slice_cells must be at least 1")
        if not self.key or "/" in self.key:
            raise InputError(f"key {self.key!r} cannot be a key of obsm")
        if self.n_samples < 0:
            raise InputError("n_samples must not be negative")
        if self.min_gene_coverage is not None and not 0 <= self.min_gene_coverage <= 1:
            raise InputError("min_gene_coverage is a share from 0 to 1")
