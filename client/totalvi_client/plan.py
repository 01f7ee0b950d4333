"""Everything decided before the first cell is sent: which columns, which labels, what to keep."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from totalvi_client.cells import Cells
from totalvi_client.choices import Choices
from totalvi_client.counts_in import FoundCounts, check_block, find_counts
from totalvi_client.errors import InputError, UnexpectedAnswer
from totalvi_client.genes_in import GeneColumns, match_genes
from totalvi_client.holdings import Holdings
from totalvi_client.matrices import as_csr, as_dense, csr
from totalvi_client.obs_in import Obs, match_obs
from totalvi_client.proteins_in import ProteinColumns, find_proteins
from totalvi_client.report import Report
from totalvi_client.results import Card, Encoding, Notice
from totalvi_client.version import installed_version

SLICE_CELLS = 2048
"""Two batches of the server: enough to keep it busy, little enough to be nothing in memory."""
MOST_DRAWN = 1 << 21


@dataclasses.dataclass(frozen=True, slots=True)
class Kept:
    """Something of an answer that is kept for each cell, in float32.

    Attributes:
        name: key of `obsm` or column of `obs`.
        place: which of the two.
        shape: of one cell's.
    """

    name: str
    place: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Numbers a cell."""
        return int(np.prod(self.shape, dtype=int))

    def __str__(self) -> str:
        """As a caller would write it."""
        return f"{self.place}[{self.name!r}]"


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """How cells become requests, and answers what is kept.

    Attributes:
        holdings: what was given.
        card: of the model, one version of it.
        choices: the caller's.
        counts: of the genes.
        genes: which columns are the model's.
        proteins: their counts.
        obs: batch and covariates.
        slice_cells: cells of a request.
        seed: of the draws, or None.
    """

    holdings: Holdings
    card: Card
    choices: Choices
    counts: FoundCounts
    genes: GeneColumns
    proteins: ProteinColumns
    obs: Obs
    slice_cells: int
    seed: int | None

    @property
    def n_cells(self) -> int:
        """Number of cells."""
        return self.holdings.n_cells

    @property
    def outputs(self) -> tuple[str, ...]:
        """What the server is asked for."""
        wanted = {
            "z": True,
            "qz": self.choices.distribution,
            "library": self.choices.library,
            "samples": self.choices.n_samples > 0,
        }
        return tuple(name for name, is_wanted in wanted.items() if is_wanted)

    @property
    def kept(self) -> tuple[Kept, ...]:
        """What is kept of the answers."""
        n_latent = _n_latent(self.card)
        key = self.choices.key
        kept = [Kept(key, "obsm", (n_latent,))]
        if self.choices.distribution:
            kept += [Kept(name, "obsm", (n_latent,)) for name in ("X_latent_qzm", "X_latent_qzv")]
        if self.choices.library:
            kept.append(Kept(f"{key.removeprefix('X_')}_library_size", "obs", ()))
        if self.choices.n_samples:
            kept.append(Kept(f"{key}_samples", "obsm", (self.choices.n_samples, n_latent)))
        return tuple(kept)

    def kept_of(self, encoding: Encoding) -> list[npt.NDArray[np.float32]]:
        """What is kept of an answer, in the order of `kept`, each [cells, ...]."""
        found: list[Any] = [encoding.z]
        if self.choices.distribution:
            found += [None, None] if encoding.qz is None else [encoding.qz.mean, encoding.qz.variance]
        if self.choices.library:
            found.append(None if encoding.library is None else encoding.library.observed)
        if self.choices.n_samples:
            found.append(None if encoding.samples is None else np.swapaxes(encoding.samples.latent_z, 0, 1))
        arrays = []
        for kept, values in zip(self.kept, found, strict=True):
            # Never a blank: what is not as it was asked for ends the run.
            if values is None or values.shape != (encoding.n_cells, *kept.shape):
                raise UnexpectedAnswer(
                    f"the server did not answer {kept} of the shape that the model's card promises",
                    request_id=encoding.request_id,
                )
            arrays.append(np.ascontiguousarray(values, dtype=np.float32))
        return arrays

    def options(self) -> dict[str, Any]:
        """What `encode_stream` and `validate` are told beside the cells."""
        return {
            "genes": self.genes.names,
            "proteins": self.proteins.names if self.proteins.matrix is not None else None,
            "model": self.card.name,
            "version": self.card.version,
            "outputs": self.outputs,
            "n_samples": self.choices.n_samples,
            "seed": self.seed,
            "min_gene_coverage": self.choices.min_gene_coverage,
            "allow_non_integer": self.choices.allow_non_integer,
            "priority": self.choices.priority,
            "timeout": self.choices.timeout,
        }

    def slices(self, first: int = 0) -> Iterator[Cells]:
        """The cells from `first` on, every count looked at.

        Raises:
            InputError: for a count that is none.
        """
        for start in range(first, self.n_cells, self.slice_cells):
            yield self.cells(start, min(start + self.slice_cells, self.n_cells))

    def cells(self, start: int, stop: int) -> Cells:
        """Those cells, over the model's genes in its order."""
        allow = self.choices.allow_non_integer
        table = self.holdings.genes
        with self.holdings.reading():
            block = as_csr(self.counts.matrix.rows(start, stop))
        check_block(
            block, start, table, f"{self.counts.layer} of {table.title}", allow_non_integer=allow, argument="layer"
        )
        protein_counts = None
        if self.proteins.matrix is not None:
            place = self.proteins
            with self.holdings.reading():
                protein_block = self.proteins.matrix.rows(start, stop)
            check_block(
                protein_block, start, place.table, place.place, allow_non_integer=allow, argument=place.argument
            )
            protein_counts = as_dense(protein_block)
        return Cells(
            gene_counts=self._model_genes(block),
            protein_counts=protein_counts,
            batch=None if self.obs.batch is None else self.obs.batch.labels(start, stop),
            categorical_covariates={
                name: labelled.labels(start, stop) for name, labelled in self.obs.categorical.items()
            },
            continuous_covariates={
                name: values if values.ndim == 0 else values[start:stop] for name, values in self.obs.continuous.items()
            },
        )

    def _model_genes(self, block: Any) -> Any:
        """The model's columns of a block, their entries in the model's order, so that the server need not sort."""
        n_columns = self.counts.matrix.shape[1]
        positions = self.genes.positions
        targets = np.full(n_columns, -1, dtype=np.int32)
        targets[positions] = np.arange(len(positions), dtype=np.int32)
        indices = targets[block.indices]
        known = indices >= 0
        before = np.zeros(len(known) + 1, dtype=np.int64)
        np.cumsum(known, out=before[1:])
        # Copies, so that sorting never moves the caller's own numbers.
        rows = csr(block.data[known], indices[known], before[block.indptr], len(positions))
        rows.sort_indices()
        return rows

    def report(self, *, notices: tuple[Notice, ...] = (), **facts: Any) -> Report:
        """What was decided, and what came of it."""
        manifest: Mapping[str, Any] = self.card.manifest
        batch = self.obs.batch
        return Report(
            model=self.card.name,
            version=self.card.version,
            sha256=self.card.sha256,
            input_transform=str(manifest.get("input_transform", "")),
            latent_distribution=str(manifest.get("latent_distribution", "")),
            n_cells=self.n_cells,
            n_latent=_n_latent(self.card),
            counts=f"counts from {self.counts.layer} of {self._gene_title()} ({self.counts.why})",
            gene_column=self.genes.column,
            genes=self.genes.coverage,
            missing_genes=self.genes.missing,
            protein_counts=self.proteins.place,
            proteins=self.proteins.coverage,
            missing_proteins=self.proteins.missing,
            batch=None if batch is None else batch.place,
            batch_map={} if batch is None else batch.mapping,
            batch_cells={} if batch is None else {str(label): number for label, number in batch.found.items()},
            covariates={name: labelled.place for name, labelled in self.obs.categorical.items()}
            | dict(self.obs.places),
            seed=self.seed,
            n_samples=self.choices.n_samples,
            warnings=notices,
            client_version=installed_version(),
            **facts,
        )

    @property
    def notices(self) -> tuple[Notice, ...]:
        """What is to be known before anything is sent."""
        return (*self.genes.notices, *self.proteins.notices, *self.obs.notices)

    def _gene_title(self) -> str:
        # A file's name belongs into the report, not into what must be the same wherever the file lies.
        return f"modality {self.holdings.gene_modality!r}" if self.holdings.gene_modality else "the cells"


def plan_for(holdings: Holdings, card: Card, choices: Choices) -> Plan:
    """Decide everything, or refuse.

    Args:
        holdings: what was given.
        card: of the model.
        choices: the caller's.

    Raises:
        InputError: something is missing, unknown or cannot be told; the message says what to do.
    """
    if holdings.n_cells == 0:
        raise InputError(f"{holdings.genes.title} has no cells; was everything filtered out?")
    counts = find_counts(holdings.genes, choices.layer, argument="layer", allow_non_integer=choices.allow_non_integer)
    genes = match_genes(
        holdings.genes, counts.layer, card, gene_column=choices.gene_column, least=choices.min_gene_coverage
    )
    proteins = find_proteins(
        holdings,
        card,
        counts.layer,
        proteins=choices.proteins,
        protein_names=choices.protein_names,
        protein_layer=choices.protein_layer,
        allow_non_integer=choices.allow_non_integer,
    )
    obs = match_obs(
        holdings.obs or (holdings.genes,),
        card,
        batch_key=choices.batch_key,
        batch=choices.batch,
        batch_map=choices.batch_map,
        covariate_keys=choices.covariate_keys,
        covariates=choices.covariates,
    )
    seed = choices.seed
    if choices.n_samples and seed is None:
        import secrets  # noqa: PLC0415

        seed = secrets.randbits(63)
    return Plan(
        holdings,
        card,
        choices,
        counts,
        genes,
        proteins,
        obs,
        _slice_cells(choices, _n_latent(card)),
        seed if choices.n_samples else None,
    )


def _slice_cells(choices: Choices, n_latent: int) -> int:
    if choices.slice_cells is not None:
        return choices.slice_cells
    # The client cuts by the server's limits; this is for the memory of some slices with many draws.
    return max(1, min(SLICE_CELLS, MOST_DRAWN // (max(1, choices.n_samples) * (n_latent + 1))))


def _n_latent(card: Card) -> int:
    if card.n_latent is None:
        raise InputError(
            f"the model {card.name} is not loaded ({card.state}), so it cannot encode yet; try again later"
        )
    return int(card.n_latent)
