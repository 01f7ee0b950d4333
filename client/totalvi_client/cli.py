"""The command line: `totalvi-client encode | check | models | describe | plot`.

Exit codes: 0 done; 1 the data or the service refuses; 2 the command was not understood; 3 nobody answers, or not now:
the same command may succeed later; 70 a fault of this program; 130 interrupted, 143 told to end. What was asked for
goes to standard output, with `--json` one report; progress, notes and errors go to standard error.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn, TypeVar

from totalvi_client import commands
from totalvi_client.errors import (
    Cancelled,
    DeadlineExceeded,
    InputError,
    Internal,
    NoAnswer,
    Overloaded,
    ServiceError,
    TotalviError,
    Unauthenticated,
    Unavailable,
    Unreachable,
    Untrusted,
)
from totalvi_client.flags import in_flags
from totalvi_client.version import installed_version

N = TypeVar("N", int, float)

DONE, REFUSED, USAGE, LATER, FAULT, INTERRUPTED, TERMINATED, PIPE = 0, 1, 2, 3, 70, 130, 143, 141

_LATER = (NoAnswer, Overloaded, Unavailable, DeadlineExceeded, Cancelled, Internal)

_EPILOG = """\
examples:
  totalvi-client models
  totalvi-client check sample.h5ad --model pbmc
  totalvi-client encode sample.h5ad --model pbmc -o encoded.h5ad --plot umap.png
  totalvi-client encode filtered_feature_bc_matrix/ --model pbmc --batch PBMC10k -o encoded.h5ad
  totalvi-client plot encoded.h5ad -o umap.png --color cell_type

exit codes:
  0 done   1 the data or the service refuses   2 the command was not understood
  3 nobody answers, or not now: try again later   130 interrupted: the same command goes on

The address of the server is --server or the variable TOTALVI_CLIENT_SERVER. Its token, where it asks for one,
comes from --token-file or TOTALVI_CLIENT_TOKEN.
"""

_ENCODE_EPILOG = """\
examples:
  totalvi-client encode sample.h5ad --model pbmc -o encoded.h5ad
      counts, proteins and batch are found, and the report says where; what cannot be told is asked for
  totalvi-client encode sample.h5ad --model pbmc --layer counts --batch-key sample -o encoded.h5ad
      X is normalised; the counts are in a layer, the batch in the column 'sample'
  totalvi-client encode cite.h5mu --model pbmc -o encoded.h5mu
      a MuData with the modalities rna and prot
  totalvi-client encode filtered_feature_bc_matrix.h5 --model pbmc --batch PBMC10k -o encoded.h5ad
      a 10x file (or the folder with matrix.mtx.gz), which has no batch column: one label for all its cells
  totalvi-client encode sample.h5ad --model pbmc -o encoded.h5ad --plot umap.png --color cell_type --color uncertainty
      and a picture with two panels

An interrupted run goes on where it stopped when the same command is given again.
"""


class _Parser(argparse.ArgumentParser):
    """Its errors are one line, and say where help is."""

    def error(self, message: str) -> NoReturn:
        self.exit(USAGE, f"{self.prog}: {message} (see {self.prog} --help)\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the arguments say; returns the exit code."""
    arguments = _parser().parse_args(argv)
    told = commands.Told(quiet=getattr(arguments, "quiet", False))
    try:
        with _ended_by_signals():
            arguments.run(arguments, told)
            if sys.stdout is not None:  # it is where it was closed before the start
                sys.stdout.flush()
            return DONE
    except _Terminated:
        return _interrupted(told, TERMINATED, "told to end")
    except KeyboardInterrupt:
        return _interrupted(told, INTERRUPTED, "interrupted")
    except BrokenPipeError:
        # Whoever read our output has seen enough; Python would complain at its end.
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE
    except Exception as error:
        if getattr(arguments, "traceback", False):
            traceback.print_exc()
        return _failed(arguments, told, error)


class _Terminated(KeyboardInterrupt):
    """SIGTERM came: what is open is closed as after Ctrl-C."""


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    def end(*_: object) -> None:
        raise _Terminated

    try:
        before = signal.signal(signal.SIGTERM, end)
    except ValueError:  # not the main thread, so somebody else's program
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupted(told: commands.Told, code: int, word: str) -> int:
    told.say(f"totalvi-client: {word}{told.how_to_go_on()}")
    return code


def _failed(arguments: argparse.Namespace, told: commands.Told, error: Exception) -> int:
    code, text = _code_of(error), _text_of(error)
    told.say(f"totalvi-client: {text}{told.how_to_go_on()}")
    if getattr(arguments, "json", False):
        report = {"kind": type(error).__name__, "detail": text, "exit_code": code}
        for name in ("code", "field", "index", "request_id", "retry_after_s"):
            if getattr(error, name, None) is not None:
                report[name] = getattr(error, name)
        with contextlib.suppress(OSError):
            print(json.dumps({"error": report}, ensure_ascii=False), flush=True)
    return code


def _code_of(error: Exception) -> int:
    if isinstance(error, commands.UsageError):
        return USAGE
    if isinstance(error, _LATER) and not isinstance(error, Untrusted):
        return LATER
    return REFUSED if isinstance(error, TotalviError | OSError | ModuleNotFoundError) else FAULT


def _text_of(error: Exception) -> str:
    """One line, and what to do."""
    text = " ".join(str(error).split())
    if isinstance(error, InputError | ServiceError | commands.UsageError):
        text = in_flags(text)
    elif isinstance(error, OSError) and not isinstance(error, TotalviError):
        text = f"{error.filename or 'a file'}: {error.strerror or error}"
    elif not isinstance(error, TotalviError | ModuleNotFoundError):
        text = (
            f"a fault of this program, please report it ({type(error).__name__}: {text}); --traceback tells where it is"
        )
    if isinstance(error, Untrusted):
        return f"{text}; --ca-file names the authority to trust, and https:// or grpcs:// is for servers with TLS alone"
    if isinstance(error, Unreachable):
        return f"{text}; is the server running, and its address right (--server, TOTALVI_CLIENT_SERVER)?"
    if isinstance(error, Unauthenticated):
        return f"{text}; give the token by --token-file or TOTALVI_CLIENT_TOKEN"
    return text


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="totalvi-client",
        description="Put the cells of a CITE-seq sample into the latent space of a totalVI model that a server holds.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"totalvi-client {installed_version()}")
    parts = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=_Parser)
    _add_encode(parts)
    _add_check(parts)
    models = _command(parts, "models", commands.models, "list the models that the server holds")
    _add_server(models)
    _add_describe(parts)
    _add_plot(parts)
    return parser


def _command(
    parts: Any,
    name: str,
    run: Callable[[argparse.Namespace, commands.Told], None],
    summary: str,
    epilog: str = "",
    usage: str | None = None,
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = parts.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.",
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage=None if usage is None else f"totalvi-client {name} {usage} [options]",
        allow_abbrev=False,
    )
    parser.set_defaults(run=run)
    parser.add_argument("--json", action="store_true", help="print one report as JSON, and nothing else")
    parser.add_argument("--traceback", action="store_true", help=argparse.SUPPRESS)
    return parser


def _add_server(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("the server")
    group.add_argument(
        "--server",
        metavar="ADDRESS",
        default=os.environ.get("TOTALVI_CLIENT_SERVER") or "http://127.0.0.1:8000",
        help="http://HOST:PORT or https://… (REST), grpc://HOST:PORT, grpcs://… or dns:///HOST:PORT (gRPC); default "
        "TOTALVI_CLIENT_SERVER, else http://127.0.0.1:8000",
    )
    group.add_argument(
        "--token-file", metavar="FILE", help="file with the token; default the variable TOTALVI_CLIENT_TOKEN"
    )
    group.add_argument("--ca-file", metavar="FILE", help="authorities to trust instead of the usual ones, PEM")
    group.add_argument(
        "--certificate", nargs=2, metavar=("CHAIN", "KEY"), help="own certificate, for servers that ask for one, PEM"
    )
    group.add_argument("--tls", action="store_true", default=None, help="dns:/// speaks TLS")
    group.add_argument("--allow-plain-token", action="store_true", help="send the token without TLS to another machine")
    group.add_argument(
        "--timeout", type=_positive, metavar="SECONDS", help="for each request, retries included; default: no end"
    )


def _add_cells(parser: argparse.ArgumentParser) -> Any:
    """What `encode` and `check` have in common; returns the group of how to work."""
    parser.add_argument("source", metavar="IN", help=".h5ad, .h5mu, a 10x .h5, or a 10x folder with matrix.mtx.gz")
    parser.add_argument("--quiet", "-q", action="store_true", help="no progress")
    model = parser.add_argument_group("the model")
    model.add_argument("--model", "-m", metavar="NAME", help="left out: the only one that the server holds")
    model.add_argument("--model-version", dest="version", metavar="N", help="left out: the newest")
    cells = parser.add_argument_group("where things are (left out: found, and told in the report)")
    cells.add_argument("--layer", metavar="NAME", help="raw gene counts: a layer, X or raw")
    cells.add_argument("--gene-column", metavar="COLUMN", help="column of var with gene names as the model has them")
    cells.add_argument("--modality", metavar="NAME", help="of a MuData, the one with the genes")
    proteins = cells.add_mutually_exclusive_group()
    proteins.add_argument("--proteins", metavar="KEY", help="protein counts: a key of obsm")
    proteins.add_argument(
        "--no-proteins", dest="proteins", action="store_const", const=False, help="none were measured: each counts 0"
    )
    cells.add_argument(
        "--protein-names", metavar="KEY", help="names of the proteins, where obsm has none: a key of uns"
    )
    cells.add_argument("--protein-modality", metavar="NAME", help="of a MuData, the one with the proteins")
    cells.add_argument("--protein-layer", metavar="NAME", help="layer of it with raw counts")
    batch = cells.add_mutually_exclusive_group()
    batch.add_argument("--batch-key", metavar="COLUMN", help="column of obs with the batch")
    batch.add_argument("--batch", metavar="LABEL", help="one batch for all cells")
    cells.add_argument(
        "--batch-map",
        type=_pair,
        action="append",
        metavar="OURS=MODEL'S",
        help="a batch that the model calls otherwise",
    )
    cells.add_argument(
        "--covariate-key", type=_pair, action="append", metavar="NAME=COLUMN", help="column of obs with a covariate"
    )
    cells.add_argument(
        "--covariate", type=_pair, action="append", metavar="NAME=VALUE", help="one value of a covariate for all cells"
    )
    tolerance = parser.add_argument_group("what to tolerate")
    tolerance.add_argument(
        "--min-gene-coverage", type=_share, metavar="SHARE", help="of the model's genes, 0 to 1; default 0.5"
    )
    tolerance.add_argument(
        "--allow-non-integer", action="store_true", help="counts with fractions, as after removing ambient counts"
    )
    work = parser.add_argument_group("how to work")
    work.add_argument("--slice-cells", type=_count, metavar="N", help="cells of a request; default 2048")
    _add_server(parser)
    return work


def _add_encode(parts: Any) -> None:
    parser = _command(
        parts,
        "encode",
        commands.encode,
        "encode the cells of a file into a file with their latent space in obsm",
        _ENCODE_EPILOG,
        usage="IN --model MODEL -o OUT",
    )
    parser.add_argument(
        "--out", "-o", metavar="OUT", help="file to write: .h5ad, .h5mu, or .csv or .npz with the latent space alone"
    )
    parser.add_argument("--in-place", action="store_true", help="add to IN itself, all at once at the end")
    parser.add_argument("--overwrite", action="store_true", help="replace OUT if it is there")
    parser.add_argument("--restart", action="store_true", help="begin anew, whatever an interrupted run left")
    work = _add_cells(parser)
    work.add_argument("--in-flight", type=_count, default=4, metavar="N", help="requests at once; default 4")
    work.add_argument(
        "--priority", choices=("interactive", "bulk"), help="whose turn it is in the server; default bulk"
    )
    kept = parser.add_argument_group("what to keep")
    kept.add_argument("--key", default=commands.KEY, metavar="NAME", help="of obsm and uns; default X_totalVI")
    kept.add_argument(
        "--distribution", action="store_true", help="mean and variance of q(z) too: obsm X_latent_qzm and X_latent_qzv"
    )
    kept.add_argument("--library", action="store_true", help="the observed library size too, in obs")
    kept.add_argument("--samples", dest="n_samples", type=_count, default=0, metavar="N", help="draws for each cell")
    kept.add_argument("--seed", type=_seed, metavar="S", help="of the draws; left out: one is drawn, and told")
    picture = parser.add_argument_group("a picture")
    picture.add_argument("--plot", metavar="FILE", help="also draw the latent space: .png, .pdf or .svg")
    _add_colours(picture)


def _add_colours(group: Any) -> None:
    group.add_argument(
        "--color",
        "--colour",
        dest="colours",
        action="append",
        metavar="COLUMN",
        help="column of obs, or 'uncertainty' (of the posterior); each makes a panel; default the batch",
    )


def _add_check(parts: Any) -> None:
    parser = _command(
        parts,
        "check",
        commands.check,
        "tell how a file fits a model, without encoding: every count is looked at, nothing is computed or written",
        "example:\n  totalvi-client check sample.h5ad --model pbmc\n",
        usage="IN --model MODEL",
    )
    _add_cells(parser)


def _add_describe(parts: Any) -> None:
    parser = _command(
        parts,
        "describe",
        commands.describe,
        "tell what a model was trained with: genes, proteins, batches, covariates",
        "examples:\n  totalvi-client describe pbmc\n  totalvi-client describe pbmc --genes > genes.txt\n",
    )
    parser.add_argument("model", nargs="?", metavar="MODEL", help="left out: the only one that the server holds")
    parser.add_argument("--model-version", dest="version", metavar="N", help="left out: the newest")
    names = parser.add_mutually_exclusive_group()
    names.add_argument("--genes", action="store_true", help="print its genes, one a line, and nothing else")
    names.add_argument("--proteins", action="store_true", help="print its proteins, likewise")
    _add_server(parser)


def _add_plot(parts: Any) -> None:
    parser = _command(
        parts,
        "plot",
        commands.plot,
        "draw the latent space of an encoded file: UMAP where umap-learn is installed, else the main components",
        "examples:\n  totalvi-client plot encoded.h5ad -o umap.png --color cell_type\n"
        "  totalvi-client plot encoded.h5ad -o both.png --color batch --color uncertainty\n",
    )
    parser.add_argument("source", metavar="FILE", help=".h5ad or .h5mu")
    parser.add_argument("--out", "-o", required=True, metavar="FILE", help="picture to write: .png, .pdf or .svg")
    parser.add_argument("--key", default=commands.KEY, metavar="NAME", help="of obsm; default X_totalVI")
    parser.add_argument("--method", choices=("auto", "umap", "pca"), default="auto", help="default auto")
    _add_colours(parser)


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form NAME=VALUE")
    return name, value


def _count(text: str) -> int:
    return _number(text, int, lambda value: value >= 1, "a whole number from 1")


def _seed(text: str) -> int:
    return _number(text, int, lambda value: 0 <= value < 1 << 64, "a whole number from 0 to 2^64 - 1")


def _share(text: str) -> float:
    return _number(text, float, lambda value: 0 <= value <= 1, "a share from 0 to 1")


def _positive(text: str) -> float:
    return _number(text, float, lambda value: 0 < value < float("inf"), "a number of seconds above 0")


def _number(text: str, kind: Callable[[str], N], fits: Callable[[N], bool], what: str) -> N:
    try:
        value: N | None = kind(text)
    except ValueError:
        value = None
    if value is None or not fits(value):
        raise argparse.ArgumentTypeError(f"{text!r} is not {what}")
    return value
