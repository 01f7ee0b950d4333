"""What is read from a save, and what is refused rather than guessed."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from model.contract import CategoricalField
from model.errors import ModelFileError
from model.scvi_save import read_save
from tests.saves import SHARED_SAVES, SaveRecipe, write_save

ALL_ZERO = torch.zeros(5, 2)
TRAINED = torch.full((5, 2), 0.1)


@pytest.mark.parametrize(
    ("efficiency", "version", "transform", "certain"),
    [
        (None, "1.1.5", "log1p", True),
        (None, "1.4.2", "log1p", True),
        (TRAINED, "1.4.2", "scaled", True),
        (TRAINED, "1.1.5", "scaled", True),
        (ALL_ZERO, "1.4.2", "scaled", False),
        (ALL_ZERO, "1.3.1", "scaled", False),
        (ALL_ZERO, "1.3.0", "log1p", False),
        (ALL_ZERO, "1.3.0.post1", "log1p", False),
        (ALL_ZERO, "0.0.0", "log1p", False),
        (ALL_ZERO, "None", "log1p", False),
        (ALL_ZERO, None, "log1p", False),
    ],
)
def test_the_transform_is_chosen_by_the_key_then_by_the_version(
    efficiency: torch.Tensor | None, version: str | None, transform: str, certain: bool, tmp_path: Path
) -> None:
    """DOMAIN 9.1."""
    saved = read_save(SaveRecipe(efficiency=efficiency, scvi_version=version).write(tmp_path))
    assert saved.spec.input_transform == transform
    assert saved.spec.input_transform_decision.startswith(f"{transform}: ")
    assert any("NOT CERTAIN" in note for note in saved.notes) is not certain


def test_stripping_the_key_from_a_new_save_makes_it_an_old_one(tmp_path: Path) -> None:
    content = SaveRecipe().build()
    assert read_save(write_save(tmp_path / "new", content)).spec.input_transform == "scaled"
    del content["model_state_dict"]["log_per_batch_efficiency"]
    assert read_save(write_save(tmp_path / "old", content)).spec.input_transform == "log1p"


def test_the_operator_may_override_the_transform_and_it_is_told(tmp_path: Path) -> None:
    folder = SaveRecipe().write(tmp_path)
    saved = read_save(folder, "log1p")
    assert saved.spec.input_transform == "log1p"
    assert "set by the operator" in saved.spec.input_transform_decision
    assert any("set by the operator" in note for note in saved.notes)
    assert read_save(folder, "scaled").notes == ()


def test_the_encoder_is_the_one_that_was_saved(tmp_path: Path) -> None:
    recipe = SaveRecipe(categorical={"donor": ["d1", "d2"]}, continuous=["age"])
    saved = read_save(recipe.write(tmp_path))
    for name, tensor in recipe.encoder().state_dict().items():
        torch.testing.assert_close(saved.encoder.state_dict()[name].double(), tensor.double())
    assert saved.spec.genes == tuple(recipe.genes)
    assert saved.spec.proteins == tuple(recipe.proteins)
    assert saved.spec.batch == CategoricalField("batch", ("b0", "b1"))
    assert saved.spec.categorical_covariates == (CategoricalField("donor", ("d1", "d2")),)
    assert saved.spec.continuous_covariates == ("age",)
    assert (saved.spec.n_latent, saved.spec.n_hidden, saved.spec.n_layers) == (4, 16, 2)
    assert saved.foreign == ("tests.saves.Foreign",)


@pytest.mark.parametrize(
    ("batches", "expected"),
    [
        (["b2", "b0", "b1"], ("b2", "b0", "b1")),
        ([2, 0, 1], (2, 0, 1)),
        ([0.5, 1.0], (0.5, 1.0)),
        ([False, True], (False, True)),
        (np.array([1, 2]), (1, 2)),
        (["used", "unused category"], ("used", "unused category")),
    ],
    ids=str,
)
def test_categories_keep_their_order_and_their_type(batches: Any, expected: tuple[Any, ...], tmp_path: Path) -> None:
    """DOMAIN 9.7."""
    batch = read_save(SaveRecipe(batches=list(batches), efficiency=None).write(tmp_path)).spec.batch
    assert batch is not None
    assert batch.categories == expected
    assert [type(category) for category in batch.categories] == [type(category) for category in expected]


def test_without_a_batch_key_there_is_no_batch_field(tmp_path: Path) -> None:
    spec = read_save(SaveRecipe(batches=None, efficiency=None).write(tmp_path)).spec
    assert spec.batch is None
    assert spec.categorical_inputs == ()


@pytest.mark.parametrize(
    "proteins", [["p0", "p1"], np.array(["p0", "p1"]), np.array([0, 1]), [np.int64(0), 1]], ids=str
)
def test_protein_names_come_as_a_list_an_array_or_integers(proteins: Any, tmp_path: Path) -> None:
    spec = read_save(SaveRecipe(proteins=proteins).write(tmp_path)).spec
    assert spec.proteins in (("p0", "p1"), ("0", "1"))


def test_parameters_may_be_numpy_scalars(tmp_path: Path) -> None:
    """DOMAIN 9.9."""
    recipe = SaveRecipe(model_kwargs={"n_hidden": np.int64(16), "log_variational": np.bool_(False)})
    spec = read_save(recipe.write(tmp_path)).spec
    assert spec.n_hidden == 16 and spec.log_variational is False


@pytest.mark.parametrize(("kwargs", "distribution"), [({}, "normal"), ({}, "ln"), ({}, "LN")])
def test_enums_are_matched_exactly(kwargs: dict[str, Any], distribution: str, tmp_path: Path) -> None:
    spec = read_save(SaveRecipe(latent_distribution=distribution).write(tmp_path)).spec
    assert spec.latent_distribution == ("ln" if distribution == "ln" else "normal")


def test_batch_norm_in_capitals_is_none(tmp_path: Path) -> None:
    recipe = SaveRecipe(model_kwargs={"n_hidden": 16, "use_batch_norm": "BOTH"})
    assert read_save(recipe.write(tmp_path)).spec.n_hidden == 16


def test_parameters_lie_flat_in_old_saves(tmp_path: Path) -> None:
    content = SaveRecipe().build()
    content["attr_dict"]["init_params_"] = {
        "n_latent": 4,
        "latent_distribution": "normal",
        "model_kwargs": {"n_hidden": 16},
    }
    assert read_save(write_save(tmp_path, content)).spec.n_latent == 4


def test_gene_names_fall_back_on_var_names(tmp_path: Path) -> None:
    content = SaveRecipe().build()
    del content["attr_dict"]["registry_"]["field_registries"]["X"]["state_registry"]["column_names"]
    assert read_save(write_save(tmp_path, content)).spec.genes == tuple(SaveRecipe().genes)


@pytest.mark.parametrize(
    ("trained", "size_factor", "expected"), [(False, False, False), (True, False, True), (True, True, False)]
)
def test_the_library_encoder_is_trained_only_with_a_latent_library(
    trained: bool, size_factor: bool, expected: bool, tmp_path: Path
) -> None:
    content = SaveRecipe().build()
    if trained:
        content["attr_dict"]["init_params_"]["kwargs"]["model_kwargs"]["use_observed_lib_size"] = False
    if size_factor:
        fields = content["attr_dict"]["registry_"]["field_registries"]
        fields["size_factor"] = {
            "data_registry": {"attr_name": "obs", "attr_key": "sf"},
            "state_registry": {},
            "summary_stats": {},
        }
    assert read_save(write_save(tmp_path, content)).spec.library_encoder_trained is expected


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
@pytest.mark.parametrize("kind", [np.array, np.matrix])
def test_missing_proteins_are_listed_by_batch(kind: Any, tmp_path: Path) -> None:
    content = SaveRecipe().build()
    registry = content["attr_dict"]["registry_"]["field_registries"]["proteins"]["state_registry"]
    registry["protein_batch_mask"] = {"0": kind([True] * 5), 1: kind([True, False, True, True, False])}
    missing = read_save(write_save(tmp_path, content)).spec.proteins_missing_per_batch
    assert missing == {"b1": ("p1", "p4")}


def test_a_mask_without_any_protein_says_nothing(tmp_path: Path) -> None:
    """As scvi-tools leaves it where it minified a MuData."""
    content = SaveRecipe().build()
    registry = content["attr_dict"]["registry_"]["field_registries"]["proteins"]["state_registry"]
    registry["protein_batch_mask"] = {"0": np.zeros(5, bool), "1": np.zeros(5, bool)}
    assert read_save(write_save(tmp_path, content)).spec.proteins_missing_per_batch == {}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_any_float_type_are_read(dtype: torch.dtype, tmp_path: Path) -> None:
    content = SaveRecipe().build()
    state = content["model_state_dict"]
    for name in state:
        if state[name].is_floating_point():
            state[name] = state[name].to(dtype)
    saved = read_save(write_save(tmp_path, content))
    expected = state["encoder.z_mean_encoder.weight"].float()
    assert torch.equal(saved.encoder.z_mean_encoder.weight, expected)


def test_shared_and_strided_storages_are_read(tmp_path: Path) -> None:
    """DOMAIN 9.9."""
    content = SaveRecipe().build()
    state = content["model_state_dict"]
    shared = torch.randn(2 * 4 * 16 + 3)
    state["encoder.z_mean_encoder.weight"] = shared[3 : 3 + 64].view(4, 16)
    state["encoder.z_var_encoder.weight"] = shared[3 + 64 :].view(16, 4).T
    saved = read_save(write_save(tmp_path, content))
    assert torch.equal(saved.encoder.z_mean_encoder.weight, state["encoder.z_mean_encoder.weight"])
    assert torch.equal(saved.encoder.z_var_encoder.weight, state["encoder.z_var_encoder.weight"])


def _change(content: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    *parents, last = path.split("/")
    target = content
    for key in parents:
        target = target[key]
    if value is None:
        del target[last]
    else:
        target[last] = value
    return content


REGISTRY = "attr_dict/registry_"
FIELDS = f"{REGISTRY}/field_registries"
KWARGS = "attr_dict/init_params_/kwargs/model_kwargs"
REFUSED = {
    "another class": (f"{REGISTRY}/model_name", "SCVI", "save of SCVI"),
    "no registry": (REGISTRY, None, "registry_"),
    "no state dict": ("model_state_dict", None, "model_state_dict"),
    "gene count": (f"{FIELDS}/X/summary_stats/n_vars", 29, "30 gene names, but its registry counts 29"),
    "protein count": (f"{FIELDS}/proteins/summary_stats/n_proteins", 6, "5 protein names"),
    "batch count": (f"{FIELDS}/batch/summary_stats/n_batch", 3, "2 batches"),
    "repeated batch": (f"{FIELDS}/batch/state_registry/categorical_mapping", np.array(["b", "b"], object), "repeat"),
    "strange batch": (
        f"{FIELDS}/batch/state_registry/categorical_mapping",
        np.array([(1, 2), None], object),
        "neither",
    ),
    "n_latent": ("attr_dict/init_params_/non_kwargs/n_latent", 5, "contradicts itself"),
    "n_hidden": (f"{KWARGS}/n_hidden", 17, "contradicts itself"),
    "a giant n_hidden": (f"{KWARGS}/n_hidden", 1 << 30, "contradicts itself"),
    "n_hidden is no size": (f"{KWARGS}/n_hidden", -1, "not a size"),
    "n_layers": (f"{KWARGS}/n_layers_encoder", 3, "contradicts itself"),
    "a billion layers": (f"{KWARGS}/n_layers_encoder", 1 << 30, "contradicts itself"),
    "batch norm": (f"{KWARGS}/use_batch_norm", "none", "contradicts itself"),
    "covariates not encoded": (f"{KWARGS}/encode_covariates", False, "contradicts itself"),
    "another encoder": (f"{KWARGS}/extra_encoder_kwargs", {"inject_covariates": False}, "extra_encoder_kwargs"),
    "a missing weight": ("model_state_dict/encoder.z_mean_encoder.bias", None, "contradicts itself"),
    "another network": ("model_state_dict/encoder.l_gene_encoder.fc_layers.Layer 0.0.weight", None, "before that"),
    "a weight too many": ("model_state_dict/encoder.more.weight", torch.zeros(1), "contradicts itself"),
    "a weight of another shape": ("model_state_dict/encoder.z_mean_encoder.bias", torch.zeros(3), "contradicts itself"),
    "a weight that is not finite": (
        "model_state_dict/encoder.z_mean_encoder.bias",
        torch.tensor([0.0, float("nan"), 0.0, 0.0]),
        "not finite",
    ),
    "a batch that is no number": (
        f"{FIELDS}/batch/state_registry/categorical_mapping",
        np.array([1.0, float("nan")], object),
        "neither",
    ),
    "genes in another order": ("var_names", np.array(SaveRecipe().genes[::-1], object), "name the genes differently"),
    "counts that are text": (
        f"{FIELDS}/extra_categorical_covs/state_registry",
        {"mappings": {"d": np.array(["a", "b"], object)}, "field_keys": ["d"], "n_cats_per_key": ["2"]},
        "do not match their counts",
    ),
    "a mask with a key that is no code": (
        f"{FIELDS}/proteins/state_registry/protein_batch_mask",
        {"x": np.array([True] * 5)},
        "protein_batch_mask",
    ),
    "a ragged mask": (
        f"{FIELDS}/proteins/state_registry/protein_batch_mask",
        {0: [True, [False]]},
        "protein_batch_mask",
    ),
    "an empty registry": (FIELDS, {}, "not a list"),
    "names that are no text": (f"{FIELDS}/X/state_registry/column_names", np.array([None] * 30, object), "not text"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_save_that_contradicts_itself_is_refused(name: str, tmp_path: Path) -> None:
    path, value, message = REFUSED[name]
    with pytest.raises(ModelFileError, match=message):
        read_save(write_save(tmp_path, _change(SaveRecipe().build(), path, value)))


def test_where_the_save_is_looked_for(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="does not exist"):
        read_save(tmp_path / "nowhere")
    with pytest.raises(ModelFileError, match=r"holds no model\.pt"):
        read_save(tmp_path)
    write_save(tmp_path, SaveRecipe().build(), "prefix_model.pt")
    assert read_save(tmp_path).spec.n_latent == 4
    assert read_save(tmp_path / "prefix_model.pt").spec.n_latent == 4
    write_save(tmp_path, SaveRecipe().build())
    with pytest.raises(ModelFileError, match="several saves"):
        read_save(tmp_path)
    write_save(tmp_path / "old", {}, "model_params.pt")
    with pytest.raises(ModelFileError, match=r"save of three files, of which var_names\.csv is missing"):
        read_save(tmp_path / "old")


def test_repeated_gene_names_are_noted(tmp_path: Path) -> None:
    saved = read_save(SaveRecipe(genes=["g"] * 30).write(tmp_path))
    assert any("gene names repeat" in note for note in saved.notes)


@pytest.mark.shared_data
@pytest.mark.parametrize("name", ["pbmc", "covariates_ln", "saved_by_scvi_1.1.5", "mudata", "totalanvi", "hostile"])
def test_the_real_saves_are_read(name: str) -> None:
    saved = read_save(SHARED_SAVES / name)
    assert dataclasses.asdict(saved.spec)["n_latent"] in (4, 10, 20)
    assert saved.spec.input_transform == ("log1p" if name == "saved_by_scvi_1.1.5" else "scaled")


@pytest.mark.shared_data
def test_the_hostile_save_is_read_without_its_payload() -> None:
    assert "posix.system" in read_save(SHARED_SAVES / "hostile").foreign


FOREVER = ("x", -1, 1 << 70, 2.5, None, [], {}, [1, [2]], {"a": {}}, np.zeros((2, 2)), np.array(["a", None], object))


@pytest.mark.parametrize("seed", range(150))
def test_a_registry_of_nonsense_is_an_error_of_ours(seed: int, tmp_path: Path) -> None:
    """Any value of the registry or the parameters replaced by any other: a model, or one line of refusal."""
    rng = np.random.default_rng(seed)
    recipe = SaveRecipe(categorical={"donor": ["d1", "d2"]}, continuous=["age"])
    content = recipe.build()
    fields = content["attr_dict"]["registry_"]["field_registries"]
    fields["proteins"]["state_registry"]["protein_batch_mask"] = {"0": np.array([True] * 5)}
    places: list[tuple[dict[str, Any], str]] = []

    def collect(node: Any) -> None:
        for key, value in node.items() if isinstance(node, dict) else ():
            places.append((node, key))
            collect(value)

    collect(content["attr_dict"]["registry_"])
    collect(content["attr_dict"]["init_params_"])
    node, key = places[rng.integers(len(places))]
    node[key] = FOREVER[rng.integers(len(FOREVER))]
    write_save(tmp_path, content)
    try:
        read_save(tmp_path)
    except ModelFileError as error:
        assert "\n" not in str(error)
