"""scvi-tools itself is the judge (pip install -e '.[parity]')."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from model.contract import CellBatch, LatentParams
from model.device_encoder import DeviceEncoder
from model.encoder_totalvi import EncoderTOTALVI
from model.export import export_save
from tests.saves import randomised

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("default")]

GRID = [
    {
        "n_cat_list": cats,
        "n_layers": n_layers,
        "distribution": distribution,
        "use_batch_norm": batch_norm,
        "use_layer_norm": layer_norm,
    }
    for cats, n_layers, distribution, batch_norm, layer_norm in itertools.product(
        (None, [1], [3, 1, 2]), (1, 2, 3), ("normal", "ln"), (True, False), (True, False)
    )
]


@pytest.mark.parametrize("kwargs", GRID, ids=lambda kwargs: "-".join(str(value) for value in kwargs.values()))
def test_forward_gives_scvi_tools_numbers_with_its_state_dict(kwargs: dict[str, Any]) -> None:
    from scvi.nn import EncoderTOTALVI as Theirs

    ours = randomised(EncoderTOTALVI(20, 4, n_hidden=32, **kwargs))
    theirs = Theirs(20, 4, n_hidden=32, **kwargs).eval()
    assert theirs.state_dict().keys() == ours.state_dict().keys()
    theirs.load_state_dict(ours.state_dict())
    data = torch.poisson(torch.full((50, 20), 2.0)).log1p()
    cats = [torch.randint(0, n_cat, (50, 1)) for n_cat in kwargs["n_cat_list"] or ()]
    torch.manual_seed(3)
    q_z, q_l, latent, untran_latent = theirs(data, *cats)
    torch.manual_seed(3)
    qz_m, qz_v, ql_m, ql_v, our_latent, our_untran_latent = ours(data, *cats)
    for left, right in ((qz_m, q_z.loc), (qz_v, q_z.variance), (ql_m, q_l.loc), (ql_v, q_l.variance)):
        torch.testing.assert_close(left, right, rtol=1e-5, atol=1e-6)
    for key in ("z", "l"):
        torch.testing.assert_close(our_latent[key], latent[key], rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(our_untran_latent[key], untran_latent[key], rtol=1e-5, atol=1e-6)


MODELS: dict[str, dict[str, Any]] = {
    "default": {"setup": {"batch_key": "batch"}, "model": {}},
    "no batch": {"setup": {}, "model": {"latent_distribution": "ln", "n_layers_encoder": 1}},
    "covariates": {
        "setup": {
            "batch_key": "batch",
            "categorical_covariate_keys": ["donor", "one"],
            "continuous_covariate_keys": ["age"],
        },
        "model": {"n_layers_encoder": 3, "use_layer_norm": "both", "use_batch_norm": "none"},
    },
    "not encoded": {
        "setup": {"batch_key": "batch", "categorical_covariate_keys": ["donor"]},
        "model": {"encode_covariates": False, "log_variational": False},
    },
    "latent library": {"setup": {"batch_key": "batch"}, "model": {"use_observed_lib_size": False}},
}


@pytest.mark.parametrize("name", MODELS)
def test_a_trained_model_is_served_with_its_own_numbers(name: str, tmp_path: Path) -> None:
    import anndata
    import pandas as pd
    import scvi

    scvi.settings.seed = 0
    rng = np.random.default_rng(0)
    n, n_genes, n_proteins = 150, 60, 7
    adata = anndata.AnnData(
        rng.negative_binomial(2, 0.4, size=(n, n_genes)).astype(np.float32),
        obs=pd.DataFrame(
            {
                "batch": rng.choice(["b2", "b0", "b1"], size=n),
                "donor": rng.choice(["d1", "d2"], size=n),
                "one": ["x"] * n,
                "age": rng.normal(size=n),
            },
            index=[f"c{i}" for i in range(n)],
        ),
        obsm={"protein_expression": rng.negative_binomial(5, 0.1, size=(n, n_proteins))},
    )
    scvi.model.TOTALVI.setup_anndata(adata, "protein_expression", **MODELS[name]["setup"])
    model = scvi.model.TOTALVI(adata, n_latent=6, n_hidden=32, **MODELS[name]["model"])
    model.train(max_epochs=2, accelerator="cpu", batch_size=64, enable_progress_bar=False)
    model.save(tmp_path / "save")
    mean, variance = model.get_latent_representation(return_dist=True)

    path = export_save(tmp_path / "save", name="m", version=1, into=tmp_path).path
    encoder = DeviceEncoder.load(path, device="cpu")
    spec = encoder.spec
    rows, columns = np.nonzero(adata.X)
    values = {field.key: adata.obs[field.key].tolist() for field in spec.categorical_inputs}
    codes = [[field.categories.index(label) for label in values[field.key]] for field in spec.categorical_inputs]
    cells = CellBatch(
        indptr=np.searchsorted(rows, np.arange(n + 1)).astype(np.int32),
        indices=columns.astype(np.int32),
        counts=adata.X[rows, columns],
        proteins=adata.obsm["protein_expression"].astype(np.float32),
        continuous=adata.obs[list(spec.continuous_inputs)].to_numpy(dtype=np.float32).reshape(n, -1),
        codes=np.array(codes, dtype=np.int32).reshape(len(codes), n).T.copy(),
    )
    params: LatentParams = encoder.encode(cells)
    np.testing.assert_allclose(params.qz_mean, mean, rtol=1e-5, atol=2e-5)
    np.testing.assert_allclose(params.qz_variance, variance, rtol=1e-4, atol=1e-5)
    assert spec.library_encoder_trained is (name == "latent library")
    if spec.library_encoder_trained:
        theirs = model.get_latent_library_size(give_mean=True)[:, 0]
        np.testing.assert_allclose(np.exp(params.ql_mean + params.ql_variance / 2), theirs, rtol=1e-4)
