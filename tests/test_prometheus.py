"""prometheus_client's own MmapedDict, its code unchanged, with sharedmmap in place of mmap."""

from __future__ import annotations

import os
from unittest import mock

import pytest
from child import output

from sharedmmap import File, MappingFaultError, OutOfBoundsError, UnmappedMemoryError

mmap_dict = pytest.importorskip("prometheus_client.mmap_dict")
from recipes.prometheus import REPLACED  # noqa: E402  (which needs prometheus_client)


def over_sharedmmap():
    """The names of the module that know what a mapping is, replaced."""
    return mock.patch.multiple(mmap_dict, **REPLACED)


ROOM = mmap_dict._INITIAL_MMAP_SIZE


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "values.db")


@pytest.fixture
def opened(path):
    """Opens the file as a MmapedDict, over sharedmmap; closes all of them in the end."""
    with over_sharedmmap():
        dicts = []

        def open_dict(read_mode=False):
            dicts.append(mmap_dict.MmapedDict(path, read_mode=read_mode))
            return dicts[-1]

        yield open_dict
        for d in dicts:
            d.close()


@pytest.fixture
def d(opened):
    return opened()


def test_it_runs_over_sharedmmap(d):
    assert isinstance(d._m, File)


def test_values_survive_a_restart(d, opened):
    d.write_value("abc", 123.0, 987.0)
    d.close()
    again = opened()
    assert again.read_value("abc") == (123.0, 987.0)
    assert list(again.read_all_values()) == [("abc", 123.0, 987.0)]


def test_a_key_larger_than_the_file_expands_it(d):
    key = "a" * ROOM
    d.write_value(key, 123.0, 987.0)
    assert list(d.read_all_values()) == [(key, 123.0, 987.0)]


def test_the_file_expands_several_times(d, opened):
    expected = [("abc", 42.0, 987.0), ("a" * ROOM * 4, 123.0, 876.0), ("def", 17.0, 765.0)]
    for value in expected:
        d.write_value(*value)
    assert list(d.read_all_values()) == expected
    d.close()
    assert list(opened().read_all_values()) == expected


def test_corruption_is_detected(d):
    d.write_value("abc", 42.0, 987.0)
    d._m[8:16] = b"somejunk"
    with pytest.raises(RuntimeError, match="corrupted"):
        list(d.read_all_values())


def test_a_reader_beside_it_sees_each_write(d, opened, path):
    d.write_value("a", 1.0, 2.0)
    reader = opened(read_mode=True)
    d.write_value("a", 3.0, 4.0)
    assert list(reader.read_all_values()) == [("a", 3.0, 4.0)]
    assert [found[:3] for found in mmap_dict.MmapedDict.read_all_values_from_file(path)] == [("a", 3.0, 4.0)]
    with pytest.raises(OSError, match="read-only"):
        reader.write_value("b", 1.0, 2.0)


def test_a_closed_one_is_closed(d):
    memory = d._m
    d.close()
    with pytest.raises(UnmappedMemoryError):
        memory[0]


def test_a_truncated_file_is_an_error_where_mmap_dies(d, path):
    d.write_value("abc", 42.0, 987.0)
    os.truncate(path, 0)
    with pytest.raises((MappingFaultError, OutOfBoundsError)):
        list(d.read_all_values())
    with pytest.raises((MappingFaultError, OutOfBoundsError)):
        d.write_value("abc", 43.0, 987.0)


def test_it_writes_the_file_that_mmap_would(tmp_path):
    def written(path):
        d = mmap_dict.MmapedDict(str(path))
        for i in range(1, 1500):
            d.write_value(f"key {i} é" * (i % 7), i / 3, float(i))
        d.close()
        return path.read_bytes()

    expected = written(tmp_path / "mmap")
    with over_sharedmmap():
        assert written(tmp_path / "sharedmmap") == expected


WORKER = """
mappings = []
sys.addaudithook(lambda event, _: mappings.append(event) if event == "sharedmmap.File" else None)
sys.path.insert(0, args[0])
from test_prometheus import over_sharedmmap
over_sharedmmap().start()
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
"""


@pytest.mark.slow
def test_the_metrics_of_many_processes_add_up(tmp_path, monkeypatch):
    metrics = tmp_path / "metrics"
    metrics.mkdir()
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(metrics))
    tests = os.path.dirname(__file__)
    work = """
    counter = Counter("requests", "Requests.", ["path"])
    highest = Gauge("highest", "Highest.", multiprocess_mode="max")
    took = Histogram("took", "Took.", buckets=(1, 2))
    for i in range(2000):
        counter.labels(f"/{i % 1000}").inc()
        took.observe(1.5)
    highest.set(int(path))
    print(len(mappings) > 3)
    """
    collect = """
    registry = CollectorRegistry()
    MultiProcessCollector(registry)
    print(generate_latest(registry).decode())
    """
    for number in 1, 2, 3:
        assert output(work, number, tests, setup=WORKER) == "True"
    found = output(collect, 0, tests, setup=WORKER).splitlines()
    assert 'requests_total{path="/7"} 6.0' in found
    assert 'requests_total{path="/999"} 6.0' in found
    assert "highest 3.0" in found
    assert 'took_bucket{le="2.0"} 6000.0' in found
