import json
from dataclasses import replace

import pytest

from proxyless import ProxylessError
from proxyless.latency import identity
from proxyless.latency.device import PUBLISHED, TABLE_FILE, Device, Precision, device, devices
from proxyless.latency.runtimes import RUNTIMES, gpu
from proxyless.latency.table import Entry, LatencyTable
from proxyless.machine.system import machine


def test_the_default_device_is_onnx_runtime_on_one_thread():
    assert device("cpu") == Device("cpu", "onnxruntime", threads=1, batch=1, precision=Precision.FLOAT32)


def test_threads_and_batch_replace_those_of_the_device_and_leave_the_rest():
    assert device("cpu-int8", threads=4, batch=8) == Device("cpu-int8", "onnxruntime", 4, 8, Precision.INT8)


def test_every_device_here_has_a_runtime_and_no_two_are_the_same():
    here = [known for known in devices().values() if known.here]
    assert {known.runtime for known in here} == set(RUNTIMES.names())
    assert len({replace(known, name="") for known in here}) == len(here)
    assert [name for name, known in devices().items() if name != known.name] == []


@pytest.mark.parametrize("name", ["cpu", "cuda-torch"])
@pytest.mark.parametrize("numbers", [{"threads": 0}, {"batch": -1}])
def test_numbers_below_one_are_refused(name, numbers):
    with pytest.raises(ProxylessError, match=rf"^device {name}: threads and batch must be at least 1, got [^\n]*$"):
        device(name, **numbers)


def test_an_unknown_name_is_one_line_with_all_names():
    with pytest.raises(ProxylessError) as raised:
        device("toaster")
    assert "\n" not in str(raised.value)
    assert all(name in str(raised.value) for name in devices())


def test_a_published_device_is_not_here_and_takes_no_numbers():
    assert device("pixel1").runtime == PUBLISHED
    assert not device("pixel1").here
    with pytest.raises(ProxylessError, match="pixel1 is a published table: threads and batch are those"):
        device("pixel1", threads=2)


def test_a_path_is_a_table_measured_elsewhere(tmp_path):
    path = tmp_path / "phone"
    path.write_text("{}")
    for name in (str(path), "missing.json"):
        found = device(name)
        assert found == Device(name, TABLE_FILE)
        assert not found.here
        with pytest.raises(ProxylessError, match="is a table measured elsewhere: threads and batch are those"):
            device(name, batch=2)


def test_a_folder_is_no_table(tmp_path):
    with pytest.raises(ProxylessError, match="no device called"):
        device(str(tmp_path))


def test_a_name_of_a_device_is_that_device_even_where_a_file_has_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cpu").touch()
    assert device("cpu").here


# -- what a measurement belongs to --


class Versioned:
    def __init__(self, version: str) -> None:
        self.number = version

    def version(self) -> str:
        return self.number


def test_a_measurement_is_keyed_by_all_but_the_name(monkeypatch):
    monkeypatch.setattr(identity, "runtime", lambda name: Versioned("1"))
    base = device("cpu")
    others = [replace(base, threads=2), replace(base, batch=2), device("cpu-int8"), device("cpu-torch")]
    keys = {identity.key(known) for known in [base, *others]}
    assert len(keys) == 5
    assert identity.key(replace(base, name="laptop")) == identity.key(base)
    with monkeypatch.context() as patched:
        patched.setattr(identity.timing, "METHOD", identity.timing.METHOD + 1)
        assert identity.key(base) not in keys
    monkeypatch.setattr(identity, "runtime", lambda name: Versioned("2"))
    assert identity.key(base) not in keys


def test_on_a_gpu_the_machine_is_the_gpu(monkeypatch):
    monkeypatch.setattr(identity, "runtime", lambda name: Versioned("1"))
    monkeypatch.setattr(gpu, "names", lambda: ("NVIDIA A", "NVIDIA B"))
    assert identity.describe(device("cuda-fp16")) == {
        "name": "cuda-fp16",
        "runtime": "onnxruntime-cuda",
        "threads": 1,
        "batch": 1,
        "precision": "float16",
        "machine": "NVIDIA A",
        "runtime_version": "1",
    }
    assert identity.describe(device("cpu"))["machine"] == machine()


def test_of_a_published_table_nothing_is_claimed_that_was_not_published():
    assert set(identity.describe(device("pixel1"))) == {"name", "runtime", "machine", "runtime_version"}


def test_a_table_file_is_described_by_what_it_says_of_its_device(tmp_path):
    path = tmp_path / "phone.json"
    measured = {"name": "phone", "runtime": "some", "runtime_version": "1", "machine": "some phone", "threads": 4}
    LatencyTable(measured, 1.0, {"first": {"a": Entry(1, 1, 1, 1)}}).save(path)
    assert identity.describe(device(str(path))) == measured
    path.write_text(json.dumps({"format": 0}))
    with pytest.raises(ProxylessError, match=r"phone\.json"):
        identity.describe(device(str(path)))


def test_gpus_are_asked_for_without_any_being_there(monkeypatch):
    def none(name):
        raise OSError("no such library")

    monkeypatch.setattr(gpu.ctypes, "CDLL", none)
    gpu.names.cache_clear()
    try:
        assert gpu.names() == ()
    finally:
        gpu.names.cache_clear()


def test_gpus_are_named_by_their_driver(monkeypatch):
    class Driver:
        def cuInit(self, flags):  # noqa: N802
            return 0

        def cuDeviceGetCount(self, count):  # noqa: N802
            count._obj.value = 2
            return 0

        def cuDeviceGet(self, handle, ordinal):  # noqa: N802
            handle._obj.value = 7 + ordinal
            return 0

        def cuDeviceGetName(self, name, size, handle):  # noqa: N802
            name.value = f"GPU {handle.value}".encode()
            return 0

    monkeypatch.setattr(gpu.ctypes, "CDLL", lambda name: Driver())
    gpu.names.cache_clear()
    try:
        assert gpu.names() == ("GPU 7", "GPU 8")
    finally:
        gpu.names.cache_clear()
