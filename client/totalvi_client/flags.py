"""Says in flags what the package says in arguments: `layer='counts'` is `--layer counts` on the command line."""

from __future__ import annotations

import re
import shlex

_FLAGS = {
    "allow_non_integer": "--allow-non-integer",
    "allow_plain_token": "--allow-plain-token",
    "batch": "--batch",
    "batch_key": "--batch-key",
    "batch_map": "--batch-map",
    "ca_file": "--ca-file",
    "certificate": "--certificate",
    "covariate_keys": "--covariate-key",
    "covariates": "--covariate",
    "distribution": "--distribution",
    "gene_column": "--gene-column",
    "in_flight": "--in-flight",
    "key": "--key",
    "layer": "--layer",
    "library": "--library",
    "min_gene_coverage": "--min-gene-coverage",
    "modality": "--modality",
    "n_samples": "--samples",
    "protein_layer": "--protein-layer",
    "protein_modality": "--protein-modality",
    "protein_names": "--protein-names",
    "proteins": "--proteins",
    "seed": "--seed",
    "slice_cells": "--slice-cells",
    "timeout": "--timeout",
    "tls": "--tls",
    "token": "--token-file",
}
_NAMES = "|".join(sorted(_FLAGS, key=len, reverse=True))
_TEXT = r"""(?P<quote>['"])(?P<text>.*?)(?P=quote)"""
_MAPPED = re.compile(rf"(?<![\w.])(?P<name>{_NAMES})=\{{(?P<key>'.*?'|\".*?\"): (?P<value>'.*?'|\".*?\"|[^}}]*)\}}")
_VALUED = re.compile(rf"(?<![\w.])(?P<name>{_NAMES})=(?:{_TEXT}|(?P<word>True|False|-?\d[\w.]*)|)")
# Alone only what is no ordinary word.
_BARE = re.compile(rf"(?<![\w.'\"-])({'|'.join(name for name in _FLAGS if '_' in name)})(?![\w'\"(=])")


def in_flags(message: str) -> str:
    """A message with the arguments that it names as flags.

    `give layer='counts'` becomes `give --layer counts`; `allow_non_integer=True` becomes `--allow-non-integer`;
    `batch_map={'old': 'new'}` becomes `--batch-map old=new`.
    """
    message = _MAPPED.sub(_mapped, message)
    message = _VALUED.sub(_valued, message)
    return _BARE.sub(lambda found: _FLAGS[found[1]], message)


def _mapped(found: re.Match[str]) -> str:
    return f"{_FLAGS[found['name']]} {shlex.quote(found['key'][1:-1])}={_value(found['value'])}"


def _value(text: str) -> str:
    return shlex.quote(text[1:-1]) if text[:1] in "'\"" else text


def _valued(found: re.Match[str]) -> str:
    flag = _FLAGS[found["name"]]
    if found["quote"]:
        return f"{flag} {shlex.quote(found['text'])}"
    if found["word"] == "False":
        return flag.replace("--", "--no-", 1)
    return flag if found["word"] in (None, "True") else f"{flag} {found['word']}"
