"""Reads a directory that scvi-tools wrote, without running it and without scvi-tools.

A save is `model.pt` = {model_state_dict, var_names, attr_dict}. Where each fact lives in it, and which spelling belongs
to which version, is in the project's DOMAIN notes (sections 2 and 3). Facts that stand in two places are compared, and
a save that contradicts itself is refused: a wrong guess would give plausible, wrong latents.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from model.contract import CategoricalField, EncoderSpec, InputTransform, Label, LatentDistribution
from model.encoder_totalvi import EncoderTOTALVI
from model.errors import ModelFileError
from model.save_files import EFFICIENCY, NO_BATCH_KEY, RawSave, mapping, open_save, required, section

SERVED_CLASSES = ("TOTALVI", "TOTALANVI")


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


def read_save(path: Path, input_transform: InputTransform | None = None) -> SavedModel:
    """Read a save of scvi-tools 0.8 or later.

    Args:
        path: the directory, or the file that holds its weights.
        input_transform: what the operator knows better than the file; None: decided from the file.

    Raises:
        ModelFileError: not a TOTALVI or TOTALANVI save, damaged, or in contradiction with itself.
    """
    return _SaveReader(open_save(path)).read(input_transform)


class _SaveReader:
    """Collects the facts of one save and compares those that stand twice."""

    def __init__(self, save: RawSave) -> None:
        self.save = save
        self.registry = mapping(required(save.attributes, "registry_"), "registry_")
        self.fields = mapping(required(self.registry, "field_registries"), "field_registries")
        self.parameters = _parameters(mapping(required(save.attributes, "init_params_"), "init_params_"))

    def read(self, override: InputTransform | None) -> SavedModel:
        model_class = str(self.registry.get("model_name"))
        if model_class not in SERVED_CLASSES:
            raise ModelFileError(
                f"this is a save of {model_class}, not of {' or '.join(SERVED_CLASSES)}; only their encoder is served"
            )
        extra = self.parameters.get("extra_encoder_kwargs")
        if not (extra is None or (isinstance(extra, dict) and not extra)):
            raise ModelFileError("the model was built with extra_encoder_kwargs, an encoder this service does not know")
        genes = self.gene_names()
        proteins = self.protein_names()
        encode_covariates = self.flag("encode_covariates")
        version = self.registry.get("scvi_version")
        # Saves that scvi-tools converted say "None" where nothing was known.
        version = version if isinstance(version, str) and version != "None" else None
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
            log_variational=self.flag("log_variational"),
            input_transform_decision=decision,
            library_encoder_trained=self.library_encoder_trained(),
            proteins_missing_per_batch=self.missing_proteins(proteins),
            scvi_version=version,
            save_sha256=self.save.sha256,
            deviation_from_eager={},
        )
        return SavedModel(spec, encoder, self.save.foreign, tuple(notes))

    def state(self, field: str) -> dict[str, Any]:
        """The state registry of a field; empty where the model has no such field."""
        return section(section(self.fields, field), "state_registry")

    def statistic(self, field: str, name: str) -> int | None:
        value = section(section(self.fields, field), "summary_stats").get(name)
        return value if isinstance(value, int) else None

    def size(self, parameter: str, default: int) -> int:
        """A size among the parameters; the encoder's sizes are absent from the save when they are the default."""
        value = self.parameters.get(parameter, default)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 1 << 31:
            raise ModelFileError(f"the save's parameter {parameter} is not a size")
        return value

    def flag(self, parameter: str) -> bool:
        """A parameter that is true unless the save says otherwise."""
        value = self.parameters.get(parameter, True)
        if not isinstance(value, bool):
            raise ModelFileError(f"the save's parameter {parameter} is neither true nor false")
        return value

    def choice(self, parameter: str, default: str) -> str:
        """A parameter that is one of several words."""
        value = self.parameters.get(parameter, default)
        if not isinstance(value, str):
            raise ModelFileError(f"the save's parameter {parameter} is not a word")
        return value

    def gene_names(self) -> tuple[str, ...]:
        stored = self.save.var_names
        if isinstance(stored, dict):
            modality = section(section(self.fields, "X"), "data_registry").get("mod_key")
            stored = stored.get(modality) if isinstance(modality, str) else None
        genes = _names(self.state("X").get("column_names", stored), "gene names")
        # Before 1.2 a MuData save listed the names of all modalities in one; then the lengths differ.
        names_again = () if stored is None else _names(stored, "var_names")
        if len(names_again) == len(genes) and names_again != genes:
            raise ModelFileError("the save contradicts itself: var_names and its registry name the genes differently")
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
        if not state or key == NO_BATCH_KEY:
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
        mappings = mapping(state.get("mappings"), "categorical covariates")
        fields = tuple(
            CategoricalField(key, _labels(required(mappings, key), f"covariate {key!r}"))
            for key in _names(state.get("field_keys"), "covariate keys")
        )
        if _values(state.get("n_cats_per_key"), "n_cats_per_key") != [len(field.categories) for field in fields]:
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
            row = _values(measured, "protein_batch_mask")
            fits = len(row) == len(proteins) and all(isinstance(value, bool) for value in row)
            position = int(code) if re.fullmatch(r"\d{1,9}", str(code)) else len(groups)
            if not fits or position >= len(groups):
                raise ModelFileError("protein_batch_mask does not fit the proteins and batches of the save")
            absent = tuple(name for name, is_measured in zip(proteins, row, strict=True) if not is_measured)
            if absent:
                missing[str(groups[position])] = absent
        # scvi-tools empties the proteins of a minified MuData and reads the mask off them again: it then says nothing.
        return missing if len(missing) < len(mask) or any(len(row) < len(proteins) for row in missing.values()) else {}

    def library_encoder_trained(self) -> bool:
        """Only a model with a latent library size trains its l branch; otherwise it is its random initialisation."""
        # The field has no state; that it was set shows in its data registry alone.
        if section(section(self.fields, "size_factor"), "data_registry"):
            return False
        return "library_log_means" in self.save.state_names or not self.flag("use_observed_lib_size")

    def input_transform(self, version: str | None) -> tuple[InputTransform, str, bool]:
        """The transform, why, and whether that is certain (scvi-tools 1.3.1 changed it, and added a parameter)."""
        efficiency = self.save.tensors.get(EFFICIENCY)
        if efficiency is None:
            return "log1p", f"log1p: the save has no {EFFICIENCY}, so it was trained before scvi-tools 1.3.1", True
        if bool((efficiency != 0).any()):
            return "scaled", f"scaled: {EFFICIENCY} was trained, so scvi-tools was 1.3.1 or later", True
        old = version is None or _is_before(version, (1, 3, 1))
        transform: InputTransform = "log1p" if old else "scaled"
        return (
            transform,
            f"{transform}: {EFFICIENCY} is present but all zero (a converted old save, or one epoch of training), so "
            f"the recorded scvi-tools version {version} decided; override with --input-transform if you know better",
            False,
        )

    def encoder(self, n_features: int, encode_covariates: bool) -> EncoderTOTALVI:
        """The eager encoder with the save's weights, its shape compared with registry and parameters."""
        weights = {
            name.removeprefix("encoder."): tensor for name, tensor in self.save.tensors.items() if name != EFFICIENCY
        }
        if "l_gene_encoder.fc_layers.Layer 0.0.weight" not in weights:
            raise ModelFileError(
                "the state dict holds no totalVI encoder as of scvi-tools 0.8; before that it was another network, "
                "which this service does not know"
            )
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
                distribution="ln" if self.choice("latent_distribution", "normal") == "ln" else "normal",
                use_batch_norm=self.choice("use_batch_norm", "both") in ("both", "encoder"),
                use_layer_norm=self.choice("use_layer_norm", "none") in ("both", "encoder"),
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


def _parameters(init_params: Mapping[str, Any]) -> dict[str, Any]:
    """The constructor's arguments in one dictionary; they lie flat before 0.15, in two groups after."""
    merged: dict[str, Any] = {}
    for group in (init_params, init_params.get("non_kwargs"), init_params.get("kwargs")):
        if isinstance(group, dict):
            merged |= {key: value for key, value in group.items() if key not in ("kwargs", "non_kwargs")}
            nested = group.get("model_kwargs")
            merged |= nested if isinstance(nested, dict) else {}
    return merged


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
    if not all(isinstance(label, str | int) or (isinstance(label, float) and math.isfinite(label)) for label in labels):
        raise ModelFileError(f"the categories of {what} are neither text, numbers nor booleans")
    if len({(type(label), label) for label in labels}) != len(labels):
        raise ModelFileError(f"the categories of {what} repeat")
    return tuple(labels)


def _is_before(version: str, release: tuple[int, int, int]) -> bool:
    numbers = [int(number) for number in re.findall(r"\d{1,9}", version)[:3]]
    return (*numbers, 0, 0, 0)[:3] < release
