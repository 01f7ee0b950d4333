"""The JSON of the Open Inference Protocol as pydantic models: they describe it to OpenAPI and check nothing."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, Field

from service.core.open_inference import OUTPUTS
from service.version import DISTRIBUTION

ParameterValue: TypeAlias = bool | int | float | str
Shape: TypeAlias = Annotated[list[int], Field(description="-1 for an axis of any length.")]
Elements: TypeAlias = list[float] | list[str] | list[list[float]]


class ServerLive(BaseModel):
    """Whether the process is worth keeping."""

    live: bool


class ServerReady(BaseModel):
    """Whether new requests should be sent here."""

    ready: bool


class ModelReady(BaseModel):
    """Whether a model answers."""

    name: str
    ready: bool


class ServerMetadata(BaseModel):
    """Which server this is."""

    name: Annotated[str, Field(examples=[DISTRIBUTION])]
    version: str
    extensions: Annotated[list[str], Field(description="Of the protocol, that it has.")]


class TensorDescription(BaseModel):
    """One input or output."""

    name: str
    datatype: Annotated[
        str,
        Field(description="The usual one; of counts every integer and float type is taken, of indices every integer."),
    ]
    shape: Shape


class ModelDescription(BaseModel):
    """The tensors of a model."""

    name: str
    versions: Annotated[list[str], Field(description="Every version served, ascending; the last is the default.")]
    platform: str
    inputs: Annotated[
        list[TensorDescription],
        Field(description="Genes come dense (`gene_counts`) or sparse (the three `gene_counts.…`), not both."),
    ]
    outputs: list[TensorDescription]


class InputParameters(BaseModel):
    """Of an input."""

    binary_data_size: Annotated[int, Field(ge=0, description="Its bytes behind the JSON, instead of `data`.")]


class InputTensor(BaseModel):
    """One input."""

    name: str
    shape: Annotated[list[int], Field(description="Row-major.")]
    datatype: str
    data: Annotated[Elements | None, Field(description="Flat, row-major; or as rows.")] = None
    parameters: InputParameters | None = None


class OutputParameters(BaseModel):
    """Of a requested output."""

    binary_data: Annotated[bool, Field(description="Whether it goes as bytes behind the JSON.")]


class RequestedOutput(BaseModel):
    """One output that is asked for."""

    name: Annotated[str, Field(json_schema_extra={"enum": list(OUTPUTS)})]
    parameters: OutputParameters | None = None


class InferParameters(BaseModel):
    """Of a request; `null` is not taken."""

    n_samples: Annotated[int, Field(ge=0, description="Draws for each cell.")] = 0
    seed: Annotated[int | None, Field(ge=0, le=2**64 - 1, description="Of the draws; left out, one is drawn.")] = None
    first_cell: Annotated[int, Field(ge=0, le=2**63 - 1, description="Index of the first cell in a split matrix.")] = 0
    min_gene_coverage: Annotated[float, Field(ge=0, le=1)] = 0.5
    allow_non_integer: bool = False
    timeout: Annotated[int, Field(ge=0, description="Microseconds from arrival; 0: none.")] = 0
    priority: Annotated[int, Field(ge=0, description="1: interactive; 2 and above: bulk; 0: as the header says.")] = 0
    binary_data_output: Annotated[bool, Field(description="`binary_data` of the outputs that do not say.")] = False


class InferBody(BaseModel):
    """Cells to encode, as named tensors; docs/open-inference.md tells what they mean."""

    id: Annotated[str | None, Field(description="Echoed.")] = None
    parameters: InferParameters | None = None
    inputs: list[InputTensor]
    outputs: Annotated[
        list[RequestedOutput] | None,
        Field(description="What to answer, in this order. Left out: all that the model was trained for."),
    ] = None


class OutputTensor(BaseModel):
    """One output."""

    name: str
    datatype: Literal["FP32"]
    shape: list[int]
    data: Annotated[list[float] | None, Field(description="Flat, row-major.")] = None
    parameters: Annotated[
        InputParameters | None, Field(description="Instead of `data`, where it was wanted in binary.")
    ] = None


class InferAnswer(BaseModel):
    """The encoded cells."""

    model_name: str
    model_version: Annotated[str, Field(description="That computed it.")]
    id: str | None = None
    parameters: Annotated[
        dict[str, ParameterValue] | None,
        Field(description="`seed` where there are samples; `warnings`, as JSON, where there are any."),
    ] = None
    outputs: list[OutputTensor]


class IndexBody(BaseModel):
    """Which models to list."""

    ready: Annotated[bool, Field(description="Only those that answer.")] = False


class IndexedModel(BaseModel):
    """A version of a model."""

    name: str
    version: str
    state: Literal["READY", "LOADING", "UNAVAILABLE"]
    reason: Annotated[str, Field(description="Why it is in that state; empty where there is nothing to say.")]


class RepositoryBody(BaseModel):
    """How to load or unload a model."""

    parameters: Annotated[
        dict[str, ParameterValue] | None, Field(description="None but `unload_dependents`, of which there are none.")
    ] = None


class InferError(BaseModel):
    """An error of the protocol."""

    error: Annotated[str, Field(description="What is wrong and what to do, in one sentence.")]


def components() -> dict[str, Any]:
    """The schemas that routes refer to by name, as FastAPI reads neither request bodies nor errors here."""
    schemas: dict[str, Any] = {}
    for model in (InferBody, IndexBody, RepositoryBody, InferError):
        schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas |= schema.pop("$defs", {})
        schemas[model.__name__] = schema
    return schemas
