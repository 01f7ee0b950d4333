"""The encoder folded and fused for inference: sparse genes in, posterior out, one TorchScript module.

The same function as `EncoderTOTALVI.posterior` on the transformed input, arranged for speed (DESIGN, decisions 1 to 3):

- gene columns of both branches' first layers stand in one table, read by an embedding bag over the non-zero counts;
- batch norm is folded into the linear layer before it, in float64;
- one-hot categories are rows of a table, added;
- the input transform is inside, so that callers pass raw counts;
- rows are padded to a multiple of 16, so that a cell's bits do not depend on how many cells came with it.

No noise is drawn here.
"""

from typing import cast

import torch
from torch import nn

from model.contract import EncoderSpec, InputTransform
from model.encoder_totalvi import VARIANCE_FLOOR, EncoderTOTALVI, FCLayers

ROW_MULTIPLE = 16
"""A float32 product takes another kernel for fewer rows than this; see docs/decisions/0002-the-same-bits.md."""

BLOCK_COLUMNS = 128
"""Width of one block of the gene table: 128 float32 columns measured a quarter faster than one block of 512."""

LAYER_NORM_EPS = 1e-5


class HiddenLayer(nn.Module):
    """relu(normalise(x W + b + rows of the category table))."""

    layer_norm: bool
    eps: float
    weight: torch.Tensor
    bias: torch.Tensor
    category_table: torch.Tensor

    def __init__(
        self, weight: torch.Tensor, bias: torch.Tensor, category_table: torch.Tensor, layer_norm: bool
    ) -> None:
        super().__init__()
        self.register_buffer("weight", weight.contiguous())
        self.register_buffer("bias", bias.contiguous())
        self.register_buffer("category_table", category_table.contiguous())
        self.layer_norm, self.eps = layer_norm, LAYER_NORM_EPS

    def forward(self, x: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """x: float [n, in]; rows: integer [n, fields], rows of the category table. Returns float [n, out]."""
        h = torch.nn.functional.linear(x, self.weight, self.bias)
        for field in range(rows.shape[1]):
            h = h + self.category_table.index_select(0, rows[:, field])
        if self.layer_norm:
            h = torch.nn.functional.layer_norm(h, [h.shape[1]], eps=self.eps)
        return torch.relu(h)


class CompiledEncoder(nn.Module):
    """Raw sparse counts → mean and variance of q(z) and q(l). Built by `compile_encoder`."""

    n_genes: int
    n_proteins: int
    n_latent: int
    n_hidden: int
    scaled: bool
    log_variational: bool
    layer_norm: bool
    # TorchScript reads numbers from the module only, not from this file's globals. They are attributes and not `Final`,
    # because torch writes those in the order of a hash set, and the same save should give the same bytes.
    row_multiple: int
    variance_floor: float
    eps: float
    gene_blocks: torch.Tensor
    dense_weight: torch.Tensor
    bias: torch.Tensor
    category_table: torch.Tensor
    first_rows: torch.Tensor
    z_weight: torch.Tensor
    z_bias: torch.Tensor
    l_weight: torch.Tensor
    l_bias: torch.Tensor

    def __init__(self, encoder: EncoderTOTALVI, n_genes: int, n_proteins: int, scaled: bool, log: bool) -> None:
        super().__init__()
        z_layers, l_layers = folded_layers(encoder.encoder), folded_layers(encoder.l_gene_encoder)
        n_categories = sum(encoder.encoder.n_cat_list)
        weight = torch.cat([z_layers[0][0], l_layers[0][0]])
        first_category = weight.shape[1] - n_categories

        self.n_genes, self.n_proteins = n_genes, n_proteins
        self.n_latent = encoder.z_mean_encoder.out_features
        self.n_hidden = z_layers[0][0].shape[0]
        self.scaled, self.log_variational = scaled, log
        self.layer_norm = has_layer_norm(encoder.encoder)
        self.row_multiple, self.variance_floor, self.eps = ROW_MULTIPLE, VARIANCE_FLOOR, LAYER_NORM_EPS
        self.register_buffer("gene_blocks", column_blocks(weight[:, :n_genes].T).float())
        self.register_buffer("dense_weight", weight[:, n_genes:first_category].float().contiguous())
        self.register_buffer("bias", torch.cat([z_layers[0][1], l_layers[0][1]]).float())
        self.register_buffer("category_table", weight[:, first_category:].T.float().contiguous())
        cards = [n_cat for n_cat in encoder.encoder.n_cat_list if n_cat > 1]
        self.register_buffer("first_rows", torch.tensor([sum(cards[:i]) for i in range(len(cards))], dtype=torch.int32))
        self.layers = nn.ModuleList(
            HiddenLayer(
                w[:, : w.shape[1] - n_categories].float(),
                b.float(),
                w[:, w.shape[1] - n_categories :].T.float(),
                self.layer_norm,
            )
            for w, b in z_layers[1:]
        )
        self.register_buffer("z_weight", stacked_weight(encoder.z_mean_encoder, encoder.z_var_encoder))
        self.register_buffer("z_bias", stacked_bias(encoder.z_mean_encoder, encoder.z_var_encoder))
        self.register_buffer("l_weight", stacked_weight(encoder.l_gene_mean_encoder, encoder.l_gene_var_encoder))
        self.register_buffer("l_bias", stacked_bias(encoder.l_gene_mean_encoder, encoder.l_gene_var_encoder))

    def forward(
        self,
        indptr: torch.Tensor,
        indices: torch.Tensor,
        counts: torch.Tensor,
        proteins: torch.Tensor,
        continuous: torch.Tensor,
        codes: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Encode cells.

        Args:
            indptr: int32 [n + 1], where each cell's entries begin.
            indices: int32 [entries], gene columns, ascending within a cell.
            counts: float32 [entries], raw counts.
            proteins: float32 [n, n_proteins], raw counts.
            continuous: float32 [n, continuous inputs].
            codes: int32 [n, categorical inputs].

        Returns:
            Mean and variance of q(z), float32 [n, n_latent]; mean and variance of q(l), float32 [n].
        """
        n_cells = indptr.shape[0] - 1
        padding = -n_cells % self.row_multiple
        if padding > 0:
            indptr = torch.cat([indptr, indptr[-1:].expand(padding)])
            proteins = torch.nn.functional.pad(proteins, [0, 0, 0, padding])
            continuous = torch.nn.functional.pad(continuous, [0, 0, 0, padding])
            codes = torch.nn.functional.pad(codes, [0, 0, 0, padding])

        if self.scaled:
            offsets = indptr.to(torch.int64)
            divisor = 1.0 + torch.segment_reduce(counts, "sum", offsets=offsets) / self.n_genes
            lengths = offsets[1:] - offsets[:-1]
            counts = counts / torch.repeat_interleave(divisor, lengths, output_size=counts.shape[0])
            proteins = proteins / (1.0 + proteins.mean(1, keepdim=True))
        if self.log_variational:
            counts = torch.log1p(counts)
            proteins = torch.log1p(proteins)

        blocks: list[torch.Tensor] = []
        for block in range(self.gene_blocks.shape[0]):
            bag, _, _, _ = torch.embedding_bag(
                self.gene_blocks[block], indices, indptr, False, 0, False, counts, include_last_offset=True
            )
            blocks.append(bag)
        h = torch.cat(blocks, 1)[:, : 2 * self.n_hidden]
        h = h + torch.nn.functional.linear(torch.cat([proteins, continuous], 1), self.dense_weight, self.bias)
        rows = codes + self.first_rows
        for field in range(rows.shape[1]):
            h = h + self.category_table.index_select(0, rows[:, field])

        z, library = h[:, : self.n_hidden], h[:, self.n_hidden :]
        if self.layer_norm:
            z = torch.nn.functional.layer_norm(z, [self.n_hidden], eps=self.eps)
            library = torch.nn.functional.layer_norm(library, [self.n_hidden], eps=self.eps)
        z, library = torch.relu(z), torch.relu(library)
        for layer in self.layers:
            z = layer(z, rows)
        z = torch.nn.functional.linear(z, self.z_weight, self.z_bias)[:n_cells]
        library = torch.nn.functional.linear(library, self.l_weight, self.l_bias)[:n_cells]
        return (
            z[:, : self.n_latent].contiguous(),
            torch.exp(z[:, self.n_latent :]) + self.variance_floor,
            library[:, 0].contiguous(),
            torch.exp(library[:, 1]) + self.variance_floor,
        )


def compile_encoder(encoder: EncoderTOTALVI, spec: EncoderSpec) -> CompiledEncoder:
    """Fold a trained encoder into its serving form (not yet scripted).

    Args:
        encoder: in evaluation mode, its columns in the spec's order: genes, proteins, continuous, categories.
        spec: sizes and the input transform.

    Returns:
        The module, in evaluation mode and without gradients.
    """
    transform: InputTransform = spec.input_transform
    compiled = CompiledEncoder(
        encoder, len(spec.genes), len(spec.proteins), transform == "scaled", spec.log_variational
    )
    return compiled.eval().requires_grad_(False)


def folded_layers(layers: FCLayers) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Weight [out, in] and bias [out] of each layer with its batch norm folded in, float64.

    In evaluation mode batch norm is (y - mean) / sqrt(var + eps) * gamma + beta, a linear map of the layer's output y.
    """
    folded = []
    for layer in layers.fc_layers:
        linear, norm = (cast(nn.Sequential, layer)[0], cast(nn.Sequential, layer)[1])
        weight, bias = cast(nn.Linear, linear).weight.double(), cast(nn.Linear, linear).bias.double()
        if isinstance(norm, nn.BatchNorm1d):
            assert norm.running_mean is not None and norm.running_var is not None
            scale = norm.weight.double() / torch.sqrt(norm.running_var.double() + norm.eps)
            weight = weight * scale[:, None]
            bias = (bias - norm.running_mean.double()) * scale + norm.bias.double()
        folded.append((weight.detach(), bias.detach()))
    return folded


def has_layer_norm(layers: FCLayers) -> bool:
    """Whether the layers normalise each cell."""
    return any(isinstance(module, nn.LayerNorm) for module in layers.modules())


def column_blocks(table: torch.Tensor) -> torch.Tensor:
    """Cut [rows, columns] into equal blocks [blocks, rows, width], zero columns filling up the last one."""
    rows, columns = table.shape
    n_blocks = -(-columns // BLOCK_COLUMNS)
    width = -(-columns // (n_blocks * 16)) * 16
    padded = nn.functional.pad(table, [0, n_blocks * width - columns])
    return padded.reshape(rows, n_blocks, width).transpose(0, 1).contiguous()


def stacked_weight(*layers: nn.Linear) -> torch.Tensor:
    """The layers' weights one below the other, so that one product computes all."""
    return torch.cat([layer.weight for layer in layers]).detach().float().contiguous()


def stacked_bias(*layers: nn.Linear) -> torch.Tensor:
    """The layers' biases, in the order of `stacked_weight`."""
    return torch.cat([layer.bias for layer in layers]).detach().float()
