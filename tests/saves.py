"""Saves for tests: written like scvi-tools writes them, with random weights, without scvi-tools."""

from __future__ import annotations

import collections
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import torch

from model.encoder_totalvi import EncoderTOTALVI

ROOT = Path(__file__).resolve().parents[1]
SHARED_SAVES = ROOT.parent / "shared" / "data" / "checkpoints"
EXAMPLE_MODELS = ROOT / "examples" / "models"


class Foreign:
    """A class of somebody else's, hung onto a model."""


@dataclasses.dataclass
class SaveRecipe:
    """What a save is to hold; the defaults are the smallest ordinary model."""

    genes: list[str] = dataclasses.field(default_factory=lambda: [f"g{i}" for i in range(30)])
    proteins: Any = dataclasses.field(default_factory=lambda: [f"p{i}" for i in range(5)])
    batches: list[Any] | None = dataclasses.field(default_factory=lambda: ["b0", "b1"])
    categorical: dict[str, list[Any]] = dataclasses.field(default_factory=dict)
    continuous: list[str] = dataclasses.field(default_factory=list)
    n_latent: int = 4
    latent_distribution: str = "normal"
    model_kwargs: dict[str, Any] = dataclasses.field(default_factory=lambda: {"n_hidden": 16})
    efficiency: torch.Tensor | None = dataclasses.field(default_factory=lambda: torch.full((5, 2), 0.1))
    model_name: str = "TOTALVI"
    scvi_version: str | None = "1.4.2"
    seed: int = 0

    def build(self) -> dict[str, Any]:
        """The save's content, before it is written."""
        encoder = self.encoder()
        state = collections.OrderedDict(
            {f"encoder.{name}": tensor.clone() for name, tensor in encoder.state_dict().items()}
        )
        state["decoder.anything"] = torch.zeros(3)
        if self.efficiency is not None:
            state["log_per_batch_efficiency"] = self.efficiency
        n_proteins = len(self.proteins)
        covariates = (
            {
                "mappings": {key: np.array(labels, dtype=object) for key, labels in self.categorical.items()},
                "field_keys": list(self.categorical),
                "n_cats_per_key": [len(labels) for labels in self.categorical.values()],
            }
            if self.categorical
            else {}
        )
        batches = np.array([0] if self.batches is None else self.batches, dtype=object)
        fields = {
            "X": {
                "data_registry": {"attr_name": "X", "attr_key": None},
                "state_registry": {
                    "n_obs": 10,
                    "n_vars": len(self.genes),
                    "column_names": np.array(self.genes, dtype=object),
                },
                "summary_stats": {"n_vars": len(self.genes), "n_cells": 10},
            },
            "batch": {
                "data_registry": {"attr_name": "obs", "attr_key": "_scvi_batch"},
                "state_registry": {
                    "categorical_mapping": batches,
                    "original_key": "_scvi_batch" if self.batches is None else "batch",
                },
                "summary_stats": {"n_batch": len(batches)},
            },
            "extra_categorical_covs": {"data_registry": {}, "state_registry": covariates, "summary_stats": {}},
            "extra_continuous_covs": {
                "data_registry": {},
                "state_registry": {"columns": np.array(self.continuous, dtype=object)} if self.continuous else {},
                "summary_stats": {},
            },
            "proteins": {
                "data_registry": {"attr_name": "obsm", "attr_key": "protein_expression"},
                "state_registry": {"column_names": self.proteins},
                "summary_stats": {"n_proteins": n_proteins},
            },
        }
        history: dict[str, Any] = collections.defaultdict(list)
        history["train_loss"] = Foreign()
        return {
            "model_state_dict": state,
            "var_names": np.array(self.genes, dtype=object),
            "attr_dict": {
                "history_": history,
                "init_params_": {
                    "kwargs": {"model_kwargs": self.model_kwargs},
                    "non_kwargs": {"n_latent": self.n_latent, "latent_distribution": self.latent_distribution},
                },
                "registry_": {
                    "scvi_version": self.scvi_version,
                    "model_name": self.model_name,
                    "setup_args": {},
                    "field_registries": fields,
                },
            },
        }

    def encoder(self) -> EncoderTOTALVI:
        """The eager encoder whose weights the save holds, in evaluation mode."""
        kwargs = self.model_kwargs
        encodes = kwargs.get("encode_covariates", True)
        cards = [1 if self.batches is None else len(self.batches), *(len(v) for v in self.categorical.values())]
        encoder = EncoderTOTALVI(
            len(self.genes) + len(self.proteins) + (len(self.continuous) if encodes else 0),
            self.n_latent,
            cards if encodes else None,
            n_layers=kwargs.get("n_layers_encoder", 2),
            n_hidden=kwargs.get("n_hidden", 256),
            distribution=self.latent_distribution,
            use_batch_norm=kwargs.get("use_batch_norm", "both") in ("both", "encoder"),
            use_layer_norm=kwargs.get("use_layer_norm", "none") in ("both", "encoder"),
        )
        return randomised(encoder, self.seed)

    def write(self, folder: Path) -> Path:
        """Write `folder/model.pt`; returns the folder."""
        return write_save(folder, self.build())


def write_save(folder: Path, content: dict[str, Any], name: str = "model.pt") -> Path:
    """Write content as scvi-tools does."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(content, folder / name)
    return folder


def randomised(encoder: EncoderTOTALVI, seed: int = 0) -> EncoderTOTALVI:
    """Random weights and batch-norm statistics, as after training; in evaluation mode."""
    generator = torch.Generator().manual_seed(seed)
    for module in encoder.modules():
        if isinstance(module, torch.nn.Linear):
            torch.nn.init.normal_(module.weight, std=module.in_features**-0.5, generator=generator)
            torch.nn.init.normal_(module.bias, std=0.1, generator=generator)
        if isinstance(module, torch.nn.BatchNorm1d):
            torch.nn.init.normal_(module.weight, mean=1.0, std=0.2, generator=generator)
            torch.nn.init.normal_(module.bias, std=0.2, generator=generator)
            torch.nn.init.normal_(module.running_mean, std=0.3, generator=generator)
            torch.nn.init.uniform_(module.running_var, 0.3, 2.0, generator=generator)
    return encoder.eval()
