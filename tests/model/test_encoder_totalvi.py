"""The eager encoder: each parameter of its constructor changes what it should, and only that."""

import inspect

import pytest
import torch

from model.encoder_totalvi import EncoderTOTALVI
from tests.saves import randomised


def counts(n: int, width: int = 10) -> torch.Tensor:
    return torch.poisson(torch.full((n, width), 3.0), generator=torch.Generator().manual_seed(1)).log1p()


def codes(*values: int) -> torch.Tensor:
    return torch.tensor(values)[:, None]


def test_the_constructor_is_the_seeds() -> None:
    parameters = inspect.signature(EncoderTOTALVI).parameters
    assert {name: parameter.default for name, parameter in parameters.items()} == {
        "n_input": inspect.Parameter.empty,
        "n_output": inspect.Parameter.empty,
        "n_cat_list": None,
        "n_layers": 2,
        "n_hidden": 256,
        "dropout_rate": 0.1,
        "distribution": "ln",
        "use_batch_norm": True,
        "use_layer_norm": False,
    }


def test_forward_returns_the_documented_six() -> None:
    encoder = randomised(EncoderTOTALVI(10, 3))
    qz_m, qz_v, ql_m, ql_v, latent, untran_latent = encoder(counts(7))
    assert qz_m.shape == qz_v.shape == (7, 3)
    assert ql_m.shape == ql_v.shape == (7, 1)
    assert set(latent) == set(untran_latent) == {"z", "l"}
    assert latent["z"].shape == untran_latent["z"].shape == (7, 3)
    assert latent["l"].shape == untran_latent["l"].shape == (7, 1)
    assert (qz_v >= 1e-4).all() and (ql_v >= 1e-4).all()
    torch.testing.assert_close(latent["l"], untran_latent["l"].exp())


def test_forward_draws_from_its_posterior() -> None:
    encoder = randomised(EncoderTOTALVI(10, 3, distribution="normal"))
    cell = counts(1).expand(20_000, 10)
    torch.manual_seed(0)
    qz_m, qz_v, ql_m, ql_v, latent, untran_latent = encoder(cell)
    assert torch.equal(latent["z"], untran_latent["z"])
    torch.testing.assert_close(latent["z"].mean(0), qz_m[0], atol=0.05, rtol=0.05)
    torch.testing.assert_close(latent["z"].var(0), qz_v[0], atol=0.05, rtol=0.05)
    torch.testing.assert_close(untran_latent["l"].mean(0), ql_m[0], atol=0.05, rtol=0.05)
    torch.testing.assert_close(untran_latent["l"].var(0), ql_v[0], atol=0.05, rtol=0.05)


def test_library_draws_are_clamped_at_15() -> None:
    """DOMAIN 9.11."""
    encoder = randomised(EncoderTOTALVI(10, 3))
    torch.nn.init.constant_(encoder.l_gene_mean_encoder.bias, 40.0)
    *_, latent, untran_latent = encoder(counts(5))
    assert (untran_latent["l"] == 15.0).all()
    torch.testing.assert_close(latent["l"], torch.full((5, 1), 15.0).exp())


def test_variance_has_a_floor_and_absurd_logits_give_infinity() -> None:
    """DOMAIN 9.11."""
    encoder = randomised(EncoderTOTALVI(10, 3))
    torch.nn.init.constant_(encoder.z_var_encoder.bias, -200.0)
    torch.nn.init.constant_(encoder.l_gene_var_encoder.bias, 200.0)
    _, qz_v, _, ql_v = encoder.posterior(counts(5))
    assert (qz_v == torch.tensor(1e-4)).all()
    assert torch.isinf(ql_v).all()


def test_n_input_is_the_width_of_the_data() -> None:
    encoder = EncoderTOTALVI(10, 3)
    assert encoder.encoder.fc_layers[0][0].in_features == encoder.l_gene_encoder.fc_layers[0][0].in_features == 10
    with pytest.raises(RuntimeError):
        encoder(counts(2, width=11))


def test_n_output_is_the_width_of_the_latent() -> None:
    assert EncoderTOTALVI(10, 7).eval()(counts(2))[0].shape == (2, 7)


def test_n_cat_list_adds_one_hot_columns_to_every_layer() -> None:
    encoder = randomised(EncoderTOTALVI(10, 3, n_cat_list=[3, 2], n_layers=2, n_hidden=8))
    assert [layer[0].in_features for layer in encoder.encoder.fc_layers] == [10 + 5, 8 + 5]
    assert encoder.l_gene_encoder.fc_layers[0][0].in_features == 10 + 5
    a = encoder.posterior(counts(1), codes(0), codes(1))
    b = encoder.posterior(counts(1), codes(2), codes(1))
    assert not torch.equal(a[0], b[0]) and not torch.equal(a[2], b[2])
    with pytest.raises(ValueError, match="2 categorical inputs are needed, 1 were given"):
        encoder.posterior(counts(1), codes(0))


def test_categories_also_reach_the_second_layer() -> None:
    encoder = randomised(EncoderTOTALVI(10, 3, n_cat_list=[2], n_hidden=8))
    with torch.no_grad():
        for layers in (encoder.encoder, encoder.l_gene_encoder):
            layers.fc_layers[0][0].weight[:, -2:] = 0
    a, b = (encoder.posterior(counts(1), codes(code)) for code in (0, 1))
    assert not torch.equal(a[0], b[0]), "z has a second layer"
    assert torch.equal(a[2], b[2]), "l has not"


def test_a_field_with_one_category_adds_no_column() -> None:
    encoder = randomised(EncoderTOTALVI(10, 3, n_cat_list=[1, 2]))
    assert encoder.encoder.fc_layers[0][0].in_features == 12
    a = encoder.posterior(counts(1), codes(0), codes(1))
    b = encoder.posterior(counts(1), codes(5), codes(1))
    assert torch.equal(a[0], b[0])


def test_one_hot_rows_are_taken_as_they_are() -> None:
    encoder = randomised(EncoderTOTALVI(10, 3, n_cat_list=[3]))
    a = encoder.posterior(counts(2), codes(2, 0))
    b = encoder.posterior(counts(2), torch.eye(3)[[2, 0]])
    assert torch.equal(a[0], b[0])


@pytest.mark.parametrize("n_layers", [1, 2, 3])
def test_n_layers_are_the_layers_of_z_and_l_has_one(n_layers: int) -> None:
    """DOMAIN 9.6."""
    encoder = EncoderTOTALVI(10, 3, n_layers=n_layers)
    assert len(encoder.encoder.fc_layers) == n_layers
    assert len(encoder.l_gene_encoder.fc_layers) == 1


def test_n_hidden_is_the_width_of_the_layers() -> None:
    encoder = EncoderTOTALVI(10, 3, n_hidden=12)
    assert encoder.encoder.fc_layers[0][0].out_features == encoder.encoder.fc_layers[1][0].in_features == 12
    assert encoder.z_mean_encoder.in_features == encoder.l_gene_mean_encoder.in_features == 12


def test_dropout_rate_drops_in_training_only_and_keeps_the_names() -> None:
    """DOMAIN 9.6: dropout 0 keeps the key numbers."""
    data = counts(50)
    wet, dry = EncoderTOTALVI(10, 3, dropout_rate=0.5), EncoderTOTALVI(10, 3, dropout_rate=0.0)
    assert wet.state_dict().keys() == dry.state_dict().keys()
    wet.train(), dry.train()
    assert not torch.equal(wet.posterior(data)[0], wet.posterior(data)[0])
    assert torch.equal(dry.posterior(data)[0], dry.posterior(data)[0])
    wet.eval()
    assert torch.equal(wet.posterior(data)[0], wet.posterior(data)[0])


def test_distribution_ln_is_a_softmax_and_any_other_string_is_normal() -> None:
    ln = randomised(EncoderTOTALVI(10, 3, distribution="ln"))
    *_, latent, untran_latent = ln(counts(5))
    torch.testing.assert_close(latent["z"].sum(-1), torch.ones(5))
    torch.testing.assert_close(latent["z"], untran_latent["z"].softmax(-1))
    for other in ("normal", "LN"):
        *_, latent, untran_latent = randomised(EncoderTOTALVI(10, 3, distribution=other))(counts(5))
        assert torch.equal(latent["z"], untran_latent["z"])


def test_reparameterize_transformation_draws_and_transforms() -> None:
    encoder = EncoderTOTALVI(10, 3)
    mean = torch.tensor([[1.0, 2.0, 3.0]])
    z, untran_z = encoder.reparameterize_transformation(mean, torch.full((1, 3), 1e-12))
    torch.testing.assert_close(untran_z, mean, atol=1e-4, rtol=0)
    torch.testing.assert_close(z, mean.softmax(-1), atol=1e-4, rtol=0)


def test_use_batch_norm_normalises_by_running_statistics() -> None:
    names = EncoderTOTALVI(10, 3, use_batch_norm=True).state_dict().keys()
    assert "encoder.fc_layers.Layer 0.1.running_mean" in names
    assert not any(".1." in name for name in EncoderTOTALVI(10, 3, use_batch_norm=False).state_dict())
    encoder = randomised(EncoderTOTALVI(10, 3))
    before = encoder.posterior(counts(2))[0]
    encoder.encoder.fc_layers[0][1].running_mean += 1.0
    assert not torch.equal(before, encoder.posterior(counts(2))[0])


def test_use_layer_norm_normalises_each_cell_without_parameters() -> None:
    """DOMAIN 9.5: without batch norm there are no such keys."""
    plain = EncoderTOTALVI(10, 3, use_batch_norm=False, use_layer_norm=False)
    layered = EncoderTOTALVI(10, 3, use_batch_norm=False, use_layer_norm=True)
    assert plain.state_dict().keys() == layered.state_dict().keys()
    data = 5 * counts(4)
    hidden = layered.encoder.fc_layers[0][2](layered.encoder.fc_layers[0][0](data))
    torch.testing.assert_close(hidden.mean(-1), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(hidden.var(-1, unbiased=False), torch.ones(4), atol=1e-3, rtol=1e-3)
    layered.load_state_dict(plain.state_dict())
    assert not torch.allclose(plain.eval().posterior(data)[0], layered.eval().posterior(data)[0])


def test_state_dict_names_are_those_of_scvi_tools() -> None:
    linear, norm = ("weight", "bias"), ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    expected = {
        f"{branch}.fc_layers.Layer {layer}.{position}.{name}"
        for branch, layers in (("encoder", 2), ("l_gene_encoder", 1))
        for layer in range(layers)
        for position, names in ((0, linear), (1, norm))
        for name in names
    }
    heads = ("z_mean_encoder", "z_var_encoder", "l_gene_mean_encoder", "l_gene_var_encoder")
    expected |= {f"{head}.{name}" for head in heads for name in linear}
    assert set(EncoderTOTALVI(10, 3).state_dict()) == expected
