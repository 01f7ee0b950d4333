"""Under which names the model's genes are found, and what is said where they are not."""

from __future__ import annotations

import numpy as np
import pytest

from tests.client.fake_client import GENES, FakeClient, answer, card
from tests.client.made_up import BATCH, COUNTS, FORMS, PROTEIN_COUNTS, Z, adata
from totalvi_client import InputError
from totalvi_client.embedding import embed

ENSEMBL = [f"ENSG{i:011}" for i in range(len(GENES))]


def test_ensembl_ids_for_a_model_of_symbols_names_the_column_that_fits() -> None:
    data = adata(genes=ENSEMBL)
    data.var["gene_symbols"] = list(GENES)
    data.var["chromosome"] = 1

    with pytest.raises(InputError) as refusal:
        embed(data, FakeClient())
    report = embed(data, FakeClient(), gene_column="gene_symbols")

    assert "none of the model's 12 genes is among the names in var_names" in str(refusal.value)
    assert "'ENSG00000000000'" in str(refusal.value)
    assert "var['gene_symbols'] has 12 of them: give gene_column='gene_symbols'" in str(refusal.value)
    assert np.array_equal(data.obsm["X_totalVI"], Z)
    assert report.gene_column == "gene_symbols"


def test_ensembl_ids_without_any_symbols() -> None:
    data = adata(genes=ENSEMBL)
    data.var["chromosome"] = "1"
    with pytest.raises(InputError, match=r"have Ensembl ids and the model symbols.*gene_column=.*: chromosome"):
        embed(data, FakeClient())


def test_symbols_for_a_model_of_ensembl_ids() -> None:
    with pytest.raises(InputError, match=r"the data have symbols and the model Ensembl ids.*no further column in var"):
        embed(adata(), FakeClient(card(genes=tuple(ENSEMBL))))


def test_versions_of_ensembl_ids() -> None:
    with pytest.raises(InputError, match="more would be known without regard to a version suffix"):
        embed(adata(genes=[f"{name}.3" for name in ENSEMBL]), FakeClient(card(genes=tuple(ENSEMBL))))


def test_letter_case() -> None:
    with pytest.raises(InputError, match="without regard to letter case; is it another species"):
        embed(adata(genes=[name.lower() for name in GENES]), FakeClient())


def test_quite_other_genes() -> None:
    with pytest.raises(InputError, match="is it the right model for these data"):
        embed(adata(genes=[f"other{i}" for i in range(12)]), FakeClient(), min_gene_coverage=0)


def test_too_few() -> None:
    data = adata(FORMS["csr"](COUNTS[:, :5]), genes=GENES[:5])

    with pytest.raises(InputError, match=r"5 of the model's 12 genes are among.*at least 50%.*min_gene_coverage="):
        embed(data, FakeClient())
    report = embed(data, FakeClient(), min_gene_coverage=0.4)

    few = np.where(np.arange(12) < 5, COUNTS, 0)
    assert np.array_equal(data.obsm["X_totalVI"], answer(few, PROTEIN_COUNTS, BATCH))
    assert report.genes.missing == 7


def test_a_column_that_fits_better_is_told() -> None:
    data = adata(genes=[*GENES[:7], *ENSEMBL[7:]])
    data.var["symbol"] = list(GENES)

    report = embed(data, FakeClient())

    (notice,) = [notice for notice in report.warnings if notice.code == "better_gene_column"]
    assert notice.detail == (
        "var_names has 58% of the model's genes and var['symbol'] has 100%: consider gene_column='symbol'"
    )


def test_duplicates_of_the_models_genes() -> None:
    names = [*GENES[:11], "G3"]
    data = adata(genes=names)

    with pytest.raises(InputError) as refusal:
        embed(data, FakeClient())

    assert "1 genes of the model are more than once in the AnnData ('G3' in var_names)" in str(refusal.value)
    assert "adata.var_names_make_unique()" in str(refusal.value)
    data.var_names_make_unique()
    embed(data, FakeClient())


def test_duplicates_of_other_genes_are_no_matter() -> None:
    counts = np.concatenate([COUNTS, COUNTS, COUNTS], axis=1)
    data = adata(FORMS["csr"](counts), genes=[*GENES, *["MT"] * 12, *["RP"] * 12])
    embed(data, FakeClient())
    assert np.array_equal(data.obsm["X_totalVI"], Z)


def test_a_column_that_is_not_there() -> None:
    with pytest.raises(InputError, match="no column 'symbol' in var; it has: none"):
        embed(adata(), FakeClient(), gene_column="symbol")


def test_a_model_whose_own_names_repeat_takes_exactly_its_columns() -> None:
    twice = (*GENES[:11], "G0")
    client = FakeClient(card(genes=twice))

    with pytest.raises(InputError, match="must have exactly its 12 genes in its order"):
        embed(adata(), client)
    embed(adata(genes=twice), client)

    assert client.options["genes"] is None


def test_antibodies_beside_the_genes_are_no_genes() -> None:
    counts = np.concatenate([COUNTS, PROTEIN_COUNTS], axis=1)
    # A protein may bear the name of a gene.
    of = card(proteins=("G1", "G2", "P"))
    data = adata(FORMS["csr"](counts), genes=[*GENES, "G1", "G2", "P"], proteins=False)
    data.var["feature_types"] = ["Gene Expression"] * 12 + ["Antibody Capture"] * 3

    report = embed(data, FakeClient(of))

    assert np.array_equal(data.obsm["X_totalVI"], Z)
    assert report.protein_counts == "the columns of the feature type Antibody Capture"
    assert (report.genes.given, report.proteins.given) == (12, 3)
