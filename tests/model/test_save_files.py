"""The forms that scvi-tools has written saves in, read into one."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from model.contract import CategoricalField
from model.errors import ModelFileError
from model.export import export_save
from model.scvi_save import read_save
from tests.saves import SHARED_SAVES, SaveRecipe, write_save

NAMES = ["g#1", "g,2", 'g"3', *(f"g{i}" for i in range(27))]
RECIPE = SaveRecipe(
    genes=NAMES,
    categorical={"donor": ["d1", "d2"], "site": [1, 2, 3]},
    continuous=["age"],
    efficiency=None,
    scvi_version="0.9.1",
)


def setup_dict() -> dict[str, Any]:
    """`scvi_setup_dict_` of 0.8 to 0.14 for `RECIPE`."""
    return {
        "scvi_version": "0.9.1",
        "categorical_mappings": {
            "_scvi_batch": {"original_key": "batch", "mapping": np.array(RECIPE.batches, dtype=object)},
            "_scvi_labels": {"original_key": "_scvi_labels", "mapping": np.array([0])},
        },
        "extra_categoricals": {
            "mappings": {key: np.array(labels, dtype=object) for key, labels in RECIPE.categorical.items()},
            "keys": list(RECIPE.categorical),
            "n_cats_per_key": [2, 3],
        },
        "extra_continuous_keys": np.array(RECIPE.continuous, dtype=object),
        "protein_names": np.array(RECIPE.proteins),
        "totalvi_batch_mask": {"0": np.array([True] * 5), "1": np.array([True, True, True, False, True])},
        "summary_stats": {"n_batch": 2, "n_cells": 10, "n_vars": 30, "n_labels": 1, "n_proteins": 5},
    }


def write_three(folder: Path, setup: dict[str, Any], prefix: str = "") -> Path:
    write_save(folder, RECIPE.build()["model_state_dict"], f"{prefix}model_params.pt")
    (folder / f"{prefix}var_names.csv").write_text("\n".join(NAMES) + "\n")
    attributes = {
        "scvi_setup_dict_": setup,
        "init_params_": {"n_latent": 4, "latent_distribution": "normal", "model_kwargs": {"n_hidden": 16}},
        "is_trained_": True,
    }
    (folder / f"{prefix}attr.pkl").write_bytes(pickle.dumps(attributes, 4))
    return folder


@pytest.mark.parametrize("prefix", ["", "mine_"])
def test_the_three_files_of_0_8_to_0_14_are_read(prefix: str, tmp_path: Path) -> None:
    saved = read_save(write_three(tmp_path, setup_dict(), prefix))
    spec = saved.spec
    assert spec.genes == tuple(NAMES)
    assert spec.proteins == tuple(RECIPE.proteins)
    assert spec.batch == CategoricalField("batch", ("b0", "b1"))
    assert spec.categorical_covariates == (
        CategoricalField("donor", ("d1", "d2")),
        CategoricalField("site", (1, 2, 3)),
    )
    assert spec.continuous_covariates == ("age",)
    assert spec.proteins_missing_per_batch == {"b1": ("p3",)}
    assert (spec.input_transform, spec.scvi_version, spec.model_class) == ("log1p", "0.9.1", "TOTALVI")
    for name, tensor in RECIPE.encoder().state_dict().items():
        torch.testing.assert_close(saved.encoder.state_dict()[name].double(), tensor.double())


def test_the_same_model_in_either_form_is_the_same_encoder(tmp_path: Path) -> None:
    new = export_save(RECIPE.write(tmp_path / "new"), name="new", version=1, into=tmp_path / "models").artifact
    old = export_save(write_three(tmp_path / "old", setup_dict()), name="old", version=1, into=tmp_path / "models")
    for name in ("genes", "batch", "categorical_covariates", "input_transform", "n_latent"):
        assert getattr(new.spec, name) == getattr(old.artifact.spec, name)


def test_its_digest_covers_the_three_files(tmp_path: Path) -> None:
    digests = set()
    for name in ("", "var_names.csv", "attr.pkl"):
        folder = write_three(tmp_path / (name or "as written"), setup_dict())
        if name == "var_names.csv":
            (folder / name).write_text("\n".join([*NAMES[:-1], "another"]))
        if name == "attr.pkl":
            write_three(folder, setup_dict() | {"scvi_version": "0.10.0"})
        digests.add(read_save(folder).spec.save_sha256)
    assert len(digests) == 3


@pytest.mark.parametrize("missing", ["var_names.csv", "attr.pkl"])
def test_a_missing_file_is_named(missing: str, tmp_path: Path) -> None:
    (write_three(tmp_path, setup_dict()) / missing).unlink()
    with pytest.raises(ModelFileError, match=missing):
        read_save(tmp_path)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("protein_names", None, "without proteins"),
        ("summary_stats", {"n_vars": 29}, "30 gene names"),
        ("categorical_mappings", {}, "categories of batch"),
        ("categorical_mappings", [], "categorical_mappings is not the dictionary"),
    ],
)
def test_a_setup_that_does_not_fit_is_refused(key: str, value: Any, message: str, tmp_path: Path) -> None:
    setup = setup_dict()
    if value is None:
        del setup[key]
    else:
        setup[key] = value
    with pytest.raises(ModelFileError, match=message):
        read_save(write_three(tmp_path, setup))


def test_names_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (write_three(tmp_path, setup_dict()) / "var_names.csv").write_bytes(b"\xff\xfe")
    with pytest.raises(ModelFileError, match="not text"):
        read_save(tmp_path)


def test_a_hostile_attribute_file_is_data(tmp_path: Path) -> None:
    flag = tmp_path / "executed"
    payload = b"cposix\nsystem\n(X" + len(f"touch {flag}").to_bytes(4, "little") + f"touch {flag}".encode() + b"tR."
    (write_three(tmp_path, setup_dict()) / "attr.pkl").write_bytes(payload)
    with pytest.raises(ModelFileError):
        read_save(tmp_path)
    assert not flag.exists()


def mudata_save(var_names: Any) -> dict[str, Any]:
    """A MuData set-up whose registry has no column names (before 0.17)."""
    content = SaveRecipe().build()
    fields = content["attr_dict"]["registry_"]["field_registries"]
    del fields["X"]["state_registry"]["column_names"]
    fields["X"]["data_registry"] = {"attr_name": "layers", "attr_key": "counts", "mod_key": "gex"}
    content["var_names"] = var_names
    return content


def test_the_modality_is_chosen_by_its_key_never_by_order(tmp_path: Path) -> None:
    """DOMAIN 9.8: a dictionary with an unused modality, the proteins first."""
    genes = np.array(SaveRecipe().genes, dtype=object)
    names = {"adt": np.array(["p0"], dtype=object), "unused": genes[::-1].copy(), "gex": genes}
    assert read_save(write_save(tmp_path, mudata_save(names))).spec.genes == tuple(genes)


def test_one_flat_list_of_all_modalities_is_refused_rather_than_cut(tmp_path: Path) -> None:
    names = np.array([*SaveRecipe().genes, "p0", "p1"], dtype=object)
    with pytest.raises(ModelFileError, match="32 gene names, but its registry counts 30"):
        read_save(write_save(tmp_path, mudata_save(names)))


def test_a_flat_list_does_no_harm_where_the_registry_names_the_genes(tmp_path: Path) -> None:
    content = SaveRecipe().build()
    content["var_names"] = np.array([*SaveRecipe().genes, "p0", "p1"], dtype=object)
    assert read_save(write_save(tmp_path, content)).spec.genes == tuple(SaveRecipe().genes)


def test_the_store_that_1_3_0_left_in_the_state_dict_is_passed_over(tmp_path: Path) -> None:
    content = SaveRecipe(efficiency=None).build()
    content["model_state_dict"]["pyro_param_store"] = {"params": {}, "constraints": {}}
    assert read_save(write_save(tmp_path, content)).spec.input_transform == "log1p"


def test_a_query_model_of_scarches_is_an_ordinary_save_with_more_batches(tmp_path: Path) -> None:
    recipe = SaveRecipe(
        batches=["b0", "b1", "query"], model_kwargs={"n_hidden": 16, "use_layer_norm": "both", "use_batch_norm": "none"}
    )
    batch = read_save(recipe.write(tmp_path)).spec.batch
    assert batch is not None and batch.categories == ("b0", "b1", "query")


@pytest.mark.shared_data
def test_the_real_save_of_0_8_is_read() -> None:
    spec = read_save(SHARED_SAVES / "saved_by_scvi_0.8").spec
    assert (len(spec.genes), len(spec.proteins), spec.n_latent) == (100, 100, 20)
    assert spec.batch == CategoricalField("batch", ("batch_0", "batch_1"))
    assert (spec.input_transform, spec.scvi_version) == ("log1p", "0.0.0")
