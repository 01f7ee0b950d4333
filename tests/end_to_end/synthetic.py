"""A small model that is in no one's way, and what its encoder must answer: so the suite runs without ../shared."""

from __future__ import annotations

import numpy as np
import torch

from tests.end_to_end.asking import Answer, Ask
from tests.saves import SaveRecipe

NAME = "synthetic"

RECIPE = SaveRecipe(
    genes=[f"GENE{i}" for i in range(40)],
    proteins=[f"protein-{i}" for i in range(5)],
    batches=["b0", "b1"],
    categorical={"donor": ["d1", "d2"], "lane": [1, 2, 3]},
    continuous=["age"],
    efficiency=torch.full((5, 2), 0.1),
)

LABELS = {"batch": RECIPE.batches, **RECIPE.categorical}


def cells(n_cells: int = 6, seed: int = 0) -> Ask:
    """Cells of every label, with the columns named."""
    rng = np.random.default_rng(seed)
    drawn = {
        key: [categories[i] for i in rng.integers(len(categories), size=n_cells)] for key, categories in LABELS.items()
    }
    return Ask(
        model=NAME,
        gene_counts=rng.poisson(rng.gamma(0.5, 4.0, size=(n_cells, len(RECIPE.genes)))),
        protein_counts=rng.poisson(rng.gamma(0.5, 100.0, size=(n_cells, len(RECIPE.proteins)))),
        genes=RECIPE.genes,
        proteins=RECIPE.proteins,
        batch=drawn.pop("batch"),
        categorical=drawn,
        continuous={"age": rng.normal(size=n_cells)},
    )


def expected(ask: Ask, recipe: SaveRecipe = RECIPE) -> dict[str, np.ndarray]:
    """What `cells` must be answered: the eager encoder in float64 on dense rows, by scvi-tools' words for the input.

    `recipe` may be another model of the same columns; the ask's must be in its order.
    """
    genes, proteins = (torch.from_numpy(counts).double() for counts in (ask.gene_counts, ask.protein_counts))
    transformed = [torch.log1p(x / (1 + x.mean(1, keepdim=True))) for x in (genes, proteins)]
    data = torch.cat([*transformed, torch.from_numpy(ask.continuous["age"])[:, None]], dim=1)
    given = {"batch": ask.batch, **ask.categorical}
    codes = [torch.tensor([[LABELS[key].index(label)] for label in given[key]]) for key in LABELS]
    with torch.inference_mode():
        qz_mean, qz_variance, ql_mean, ql_variance = (
            x.numpy() for x in recipe.encoder().double().posterior(data, *codes)
        )
    return {
        "qz_mean": qz_mean,
        "qz_variance": qz_variance,
        "ql_mean": ql_mean[:, 0],
        "ql_variance": ql_variance[:, 0],
        "z": qz_mean,
        "library_observed": ask.gene_counts.sum(axis=1),
        "library_latent": np.exp(ql_mean + ql_variance / 2)[:, 0],
    }


def assert_right(answer: Answer, expectation: dict[str, np.ndarray]) -> None:
    """Each array is there and close to what it must be."""
    assert answer.arrays.keys() == expectation.keys()
    for name, values in expectation.items():
        np.testing.assert_allclose(answer.arrays[name], values, rtol=1e-5, atol=1e-5, err_msg=name)


def assert_same_bits(answer: Answer, other: Answer) -> None:
    """Both hold the same arrays, to the last bit."""
    assert answer.arrays.keys() == other.arrays.keys()
    for name, values in other.arrays.items():
        found = answer.arrays[name]
        assert found.shape == values.shape, name
        np.testing.assert_array_equal(found.view(np.uint32), values.view(np.uint32), err_msg=name)
