"""What is in the package, and what it says where it cannot run."""

from __future__ import annotations

import ast
import ctypes
import enum
import inspect
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from child import output

import sharedmmap

ROOT = Path(__file__).parent.parent
PUBLIC = [
    "Advice",
    "AtomicUint32",
    "AtomicUint64",
    "Error",
    "File",
    "MappingFaultError",
    "Mutex",
    "OutOfBoundsError",
    "OwnerDiedError",
    "Prot",
    "Stream",
    "Sync",
    "UnmappedMemoryError",
    "open",
]
SCALARS = ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64"]
PUBLIC_OF_FILE = {
    *("accessible", "advise", "atomic_uint32_at", "atomic_uint64_at", "check", "close", "closed", "dirty", "fill"),
    *("find", "flush", "lock", "move", "mutex_at", "offset", "prot", "read_array_at", "read_at", "read_string_at"),
    *("read_struct_at", "reserve", "residency", "restore", "rfind", "stream", "unlock", "unmap", "view"),
    *("write_array_at", "write_at", "write_string_at", "write_struct_at"),
    *(f"read_{name}_at" for name in SCALARS),
    *(f"write_{name}_at" for name in SCALARS),
}


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)


# ---- the names ----


def test_the_public_names_are_these():
    assert sharedmmap.__all__ == PUBLIC


def test_the_public_attributes_of_a_file_are_these():
    assert {name for name in dir(sharedmmap.File) if not name.startswith("_")} == PUBLIC_OF_FILE


def test_a_star_import_brings_the_public_names_alone():
    namespace = {}
    exec("from sharedmmap import *", namespace)
    assert set(namespace) - {"__builtins__"} == set(PUBLIC)


def documented():
    for name in PUBLIC:
        thing = getattr(sharedmmap, name)
        yield pytest.param(thing, id=name)
        if inspect.isclass(thing) and not issubclass(thing, enum.Enum):
            for attribute, value in vars(thing).items():
                if not attribute.startswith("_") and (callable(value) or isinstance(value, property)):
                    yield pytest.param(value, id=f"{name}.{attribute}")


@pytest.mark.parametrize("thing", list(documented()))
def test_everything_public_is_documented(thing):
    summary = (thing.__doc__ or "").split("\n\n")[0].strip()
    assert len(summary) > 1
    assert summary.endswith((".", ":"))


@pytest.mark.parametrize("name", SCALARS)
def test_the_accessors_made_from_the_table_look_like_methods_that_were_written(name):
    for verb, parameters in (("read", ["self", "offset"]), ("write", ["self", "value", "offset"])):
        method = getattr(sharedmmap.File, f"{verb}_{name}_at")
        assert method.__name__ == f"{verb}_{name}_at"
        assert method.__qualname__ == f"File.{verb}_{name}_at"
        assert list(inspect.signature(method).parameters) == parameters
        assert name in method.__doc__


# ---- where it cannot run ----

ELSEWHERE = [
    pytest.param("sys.platform = 'win32'", "this is win32, 64-bit, little-endian", id="Windows"),
    pytest.param("sys.platform = 'freebsd14'", "this is freebsd14, 64-bit, little-endian", id="FreeBSD"),
    pytest.param("sys.byteorder = 'big'", "this is (linux|darwin), 64-bit, big-endian", id="big-endian"),
    pytest.param("sys.maxsize = 2**31 - 1", "this is (linux|darwin), 32-bit, little-endian", id="32-bit"),
]
SENTENCE = r"sharedmmap needs Linux or macOS on a 64-bit little-endian machine; "


@pytest.mark.parametrize(("disguise", "this_is"), ELSEWHERE)
def test_importing_elsewhere_is_one_clear_import_error(disguise, this_is):
    child = run(f"import sys, runpy; {disguise}\nimport sharedmmap")
    assert child.returncode == 1
    assert re.fullmatch(f"ImportError: {SENTENCE}{this_is}\\.?", child.stderr.splitlines()[-1])


@pytest.mark.parametrize("missing", ["resource", "fcntl", "sharedmmap._ffi"])
def test_importing_on_windows_does_not_stumble_over_what_windows_lacks(missing):
    child = run(f"import sys; sys.platform = 'win32'; sys.modules[{missing!r}] = None\nimport sharedmmap")
    assert child.stderr.splitlines()[-1].startswith("ImportError: sharedmmap needs Linux or macOS")


def test_importing_it_imports_nothing_that_takes_as_long_as_itself():
    slow = {"dataclasses", "inspect", "multiprocessing", "re", "subprocess", "typing"}
    child = run(f"import sys; old = {{*sys.modules}}\nimport sharedmmap; print({slow} & {{*sys.modules}} - old)")
    assert child.stdout == "set()\n"


@pytest.mark.parametrize("missing", ["sharedmmap._ffi", "sharedmmap._quick"])
def test_importing_what_was_not_built_says_how_to_build_it(missing):
    child = run(f"import sys; sys.modules[{missing!r}] = None\nimport sharedmmap")
    assert child.returncode == 1
    last = child.stderr.splitlines()[-1]
    assert last.startswith("ImportError: sharedmmap's compiled modules are missing")
    assert "pip install ." in last
    assert "python build_ffi.py" in last


@pytest.mark.skipif(not (ROOT / "build_ffi.py").exists(), reason="not in a source tree")
@pytest.mark.parametrize(("disguise", "this_is"), ELSEWHERE)
def test_building_elsewhere_ends_with_one_clear_sentence(disguise, this_is):
    script = str(ROOT / "build_ffi.py")
    child = run(
        f"import cffi, pathlib, runpy, shutil, sys, sysconfig; {disguise}\n"
        f"runpy.run_path({script!r}, run_name='__main__')"
    )
    assert child.returncode == 1
    assert child.stdout == ""
    assert re.fullmatch(f"{SENTENCE}{this_is}\\.?\n", child.stderr)


@pytest.mark.skipif(not (ROOT / "build_ffi.py").exists(), reason="not in a source tree")
@pytest.mark.parametrize("build", ["Py_DEBUG", "Py_GIL_DISABLED"])
def test_a_debug_and_a_free_threaded_interpreter_get_modules_of_their_own(build):
    """Neither has the limited API, so what is built with it must not be called abi3."""
    child = run(
        f"import runpy, sysconfig; sysconfig.get_config_vars().update({build}=1)\n"
        f"print(runpy.run_path({str(ROOT / 'build_ffi.py')!r})['OPTIONS'])"
    )
    options = ast.literal_eval(child.stdout)
    assert not options["py_limited_api"]
    assert "Py_LIMITED_API" not in dict(options["define_macros"])


# ---- metadata ----


def test_the_version_is_that_of_the_project():
    installed = metadata.version("sharedmmap")
    assert re.fullmatch(r"\d+\.\d+\.\d+.*", installed)
    if (ROOT / "pyproject.toml").exists():
        assert f'\nversion = "{installed}"\n' in (ROOT / "pyproject.toml").read_text()


def test_cffi_is_all_it_needs_to_run():
    needed = [line for line in metadata.requires("sharedmmap") or [] if "extra ==" not in line]
    assert [re.match(r"[\w-]+", line)[0] for line in needed] == ["cffi"]
    assert "PyPy" in needed[0]


def test_type_checkers_are_told_that_it_is_typed():
    assert Path(sharedmmap.__file__).with_name("py.typed").is_file()


def test_a_second_import_leaves_the_first_one_as_it_was(tmp_path):
    """As import_fresh_module() makes one, and a subinterpreter."""
    code = """
    m = sharedmmap.open(path, "w+", length=PAGE)
    first = sharedmmap
    for name in [name for name in sys.modules if name.split(".")[0] == "sharedmmap"]:
        del sys.modules[name]
    import sharedmmap as again

    for module in first, again:
        m = module.open(path) if module is again else m
        assert m[2::2] == bytes(PAGE // 2 - 1)
        m.write_uint8_at(True, 0)
        try:
            m[PAGE]
        except module.OutOfBoundsError:
            m.unmap()
        try:
            m[0]
        except module.UnmappedMemoryError:
            print("unmapped")
    """
    assert output(code, tmp_path / "file").split() == ["unmapped", "unmapped"]


@pytest.mark.parametrize("function", ["extend", "overlay", "now", "region_map"])
def test_no_other_library_can_put_its_function_in_the_place_of_one_of_ours(function):
    """Of what is exported the first one that the linker finds counts, for us too."""
    assert not hasattr(ctypes.CDLL(sharedmmap._ffi.__file__), function)
