"""Loading, warming and the choice of a device."""

from pathlib import Path

import numpy as np
import pytest
import torch

from model import device_encoder
from model.contract import LatentParams
from model.device_encoder import DeviceEncoder, available_cores, example_cells, resolve_device
from model.errors import ModelFileError
from model.export import export_save
from tests.saves import SaveRecipe


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export")
    return export_save(SaveRecipe().write(folder / "save"), name="m", version=1, into=folder / "models").path


def test_it_is_warm_when_loaded(artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[tuple[int, bool]] = []
    encode = DeviceEncoder.encode

    def counting(self: DeviceEncoder, cells: device_encoder.CellBatch, *, library: bool) -> LatentParams:
        sizes.append((cells.n_cells, library))
        return encode(self, cells, library=library)

    monkeypatch.setattr(DeviceEncoder, "encode", counting)
    DeviceEncoder.load(artifact, device="cpu", threads=1, max_batch_cells=100)
    assert {size: sizes.count(size) for size in set(sizes)} == {
        (size, library): 3 for size in (1, 16, 64, 100) for library in (True, False)
    }


def test_the_answer_is_float32_numpy(artifact: Path) -> None:
    encoder = DeviceEncoder.load(artifact, device="cpu", threads=1)
    params = encoder.encode(example_cells(encoder.spec, 5))
    for array in (params.qz_mean, params.qz_variance, params.ql_mean, params.ql_variance):
        assert isinstance(array, np.ndarray) and array.dtype == np.float32 and array.flags.c_contiguous


def test_small_batches_run_on_one_thread(artifact: Path) -> None:
    encoder = DeviceEncoder.load(artifact, device="cpu", threads=2)
    before = torch.get_num_threads()
    try:
        encoder.encode(example_cells(encoder.spec, 8))
        assert torch.get_num_threads() == 1
        encoder.encode(example_cells(encoder.spec, device_encoder.SINGLE_THREAD_CELLS))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_auto_is_a_device_that_is_there() -> None:
    assert resolve_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert resolve_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("name", ["cuda:99", "gpu", "cuda:x", "cuda:-1", "", "mps"])
def test_a_device_that_is_not_there_is_told(name: str) -> None:
    with pytest.raises(ModelFileError, match="device"):
        resolve_device(name)


@pytest.mark.gpu
def test_cuda_agrees_with_the_cpu(artifact: Path) -> None:
    cpu, cuda = (DeviceEncoder.load(artifact, device=device) for device in ("cpu", "cuda"))
    cells = example_cells(cpu.spec, 600)
    left, right = cpu.encode(cells), cuda.encode(cells)
    np.testing.assert_allclose(left.qz_mean, right.qz_mean, atol=1e-4, rtol=1e-4)
    np.testing.assert_allclose(left.qz_variance, right.qz_variance, atol=1e-4, rtol=1e-4)


@pytest.mark.gpu
@pytest.mark.parametrize("n_cells", [1, 7, 255, 256, 257, 600])
def test_a_cell_has_the_same_bits_alone_and_in_a_crowd_on_cuda(artifact: Path, n_cells: int) -> None:
    encoder = DeviceEncoder.load(artifact, device="cuda")
    cells = example_cells(encoder.spec, 700)
    crowd = encoder.encode(cells)
    for start in range(0, 700 - n_cells, max(n_cells, 13)):
        few = encoder.encode(cells.cells(start, start + n_cells))
        for name in ("qz_mean", "qz_variance", "ql_mean", "ql_variance"):
            assert np.array_equal(getattr(few, name), getattr(crowd, name)[start : start + n_cells]), name


def test_bfloat16_is_close_and_tells_how_close(artifact: Path) -> None:
    exact = DeviceEncoder.load(artifact, device="cpu", threads=1)
    short = DeviceEncoder.load(artifact, device="cpu", threads=1, precision="bfloat16")
    assert (exact.precision, dict(exact.deviation_from_float32)) == ("float32", {})
    assert short.precision == "bfloat16"
    cells = example_cells(exact.spec, device_encoder.COMPARED_CELLS)
    found, expected = short.encode(cells), exact.encode(cells)
    assert found.qz_mean.dtype == np.float32
    deviation = np.abs(found.qz_mean - expected.qz_mean) / np.maximum(1, np.abs(expected.qz_mean))
    assert 1e-4 < deviation.max() < 0.05
    assert short.deviation_from_float32["qz_mean"] == pytest.approx(float(deviation.max()))


def test_tf32_is_refused_on_a_cpu(artifact: Path) -> None:
    with pytest.raises(ModelFileError, match="CUDA"):
        DeviceEncoder.load(artifact, device="cpu", precision="tf32")


@pytest.mark.gpu
def test_tf32_is_off_unless_chosen(artifact: Path) -> None:
    DeviceEncoder.load(artifact, device="cuda")
    assert not torch.backends.cuda.matmul.allow_tf32
    try:
        encoder = DeviceEncoder.load(artifact, device="cuda", precision="tf32")
        assert 0 < encoder.deviation_from_float32["qz_mean"] < 0.01
    finally:
        torch.backends.cuda.matmul.allow_tf32 = False


def test_cores_are_counted_for_this_process() -> None:
    assert 1 <= available_cores() <= torch.multiprocessing.cpu_count()


def test_example_cells_are_wide(artifact: Path) -> None:
    encoder = DeviceEncoder.load(artifact, device="cpu", threads=1)
    cells = example_cells(encoder.spec, 200)
    lengths = np.diff(cells.indptr)
    assert lengths.min() == 0 and lengths.max() > 5
    assert set(cells.codes[:, 0]) == {0, 1}
    for start, stop in zip(cells.indptr[:-1], cells.indptr[1:], strict=True):
        assert (np.diff(cells.indices[start:stop]) > 0).all()
