"""The JSON of the v1 routes as pydantic models: they check the small fields and describe everything to OpenAPI."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from service.core.errors import ErrorKind
from service.protobuf.stubs.totalvi_v1_pb2 import DESCRIPTOR

Vector: TypeAlias = list[float]
Matrix: TypeAlias = list[list[float]]
Stack: TypeAlias = list[list[list[float]]]

OutputName: TypeAlias = Literal["qz", "ql", "z", "library", "samples"]
LabelValue: TypeAlias = str | int | float | bool

_MODEL_COLUMNS = "Left out, the columns must be exactly the model's, in order."


class EncodeOptions(BaseModel):
    """The small fields of an encode request: all but counts, labels and covariates."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    genes: Annotated[
        tuple[str, ...] | None,
        Field(description=f"Names of the columns of `gene_counts`, in any order, each once. {_MODEL_COLUMNS}"),
    ] = None
    proteins: Annotated[
        tuple[str, ...] | None,
        Field(description=f"Names of the columns of `protein_counts`, in any order, each once. {_MODEL_COLUMNS}"),
    ] = None
    cells: Annotated[
        tuple[str, ...] | None, Field(description="[cells] Names of the cells, echoed in order, duplicates included.")
    ] = None
    outputs: Annotated[
        tuple[OutputName, ...] | None,
        Field(
            description="What to answer. Left out: `qz`, `z`, `library`, and `ql` where the model trained its library "
            "encoder; `samples` is implied by `n_samples` > 0."
        ),
    ] = None
    n_samples: Annotated[
        int, Field(ge=0, description="Draws for each cell; 0 draws none, or one where `outputs` asks for `samples`.")
    ] = 0
    seed: Annotated[
        int | None,
        Field(ge=0, le=2**64 - 1, description="Of the draws. Left out, one is drawn and returned with the samples."),
    ] = None
    first_cell: Annotated[
        int,
        Field(
            ge=0,
            le=2**63 - 1,
            description="Index of the first cell in the caller's whole matrix, so that split calls draw as one; "
            "0 to 2^63 - 1.",
        ),
    ] = 0
    min_gene_coverage: Annotated[
        float,
        Field(ge=0, le=1, description="Refuse a request that names a smaller share of the model's genes than this."),
    ] = 0.5
    allow_non_integer: Annotated[
        bool,
        Field(
            description="Take counts that look log-normalised (mostly fractions, and small), which otherwise are "
            "refused. Fractions alone are a warning."
        ),
    ] = False


class CsrRows(BaseModel):
    """Counts as compressed sparse rows over the request's own columns."""

    model_config = ConfigDict(extra="forbid")

    indptr: Annotated[list[int], Field(description="[cells + 1] Where each cell's entries begin; starts at 0.")]
    indices: Annotated[list[int], Field(description="[entries] Column of each entry.")]
    data: Annotated[Vector, Field(description="[entries] Raw count of each entry.")]


class EncodeBody(EncodeOptions):
    """Cells to encode: raw counts, never logged or scaled. `null` means left out."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "cells": ["AAAC-1", "AAAG-1"],
                "genes": ["CD3E", "MS4A1", "LYZ"],
                "gene_counts": [[3, 0, 1], [0, 7, 0]],
                "proteins": ["CD3_TotalSeqB", "CD19_TotalSeqB"],
                "protein_counts": [[120, 4], [3, 310]],
                "batch": "PBMC10k",
                "categorical_covariates": {"donor": ["d1", "d2"]},
                "continuous_covariates": {"age": 0.3},
                "outputs": ["qz", "z", "library", "samples"],
                "n_samples": 10,
                "seed": 7,
            }
        }
    )

    gene_counts: Annotated[
        Matrix | CsrRows, Field(description="[cells][genes] Raw RNA counts (UMIs), as rows of numbers or as CSR.")
    ]
    protein_counts: Annotated[
        Matrix | CsrRows | None,
        Field(
            description="[cells][proteins] Raw protein counts, as rows or as CSR. Left out: no protein was measured."
        ),
    ] = None
    batch: Annotated[
        LabelValue | list[LabelValue] | None,
        Field(description="One label for all cells or one per cell, of the type that the model was trained with."),
    ] = None
    categorical_covariates: Annotated[
        dict[str, LabelValue | list[LabelValue]] | None, Field(description="By covariate key: labels, as for `batch`.")
    ] = None
    continuous_covariates: Annotated[
        dict[str, float | Vector] | None,
        Field(description="By covariate name: one number for all cells or one per cell, in the trainer's units."),
    ] = None


class LatentNormal(BaseModel):
    """q(z): a normal for each cell and dimension, before any softmax."""

    mean: Annotated[Matrix, Field(description="[cells][n_latent]")]
    variance: Annotated[Matrix, Field(description="[cells][n_latent] Variance (not deviation), at least 1e-4.")]


class LibraryNormal(BaseModel):
    """q(l): a normal for each cell's log library size."""

    mean: Annotated[Vector, Field(description="[cells]")]
    variance: Annotated[Vector, Field(description="[cells] Variance (not deviation), at least 1e-4.")]


class LibrarySize(BaseModel):
    """How many molecules a cell has."""

    observed: Annotated[Vector, Field(description="[cells] Sum of the counts of the model's genes.")]
    latent: Annotated[
        Vector | None,
        Field(
            description="[cells] exp(mean + variance / 2) of q(l); comes with `ql`. Finite: it ends at the largest "
            "float32 (about 3.4e38), which only a library encoder that was never trained comes to."
        ),
    ] = None


class Draws(BaseModel):
    """Samples of the two latent variables."""

    z: Annotated[Stack, Field(description="[n_samples][cells][n_latent]")]
    l: Annotated[Matrix, Field(description="[n_samples][cells]")]  # noqa: E741 the literature's name of the library size


class SampleSet(BaseModel):
    """Draws from the posterior. A draw depends on model, counts, seed, cell index and sample index alone."""

    seed: Annotated[int, Field(ge=0, le=2**64 - 1, description="That they were drawn with; may exceed 2^53.")]
    latent: Annotated[Draws, Field(description="z: softmax of the draw for `ln`, itself for `normal`; l: exp(draw).")]
    untran_latent: Annotated[
        Draws, Field(description="The normal draws: `l` at most 15, so that `latent.l` is its exponential.")
    ]


class Warned(BaseModel):
    """Something the caller should know of its columns or counts."""

    code: Annotated[str, Field(description="Machine code, such as `missing_genes`.")]
    detail: Annotated[str, Field(description="One sentence for a person.")]
    count: Annotated[int, Field(description="How many columns or cells it concerns.")]
    examples: Annotated[list[str], Field(description="A few of their names.")]


class EncodeAnswer(BaseModel):
    """The posterior of each cell, in the request's order; a key that was not asked for is absent."""

    model: str
    model_version: str
    n_cells: int
    cells: Annotated[list[str] | None, Field(description="[cells] The request's names, echoed.")] = None
    qz: LatentNormal | None = None
    ql: LibraryNormal | None = None
    z: Annotated[
        Matrix | None,
        Field(
            description="[cells][n_latent] What `get_latent_representation()` gives: the mean for `normal`; "
            "for `ln` the mean of softmax(z) under q(z)."
        ),
    ] = None
    library: LibrarySize | None = None
    samples: SampleSet | None = None
    warnings: list[Warned]


class ColumnCoverage(BaseModel):
    """How the columns of one kind of a request meet the model's."""

    given: Annotated[int, Field(description="Columns of the request; of proteins 0 where there are no counts of them.")]
    known: Annotated[int, Field(description="Of those, how many the model has.")]
    missing: Annotated[int, Field(description="Columns of the model that the request lacks; each counts 0.")]
    extra: Annotated[int, Field(description="Columns of the request that the model lacks; they are dropped.")]
    coverage: Annotated[
        float,
        Field(ge=0, le=1, description="Share of the model's columns that the request has; 1 where the model has none."),
    ]


class ValidateAnswer(BaseModel):
    """What encoding the request would meet with; nothing was computed."""

    model: Annotated[str, Field(description="That the request was held against.")]
    model_version: str
    n_cells: int
    genes: ColumnCoverage
    proteins: ColumnCoverage
    warnings: Annotated[list[Warned], Field(description="Those that the answer of `encode` would bear, in its order.")]


class Card(BaseModel):
    """A served model, with the public part of its manifest: genes, proteins, labels, sizes and origin."""

    model_config = ConfigDict(extra="allow")

    name: str
    version: str
    versions: Annotated[list[str], Field(description="Every version served, ascending; the last is the default.")]
    state: Literal["loading", "ready", "failed"]
    sha256: Annotated[str, Field(description="Of the artifact.")]
    reason: Annotated[str | None, Field(description="Why it failed; absent otherwise.")] = None


class CardList(BaseModel):
    """The served models, by name, each at its default version."""

    models: list[Card]
    server_version: Annotated[str, Field(description="Of the service that answers.")]


class PublishedLimits(BaseModel):
    """What one request may ask for; above any of these it is refused as `too_large`."""

    max_request_bytes: Annotated[int, Field(description="Body, as sent and after decompression.")]
    max_request_cells: Annotated[int, Field(description="Cells.")]
    max_samples: Annotated[int, Field(description="Draws for each cell.")]
    max_sample_values: Annotated[int, Field(description="Draws x cells x (n_latent + 1).")]
    max_columns: Annotated[int, Field(description="Genes, or proteins, named or sent.")]


class Problem(BaseModel):
    """An error, as RFC 9457 problem details."""

    type: Annotated[str, Field(description="`urn:totalvi-serve:error:` and the code.")]
    title: str
    status: int
    detail: Annotated[str, Field(description="What is wrong and what to do, in one sentence.")]
    code: ErrorKind
    request_id: Annotated[str, Field(description="Also in `X-Request-Id`; the log has the call under it.")]
    field: Annotated[
        str | None,
        Field(
            description="The request field at fault, dotted; a key that is long or not printable is quoted, escaped "
            "and cut."
        ),
    ] = None
    index: Annotated[int | None, Field(description="Position of the first offender in that field.")] = None
    counts: Annotated[dict[str, int] | None, Field(description="Further numbers, by name.")] = None


def message_schema(name: str) -> dict[str, Any]:
    """The schema of a body that is a message of gRPC."""
    full_name = DESCRIPTOR.message_types_by_name[name].full_name
    said = f"The message `{full_name}` of `proto/totalvi_v1.proto`, serialised."
    return {"type": "string", "format": "binary", "description": said}


def components() -> dict[str, Any]:
    """The schemas that routes refer to by name, as FastAPI reads neither request bodies nor problems here."""
    schemas: dict[str, Any] = {}
    for model in (EncodeBody, Problem):
        schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas |= schema.pop("$defs", {})
        schemas[model.__name__] = schema
    return schemas
