"""Messages that name arguments, as the command line says them."""

from __future__ import annotations

import dataclasses

import pytest

from totalvi_client import Choices, cli
from totalvi_client.flags import _FLAGS, in_flags


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("give layer='counts'", "give --layer counts"),
        ("give layer='my counts' now", "give --layer 'my counts' now"),
        ("layer= may be: X, raw", "--layer may be: X, raw"),
        ("give allow_non_integer=True", "give --allow-non-integer"),
        ("proteins=False counts each as 0", "--no-proteins counts each as 0"),
        ("proteins= may be: nothing", "--proteins may be: nothing"),
        (
            "batch_map={'s1': 'PBMC10k'}, or batch='PBMC10k' for all",
            "--batch-map s1=PBMC10k, or --batch PBMC10k for all",
        ),
        ("give covariate_keys={'donor': …} the name", "give --covariate-key donor=… the name"),
        ("give covariates={'age': …} one number", "give --covariate age=… one number"),
        ("batch_key='sample'", "--batch-key sample"),
        ("give batch= (one label) or batch_key= (a column)", "give --batch (one label) or --batch-key (a column)"),
        ("slice_cells must be at least 1", "--slice-cells must be at least 1"),
        ("or lower min_gene_coverage=", "or lower --min-gene-coverage"),
        ("a smaller n_samples", "a smaller --samples"),
        ("a token goes into token=", "a token goes into --token-file"),
        # What is no argument stays as it is.
        ("adata.layers['counts'] = adata.X.copy()", "adata.layers['counts'] = adata.X.copy()"),
        ("the model has no covariate 'batch_key'", "the model has no covariate 'batch_key'"),
        ("obs['batch'] has no label", "obs['batch'] has no label"),
        ("sc.pp.f(n_layer=3)", "sc.pp.f(n_layer=3)"),
    ],
)
def test_arguments_become_flags(message: str, said: str) -> None:
    assert in_flags(message) == said


def test_every_choice_has_a_flag_and_every_flag_is_one() -> None:
    choices = {field.name for field in dataclasses.fields(Choices)} - {"model", "version", "priority"}
    assert choices <= set(_FLAGS)
    parser = cli._parser()
    parts = next(action for action in parser._actions if hasattr(action, "choices") and action.choices)
    known = set(parts.choices["encode"]._option_string_actions)  # type: ignore[union-attr,index,call-overload]
    assert set(_FLAGS.values()) <= known
    assert "--no-proteins" in known
