"""The encoder folded and fused for inference: sparse genes in, posterior out, one TorchScript module.

The same function as `EncoderTOTALVI.posterior` on the transformed input, arranged for speed (DESIGN, decisions 1 to 3):

- gene columns of a branch's first layer stand in tables, read by embedding bags over the non-zero counts;
- batch norm is folded into the linear layer before it, in float64;
- a category is a row of a table, and there a cell's sum begins;
- the input transform is inside, so that callers pass raw counts;
- a cell's genes are summed in runs, so that a thousand of them lose no more than in a dense product;
- the branch of the library size is left out where nobody asked for it.

`model.staging` arranges the cells for it. No noise is drawn here.
"""

from typing import cast

import torch
from torch import nn

from model.contract import EncoderSpec, InputTransform
from model.encoder_totalvi import VARIANCE_FLOOR, EncoderTOTALVI, FCLayers

BLOCK_COLUMNS = 64
"""Widest block of a gene table: of 4,000 genes it takes a megabyte, which a core's second cache holds."""

LAYER_NORM_EPS = 1e-5


class Product(nn.Module):
    """h + x w, in h's place; `rows_at_once` of them where that is set.

    A GPU's library takes one kernel or another by the number of rows, and they round differently. With the same number
    each time a cell's row is the same whatever the batch (docs/decisions/0002-the-same-bits.md).
    """

    rows_at_once: int

    def __init__(self) -> None:
        super().__init__()
        self.rows_at_once = 0

    def forward(self, h: torch.Tensor, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """h: float [n, out]; x: float [n, in]; weight: float [in, out]; n is a multiple of `rows_at_once`."""
        if self.rows_at_once == 0:
            return h.addmm_(x, weight)
        for start in range(0, h.shape[0], self.rows_at_once):
            h.narrow(0, start, self.rows_at_once).addmm_(x.narrow(0, start, self.rows_at_once), weight)
        return h


class Layer(nn.Module):
    """relu(normalise(x W + row of the category table)); the rows hold the bias.

    TorchScript reads numbers from the module only, not from this file's globals. They are attributes and not `Final`,
    because torch writes those in the order of a hash set, and the same save should give the same bytes.
    """

    layer_norm: bool
    eps: float
    weight: torch.Tensor
    category_table: torch.Tensor

    def __init__(
        self, weight: torch.Tensor, bias: torch.Tensor, cards: list[int], *, width: int, layer_norm: bool
    ) -> None:
        """Lay out a folded layer.

        Args:
            weight: float64 [n_hidden, inputs], the categories' columns last.
            bias: float64 [n_hidden].
            cards: number of categories of each field.
            width: columns to fill up to with zeros; at least n_hidden.
            layer_norm: whether each cell is normalised.
        """
        super().__init__()
        self.n_hidden = weight.shape[0]
        weight = nn.functional.pad(weight.T, [0, width - self.n_hidden])
        bias = nn.functional.pad(bias, [0, width - self.n_hidden])[None]
        first_category = weight.shape[0] - sum(cards)
        table = weight[first_category:]
        # Of a cell's rows the first field's holds the bias; without any field there is one row for all.
        table = torch.cat([table[: cards[0]] + bias, table[cards[0] :]]) if cards else bias
        self.register_buffer("weight", weight[:first_category].float().contiguous())
        self.register_buffer("category_table", table.float().contiguous())
        self.layer_norm, self.eps = layer_norm, LAYER_NORM_EPS
        self.product = Product()

    def forward(self, x: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """x: float [n, in]; rows: integer [n, fields], rows of the category table. Returns float [n, out]."""
        return self.activated(self.affine(x, rows))

    def affine(self, x: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """The linear part, float [n, width]."""
        h = self.category_table.index_select(0, rows[:, 0])
        for field in range(1, rows.shape[1]):
            h.add_(self.category_table.index_select(0, rows[:, field]))
        product: torch.Tensor = self.product(h, x, self.weight)
        return product

    def activated(self, h: torch.Tensor) -> torch.Tensor:
        """Normalised and cut off at 0; `h` itself is changed."""
        h = h[:, : self.n_hidden]
        if self.layer_norm:
            h = torch.nn.functional.layer_norm(h, [self.n_hidden], eps=self.eps)
        return h.relu_()


class GeneLayer(nn.Module):
    """The first layer of a branch: as `Layer`, with the genes' part added from sparse counts."""

    gene_blocks: torch.Tensor
    gene_table: torch.Tensor
    most_rows_at_once: int

    def __init__(
        self, weight: torch.Tensor, bias: torch.Tensor, cards: list[int], *, n_genes: int, layer_norm: bool
    ) -> None:
        super().__init__()
        blocks = column_blocks(weight[:, :n_genes].T)
        width = blocks.shape[0] * blocks.shape[2]
        self.register_buffer("gene_blocks", blocks.float())
        # The blocks side by side, where `DeviceEncoder` puts them: no need to store them twice.
        self.register_buffer("gene_table", torch.zeros([0, width]))
        self.most_rows_at_once = 0
        self.dense = Layer(weight[:, n_genes:], bias, cards, width=width, layer_norm=layer_norm)

    def forward(
        self,
        indices: torch.Tensor,
        counts: torch.Tensor,
        runs: torch.Tensor,
        run_starts: torch.Tensor,
        cell_starts: torch.Tensor,
        x: torch.Tensor,
        rows: torch.Tensor,
    ) -> torch.Tensor:
        """Add up a cell's rows of the gene table, each times its count.

        A table is looked up in blocks of columns that fit a core's cache; for a few cells calling it once is quicker. A
        column's sum is the same either way.

        Args:
            indices: int32 [entries], gene columns.
            counts: float32 [entries], transformed counts.
            runs: int32 [runs], 0, 1, 2, …
            run_starts: int32 [runs + 1], where each run of entries begins.
            cell_starts: int32 [n + 1], where each cell's runs begin.
            x: float [n, dense inputs].
            rows: integer [n, fields], rows of the category table.

        Returns:
            float [n, n_hidden].
        """
        h = self.dense.affine(x, rows)
        if h.shape[0] <= self.most_rows_at_once:
            h.add_(self.summed(self.gene_table, indices, counts, runs, run_starts, cell_starts))
        else:
            width = self.gene_blocks.shape[2]
            for block in range(self.gene_blocks.shape[0]):
                sums = self.summed(self.gene_blocks[block], indices, counts, runs, run_starts, cell_starts)
                h.narrow(1, block * width, width).add_(sums)
        return self.dense.activated(h)

    def summed(
        self,
        table: torch.Tensor,
        indices: torch.Tensor,
        counts: torch.Tensor,
        runs: torch.Tensor,
        run_starts: torch.Tensor,
        cell_starts: torch.Tensor,
    ) -> torch.Tensor:
        """The sums of the cells, float [n, columns of the table]."""
        sums, _, _, _ = torch.embedding_bag(
            table, indices, run_starts, False, 0, False, counts, include_last_offset=True
        )
        sums, _, _, _ = torch.embedding_bag(sums, runs, cell_starts, False, 0, False, None, include_last_offset=True)
        return sums


class CompiledEncoder(nn.Module):
    """Raw sparse counts → mean and variance of q(z) and q(l). Built by `compile_encoder`."""

    n_genes: int
    n_proteins: int
    n_latent: int
    n_categories: int
    scaled: bool
    log_variational: bool
    variance_floor: float
    first_rows: torch.Tensor
    z_weight: torch.Tensor
    z_bias: torch.Tensor
    l_weight: torch.Tensor
    l_bias: torch.Tensor

    def __init__(self, encoder: EncoderTOTALVI, n_genes: int, n_proteins: int, scaled: bool, log: bool) -> None:
        super().__init__()
        z_layers, l_layers = folded_layers(encoder.encoder), folded_layers(encoder.l_gene_encoder)
        cards = [n_cat for n_cat in encoder.encoder.n_cat_list if n_cat > 1]
        layer_norm = has_layer_norm(encoder.encoder)

        self.n_genes, self.n_proteins, self.n_categories = n_genes, n_proteins, sum(cards)
        self.n_latent = encoder.z_mean_encoder.out_features
        self.scaled, self.log_variational = scaled, log
        self.variance_floor = VARIANCE_FLOOR
        self.product = Product()
        self.register_buffer("first_rows", torch.tensor([sum(cards[:i]) for i in range(len(cards))], dtype=torch.int32))
        self.z_first = GeneLayer(*z_layers[0], cards, n_genes=n_genes, layer_norm=layer_norm)
        self.z_others = nn.ModuleList(
            Layer(weight, bias, cards, width=weight.shape[0], layer_norm=layer_norm) for weight, bias in z_layers[1:]
        )
        self.register_buffer("z_weight", stacked_weight(encoder.z_mean_encoder, encoder.z_var_encoder))
        self.register_buffer("z_bias", stacked_bias(encoder.z_mean_encoder, encoder.z_var_encoder))
        self.l_first = GeneLayer(*l_layers[0], cards, n_genes=n_genes, layer_norm=layer_norm)
        self.register_buffer("l_weight", stacked_weight(encoder.l_gene_mean_encoder, encoder.l_gene_var_encoder))
        self.register_buffer("l_bias", stacked_bias(encoder.l_gene_mean_encoder, encoder.l_gene_var_encoder))

    def forward(
        self,
        indptr: torch.Tensor,
        indices: torch.Tensor,
        counts: torch.Tensor,
        entry_rows: torch.Tensor,
        runs: torch.Tensor,
        run_starts: torch.Tensor,
        cell_starts: torch.Tensor,
        proteins: torch.Tensor,
        continuous: torch.Tensor,
        codes: torch.Tensor,
        library: bool,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Encode cells.

        Args:
            indptr: int32 [n + 1], where each cell's entries begin.
            indices: int32 [entries], gene columns, ascending within a cell.
            counts: float32 [entries], raw counts.
            entry_rows: int32 [entries], the cell of each; or [0], and it is found out here.
            runs: int32 [runs], 0, 1, 2, …
            run_starts: int32 [runs + 1], where each run of entries begins; a run lies within a cell.
            cell_starts: int32 [n + 1], where each cell's runs begin.
            proteins: float32 [n, n_proteins], raw counts.
            continuous: float32 [n, continuous inputs].
            codes: int32 [n, categorical inputs].
            library: whether q(l) is asked for; the bits of q(z) do not depend on it.

        Returns:
            Means, then variances, of q(z), float32 [n, 2 n_latent]; mean and variance of q(l), float32 [n, 2], or
            [0, 2] where they are not asked for.
        """
        if self.scaled:
            divisor = 1.0 + torch.segment_reduce(counts, "sum", offsets=indptr.to(torch.int64)) / self.n_genes
            if entry_rows.shape[0] == 0:
                lengths = indptr[1:] - indptr[:-1]
                entry_rows = torch.repeat_interleave(lengths, output_size=counts.shape[0])
            counts = counts / divisor.index_select(0, entry_rows)
            proteins = proteins / (1.0 + proteins.mean(1, keepdim=True))
        if self.log_variational:
            counts = torch.log1p(counts)
            proteins = torch.log1p(proteins)
        # From here on in the precision of the weights; sums of counts need all digits.
        counts = counts.to(self.z_weight.dtype)
        x = torch.cat([proteins, continuous], 1) if continuous.shape[1] > 0 else proteins
        x = x.to(self.z_weight.dtype)
        rows = codes + self.first_rows if codes.shape[1] > 0 else codes.new_zeros([codes.shape[0], 1])

        z = self.z_first(indices, counts, runs, run_starts, cell_starts, x, rows)
        for layer in self.z_others:
            z = layer(z, rows)
        z = self.product(self.z_bias.repeat(z.shape[0], 1), z, self.z_weight.t()).float()
        z.narrow(1, self.n_latent, self.n_latent).exp_().add_(self.variance_floor)
        if not library:
            return z, z.new_zeros([0, 2])
        h = self.l_first(indices, counts, runs, run_starts, cell_starts, x, rows)
        h = self.product(self.l_bias.repeat(h.shape[0], 1), h, self.l_weight.t()).float()
        h.narrow(1, 1, 1).exp_().add_(self.variance_floor)
        return z, h


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
