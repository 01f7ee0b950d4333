"""From a save to an artifact in its place, and what `inspect` says of both."""

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from model import export as export_module
from model.artifact import read_artifact
from model.device_encoder import DeviceEncoder
from model.errors import ModelFileError
from model.export import export_save
from model.inspection import inspect_path
from tests.model.test_inert_pickle import hostile
from tests.saves import SHARED_SAVES, SaveRecipe, write_save

FULL = SaveRecipe(
    categorical={"donor": ["d1", "d2"], "flag": [True, False], "level": [1, 2.5]},
    continuous=["age"],
    batches=["b2", "b0"],
)


@pytest.fixture
def save(tmp_path: Path) -> Path:
    return FULL.write(tmp_path / "save")


def test_an_export_lies_where_the_server_looks(save: Path, tmp_path: Path) -> None:
    report = export_save(save, name="m", version=3, into=tmp_path / "models")
    assert report.path == tmp_path / "models" / "m" / "3" / "encoder.pt"
    assert [path.name for path in (tmp_path / "models" / "m").iterdir()] == ["3"]
    lines = "\n".join(report.lines())
    assert "30 genes, 5 proteins, 4 latent dimensions" in lines
    assert "log_per_batch_efficiency was trained" in lines
    assert "left inert while reading: tests.saves.Foreign" in lines


def test_the_manifest_holds_what_api_2_names(save: Path, tmp_path: Path) -> None:
    path = export_save(save, name="m", version=1, into=tmp_path / "models").path
    with zipfile.ZipFile(path) as file:
        manifest = json.loads(file.read("encoder/extra/manifest.json"))
    deviation = manifest.pop("deviation_from_eager")
    assert set(deviation) == {"qz_mean", "qz_variance", "ql_mean", "ql_variance"}
    assert all(0 <= value < 1e-5 for value in deviation.values())
    assert len(manifest.pop("save_sha256")) == 64
    assert manifest == {
        "format_version": 2,
        "model_class": "TOTALVI",
        "genes": FULL.genes,
        "proteins": FULL.proteins,
        "batch": {"key": "batch", "categories": ["b2", "b0"]},
        "categorical_covariates": [
            {"key": "donor", "categories": ["d1", "d2"]},
            {"key": "flag", "categories": [True, False]},
            {"key": "level", "categories": [1, 2.5]},
        ],
        "continuous_covariates": ["age"],
        "n_latent": 4,
        "n_hidden": 16,
        "n_layers": 2,
        "latent_distribution": "normal",
        "encode_covariates": True,
        "input_transform": "scaled",
        "log_variational": True,
        "input_transform_decision": "scaled: log_per_batch_efficiency was trained, so scvi-tools was 1.3.1 or later",
        "library_encoder_trained": False,
        "proteins_missing_per_batch": {},
        "scvi_version": "1.4.2",
    }


def test_label_types_survive_the_manifest(save: Path, tmp_path: Path) -> None:
    spec = read_artifact(export_save(save, name="m", version=1, into=tmp_path).path).spec
    assert [[type(label) for label in field.categories] for field in spec.categorical_covariates] == [
        [str, str],
        [bool, bool],
        [int, float],
    ]


def test_the_same_save_gives_the_same_bytes(save: Path, tmp_path: Path) -> None:
    first = export_save(save, name="m", version=1, into=tmp_path)
    second = export_save(save, name="m", version=2, into=tmp_path)
    assert first.artifact.sha256 == second.artifact.sha256


def test_no_path_of_the_exporting_machine_is_inside(save: Path, tmp_path: Path) -> None:
    content = export_save(save, name="m", version=1, into=tmp_path).path.read_bytes()
    here = str(Path(export_module.__file__).parent).encode()
    assert here not in content and str(tmp_path).encode() not in content


def test_a_version_is_never_written_over(save: Path, tmp_path: Path) -> None:
    path = export_save(save, name="m", version=1, into=tmp_path).path
    before = path.read_bytes()
    with pytest.raises(ModelFileError, match="never written over"):
        export_save(save, name="m", version=1, into=tmp_path, input_transform="log1p")
    assert path.read_bytes() == before


def test_a_failed_check_leaves_nothing_behind(save: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export_module, "TOLERANCE", -1.0)
    with pytest.raises(ModelFileError, match="off the eager one"):
        export_save(save, name="m", version=1, into=tmp_path / "models")
    assert list((tmp_path / "models" / "m").iterdir()) == []


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../x", "-x", "a b", "x" * 129])
def test_names_that_are_no_folder_are_refused(save: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(ModelFileError, match="model name"):
        export_save(save, name=name, version=1, into=tmp_path)


def test_versions_begin_at_1(save: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="positive"):
        export_save(save, name="m", version=0, into=tmp_path)


def test_an_unwritable_place_is_told(save: Path, tmp_path: Path) -> None:
    (tmp_path / "models").write_text("a file")
    with pytest.raises(ModelFileError, match="cannot be written"):
        export_save(save, name="m", version=1, into=tmp_path / "models")


@pytest.mark.parametrize(("choice", "transform"), [("auto", "scaled"), ("log1p", "log1p"), ("scaled", "scaled")])
def test_the_transform_may_be_overridden(save: Path, tmp_path: Path, choice: str, transform: str) -> None:
    report = export_save(save, name="m", version=1, into=tmp_path, input_transform=choice)
    assert report.artifact.spec.input_transform == transform


def test_an_unknown_transform_is_refused(save: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="none of auto, log1p, scaled"):
        export_save(save, name="m", version=1, into=tmp_path, input_transform="sqrt")


def test_inspect_tells_a_save_from_an_artifact(save: Path, tmp_path: Path) -> None:
    path = export_save(save, name="m", version=1, into=tmp_path).path
    of_save, of_artifact, of_folder = inspect_path(save), inspect_path(path), inspect_path(path.parent)
    assert of_artifact == of_folder
    assert (of_save["kind"], of_artifact["kind"]) == ("save", "artifact")
    assert of_save["foreign"] == ("tests.saves.Foreign",)
    assert of_save["genes"] == of_artifact["genes"]
    json.dumps([of_save, of_artifact])


DAMAGED = {
    "empty": lambda content: b"",
    "no zip file": lambda content: b"x" * 100,
    "truncated": lambda content: content[: len(content) // 2],
    "a flipped weight": lambda content: content.replace(b"data/0", b"data/9", 1),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_artifact_is_refused(save: Path, tmp_path: Path, damage: str) -> None:
    path = export_save(save, name="m", version=1, into=tmp_path).path
    path.write_bytes(DAMAGED[damage](path.read_bytes()))
    with pytest.raises(ModelFileError):
        read_artifact(path)


def test_a_weight_changed_on_disk_is_noticed(save: Path, tmp_path: Path) -> None:
    path = export_save(save, name="m", version=1, into=tmp_path).path
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        weights = max(map(archive.read, archive.namelist()), key=len)
    content[content.index(weights)] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match="damaged"):
        read_artifact(path)


def test_other_files_are_no_artifact(save: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="no manifest"):
        read_artifact(save / "model.pt")
    with pytest.raises(ModelFileError, match="cannot be read"):
        read_artifact(tmp_path / "nowhere.pt")


def with_manifest(path: Path, change: dict[str, Any], compression: int = zipfile.ZIP_STORED) -> Path:
    """A copy of an artifact with other facts in its manifest."""
    target = path.with_name("changed.pt")
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(target, "w", compression) as sink:
        for name in source.namelist():
            content = source.read(name)
            if name.endswith("manifest.json"):
                content = json.dumps(json.loads(content) | change).encode()
            sink.writestr(name, content)
    return target


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format_version": 9}, "format version 2"),
        ({"another": 2}, "incomplete"),
        ({"genes": [1, 2]}, "incomplete"),
        ({"genes": ["\ud800"] * 30}, "incomplete"),
        ({"batch": {"key": "batch", "categories": [["b"], {}]}}, "incomplete"),
        ({"proteins_missing_per_batch": 3}, "incomplete"),
        ({"n_latent": "4"}, "no export writes"),
        ({"n_layers": 0}, "no export writes"),
        ({"latent_distribution": "zzz"}, "no export writes"),
        ({"encode_covariates": 1}, "no export writes"),
        ({"genes": FULL.genes[:-1]}, "genes 29 by its manifest, 30 by its module"),
        ({"proteins": [*FULL.proteins, "p"]}, "proteins 6 by its manifest, 5"),
        ({"encode_covariates": False}, "contradicts itself"),
        ({"batch": {"key": "batch", "categories": ["b0"]}}, "contradicts itself"),
        ({"batch": {"key": "batch", "categories": ["a", "b", "c"]}}, "categories 9 by its manifest, 8"),
        ({"continuous_covariates": []}, "continuous inputs 0 by its manifest, 1"),
        ({"n_latent": 5}, "latent dimensions 5"),
        ({"n_hidden": 15}, "hidden nodes 15"),
        ({"input_transform": "log1p"}, "scaled transform False"),
        ({"log_variational": False}, "logarithm False"),
    ],
)
def test_a_manifest_that_is_not_its_modules_is_refused(
    save: Path, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    path = export_save(save, name="m", version=1, into=tmp_path).path
    with pytest.raises(ModelFileError, match=message):
        DeviceEncoder.load(with_manifest(path, change), device="cpu")


def test_a_manifest_nested_without_end_is_refused(save: Path, tmp_path: Path) -> None:
    path = export_save(save, name="m", version=1, into=tmp_path).path
    target = path.with_name("nested.pt")
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(target, "w") as sink:
        for name in source.namelist():
            sink.writestr(name, b"[" * 200_000 if name.endswith("manifest.json") else source.read(name))
    with pytest.raises(ModelFileError, match="is not an artifact"):
        read_artifact(target)


def test_a_compressed_artifact_is_refused(save: Path, tmp_path: Path) -> None:
    path = export_save(save, name="m", version=1, into=tmp_path).path
    with pytest.raises(ModelFileError, match="compressed"):
        read_artifact(with_manifest(path, {}, zipfile.ZIP_DEFLATED))


@pytest.mark.shared_data
@pytest.mark.parametrize("name", ["pbmc", "covariates_ln", "saved_by_scvi_1.1.5", "hostile"])
def test_the_real_saves_are_exported(name: str, tmp_path: Path) -> None:
    report = export_save(SHARED_SAVES / name, name=name, version=1, into=tmp_path)
    assert max(report.artifact.spec.deviation_from_eager.values()) < 1e-5


def test_a_save_is_not_an_artifact_by_its_name(tmp_path: Path) -> None:
    folder = write_save(tmp_path, SaveRecipe().build(), "model.pt")
    assert inspect_path(folder / "model.pt")["kind"] == "save"
    with pytest.raises(ModelFileError, match="does not exist"):
        inspect_path(tmp_path / "nowhere")


@pytest.mark.parametrize("name", hostile(Path("x")))
def test_a_save_with_a_payload_is_exported_without_running_it(name: str, tmp_path: Path) -> None:
    """`hostile` of the real saves, in all the ways a pickle can call something."""
    flag = tmp_path / "executed"
    save = FULL.write(tmp_path / "save") / "model.pt"
    with zipfile.ZipFile(save) as source:
        records = {record: source.read(record) for record in source.namelist()}
    with zipfile.ZipFile(save, "w") as sink:
        for record, content in records.items():
            # The payload is built, thrown away (POP), and followed by the save itself.
            payload = hostile(flag)[name][:-1] + b"0" if record.endswith("/data.pkl") else b""
            sink.writestr(record, payload + content)
    report = export_save(tmp_path / "save", name="m", version=1, into=tmp_path / "models")
    assert not flag.exists()
    assert report.saved.foreign != ("tests.saves.Foreign",), "what was left inert is told"
