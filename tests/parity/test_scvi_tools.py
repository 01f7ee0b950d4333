"""The eager encoder against that of scvi-tools, layer by layer (pip install -e '.[parity]')."""

import itertools
from typing import Any

import pytest
import torch

from model.encoder_totalvi import EncoderTOTALVI
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
