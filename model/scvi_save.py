"""Reads a directory that scvi-tools wrote, without running it and without scvi-tools.

A save is `model.pt` = {model_state_dict, var_names, attr_dict}. Where each fact lives in it, and which spelling belongs
to which version, is in the project's DOMAIN notes (sections 2 and 3). Facts that stand in two places are compared, and
a save that contradicts itself is refused: a wrong guess would give plausible, wrong latents.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from model.contract import CategoricalField, EncoderSpec, InputTransform, Label, LatentDistribution
from model.encoder_totalvi import EncoderTOTALVI
from model.errors import ModelFileError
from model.inert_pickle import Opaque, TensorRef, read_pickle
from model.tensor_archive import TensorArchive

SERVED_CLASSES = ("TOTALVI", "TOTALANVI")
_EFFICIENCY = "log_per_batch_efficiency"
_NO_BATCH_KEY = "_scvi_batch"


@dataclasses.dataclass(frozen=True, slots=True)
class SavedModel:
    """A save, understood.

    Attributes:
        spec: what the encoder is; `deviation_from_eager` is empty until export.
        encoder: the eager encoder with the trained weights, in evaluation mode.
        foreign: classes and functions the pickle names that were left inert.
        notes: what an operator should know, one sentence each.
    """

    spec: EncoderSpec
    encoder: EncoderTOTALVI
    foreign: tuple[str, ...]
    notes: tuple[str, ...]


def find_save_file(path: Path) -> Path:
    """The `model.pt` of a save, given its directory (the file may bear a prefix) or the file itself.

    Raises:
        ModelFileError: none, several, or a form that is not read.
    """
    if path.is_file():
        return path
    if not path.is_dir():
        raise ModelFileError(f"{path} does not exist; give the directory that model.save() wrote")
    found = sorted(path.glob("*model.pt"))
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(file.name for file in found)
        raise ModelFileError(f"{path} holds several saves ({names}); name one of the files")
    if sorted(path.glob("*model_params.pt")):
        raise ModelFileError(
            f"{path} is in the three-file form of scvi-tools before 0.15, which is not read yet; "
            "TOTALVI.convert_legacy_save() of scvi-tools turns it into a model.pt"
        )
    raise ModelFileError(f"{path} holds no model.pt; give the directory that model.save() wrote")


def read_save(path: Path, input_transform: InputTransform | None = None) -> SavedModel:
    """Read a save of scvi-tools 0.15 or later.

    Args:
        path: the directory, or its `model.pt`.
        input_transform: what the operator knows better than the file; None: decided from the file.

    Raises:
        ModelFileError: not a TOTALVI or TOTALANVI save, damaged, or in contradiction with itself.
    """
    file = find_save_file(path)
    with TensorArchive.open(file) as archive:
        if _has_record(archive, "byteorder") and archive.record("byteorder", 16) != b"little":
            raise ModelFileError(f"{file.name} was saved on a big-endian machine, which is not supported")
        pickled = read_pickle(archive.record("data.pkl"))
        content = _mapping(pickled.value, "the save")
        state = _mapping(_require(content, "model_state_dict"), "model_state_dict")
        tensors = {
            name: archive.tensor(ref)
            for name, ref in state.items()
            if isinstance(ref, TensorRef) and (name.startswith("encoder.") or name == _EFFICIENCY)
        }
    attributes = _mapping(_require(content, "attr_dict"), "attr_dict")
    has_library_prior = "library_log_means" in state
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    return _SaveReader(attributes, content.get("var_names"), tensors, has_library_prior, digest).read(
        input_transform, pickled.foreign
    )


class _SaveReader:
    """Collects the facts of one save and compares those that stand twice."""

    def __init__(
        self,
        attributes: Mapping[str, Any],
        var_names: Any,
        tensors: dict[str, torch.Tensor],
        has_library_prior: bool,
        digest: str,
    ) -> None:
        self.registry = _mapping(_require(attributes, "registry_"), "registry_")
        self.fields = _mapping(_require(self.registry, "field_registries"), "field_registries")
        self.var_names = var_names
        self.parameters = _parameters(_mapping(_require(attributes, "init_params_"), "init_params_"))
        self.tensors = tensors
        self.has_library_prior = has_library_prior
        self.digest = digest

    def read(self, override: InputTransform | None, foreign: tuple[str, ...]) -> SavedModel:
        model_class = str(self.registry.get("model_name"))
        if model_class not in SERVED_CLASSES:
            raise ModelFileError(
                f"this is a save of {model_class}, not of {' or '.join(SERVED_CLASSES)}; only their encoder is served"
            )
        if self.parameters.get("extra_encoder_kwargs"):
            raise ModelFileError("the model was built with extra_encoder_kwargs, an encoder this service does not know")
        genes = self.gene_names()
        proteins = self.protein_names()
        encode_covariates = bool(self.parameters.get("encode_covariates", True))
        version = self.registry.get("scvi_version")
        version = None if version in (None, "None") else str(version)
        transform, decision, certain = self.input_transform(version)
        notes = [] if certain else [f"INPUT TRANSFORM NOT CERTAIN: {decision}"]
        if override is not None and override != transform:
            decision = f"{override}: set by the operator; the save itself says: {decision}"
            notes.append(f"input transform {decision}")
            transform = override
        elif override is not None:
            decision = f"{override}: set by the operator, and the save says the same ({decision})"
        for kind, names in (("gene", genes), ("protein", proteins)):
            if len(set(names)) != len(names):
                notes.append(f"{kind} names repeat: requests must send these columns in the model's order, unnamed")
        encoder = self.encoder(len(genes) + len(proteins), encode_covariates)
        spec = EncoderSpec(
            model_class=model_class,
            genes=genes,
            proteins=proteins,
            batch=self.batch_field(),
            categorical_covariates=self.categorical_covariates(),
            continuous_covariates=self.continuous_covariates(),
            n_latent=encoder.z_mean_encoder.out_features,
            n_hidden=encoder.z_mean_encoder.in_features,
            n_layers=len(encoder.encoder.fc_layers),
            latent_distribution=cast(LatentDistribution, encoder.distribution),
            encode_covariates=encode_covariates,
            input_transform=transform,
            log_variational=bool(self.parameters.get("log_variational", True)),
            input_transform_decision=decision,
            library_encoder_trained=self.library_encoder_trained(),
            proteins_missing_per_batch=self.missing_proteins(proteins),
            scvi_version=version,
            save_sha256=self.digest,
            deviation_from_eager={},
        )
        return SavedModel(spec, encoder, foreign, tuple(notes))

    def state(self, field: str) -> Mapping[str, Any]:
        """The state registry of a field; empty where the model has no such field."""
        return _mapping(_mapping(self.fields.get(field) or {}, field).get("state_registry") or {}, field)

    def statistic(self, field: str, name: str) -> int | None:
        value = _mapping(_mapping(self.fields.get(field) or {}, field).get("summary_stats") or {}, field).get(name)
        return value if isinstance(value, int) else None

    def size(self, parameter: str, default: int) -> int:
        """A size among the parameters; the encoder's sizes are absent from the save when they are the default."""
        value = self.parameters.get(parameter, default)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 1 << 31:
            raise ModelFileError(f"the save's parameter {parameter} is not a size")
        return value

    def gene_names(self) -> tuple[str, ...]:
        names = self.state("X").get("column_names", self.var_names)
        if isinstance(names, dict):
            modality = _mapping(self.fields["X"]["data_registry"], "X").get("mod_key")
            names = names.get(modality)
        genes = _names(names, "gene names")
        expected = self.statistic("X", "n_vars")
        if expected is not None and expected != len(genes):
            raise ModelFileError(f"the save lists {len(genes)} gene names, but its registry counts {expected} genes")
        return genes

    def protein_names(self) -> tuple[str, ...]:
        proteins = _names(self.state("proteins").get("column_names"), "protein names")
        expected = self.statistic("proteins", "n_proteins")
        if expected is not None and expected != len(proteins):
            raise ModelFileError(
                f"the save lists {len(proteins)} protein names, but its registry counts {expected} proteins"
            )
        return proteins

    def batch_field(self) -> CategoricalField | None:
        state = self.state("batch")
        key = str(state.get("original_key"))
        if not state or key == _NO_BATCH_KEY:
            return None
        field = CategoricalField(key, _labels(state.get("categorical_mapping"), "batch"))
        expected = self.statistic("batch", "n_batch")
        if expected is not None and expected != len(field.categories):
            raise ModelFileError(f"the save lists {len(field.categories)} batches, but its registry counts {expected}")
        return field

    def categorical_covariates(self) -> tuple[CategoricalField, ...]:
        state = self.state("extra_categorical_covs")
        if not state:
            return ()
        mappings = _mapping(state.get("mappings"), "categorical covariates")
        fields = tuple(
            CategoricalField(key, _labels(_require(mappings, key), f"covariate {key!r}"))
            for key in _names(state.get("field_keys"), "covariate keys")
        )
        counts = [int(count) for count in _values(state.get("n_cats_per_key"), "n_cats_per_key")]
        if counts != [len(field.categories) for field in fields]:
            raise ModelFileError("the categories of the covariates do not match their counts in the registry")
        return fields

    def continuous_covariates(self) -> tuple[str, ...]:
        state = self.state("extra_continuous_covs")
        return _names(state.get("columns"), "continuous covariates") if state else ()

    def missing_proteins(self, proteins: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
        """Batch label → proteins the mask marks as not measured. Keys are panel codes where there was a panel key."""
        mask = self.state("proteins").get("protein_batch_mask")
        if not isinstance(mask, dict):
            return {}
        groups = _values((self.state("panel") or self.state("batch")).get("categorical_mapping"), "batch")
        missing = {}
        for code, measured in mask.items():
            row = np.asarray(measured).reshape(-1)
            position = int(code)
            if row.shape != (len(proteins),) or not 0 <= position < len(groups):
                raise ModelFileError("protein_batch_mask does not fit the proteins and batches of the save")
            absent = tuple(name for name, is_measured in zip(proteins, row, strict=True) if not is_measured)
            if absent:
                missing[str(groups[position])] = absent
        return missing

    def library_encoder_trained(self) -> bool:
        """Only a model with a latent library size trains its l branch; otherwise it is its random initialisation."""
        if self.state("size_factor"):
            return False
        return self.has_library_prior or not self.parameters.get("use_observed_lib_size", True)

    def input_transform(self, version: str | None) -> tuple[InputTransform, str, bool]:
        """The transform, why, and whether that is certain (scvi-tools 1.3.1 changed it, and added a parameter)."""
        efficiency = self.tensors.get(_EFFICIENCY)
        if efficiency is None:
            return "log1p", f"log1p: the save has no {_EFFICIENCY}, so it was trained before scvi-tools 1.3.1", True
        if bool((efficiency != 0).any()):
            return "scaled", f"scaled: {_EFFICIENCY} was trained, so scvi-tools was 1.3.1 or later", True
        old = version is None or _is_before(version, (1, 3, 1))
        transform: InputTransform = "log1p" if old else "scaled"
        return (
            transform,
            f"{transform}: {_EFFICIENCY} is present but all zero (a converted old save, or one epoch of training), so "
            f"the recorded scvi-tools version {version} decided; override with --input-transform if you know better",
            False,
        )

    def encoder(self, n_features: int, encode_covariates: bool) -> EncoderTOTALVI:
        """The eager encoder with the save's weights, its shape compared with registry and parameters."""
        weights = {
            name.removeprefix("encoder."): tensor for name, tensor in self.tensors.items() if name != _EFFICIENCY
        }
        n_cat_list = None
        n_input = n_features
        if encode_covariates:
            batch = self.batch_field()
            n_cat_list = [1 if batch is None else len(batch.categories)]
            n_cat_list += [len(field.categories) for field in self.categorical_covariates()]
            n_input += len(self.continuous_covariates())
        n_layers = self.size("n_layers_encoder", 2)
        if n_layers > len(weights):
            raise ModelFileError(
                f"the save contradicts itself: {n_layers} encoder layers, {len(weights)} encoder tensors"
            )
        # On the meta device nothing is allocated before the sizes are known to be those of the weights.
        with torch.device("meta"):
            encoder = EncoderTOTALVI(
                n_input,
                self.size("n_latent", 20),
                n_cat_list,
                n_layers=n_layers,
                n_hidden=self.size("n_hidden", 256),
                # Enums are matched exactly, as scvi-tools does: "BOTH" is no batch norm, "LN" is normal.
                distribution="ln" if self.parameters.get("latent_distribution", "normal") == "ln" else "normal",
                use_batch_norm=self.parameters.get("use_batch_norm", "both") in ("both", "encoder"),
                use_layer_norm=self.parameters.get("use_layer_norm", "none") in ("both", "encoder"),
            )
        expected = {name: tuple(tensor.shape) for name, tensor in encoder.state_dict().items()}
        found = {name: tuple(tensor.shape) for name, tensor in weights.items()}
        for name in sorted(expected.keys() | found.keys()):
            if expected.get(name) != found.get(name):
                raise ModelFileError(
                    f"the save contradicts itself: by its registry and parameters encoder.{name} has shape "
                    f"{expected.get(name, 'none')}, in its state dict {found.get(name, 'none')}"
                )
        for name, tensor in weights.items():
            if not bool(torch.isfinite(tensor).all()):
                raise ModelFileError(f"encoder.{name} holds values that are not finite; the training diverged")
        encoder.load_state_dict({name: tensor.float() for name, tensor in weights.items()}, assign=True)
        return encoder.eval().requires_grad_(False)


def _has_record(archive: TensorArchive, name: str) -> bool:
    return f"{archive.folder}/{name}" in archive.file.namelist()


def _parameters(init_params: Mapping[str, Any]) -> dict[str, Any]:
    """The constructor's arguments in one dictionary; they lie flat before 0.15, in two groups after."""
    merged: dict[str, Any] = {}
    for group in (init_params, init_params.get("non_kwargs"), init_params.get("kwargs")):
        if isinstance(group, dict):
            merged |= {key: value for key, value in group.items() if key not in ("kwargs", "non_kwargs")}
            nested = group.get("model_kwargs")
            merged |= nested if isinstance(nested, dict) else {}
    return merged


def _mapping(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ModelFileError(f"{what} is not the dictionary that scvi-tools writes")
    return value


def _require(mapping: Mapping[str, Any], key: str) -> Any:
    if key not in mapping:
        raise ModelFileError(f"the save has no {key!r}; only saves of scvi-tools 0.15 or later are read")
    return mapping[key]


def _values(value: Any, what: str) -> list[Any]:
    if isinstance(value, np.ndarray):
        return list(value.reshape(-1).tolist())
    if isinstance(value, list | tuple):
        return list(value)
    raise ModelFileError(f"the {what} of the save are not a list")


def _names(value: Any, what: str) -> tuple[str, ...]:
    """Names as text: columns without names were saved as integers."""
    values = _values(value, what)
    if not all(isinstance(name, str | int) for name in values):
        raise ModelFileError(f"the {what} of the save are not text")
    return tuple(str(name) for name in values)


def _labels(value: Any, what: str) -> tuple[Label, ...]:
    labels = _values(value, f"categories of {what}")
    if any(isinstance(label, Opaque) or not isinstance(label, str | int | float | bool) for label in labels):
        raise ModelFileError(f"the categories of {what} are neither text, numbers nor booleans")
    if len({(type(label), label) for label in labels}) != len(labels):
        raise ModelFileError(f"the categories of {what} repeat")
    return tuple(labels)


def _is_before(version: str, release: tuple[int, int, int]) -> bool:
    numbers = [int(number) for number in re.findall(r"\d+", version)[:3]]
    return (*numbers, 0, 0, 0)[:3] < release
