"""What the commands make of their arguments and of a model's card."""

from __future__ import annotations

import argparse
import io
import sys
from pathlib import Path
from typing import Any

import pytest

from totalvi_client import Card, CategoricalField, InputError, cli, commands
from totalvi_client.retry import PATIENT

CARD = Card(
    name="lung",
    version="3",
    versions=("2", "3"),
    state="ready",
    sha256="ab",
    genes=("A", "B"),
    proteins=("P",),
    batch=CategoricalField("lane", (1, 2)),
    categorical_covariates=(CategoricalField("donor", ("d1", "d2")), CategoricalField("smoker", (True, False))),
    continuous_covariates=("age",),
    manifest={"n_latent": 10, "latent_distribution": "ln", "encode_covariates": False, "scvi_version": "1.2.0"},
)
LOADING = Card(name="heart", version="1", versions=("1",), state="failed", sha256="cd", reason="it is damaged")


class Holder:
    """A client that knows some models, and nothing else."""

    def __init__(self, *cards: Card) -> None:
        self._cards = list(cards)

    def __enter__(self) -> Holder:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def models(self) -> list[Card]:
        return self._cards

    def model(self, *_: Any) -> Card:
        return self._cards[0]


def parsed(*arguments: str) -> argparse.Namespace:
    return cli._parser().parse_args(arguments)


def choices(*arguments: str) -> dict[str, Any]:
    return commands._choices(parsed("check", "x.h5ad", *arguments), Holder(CARD))  # type: ignore[arg-type]


def test_what_is_typed_takes_the_type_of_the_model() -> None:
    assert choices("--batch", "2")["batch"] == 2
    assert choices("--batch", "two")["batch"] == "two", "the message is to quote what was typed"
    given = choices(
        "--batch-map", "first=1", "--covariate", "donor=d2", "--covariate", "smoker=False", "--covariate", "age=61.5",
        "--covariate-key", "donor=person=1",
    )  # fmt: skip
    assert given["batch_map"] == {"first": 1}
    assert given["covariates"] == {"donor": "d2", "smoker": False, "age": 61.5}
    assert given["covariates"]["smoker"] is False
    assert given["covariate_keys"] == {"donor": "person=1"}
    with pytest.raises(InputError, match="covariate 'age' is a number, not 'old'"):
        choices("--covariate", "age=old")


def test_proteins_are_named_or_none_or_found() -> None:
    assert choices()["proteins"] is None
    assert choices("--proteins", "adt")["proteins"] == "adt"
    assert choices("--no-proteins")["proteins"] is False


def test_what_a_card_tells(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(commands, "_client", lambda _: Holder(CARD, LOADING))
    assert cli.main(["describe"]) == 0
    text = capsys.readouterr().out
    assert "version       3 (served: 2, 3)\n" in text
    assert "covariate     smoker: True, False\n" in text
    assert "covariate     age: a number, in the units of the training\n" in text
    assert "takes neither batch nor covariates" in text
    assert "latent space  10 dimensions, ln\n" in text
    assert cli.main(["models"]) == 0
    assert capsys.readouterr().out.splitlines()[2].split() == ["heart", "1", "failed"]
    monkeypatch.setattr(commands, "_client", lambda _: Holder(LOADING))
    assert cli.main(["describe"]) == 0
    assert "state         failed: it is damaged\n" in capsys.readouterr().out
    monkeypatch.setattr(commands, "_client", lambda _: Holder())
    assert cli.main(["models"]) == 0
    assert capsys.readouterr().out == "the server holds no models\n"


def test_the_token_comes_from_a_file_or_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[dict[str, Any]] = []
    monkeypatch.setattr(commands, "Client", lambda target, **options: made.append({"target": target} | options))
    (tmp_path / "token").write_text("from-the-file\n")
    (tmp_path / "empty").write_text("\n")
    monkeypatch.setenv("TOTALVI_CLIENT_TOKEN", "from-the-environment")
    monkeypatch.setenv("TOTALVI_CLIENT_SERVER", "https://example.org")
    commands._client(parsed("models"))
    commands._client(parsed("encode", "x.h5ad", "--token-file", str(tmp_path / "token"), "--certificate", "a", "b"))
    assert [(one["token"], one["target"]) for one in made] == [
        ("from-the-environment", "https://example.org"), ("from-the-file", "https://example.org")
    ]  # fmt: skip
    assert made[1]["certificate"] == ("a", "b")
    # A run sits out a restart of the server; a question is answered or not.
    assert (made[0]["timeout"], "retry" in made[0]) == (30.0, False)
    assert (made[1]["timeout"], made[1]["retry"]) == (None, PATIENT)
    with pytest.raises(InputError, match="is empty; it should hold the token"):
        commands._client(parsed("models", "--token-file", str(tmp_path / "empty")))


def test_what_is_not_installed_is_told_with_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def missing(name: str) -> Any:
        raise ModuleNotFoundError("No module named 'h5py'", name="h5py")

    monkeypatch.setattr(commands.importlib.util, "find_spec", lambda _: None)
    assert cli.main(["plot", "x.h5ad", "-o", str(tmp_path / "x.png")]) == 2
    assert "pip install 'totalvi-client[plot]'" in capsys.readouterr().err
    monkeypatch.setattr(commands.importlib, "import_module", missing)
    assert cli.main(["check", "x.h5ad"]) == 2
    assert "files need h5py: pip install 'totalvi-client[anndata]'" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["check"], ["encode", "-o", "OUT"]])
def test_a_mistyped_file_is_told_before_a_server_is_waited_for(
    command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    pytest.importorskip("anndata")
    monkeypatch.setattr(commands, "_client", lambda _: pytest.fail("a server is asked"))
    arguments = [text.replace("OUT", str(tmp_path / "out.h5ad")) for text in command]
    # The label's type would be asked of the server.
    assert cli.main([*arguments, "none.h5ad", "--batch", "1"]) == 1
    assert capsys.readouterr().err == "totalvi-client: there is no file none.h5ad\n"


def test_whoever_closes_standard_error_hears_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone(io.StringIO):
        def write(self, _: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stderr", Gone())
    assert cli.main(["check", "none.h5ad", "--server", "nowhere"]) == 1


def test_quiet_tells_no_progress_and_still_how_to_go_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = commands.Told(quiet=True)
    part = tmp_path / "out.h5ad.part"
    progress = told.progress_of(Path("x.h5ad"), part)
    progress(10, 100)
    assert told.how_to_go_on() == "", "nothing is kept"
    part.touch()
    assert told.how_to_go_on() == f"; 10 of 100 cells are done and kept in {part}: the same command goes on from there"
    assert capsys.readouterr().err == ""
