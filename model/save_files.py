"""The files of a save, in any of the forms that scvi-tools has written, opened into one form. Nothing is run.

- scvi-tools 0.15 and later: `model.pt` = {model_state_dict, var_names, attr_dict}; the file may bear a prefix.
- 0.8 to 0.14: three files, `model_params.pt` (the state dict), `var_names.csv` (a name a line, no header) and
  `attr.pkl`, whose `scvi_setup_dict_` is translated into the registry that took its place.
"""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

import torch

from model.errors import ModelFileError
from model.inert_pickle import TensorRef, read_pickle
from model.tensor_archive import TensorArchive

EFFICIENCY = "log_per_batch_efficiency"
"""The parameter that scvi-tools 1.3.1 brought with the scaled input transform."""

NO_BATCH_KEY = "_scvi_batch"
"""What a registry calls the batch of a model that was set up without one."""

MAX_SMALL_FILE_BYTES = 256 * 1024 * 1024


@dataclasses.dataclass(frozen=True, slots=True)
class RawSave:
    """A save, opened but not understood.

    Attributes:
        attributes: the model object's attributes, `registry_` and `init_params_` among them.
        var_names: gene names as they were stored, or None.
        tensors: the encoder's, with their names in the state dict, and `EFFICIENCY` where there is one.
        state_names: every name in the state dict.
        foreign: classes and functions the pickles name, left inert.
        sha256: of the file, or of the three files one after another; lower-case hex.
    """

    attributes: dict[str, Any]
    var_names: Any
    tensors: dict[str, torch.Tensor]
    state_names: frozenset[str]
    foreign: tuple[str, ...]
    sha256: str


def find_save(path: Path) -> Path:
    """The file that holds the weights of a save: its `model.pt`, or of the older form its `model_params.pt`.

    Args:
        path: the directory that scvi-tools wrote, or that file itself.

    Raises:
        ModelFileError: there is none, or there are several.
    """
    if path.is_file():
        return path
    if not path.is_dir():
        raise ModelFileError(f"{path} does not exist; give the directory that model.save() wrote")
    for pattern in ("*model.pt", "*model_params.pt"):
        found = sorted(path.glob(pattern))
        if len(found) == 1:
            return found[0]
        if found:
            names = ", ".join(file.name for file in found)
            raise ModelFileError(f"{path} holds several saves ({names}); name one of the files")
    raise ModelFileError(f"{path} holds no model.pt; give the directory that model.save() wrote")


def open_save(path: Path) -> RawSave:
    """Open a save of any form.

    Raises:
        ModelFileError: it is damaged, or no save.
    """
    file = find_save(path)
    if file.name.endswith("model_params.pt"):
        return _open_three_files(file)
    with TensorArchive.open(file) as archive:
        pickled = read_pickle(archive.pickle())
        content = mapping(pickled.value, "the save")
        state = mapping(required(content, "model_state_dict"), "model_state_dict")
        tensors = _encoder_tensors(archive, state)
    return RawSave(
        attributes=mapping(required(content, "attr_dict"), "attr_dict"),
        var_names=content.get("var_names"),
        tensors=tensors,
        state_names=_names_of(state),
        foreign=pickled.foreign,
        sha256=_digest(file),
    )


def _open_three_files(weights: Path) -> RawSave:
    prefix = weights.name.removesuffix("model_params.pt")
    names_file, attributes_file = weights.with_name(f"{prefix}var_names.csv"), weights.with_name(f"{prefix}attr.pkl")
    for file in (names_file, attributes_file):
        if not file.is_file():
            raise ModelFileError(f"{weights.name} belongs to a save of three files, of which {file.name} is missing")
    with TensorArchive.open(weights) as archive:
        pickled_state = read_pickle(archive.pickle())
        state = mapping(pickled_state.value, "the state dict")
        tensors = _encoder_tensors(archive, state)
    pickled = read_pickle(_read(attributes_file))
    attributes = mapping(pickled.value, attributes_file.name)
    setup = mapping(required(attributes, "scvi_setup_dict_"), "scvi_setup_dict_")
    try:
        # A name may hold any sign but a line's end; '#' is no comment here.
        var_names = _read(names_file).decode().splitlines()
    except UnicodeDecodeError as error:
        raise ModelFileError(f"{names_file.name} is not text") from error
    return RawSave(
        attributes={**attributes, "registry_": _registry(setup, len(var_names))},
        var_names=var_names,
        tensors=tensors,
        state_names=_names_of(state),
        foreign=tuple(sorted({*pickled_state.foreign, *pickled.foreign})),
        sha256=_digest(weights, names_file, attributes_file),
    )


def _registry(setup: dict[str, Any], n_genes: int) -> dict[str, Any]:
    """The registry of today from the setup dictionary of 0.8 to 0.14, as scvi-tools itself translates it."""
    if "protein_names" not in setup:
        raise ModelFileError(
            "the save was set up without proteins, so it is not of TOTALVI; only its encoder is served"
        )
    counts = section(setup, "summary_stats")
    batch = section(section(setup, "categorical_mappings"), NO_BATCH_KEY)
    categorical = dict(section(setup, "extra_categoricals"))
    if categorical:
        categorical["field_keys"] = categorical.pop("keys", None)
    continuous = setup.get("extra_continuous_keys")

    def field(state: dict[str, Any], **stats: Any) -> dict[str, Any]:
        return {"state_registry": state, "summary_stats": stats}

    return {
        # The files do not name the class; of the classes of that time only TOTALVI had proteins and this encoder.
        "model_name": "TOTALVI",
        "scvi_version": setup.get("scvi_version"),
        "field_registries": {
            "X": field({}, n_vars=counts.get("n_vars", n_genes)),
            "batch": field(
                {"categorical_mapping": batch.get("mapping"), "original_key": batch.get("original_key")},
                n_batch=counts.get("n_batch"),
            ),
            "extra_categorical_covs": field(categorical),
            "extra_continuous_covs": field({} if continuous is None else {"columns": continuous}),
            "proteins": field(
                {"column_names": setup["protein_names"], "protein_batch_mask": setup.get("totalvi_batch_mask")},
                n_proteins=counts.get("n_proteins"),
            ),
        },
    }


def _encoder_tensors(archive: TensorArchive, state: dict[Any, Any]) -> dict[str, torch.Tensor]:
    """The tensors the encoder needs; the rest of the state dict (pyro's store, say) is not looked at."""
    return {
        name: archive.tensor(ref)
        for name, ref in state.items()
        if isinstance(ref, TensorRef) and isinstance(name, str) and (name.startswith("encoder.") or name == EFFICIENCY)
    }


def _names_of(state: dict[Any, Any]) -> frozenset[str]:
    return frozenset(name for name in state if isinstance(name, str))


def _read(file: Path) -> bytes:
    try:
        if file.stat().st_size > MAX_SMALL_FILE_BYTES:
            raise ModelFileError(f"{file.name} is too large")
        return file.read_bytes()
    except OSError as error:
        raise ModelFileError(f"{file.name} cannot be read ({error.strerror})") from error


def _digest(*files: Path) -> str:
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            while chunk := stream.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()


def mapping(value: Any, what: str) -> dict[str, Any]:
    """The value, which must be a dictionary.

    Raises:
        ModelFileError: it is none.
    """
    if not isinstance(value, dict):
        raise ModelFileError(f"{what} is not the dictionary that scvi-tools writes")
    return value


def section(facts: dict[str, Any], key: str) -> dict[str, Any]:
    """The dictionary under a key; empty where it is absent or None.

    Raises:
        ModelFileError: it is something else.
    """
    value = facts.get(key)
    return {} if value is None else mapping(value, key)


def required(facts: dict[str, Any], key: str) -> Any:
    """The value under a key that every save has.

    Raises:
        ModelFileError: it is missing.
    """
    if key not in facts:
        raise ModelFileError(f"the save has no {key!r}; it is not one that scvi-tools 0.8 or later wrote")
    return facts[key]
