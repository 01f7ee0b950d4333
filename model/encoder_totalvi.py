"""totalVI's encoder as scvi-tools trains it: eager, dense, with scvi-tools' state-dict names.

It is the reference that the compiled encoder is folded from and judged by; serving never runs it.
Source: `scvi.nn.EncoderTOTALVI` (Gayoso et al., Nature Methods 2021, doi:10.1038/s41592-020-01050-x).
"""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Iterable
from typing import TypeAlias

import torch
from torch import nn
from torch.distributions import Normal

from model.sampling import LOG_LIBRARY_MAX

Draw: TypeAlias = dict[str, torch.Tensor]

BATCH_NORM_EPS = 1e-3
VARIANCE_FLOOR = 1e-4


class FCLayers(nn.Module):
    """Fully connected layers that are told the categories again at every layer.

    Layer i is Linear → BatchNorm → LayerNorm → ReLU → Dropout, an absent step being an identity, so that the linear
    layer is always `fc_layers.Layer i.0` and the batch norm `fc_layers.Layer i.1`, as in scvi-tools.

    Args:
        n_in: width of the input, categories not counted.
        n_out: width of the last layer.
        n_cat_list: categories of each categorical input; one with a single category adds no column.
        n_layers: number of layers.
        n_hidden: width of all layers but the last.
        dropout_rate: dropout probability in training.
        use_batch_norm: whether each layer has batch norm.
        use_layer_norm: whether each layer has layer norm (without parameters).
    """

    def __init__(
        self,
        n_in: int,
        n_out: int,
        n_cat_list: Iterable[int] | None = None,
        n_layers: int = 1,
        n_hidden: int = 128,
        dropout_rate: float = 0.1,
        use_batch_norm: bool = True,
        use_layer_norm: bool = False,
    ) -> None:
        super().__init__()
        self.n_cat_list = [n_cat if n_cat > 1 else 0 for n_cat in n_cat_list or ()]
        n_columns = sum(self.n_cat_list)
        widths = [n_in, *[n_hidden] * (n_layers - 1), n_out]
        layers = OrderedDict[str, nn.Module]()
        for i, (width_in, width_out) in enumerate(itertools.pairwise(widths)):
            layers[f"Layer {i}"] = nn.Sequential(
                nn.Linear(width_in + n_columns, width_out),
                nn.BatchNorm1d(width_out, momentum=0.01, eps=BATCH_NORM_EPS) if use_batch_norm else nn.Identity(),
                nn.LayerNorm(width_out, elementwise_affine=False) if use_layer_norm else nn.Identity(),
                nn.ReLU(),
                nn.Dropout(dropout_rate) if dropout_rate > 0 else nn.Identity(),
            )
        self.fc_layers = nn.Sequential(layers)

    def forward(self, x: torch.Tensor, *cat_list: torch.Tensor) -> torch.Tensor:
        """Apply the layers.

        Args:
            x: float [n, n_in].
            *cat_list: one integer tensor [n, 1] of codes for each entry of `n_cat_list`, or its one-hot [n, n_cat].

        Returns:
            float [n, n_out], at least 0.

        Raises:
            ValueError: fewer categorical inputs than `n_cat_list` names.
        """
        if len(cat_list) < len(self.n_cat_list):
            raise ValueError(f"{len(self.n_cat_list)} categorical inputs are needed, {len(cat_list)} were given")
        one_hots = [
            codes if codes.shape[1] == n_cat else nn.functional.one_hot(codes.squeeze(-1).long(), n_cat)
            for n_cat, codes in zip(self.n_cat_list, cat_list, strict=False)
            if n_cat > 1
        ]
        for layer in self.fc_layers:
            x = layer(torch.cat([x, *(one_hot.to(x.dtype) for one_hot in one_hots)], dim=-1))
        return x


class EncoderTOTALVI(nn.Module):
    """Encodes data of `n_input` dimensions into a latent space of `n_output` dimensions and a library size.

    Args:
        n_input: dimensionality of the input: genes, proteins, continuous covariates.
        n_output: dimensionality of the latent space.
        n_cat_list: number of categories of each categorical input, one-hot at every layer.
        n_layers: hidden layers of the z branch (the l branch has one).
        n_hidden: nodes per hidden layer.
        dropout_rate: dropout of each hidden layer in training.
        distribution: of the latent space: `normal`, or `ln` (logistic normal). Any other string means `normal`.
        use_batch_norm: whether the layers have batch norm.
        use_layer_norm: whether the layers have layer norm.
    """

    def __init__(
        self,
        n_input: int,
        n_output: int,
        n_cat_list: Iterable[int] | None = None,
        n_layers: int = 2,
        n_hidden: int = 256,
        dropout_rate: float = 0.1,
        distribution: str = "ln",
        use_batch_norm: bool = True,
        use_layer_norm: bool = False,
    ) -> None:
        super().__init__()
        n_cat_list = tuple(n_cat_list or ())

        def layers(n_layers: int) -> FCLayers:
            return FCLayers(
                n_input, n_hidden, n_cat_list, n_layers, n_hidden, dropout_rate, use_batch_norm, use_layer_norm
            )

        self.encoder = layers(n_layers)
        self.z_mean_encoder = nn.Linear(n_hidden, n_output)
        self.z_var_encoder = nn.Linear(n_hidden, n_output)
        self.l_gene_encoder = layers(1)
        self.l_gene_mean_encoder = nn.Linear(n_hidden, 1)
        self.l_gene_var_encoder = nn.Linear(n_hidden, 1)
        self.distribution = distribution
        self.z_transformation = nn.Softmax(dim=-1) if distribution == "ln" else nn.Identity()

    def reparameterize_transformation(self, mu: torch.Tensor, var: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Draw z from Normal(mu, var) and transform it.

        Args:
            mu: float [n, n_output], mean.
            var: float [n, n_output], variance.

        Returns:
            The transformed draw and the draw itself, both [n, n_output].
        """
        untran_z = Normal(mu, var.sqrt()).rsample()
        return self.z_transformation(untran_z), untran_z

    def posterior(
        self, data: torch.Tensor, *cat_list: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """The deterministic part of `forward`: mean and variance of q(z) [n, n_output], then of q(l) [n, 1]."""
        q = self.encoder(data, *cat_list)
        ql = self.l_gene_encoder(data, *cat_list)
        return (
            self.z_mean_encoder(q),
            torch.exp(self.z_var_encoder(q)) + VARIANCE_FLOOR,
            self.l_gene_mean_encoder(ql),
            torch.exp(self.l_gene_var_encoder(ql)) + VARIANCE_FLOOR,
        )

    def forward(
        self, data: torch.Tensor, *cat_list: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, Draw, Draw]:
        """Encode and draw one sample from torch's global generator, z before l.

        Args:
            data: float [n, n_input], transformed as the model was trained (log1p and so on).
            *cat_list: integer codes [n, 1], one for each entry of `n_cat_list`.

        Returns:
            Mean and variance of q(z) [n, n_output]; mean and variance of q(l) [n, 1]; `latent` and `untran_latent`,
            dictionaries with `z` and `l`: a draw after and before softmax (for `ln`) and exp. As in scvi-tools
            `untran_latent["l"]` is clamped at 15, so that `latent["l"]` is its exponential.
        """
        qz_m, qz_v, ql_m, ql_v = self.posterior(data, *cat_list)
        z, untran_z = self.reparameterize_transformation(qz_m, qz_v)
        log_library = torch.clamp(Normal(ql_m, ql_v.sqrt()).rsample(), max=LOG_LIBRARY_MAX)
        latent = {"z": z, "l": torch.exp(log_library)}
        untran_latent = {"z": untran_z, "l": log_library}
        return qz_m, qz_v, ql_m, ql_v, latent, untran_latent
