"""The answer holds what was asked for, and nothing that is not a number."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from model.contract import LatentParams
from model.logistic_normal import softmax_mean
from service.core.errors import ErrorKind, ServiceError
from service.core.messages import Limits, Output
from service.core.preparation import prepare
from service.core.reply import compose_reply
from tests.core.test_preparation import loaded, request

RNG = np.random.default_rng(0)
PARAMS = LatentParams(*(RNG.uniform(0.1, 1, size=shape).astype(np.float32) for shape in ((2, 3), (2, 3), (2,), (2,))))


def reply(distribution: str = "normal", params: LatentParams = PARAMS, **changes: Any) -> Any:
    model = loaded(latent_distribution=distribution)
    return compose_reply(prepare(request(**changes), model, Limits()), params, model)


def test_everything() -> None:
    answer = reply(n_samples=4, seed=5, cells=("x", "y"))
    assert (answer.model, answer.model_version, answer.n_cells, answer.cells) == ("m", "1", 2, ("x", "y"))
    assert answer.qz_mean is PARAMS.qz_mean and answer.ql_variance is PARAMS.ql_variance
    assert answer.z is PARAMS.qz_mean
    assert answer.library_observed.tolist() == [10, 35]
    np.testing.assert_allclose(answer.library_latent, np.exp(PARAMS.ql_mean + PARAMS.ql_variance / 2))
    assert answer.samples.seed == 5
    assert answer.samples.latent_z.shape == (4, 2, 3) and answer.samples.latent_l.shape == (4, 2)


def test_nothing() -> None:
    answer = reply(outputs=frozenset())
    arrays = {field.name for field in dataclasses.fields(answer) if isinstance(getattr(answer, field.name), np.ndarray)}
    assert arrays == set() and answer.samples is None


@pytest.mark.parametrize("output", [Output.QZ, Output.QL, Output.Z, Output.LIBRARY, Output.SAMPLES])
def test_one_output_alone(output: Output) -> None:
    answer = reply(outputs=frozenset({output}))
    present = {
        Output.QZ: answer.qz_mean,
        Output.QL: answer.ql_mean,
        Output.Z: answer.z,
        Output.LIBRARY: answer.library_observed,
        Output.SAMPLES: answer.samples,
    }
    assert {name for name, value in present.items() if value is not None} == {output}
    assert answer.library_latent is None, "it comes with ql and library together"


def test_z_of_ln_is_the_mean_of_softmax() -> None:
    answer = reply("ln")
    assert np.array_equal(answer.z, softmax_mean(PARAMS.qz_mean, PARAMS.qz_variance))


@pytest.mark.parametrize("name", ["qz_mean", "qz_variance", "ql_mean", "ql_variance"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_posterior_that_is_not_finite_is_refused_with_its_cell(name: str, value: float) -> None:
    array = getattr(PARAMS, name).copy()
    array[1] = value
    with pytest.raises(ServiceError) as caught:
        reply(params=dataclasses.replace(PARAMS, **{name: array}))
    assert (caught.value.kind, caught.value.index) == (ErrorKind.INVALID, 1)
    other = frozenset({Output.QL if name.startswith("qz") else Output.QZ})
    assert reply(params=dataclasses.replace(PARAMS, **{name: array}), outputs=other).n_cells == 2, (
        "it was not asked for"
    )


def test_a_library_beyond_float32_ends_at_its_largest_number() -> None:
    params = dataclasses.replace(PARAMS, ql_variance=np.array([0.5, 500.0], dtype=np.float32))
    latent = reply(params=params).library_latent
    assert np.isfinite(latent).all() and latent[1] > 1e38


def test_an_abandoned_answer_is_not_built() -> None:
    model = loaded(latent_distribution="ln")
    with pytest.raises(ServiceError) as caught:
        compose_reply(prepare(request(), model, Limits()), PARAMS, model, lambda: True)
    assert caught.value.kind is ErrorKind.CANCELLED


def test_no_cells() -> None:
    answer = reply("ln", LatentParams.empty(3), n_cells=0, n_samples=2)
    assert answer.n_cells == 0 and answer.z.shape == (0, 3) and answer.samples.latent_z.shape == (2, 0, 3)
