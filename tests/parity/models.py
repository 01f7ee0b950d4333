"""Models of scvi-tools: a table of what they are, made-up data, training, and scvi-tools' own answers.

Runs with scvi-tools 1.3.0 to the newest; `import` alone needs only numpy.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.parity.cells import Cells

# Every two values of two columns meet in some row; test_saved_models holds that. The columns:
# z: latent distribution · layers: of the encoder · bnorm, lnorm: use_batch_norm, use_layer_norm · batch: its labels
# covs: categorical covariates · numbers: how many continuous covariates · coded: encode_covariates
# log: log_variational · library: observed, latent, by a size factor, or both set
# missing: a batch or panel without some proteins · form: how the data lay · hidden, latent: sizes
GRID = """
z      layers bnorm   lnorm   batch       covs    numbers coded log library  missing form     hidden latent
normal 1      decoder decoder none        mixed   2       yes   yes latent   none    mudata   72     3
normal 3      both    none    none        none    2       yes   yes factor   none    modality 72     6
ln     1      both    both    none        none    0       yes   yes factor   panel   array    72     3
ln     2      none    none    none        several 2       yes   no  observed panel   frame    72     3
ln     3      encoder encoder none        single  1       yes   yes observed panel   layer    16     6
ln     3      decoder both    none        none    2       no    no  latent   none    layer    16     6
normal 1      decoder encoder one         single  2       yes   yes factor   panel   layer    16     6
normal 2      none    both    one         none    0       yes   no  observed panel   array    72     3
normal 3      both    decoder one         none    1       yes   yes factor   none    mudata   16     6
ln     1      both    decoder one         mixed   1       yes   no  latent   panel   frame    16     3
ln     2      both    encoder one         several 1       no    no  observed none    mudata   16     6
ln     3      encoder none    one         several 0       yes   yes latent   panel   modality 16     6
normal 1      encoder none    strings     none    2       no    no  factor   batch   modality 16     6
normal 2      decoder decoder strings     none    1       yes   yes observed panel   modality 16     6
normal 3      none    none    strings     single  2       yes   yes factor   batch   frame    72     6
ln     1      decoder encoder strings     single  0       yes   no  latent   batch   array    16     6
ln     2      both    both    strings     several 1       yes   yes factor   none    layer    16     3
ln     2      encoder none    strings     mixed   2       yes   no  observed batch   mudata   72     6
normal 1      both    none    integers    several 1       yes   yes observed batch   modality 72     6
normal 1      none    decoder integers    single  1       yes   yes latent   panel   layer    72     3
normal 1      decoder both    integers    mixed   2       yes   no  factor   none    frame    16     6
normal 2      decoder both    integers    none    0       yes   no  observed none    mudata   72     3
ln     1      both    encoder integers    none    1       yes   no  factor   batch   array    72     3
ln     2      both    decoder integers    single  1       no    no  observed batch   array    72     3
ln     3      encoder both    integers    mixed   2       yes   no  factor   panel   modality 16     6
normal 1      decoder none    floats      none    0       yes   yes latent   panel   layer    16     3
normal 2      both    encoder floats      single  0       yes   yes latent   none    modality 72     3
normal 3      none    both    floats      single  1       yes   no  latent   batch   frame    72     3
ln     1      none    encoder floats      mixed   0       no    no  factor   panel   mudata   72     6
ln     2      encoder decoder floats      several 1       yes   no  observed batch   mudata   16     6
ln     3      none    encoder floats      mixed   2       yes   yes factor   panel   array    72     6
normal 1      encoder both    booleans    mixed   1       yes   yes observed batch   layer    72     3
normal 1      decoder encoder booleans    none    2       yes   no  latent   none    mudata   16     6
normal 3      decoder both    booleans    several 2       no    yes latent   none    frame    16     3
normal 3      none    decoder booleans    single  1       yes   yes factor   panel   modality 16     3
ln     2      encoder none    booleans    mixed   0       yes   no  latent   none    array    16     6
ln     3      both    encoder booleans    several 2       yes   no  latent   none    frame    16     3
normal 1      none    both    categorical several 2       no    yes factor   none    mudata   16     6
normal 3      decoder decoder categorical several 0       yes   yes factor   panel   array    72     3
normal 3      both    both    categorical single  1       yes   no  factor   none    mudata   72     3
normal 3      both    decoder categorical mixed   2       yes   no  factor   none    modality 16     6
ln     1      none    none    categorical none    2       yes   no  latent   none    layer    16     6
ln     2      encoder encoder categorical none    0       yes   yes observed batch   frame    16     3
"""

# kind: the class, and what became of the model before it was saved; wide: as many genes as real models have.
OTHERS = """
z      layers bnorm lnorm   batch       covs    numbers coded log library  missing form     hidden latent kind
normal 2      both  none    strings     mixed   1       yes   yes observed batch   frame    16     6      totalanvi
ln     3      none  both    categorical several 2       yes   no  latent   panel   array    72     3      totalanvi
normal 1      both  none    integers    single  0       yes   yes observed none    layer    16     6      pretrained
normal 2      none  both    strings     none    0       yes   yes observed none    frame    16     6      query
ln     1      both  none    one         several 1       yes   yes latent   none    array    72     3      query
ln     3      none  encoder strings     mixed   1       yes   yes observed none    layer    16     6      query+1
normal 2      both  none    integers    single  0       no    no  observed panel   modality 16     3      query+1
normal 2      both  none    strings     several 1       yes   yes observed batch   frame    16     6      minified
ln     1      none  both    categorical mixed   0       yes   yes factor   panel   modality 16     3      minified
ln     2      both  none    booleans    none    2       yes   no  observed none    layer    72     3      with_counts
normal 2      both  none    strings     none    0       yes   yes latent   none    frame    16     6      one_step
ln     2      both  none    strings     single  1       yes   yes observed none    frame    16     1      totalvi
normal 1      none  both    floats      none    0       yes   yes latent   none    layer    16     1      totalvi
normal 2      both  none    strings     none    0       yes   yes both     none    mudata   16     6      totalvi
normal 1      none  none    strings     none    0       yes   yes latent   none    layer    256    20     wide
ln     2      both  none    one         none    0       yes   yes observed none    frame    256    20     wide
normal 2      none  both    strings     several 1       yes   yes latent   none    array    256    20     wide
"""

LABELS: dict[str, list[Any]] = {
    "none": [None],
    "one": ["only"],
    "strings": ["b2", "b10", "b1"],
    "integers": [10, 2, 7],
    "floats": [2.5, 1.0, -3.0],
    "booleans": [True, False],
    "categorical": ["b2", "b0", "b1"],
}
CODE_ORDER: dict[str, list[Any]] = {
    "one": ["only"],
    "strings": ["b1", "b10", "b2"],
    "integers": [2, 7, 10],
    "floats": [-3.0, 1.0, 2.5],
    "booleans": [False, True],
    "categorical": ["b2", "never seen", "b0", "b1"],
}
"""As scvi-tools numbers them: sorted, but a pandas categorical keeps its own order and its unused categories."""

NEW_LABELS: dict[str, list[Any]] = {"one": ["new"], "strings": ["b0", "a0"], "integers": [5, 1]}
"""Batches that only a query has; appended in sorted order."""

COVARIATES = {"none": [], "single": ["one"], "several": ["donor"], "mixed": ["one", "donor", "site"]}
NUMBERS = ["age", "depth"]
N_CELLS, N_PROTEINS = 100, 6
N_ASKED = 1000
"""Cells that scvi-tools is asked about: the largest of so many rounding errors varies little."""

MC_CELLS, MC_SAMPLES = 100, 20_000


@dataclasses.dataclass(frozen=True)
class Case:
    """A row of the table."""

    z: str
    layers: int
    bnorm: str
    lnorm: str
    batch: str
    covs: str
    numbers: int
    coded: bool
    log: bool
    library: str
    missing: str
    form: str
    hidden: int
    latent: int
    kind: str = "totalvi"

    def __str__(self) -> str:
        return "-".join(str(value) for value in dataclasses.astuple(self)).lower()

    @property
    def batches(self) -> list[Any]:
        """The batch labels in code order."""
        return CODE_ORDER[self.batch] + (sorted(NEW_LABELS[self.batch]) if self.is_query else [])

    @property
    def covariates(self) -> dict[str, list[str]]:
        """Categorical covariates with their labels in code order."""
        labels = {"one": ["x"], "donor": ["d0", "d1", "d2"], "site": ["north", "south"]}
        return {key: labels[key] for key in COVARIATES[self.covs]}

    @property
    def is_query(self) -> bool:
        """Whether it is the model of a scArches query."""
        return self.kind.startswith("query")

    @property
    def n_genes(self) -> int:
        """Real models are wide: rounding errors add up over the genes of a cell."""
        return 2000 if self.kind == "wide" else 40

    @property
    def gene_names(self) -> list[str]:
        """In the data's order, which is no sorted one. Names within a MuData are to differ."""
        names = ["CD3", *(f"G{i * 7 % self.n_genes}" for i in range(1, self.n_genes))]
        return [f"gene {name}" for name in names] if self.form in ("mudata", "modality") else names

    @property
    def protein_names(self) -> list[str]:
        """As the model knows them; one is a gene's name too."""
        if self.form == "array":
            return [str(i) for i in range(N_PROTEINS)]
        return ["CD8", "CD3", *(f"P{i}" for i in range(2, N_PROTEINS))]

    @property
    def missing_proteins(self) -> dict[str, tuple[str, ...]]:
        """Batch or panel → proteins that were not measured in it, as far as the save knows."""
        names = self.protein_names
        if self.kind == "minified" and self.form == "modality":
            # Minifying a MuData empties its proteins, and with them the mask.
            return {}
        return {
            "none": {},
            "batch": {str(LABELS[self.batch][0]): (names[1], names[4])},
            "panel": {"small": (names[2],)},
        }[self.missing]


def table(text: str) -> list[Case]:
    """The rows of a table."""
    head, *rows = (line.split() for line in text.strip().splitlines())
    read = {"layers": int, "numbers": int, "hidden": int, "latent": int, "coded": "yes".__eq__, "log": "yes".__eq__}
    return [Case(**{key: read.get(key, str)(value) for key, value in zip(head, row, strict=True)}) for row in rows]


CASES = [*table(GRID), *table(OTHERS)]


@dataclasses.dataclass(frozen=True)
class Answers:
    """What scvi-tools says of some cells.

    Attributes:
        params: qz_mean, qz_variance, ql_mean, ql_variance of its network in float32.
        exact: the same, its encoder and the cells being in float64.
        latent: mean and variance by `get_latent_representation(return_dist=True)`.
        library: by `get_latent_library_size()`.
        z: of the first MC_CELLS by `get_latent_representation(mc_samples=MC_SAMPLES)`.
        z_error: standard error of `z`; 0 where it is no Monte-Carlo mean.
    """

    params: dict[str, np.ndarray]
    exact: dict[str, np.ndarray]
    latent: tuple[np.ndarray, np.ndarray]
    library: np.ndarray
    z: np.ndarray
    z_error: np.ndarray


def make_cells(case: Case, rng: np.random.Generator, labels: list[Any], n_cells: int = N_CELLS) -> Cells:
    """Made-up counts of three cell types, four in ten of them not zero."""
    types = rng.integers(3, size=n_cells)
    gene_rates = rng.gamma(0.4, 4.0, size=(3, case.n_genes))[types] * rng.lognormal(sigma=0.5, size=(n_cells, 1))
    protein_rates = rng.gamma(0.8, 60.0, size=(3, N_PROTEINS))[types] + 3.0
    genes, proteins = rng.poisson(gene_rates), rng.poisson(protein_rates)
    # No empty cell here: scvi-tools takes the logarithm of each library.
    genes[:, 0] += 1
    batch = [labels[i] for i in rng.permutation(np.arange(n_cells) % len(labels))]
    panel = rng.choice(["large", "small"], size=n_cells)
    if case.missing == "batch":
        of_batch = np.array([label == labels[0] for label in batch])
        proteins[np.ix_(of_batch, [1, 4])] = 0
    if case.missing == "panel":
        proteins[panel == "small", 2] = 0
    return Cells(
        genes=genes,
        gene_names=case.gene_names,
        proteins=proteins,
        protein_names=case.protein_names,
        obs={
            "batch": batch,
            "one": ["x"] * n_cells,
            "donor": rng.permutation([f"d{i % 3}" for i in range(n_cells)]).tolist(),
            "site": rng.permutation([["south", "north"][i % 2] for i in range(n_cells)]).tolist(),
            "age": rng.normal(40.0, 15.0, size=n_cells).tolist(),
            "depth": rng.normal(size=n_cells).tolist(),
            "factor": rng.uniform(0.5, 2.0, size=n_cells).tolist(),
            "panel": panel.tolist(),
            "type": [["T", "B", "unknown"][i] for i in types],
        },
    )


def with_extremes(cells: Cells, rng: np.random.Generator) -> Cells:
    """The same cells, some without genes, without proteins, or without either, some with counts above 65,535."""
    genes, proteins = cells.genes.copy(), cells.proteins.copy()
    genes[0::25], proteins[1::25] = 0, 0
    genes[2::25], proteins[2::25] = 0, 0
    for counts in (genes[3::25], proteins[3::25]):
        columns = rng.integers(counts.shape[1], size=len(counts))
        counts[np.arange(len(counts)), columns] = rng.integers(65_536, 200_000, size=len(counts))
    return dataclasses.replace(cells, genes=genes, proteins=proteins)


def to_scvi(case: Case, cells: Cells) -> Any:
    """The cells as AnnData or MuData, in the case's form; where counts lie in a layer, X holds something else."""
    import anndata
    import pandas as pd
    import scipy.sparse

    index = [f"cell{i}" for i in range(len(cells.genes))]
    obs = pd.DataFrame(dict(cells.obs), index=index)
    if case.batch == "categorical":
        obs["batch"] = pd.Categorical(obs["batch"], categories=CODE_ORDER["categorical"])
    genes, proteins = cells.genes.astype(np.float32), cells.proteins.astype(np.float32)
    rna = anndata.AnnData(genes, obs=obs, var=pd.DataFrame(index=cells.gene_names))
    if case.form == "frame":
        rna.obsm["proteins"] = pd.DataFrame(cells.proteins, columns=cells.protein_names, index=index)
        return rna
    if case.form == "array":
        rna.X, rna.obsm["proteins"] = scipy.sparse.csr_matrix(genes), proteins
        return rna
    if case.form == "layer":
        rna.X, rna.layers["counts"] = np.log1p(genes), scipy.sparse.csr_matrix(genes)
        rna.obsm["proteins"], rna.uns["names"] = proteins, cells.protein_names
        return rna

    import mudata

    bare = pd.DataFrame(index=index)
    prot = anndata.AnnData(proteins, obs=bare, var=pd.DataFrame(index=cells.protein_names))
    unused = anndata.AnnData(genes[:, :9] + 1, obs=bare, var=pd.DataFrame(index=[f"peak{i}" for i in range(9)]))
    if case.form == "modality":
        rna.X, rna.layers["counts"] = np.log1p(genes), genes
        prot.X, prot.layers["raw"] = np.log1p(proteins), proteins
        return mudata.MuData({"unused": unused, "prot": prot, "rna": rna})
    rna.obs = bare
    joint = mudata.MuData({"prot": prot, "rna": rna, "unused": unused})
    joint.obs = obs
    return joint


def _keys(case: Case) -> dict[str, Any]:
    """Arguments of the set-up that name columns of obs."""
    keys: dict[str, Any] = {}
    if case.batch != "none":
        keys["batch_key"] = "batch"
    if case.missing == "panel":
        keys["panel_key"] = "panel"
    if case.library in ("factor", "both"):
        keys["size_factor_key"] = "factor"
    if case.covs != "none":
        keys["categorical_covariate_keys"] = COVARIATES[case.covs]
    if case.numbers:
        keys["continuous_covariate_keys"] = NUMBERS[: case.numbers]
    return keys


def _set_up(model_class: Any, case: Case, data: Any, **more: Any) -> None:
    keys = _keys(case)
    if case.form in ("mudata", "modality"):
        modalities = {"rna_layer": "rna", "protein_layer": "prot"}
        layers = {}
        if case.form == "modality":
            modalities |= {key: "rna" for key in keys if key != "panel_key"} | {"batch_key": "rna"}
            layers = {"rna_layer": "counts", "protein_layer": "raw"}
        model_class.setup_mudata(data, modalities=modalities, **layers, **keys, **more)
    else:
        form = {"layer": "counts", "protein_names_uns_key": "names"} if case.form == "layer" else {}
        model_class.setup_anndata(data, "proteins", **form, **keys, **more)


def train(model: Any, epochs: int, batch_size: int = 32) -> None:
    """A few steps; 0 epochs only mark the model as trained, as the tutorials do for a query."""
    # The scheduler of scvi-tools 1.3.0 asks torch for an argument that it no longer has.
    no_scheduler = {"reduce_lr_on_plateau": False} if type(model).__name__ == "TOTALVI" else {}
    model.train(max_epochs=epochs, batch_size=batch_size, accelerator="cpu", enable_progress_bar=False, **no_scheduler)


def build(case: Case, folder: Path, seed: int = 0) -> tuple[Cells, Answers]:
    """Train the model of a case and save it.

    Args:
        case: what to build.
        folder: made and filled with the save.
        seed: of data and training.

    Returns:
        Cells the model was not trained with, extreme ones among them, and scvi-tools' answers for them.
    """
    import scvi

    scvi.settings.seed = seed
    rng = np.random.default_rng(seed)
    known = LABELS[case.batch]
    model_class = scvi.external.TOTALANVI if case.kind == "totalanvi" else scvi.model.TOTALVI
    more = {"labels_key": "type", "unlabeled_category": "unknown"} if case.kind == "totalanvi" else {}
    data = to_scvi(case, make_cells(case, rng, known))
    _set_up(model_class, case, data, **more)
    model = model_class(
        data,
        n_latent=case.latent,
        latent_distribution=case.z,
        n_hidden=case.hidden,
        n_layers_encoder=case.layers,
        use_batch_norm=case.bnorm,
        use_layer_norm=case.lnorm,
        encode_covariates=case.coded,
        log_variational=case.log,
        use_observed_lib_size=case.library not in ("latent", "both"),
    )
    if case.kind == "one_step":
        # Its loss has no part of the proteins yet, so their efficiencies stay 0.
        train(model, 1, batch_size=N_CELLS)
    else:
        train(model, 2)
    if case.kind == "pretrained":
        model = scvi.external.TOTALANVI.from_totalvi_model(model, "unknown", labels_key="type")
        train(model, 1)
    if case.is_query:
        known = [known[0], *NEW_LABELS[case.batch]]
        reference = folder.with_name(f"{folder.name}_reference")
        model.save(str(reference))
        query = to_scvi(case, make_cells(case, rng, known))
        model = scvi.model.TOTALVI.load_query_data(query, str(reference), accelerator="cpu")
        train(model, 1 if case.kind == "query+1" else 0)
    cells = with_extremes(make_cells(case, rng, known, N_ASKED), rng)
    answers = ask(model, to_scvi(case, cells))
    if case.kind in ("minified", "with_counts"):
        _minify(model, "latent_posterior_parameters" + ("_with_counts" if case.kind == "with_counts" else ""))
    model.save(str(folder))
    return cells, answers


def _minify(model: Any, kind: str) -> None:
    model.adata.obsm["X_latent_qzm"], model.adata.obsm["X_latent_qzv"] = model.get_latent_representation(
        return_dist=True
    )
    (model.minify_mudata if hasattr(model.adata, "mod") else model.minify_adata)(kind)
    assert model.minified_data_type == kind


def ask(model: Any, data: Any) -> Answers:
    """scvi-tools' answers for data of the form the model was set up with."""
    mean, variance = model.get_latent_representation(data, return_dist=True)
    z = model.get_latent_representation(data, indices=np.arange(MC_CELLS), mc_samples=MC_SAMPLES)
    z_error = np.zeros_like(z)
    if model.module.latent_distribution == "ln":
        noise = np.random.default_rng(0).normal(size=(1000, *z.shape))
        draws = torch.softmax(torch.from_numpy(mean[:MC_CELLS] + np.sqrt(variance[:MC_CELLS]) * noise), dim=-1)
        z_error = draws.std(dim=0).numpy() / MC_SAMPLES**0.5
    params = _posterior(model, data)
    # Back in float32 the weights are what they were.
    model.module.encoder.double()
    exact = _posterior(model, data, double=True)
    model.module.encoder.float()
    return Answers(
        params=params,
        exact=exact,
        latent=(mean, variance),
        library=model.get_latent_library_size(data)[:, 0],
        z=z,
        z_error=z_error,
    )


@torch.inference_mode()
def _posterior(model: Any, data: Any, double: bool = False) -> dict[str, np.ndarray]:
    """q(z) and q(l) as the model's own network computes them."""
    parts = []
    for tensors in model._make_data_loader(adata=model._validate_anndata(data)):
        if double:
            for key in {"X", "proteins", "extra_continuous_covs"} & tensors.keys():
                tensors[key] = tensors[key].double()
        outputs = model.module.inference(**model.module._get_inference_input(tensors))
        z, library = outputs["qz"], outputs["ql"]
        parts.append((z.loc, z.scale.square(), library.loc[:, 0], library.scale.square()[:, 0]))
    names = ("qz_mean", "qz_variance", "ql_mean", "ql_variance")
    return {name: torch.cat(part).numpy() for name, part in zip(names, zip(*parts, strict=True), strict=True)}
