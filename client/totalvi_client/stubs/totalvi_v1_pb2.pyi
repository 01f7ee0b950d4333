from google.protobuf import struct_pb2 as _struct_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Output(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OUTPUT_UNSPECIFIED: _ClassVar[Output]
    OUTPUT_QZ: _ClassVar[Output]
    OUTPUT_QL: _ClassVar[Output]
    OUTPUT_Z: _ClassVar[Output]
    OUTPUT_LIBRARY: _ClassVar[Output]
    OUTPUT_SAMPLES: _ClassVar[Output]
OUTPUT_UNSPECIFIED: Output
OUTPUT_QZ: Output
OUTPUT_QL: Output
OUTPUT_Z: Output
OUTPUT_LIBRARY: Output
OUTPUT_SAMPLES: Output

class Tensor(_message.Message):
    __slots__ = ("dtype", "shape", "data")
    class DType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        DTYPE_UNSPECIFIED: _ClassVar[Tensor.DType]
        U8: _ClassVar[Tensor.DType]
        U16: _ClassVar[Tensor.DType]
        U32: _ClassVar[Tensor.DType]
        I32: _ClassVar[Tensor.DType]
        I64: _ClassVar[Tensor.DType]
        F32: _ClassVar[Tensor.DType]
        F64: _ClassVar[Tensor.DType]
    DTYPE_UNSPECIFIED: Tensor.DType
    U8: Tensor.DType
    U16: Tensor.DType
    U32: Tensor.DType
    I32: Tensor.DType
    I64: Tensor.DType
    F32: Tensor.DType
    F64: Tensor.DType
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    dtype: Tensor.DType
    shape: _containers.RepeatedScalarFieldContainer[int]
    data: bytes
    def __init__(self, dtype: _Optional[_Union[Tensor.DType, str]] = ..., shape: _Optional[_Iterable[int]] = ..., data: _Optional[bytes] = ...) -> None: ...

class CsrCounts(_message.Message):
    __slots__ = ("indptr", "indices", "data", "n_columns")
    INDPTR_FIELD_NUMBER: _ClassVar[int]
    INDICES_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    N_COLUMNS_FIELD_NUMBER: _ClassVar[int]
    indptr: Tensor
    indices: Tensor
    data: Tensor
    n_columns: int
    def __init__(self, indptr: _Optional[_Union[Tensor, _Mapping]] = ..., indices: _Optional[_Union[Tensor, _Mapping]] = ..., data: _Optional[_Union[Tensor, _Mapping]] = ..., n_columns: _Optional[int] = ...) -> None: ...

class Counts(_message.Message):
    __slots__ = ("dense", "csr")
    DENSE_FIELD_NUMBER: _ClassVar[int]
    CSR_FIELD_NUMBER: _ClassVar[int]
    dense: Tensor
    csr: CsrCounts
    def __init__(self, dense: _Optional[_Union[Tensor, _Mapping]] = ..., csr: _Optional[_Union[CsrCounts, _Mapping]] = ...) -> None: ...

class Label(_message.Message):
    __slots__ = ("string_value", "int_value", "double_value", "bool_value")
    STRING_VALUE_FIELD_NUMBER: _ClassVar[int]
    INT_VALUE_FIELD_NUMBER: _ClassVar[int]
    DOUBLE_VALUE_FIELD_NUMBER: _ClassVar[int]
    BOOL_VALUE_FIELD_NUMBER: _ClassVar[int]
    string_value: str
    int_value: int
    double_value: float
    bool_value: bool
    def __init__(self, string_value: _Optional[str] = ..., int_value: _Optional[int] = ..., double_value: _Optional[float] = ..., bool_value: _Optional[bool] = ...) -> None: ...

class Labels(_message.Message):
    __slots__ = ("categories", "codes")
    CATEGORIES_FIELD_NUMBER: _ClassVar[int]
    CODES_FIELD_NUMBER: _ClassVar[int]
    categories: _containers.RepeatedCompositeFieldContainer[Label]
    codes: Tensor
    def __init__(self, categories: _Optional[_Iterable[_Union[Label, _Mapping]]] = ..., codes: _Optional[_Union[Tensor, _Mapping]] = ...) -> None: ...

class EncodeRequest(_message.Message):
    __slots__ = ("model", "model_version", "cells", "genes", "proteins", "gene_counts", "protein_counts", "batch", "categorical_covariates", "continuous_covariates", "outputs", "n_samples", "seed", "first_cell", "min_gene_coverage", "allow_non_integer")
    class CategoricalCovariatesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: Labels
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[Labels, _Mapping]] = ...) -> None: ...
    class ContinuousCovariatesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: Tensor
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[Tensor, _Mapping]] = ...) -> None: ...
    MODEL_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    CELLS_FIELD_NUMBER: _ClassVar[int]
    GENES_FIELD_NUMBER: _ClassVar[int]
    PROTEINS_FIELD_NUMBER: _ClassVar[int]
    GENE_COUNTS_FIELD_NUMBER: _ClassVar[int]
    PROTEIN_COUNTS_FIELD_NUMBER: _ClassVar[int]
    BATCH_FIELD_NUMBER: _ClassVar[int]
    CATEGORICAL_COVARIATES_FIELD_NUMBER: _ClassVar[int]
    CONTINUOUS_COVARIATES_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    N_SAMPLES_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    FIRST_CELL_FIELD_NUMBER: _ClassVar[int]
    MIN_GENE_COVERAGE_FIELD_NUMBER: _ClassVar[int]
    ALLOW_NON_INTEGER_FIELD_NUMBER: _ClassVar[int]
    model: str
    model_version: str
    cells: _containers.RepeatedScalarFieldContainer[str]
    genes: _containers.RepeatedScalarFieldContainer[str]
    proteins: _containers.RepeatedScalarFieldContainer[str]
    gene_counts: Counts
    protein_counts: Counts
    batch: Labels
    categorical_covariates: _containers.MessageMap[str, Labels]
    continuous_covariates: _containers.MessageMap[str, Tensor]
    outputs: _containers.RepeatedScalarFieldContainer[Output]
    n_samples: int
    seed: int
    first_cell: int
    min_gene_coverage: float
    allow_non_integer: bool
    def __init__(self, model: _Optional[str] = ..., model_version: _Optional[str] = ..., cells: _Optional[_Iterable[str]] = ..., genes: _Optional[_Iterable[str]] = ..., proteins: _Optional[_Iterable[str]] = ..., gene_counts: _Optional[_Union[Counts, _Mapping]] = ..., protein_counts: _Optional[_Union[Counts, _Mapping]] = ..., batch: _Optional[_Union[Labels, _Mapping]] = ..., categorical_covariates: _Optional[_Mapping[str, Labels]] = ..., continuous_covariates: _Optional[_Mapping[str, Tensor]] = ..., outputs: _Optional[_Iterable[_Union[Output, str]]] = ..., n_samples: _Optional[int] = ..., seed: _Optional[int] = ..., first_cell: _Optional[int] = ..., min_gene_coverage: _Optional[float] = ..., allow_non_integer: _Optional[bool] = ...) -> None: ...

class NormalParams(_message.Message):
    __slots__ = ("mean", "variance")
    MEAN_FIELD_NUMBER: _ClassVar[int]
    VARIANCE_FIELD_NUMBER: _ClassVar[int]
    mean: Tensor
    variance: Tensor
    def __init__(self, mean: _Optional[_Union[Tensor, _Mapping]] = ..., variance: _Optional[_Union[Tensor, _Mapping]] = ...) -> None: ...

class LibrarySize(_message.Message):
    __slots__ = ("observed", "latent")
    OBSERVED_FIELD_NUMBER: _ClassVar[int]
    LATENT_FIELD_NUMBER: _ClassVar[int]
    observed: Tensor
    latent: Tensor
    def __init__(self, observed: _Optional[_Union[Tensor, _Mapping]] = ..., latent: _Optional[_Union[Tensor, _Mapping]] = ...) -> None: ...

class Draws(_message.Message):
    __slots__ = ("z", "l")
    Z_FIELD_NUMBER: _ClassVar[int]
    L_FIELD_NUMBER: _ClassVar[int]
    z: Tensor
    l: Tensor
    def __init__(self, z: _Optional[_Union[Tensor, _Mapping]] = ..., l: _Optional[_Union[Tensor, _Mapping]] = ...) -> None: ...

class Samples(_message.Message):
    __slots__ = ("seed", "latent", "untran_latent")
    SEED_FIELD_NUMBER: _ClassVar[int]
    LATENT_FIELD_NUMBER: _ClassVar[int]
    UNTRAN_LATENT_FIELD_NUMBER: _ClassVar[int]
    seed: int
    latent: Draws
    untran_latent: Draws
    def __init__(self, seed: _Optional[int] = ..., latent: _Optional[_Union[Draws, _Mapping]] = ..., untran_latent: _Optional[_Union[Draws, _Mapping]] = ...) -> None: ...

class Warning(_message.Message):
    __slots__ = ("code", "detail", "count", "examples")
    CODE_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    EXAMPLES_FIELD_NUMBER: _ClassVar[int]
    code: str
    detail: str
    count: int
    examples: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, code: _Optional[str] = ..., detail: _Optional[str] = ..., count: _Optional[int] = ..., examples: _Optional[_Iterable[str]] = ...) -> None: ...

class EncodeResponse(_message.Message):
    __slots__ = ("model", "model_version", "n_cells", "cells", "qz", "ql", "z", "library", "samples", "warnings")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    N_CELLS_FIELD_NUMBER: _ClassVar[int]
    CELLS_FIELD_NUMBER: _ClassVar[int]
    QZ_FIELD_NUMBER: _ClassVar[int]
    QL_FIELD_NUMBER: _ClassVar[int]
    Z_FIELD_NUMBER: _ClassVar[int]
    LIBRARY_FIELD_NUMBER: _ClassVar[int]
    SAMPLES_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    model: str
    model_version: str
    n_cells: int
    cells: _containers.RepeatedScalarFieldContainer[str]
    qz: NormalParams
    ql: NormalParams
    z: Tensor
    library: LibrarySize
    samples: Samples
    warnings: _containers.RepeatedCompositeFieldContainer[Warning]
    def __init__(self, model: _Optional[str] = ..., model_version: _Optional[str] = ..., n_cells: _Optional[int] = ..., cells: _Optional[_Iterable[str]] = ..., qz: _Optional[_Union[NormalParams, _Mapping]] = ..., ql: _Optional[_Union[NormalParams, _Mapping]] = ..., z: _Optional[_Union[Tensor, _Mapping]] = ..., library: _Optional[_Union[LibrarySize, _Mapping]] = ..., samples: _Optional[_Union[Samples, _Mapping]] = ..., warnings: _Optional[_Iterable[_Union[Warning, _Mapping]]] = ...) -> None: ...

class Coverage(_message.Message):
    __slots__ = ("given", "known", "missing", "extra", "coverage")
    GIVEN_FIELD_NUMBER: _ClassVar[int]
    KNOWN_FIELD_NUMBER: _ClassVar[int]
    MISSING_FIELD_NUMBER: _ClassVar[int]
    EXTRA_FIELD_NUMBER: _ClassVar[int]
    COVERAGE_FIELD_NUMBER: _ClassVar[int]
    given: int
    known: int
    missing: int
    extra: int
    coverage: float
    def __init__(self, given: _Optional[int] = ..., known: _Optional[int] = ..., missing: _Optional[int] = ..., extra: _Optional[int] = ..., coverage: _Optional[float] = ...) -> None: ...

class ValidateResponse(_message.Message):
    __slots__ = ("model", "model_version", "n_cells", "genes", "proteins", "warnings")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    N_CELLS_FIELD_NUMBER: _ClassVar[int]
    GENES_FIELD_NUMBER: _ClassVar[int]
    PROTEINS_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    model: str
    model_version: str
    n_cells: int
    genes: Coverage
    proteins: Coverage
    warnings: _containers.RepeatedCompositeFieldContainer[Warning]
    def __init__(self, model: _Optional[str] = ..., model_version: _Optional[str] = ..., n_cells: _Optional[int] = ..., genes: _Optional[_Union[Coverage, _Mapping]] = ..., proteins: _Optional[_Union[Coverage, _Mapping]] = ..., warnings: _Optional[_Iterable[_Union[Warning, _Mapping]]] = ...) -> None: ...

class GetModelRequest(_message.Message):
    __slots__ = ("model", "model_version")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    model: str
    model_version: str
    def __init__(self, model: _Optional[str] = ..., model_version: _Optional[str] = ...) -> None: ...

class ListModelsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListModelsResponse(_message.Message):
    __slots__ = ("models", "server_version")
    MODELS_FIELD_NUMBER: _ClassVar[int]
    SERVER_VERSION_FIELD_NUMBER: _ClassVar[int]
    models: _containers.RepeatedCompositeFieldContainer[ModelCard]
    server_version: str
    def __init__(self, models: _Optional[_Iterable[_Union[ModelCard, _Mapping]]] = ..., server_version: _Optional[str] = ...) -> None: ...

class CategoricalField(_message.Message):
    __slots__ = ("key", "categories")
    KEY_FIELD_NUMBER: _ClassVar[int]
    CATEGORIES_FIELD_NUMBER: _ClassVar[int]
    key: str
    categories: _containers.RepeatedCompositeFieldContainer[Label]
    def __init__(self, key: _Optional[str] = ..., categories: _Optional[_Iterable[_Union[Label, _Mapping]]] = ...) -> None: ...

class ModelCard(_message.Message):
    __slots__ = ("name", "version", "versions", "state", "sha256", "reason", "genes", "proteins", "batch", "categorical_covariates", "continuous_covariates", "manifest")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    GENES_FIELD_NUMBER: _ClassVar[int]
    PROTEINS_FIELD_NUMBER: _ClassVar[int]
    BATCH_FIELD_NUMBER: _ClassVar[int]
    CATEGORICAL_COVARIATES_FIELD_NUMBER: _ClassVar[int]
    CONTINUOUS_COVARIATES_FIELD_NUMBER: _ClassVar[int]
    MANIFEST_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: str
    versions: _containers.RepeatedScalarFieldContainer[str]
    state: str
    sha256: str
    reason: str
    genes: _containers.RepeatedScalarFieldContainer[str]
    proteins: _containers.RepeatedScalarFieldContainer[str]
    batch: CategoricalField
    categorical_covariates: _containers.RepeatedCompositeFieldContainer[CategoricalField]
    continuous_covariates: _containers.RepeatedScalarFieldContainer[str]
    manifest: _struct_pb2.Struct
    def __init__(self, name: _Optional[str] = ..., version: _Optional[str] = ..., versions: _Optional[_Iterable[str]] = ..., state: _Optional[str] = ..., sha256: _Optional[str] = ..., reason: _Optional[str] = ..., genes: _Optional[_Iterable[str]] = ..., proteins: _Optional[_Iterable[str]] = ..., batch: _Optional[_Union[CategoricalField, _Mapping]] = ..., categorical_covariates: _Optional[_Iterable[_Union[CategoricalField, _Mapping]]] = ..., continuous_covariates: _Optional[_Iterable[str]] = ..., manifest: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ...) -> None: ...
