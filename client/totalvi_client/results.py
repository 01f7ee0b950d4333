"""What comes back, in numpy."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Float32Array: TypeAlias = npt.NDArray[np.float32]

Label: TypeAlias = str | int | float | bool
"""A category, of the type it has in the model."""


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Normal:
    """A normal distribution for each cell.

    Attributes:
        mean: float32 [cells, n_latent] for z, [cells] for l.
        variance: of the same shape; not the standard deviation; at least 1e-4.
    """

    mean: Float32Array
    variance: Float32Array


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Library:
    """Sizes of the cells' libraries, in counts.

    Attributes:
        observed: float32 [cells], sum of the model genes' counts.
        latent: float32 [cells], mean of exp(l) under q(l); None where `ql` was not answered.
    """

    observed: Float32Array
    latent: Float32Array | None = None


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """Draws from q(z) and q(l), the two dictionaries of scvi-tools' `EncoderTOTALVI.forward`.

    Attributes:
        seed: that they were drawn with; the same seed gives the same draws.
        latent_z: float32 [samples, cells, n_latent]: softmax of the draw for a logistic normal model, else the draw.
        latent_l: float32 [samples, cells]: exp of the draw.
        untran_latent_z: float32 [samples, cells, n_latent]: the normal draw.
        untran_latent_l: float32 [samples, cells]: the normal draw, at most 15.
    """

    seed: int
    latent_z: Float32Array
    latent_l: Float32Array
    untran_latent_z: Float32Array
    untran_latent_l: Float32Array


@dataclasses.dataclass(frozen=True, slots=True)
class Notice:
    """What a caller should know about its columns or counts; the answer stands.

    Attributes:
        code: machine code, e.g. `missing_genes`.
        detail: one sentence for a person.
        count: how many columns or cells it concerns.
        examples: a few of their names.
    """

    code: str
    detail: str
    count: int
    examples: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Encoding:
    """The latent distributions of cells, in their order; what was not asked for is None.

    Attributes:
        model: name of the model that computed it.
        model_version: its version.
        n_cells: number of cells.
        cells: the names that were given, duplicates included, or None.
        qz: q(z), before any softmax.
        ql: q(l), l being the logarithm of the library size.
        z: float32 [cells, n_latent], what scvi-tools' `get_latent_representation()` gives: this goes into `X_totalVI`.
        library: sizes of the libraries.
        samples: draws, where `n_samples` asked for some.
        warnings: what to know of the columns and counts.
        request_id: under which the server's log has the call (of the first part where it took several).
        timing: milliseconds of `decode`, `queue`, `compute` and `encode` in the server, summed over all parts.
    """

    model: str
    model_version: str
    n_cells: int
    cells: tuple[str, ...] | None = None
    qz: Normal | None = None
    ql: Normal | None = None
    z: Float32Array | None = None
    library: Library | None = None
    samples: Samples | None = None
    warnings: tuple[Notice, ...] = ()
    request_id: str | None = None
    timing: Mapping[str, float] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True)
class Coverage:
    """How the columns of one kind of a request meet the model's.

    Attributes:
        given: columns of the request.
        known: of those, how many the model has.
        missing: columns of the model that the request lacks; they count 0.
        extra: columns of the request that the model lacks; they are dropped.
        coverage: share of the model's columns that the request has, 0 to 1.
    """

    given: int
    known: int
    missing: int
    extra: int
    coverage: float


@dataclasses.dataclass(frozen=True, slots=True)
class Validation:
    """What encoding would make of the cells, without computing them.

    Attributes:
        model: name of the model they were held against.
        model_version: its version.
        n_cells: number of cells.
        genes: coverage of the model's genes.
        proteins: coverage of the model's proteins.
        warnings: those that the answer would bear.
        request_id: under which the server's log has the call.
        timing: milliseconds in the server, by phase.
    """

    model: str
    model_version: str
    n_cells: int
    genes: Coverage
    proteins: Coverage
    warnings: tuple[Notice, ...] = ()
    request_id: str | None = None
    timing: Mapping[str, float] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True)
class CategoricalField:
    """A categorical input of a model.

    Attributes:
        key: column of `adata.obs` that the model was set up with.
        categories: the labels it knows, of their own types, in the model's order.
    """

    key: str
    categories: tuple[Label, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Card:
    """What is known of a served model. From `genes` on the fields are empty until it is loaded.

    Attributes:
        name: the model.
        version: the version that this card describes.
        versions: every version that is served, ascending.
        state: `loading`, `ready` or `failed`.
        sha256: of the artifact, lower-case hex.
        reason: why it failed; None otherwise.
        genes: the gene columns in the model's order.
        proteins: the protein columns in the model's order.
        batch: the batch field; None where the model was set up without one.
        categorical_covariates: in the encoder's order.
        continuous_covariates: names, in the encoder's order.
        manifest: the rest of the artifact's public manifest (`n_latent`, `latent_distribution`, `encode_covariates`,
            `input_transform`, `scvi_version`, …); numbers without a fraction are int, whatever the transport.
    """

    name: str
    version: str
    versions: tuple[str, ...]
    state: str
    sha256: str
    reason: str | None = None
    genes: tuple[str, ...] = ()
    proteins: tuple[str, ...] = ()
    batch: CategoricalField | None = None
    categorical_covariates: tuple[CategoricalField, ...] = ()
    continuous_covariates: tuple[str, ...] = ()
    manifest: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def ready(self) -> bool:
        """Whether it answers."""
        return self.state == "ready"

    @property
    def n_latent(self) -> int | None:
        """Dimensions of z; None until it is loaded."""
        n_latent = self.manifest.get("n_latent")
        return n_latent if isinstance(n_latent, int) else None


@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
    """What one request may ask for. The client cuts larger matrices into several by itself.

    Attributes:
        max_request_bytes: of a body or message.
        max_request_cells: cells.
        max_samples: draws per cell.
        max_sample_values: draws x cells x (n_latent + 1).
        max_columns: names or columns of one kind.
    """

    max_request_bytes: int = 64 * 1024 * 1024
    max_request_cells: int = 65536
    max_samples: int = 1000
    max_sample_values: int = 1 << 23
    max_columns: int = 200_000
