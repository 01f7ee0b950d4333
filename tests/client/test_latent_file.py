"""What a picture reads of an encoded file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from totalvi_client import InputError
from totalvi_client.latent_file import check_colours, read_latent_file

anndata = pytest.importorskip("anndata")
h5py = pytest.importorskip("h5py")
pd = pytest.importorskip("pandas")

N = 30


def encoded(variance: bool = True) -> anndata.AnnData:
    latent = np.arange(N * 3, dtype=np.float32).reshape(N, 3)
    adata = anndata.AnnData(
        np.ones((N, 2), np.float32),
        obs=pd.DataFrame(
            {"sample": pd.Categorical(["a", "b"] * (N // 2)), "depth": np.linspace(0, 1, N)},
            index=[f"cell-{i}" for i in range(N)],
        ),
        obsm={"X_totalVI": latent} | ({"X_latent_qzv": np.full((N, 3), 4.0, np.float32)} if variance else {}),
        uns={"X_totalVI": {"model": "pbmc", "model_version": "1", "batch": "obs['sample']"}},
    )
    return adata


@pytest.fixture
def path(tmp_path: Path) -> Path:
    encoded().write_h5ad(tmp_path / "encoded.h5ad")
    return tmp_path / "encoded.h5ad"


def test_the_batch_is_the_usual_colour(path: Path) -> None:
    found = read_latent_file(path, "X_totalVI", None)
    assert found.title == "encoded.h5ad: model pbmc, version 1"
    assert found.latent.shape == (N, 3)
    (batch,) = found.colourings
    assert (batch.name, list(batch.values)[:2]) == ("sample", ["a", "b"])


def test_columns_and_uncertainty(path: Path) -> None:
    depth, spread = read_latent_file(path, "X_totalVI", ["depth", "uncertainty"]).colourings
    assert np.array_equal(depth.values, np.linspace(0, 1, N))
    assert set(spread.values.tolist()) == {2.0}


def test_the_uncertainty_of_another_run_is_refused(tmp_path: Path) -> None:
    adata = encoded()
    adata.uns["X_totalVI"]["written"] = np.array(["obsm['X_totalVI']"], dtype=object)
    adata.write_h5ad(tmp_path / "two.h5ad")
    with pytest.raises(InputError, match=r"is of another run than obsm\['X_totalVI'\].*distribution=True"):
        read_latent_file(tmp_path / "two.h5ad", "X_totalVI", ["uncertainty"])
    adata.uns["X_totalVI"]["written"] = np.array(["obsm['X_totalVI']", "obsm['X_latent_qzv']"], dtype=object)
    adata.write_h5ad(tmp_path / "one.h5ad")
    assert len(read_latent_file(tmp_path / "one.h5ad", "X_totalVI", ["uncertainty"]).colourings) == 1


def test_a_file_that_tells_nothing_of_itself_is_drawn_in_one_colour(tmp_path: Path) -> None:
    adata = encoded()
    del adata.uns["X_totalVI"]
    adata.write_h5ad(tmp_path / "plain.h5ad")
    found = read_latent_file(tmp_path / "plain.h5ad", "X_totalVI", None)
    assert (found.colourings, found.title) == ((), "plain.h5ad")


def test_categories_as_anndata_wrote_them_before_0_8(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        obs = file["obs"]
        del obs["sample"]
        obs["__categories/sample"] = np.array([b"a", b"b"])
        obs["sample"] = np.array([0, -1] * (N // 2), np.int8)
        obs["sample"].attrs["categories"] = obs["__categories/sample"].ref
    (column,) = read_latent_file(path, "X_totalVI", ["sample"]).colourings
    assert column.values.tolist()[:2] == ["a", None]


def test_a_mudata_has_columns_of_its_own_and_of_its_modalities(tmp_path: Path) -> None:
    mudata = pytest.importorskip("mudata")
    rna = encoded()
    with mudata.set_options(pull_on_update=False):
        whole = mudata.MuData({"rna": rna})
        whole.obsm["X_totalVI"] = rna.obsm["X_totalVI"]
        whole.obsm["X_latent_qzv"] = rna.obsm["X_latent_qzv"]
        whole.obs["site"] = ["x"] * N
        whole.write_h5mu(tmp_path / "encoded.h5mu")
    found = read_latent_file(tmp_path / "encoded.h5mu", "X_totalVI", ["site", "sample", "uncertainty"])
    assert [colouring.name for colouring in found.colourings] == ["site", "sample", "posterior uncertainty"]
    check_colours(tmp_path / "encoded.h5mu", ["site", "sample"])


def test_what_is_not_there_is_told_with_what_is(path: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no obsm\['X_other'\] \(there is: X_latent_qzv, X_totalVI\)"):
        read_latent_file(path, "X_other", None)
    with pytest.raises(InputError, match=r"no column 'sampel'.*did you mean 'sample'\? \(there is: depth, sample"):
        read_latent_file(path, "X_totalVI", ["sampel"])
    with pytest.raises(InputError, match="did you mean 'sample'"):
        check_colours(path, ["uncertainty", "sampel"])
    encoded(variance=False).write_h5ad(path)
    with pytest.raises(InputError, match="nothing of uncertainty: encode it with distribution=True"):
        read_latent_file(path, "X_totalVI", ["uncertainty"])
    with pytest.raises(InputError, match="there is no file"):
        read_latent_file(tmp_path / "none.h5ad", "X_totalVI", None)
    with pytest.raises(InputError, match=r"no column 'batch' in obs to colour by \(there is: none"):
        check_colours(tmp_path, ["batch"])
