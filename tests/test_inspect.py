"""``python -m sharedmmap info FILE`` and ``dump FILE``: what they print, and that they write nothing."""

from __future__ import annotations

import fcntl
import io
import mmap
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from child import output

import sharedmmap
from sharedmmap import _inspect

PAGE = mmap.PAGESIZE
PACKAGE_FOLDER = str(Path(sharedmmap.__file__).parents[1])
RECORD = "<QQd"
RECORDS = [(number, 2 * number, number / 2) for number in range(5)]
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")


def run(*command: object, encoding: str = "utf-8") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "sharedmmap", *map(str, command)],
        env={**os.environ, "PYTHONPATH": PACKAGE_FOLDER, "PYTHONIOENCODING": encoding},
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )


def shown(*command: object, encoding: str = "utf-8") -> str:
    done = run(*command, encoding=encoding)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def info(path: Path, encoding: str = "utf-8") -> dict[str, list[str]]:
    """What it prints, by the name at the start of the line; lines without a name belong to the one before."""
    found: dict[str, list[str]] = {}
    for line in shown("info", path, encoding=encoding).splitlines():
        name = line[:10].strip() or list(found)[-1]
        found.setdefault(name, []).append(line[10:])
    return found


@pytest.fixture
def records(tmp_path: Path) -> Path:
    """A file of five records and three more bytes."""
    path = tmp_path / "records"
    path.write_bytes(b"".join(struct.pack(RECORD, *record) for record in RECORDS) + b"end")
    return path


# ---- info ----


def test_info_tells_the_size_and_the_holes(tmp_path: Path) -> None:
    path = tmp_path / "sparse"
    block = 1 << 16  # larger than any page
    with path.open("wb") as file:
        file.truncate(4 * block)
        os.pwrite(file.fileno(), b"x" * block, block)
        os.fsync(file.fileno())
    found = info(path)
    assert found["file"] == [str(path)]
    assert found["size"] == [f"262,144 bytes, {4 * block // PAGE} pages of {PAGE}"]
    assert found["on disk"] == [f"{512 * path.stat().st_blocks:,} bytes"]
    if path.stat().st_blocks < 4 * block // 512:  # else the file system has no holes
        assert found["holes"] == ["2, 196,608 bytes: 0 to 65,536, 131,072 to 262,144"]


def test_info_draws_which_pages_are_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(256 * PAGE))
    resident = bytes(number % 32 == 0 or number < 128 for number in range(256))

    def residency(self: sharedmmap.File, offset: int, length: int) -> bytes:
        return resident[offset // PAGE : (offset + length) // PAGE]

    monkeypatch.setattr(sharedmmap.File, "residency", residency)
    monkeypatch.setattr(_inspect, "CELLS", 8)
    monkeypatch.setattr(_inspect, "drawable", lambda wanted, plain: plain)
    with sharedmmap.open(path, "r") as m:
        assert _inspect._resident(m) == {"resident": "132 of 256 pages\n[####....]"}  # one page shows


def test_info_draws_with_what_the_output_can_show(path: Path) -> None:
    path.read_bytes()
    assert set(info(path)["resident"][1]) <= set("[ ▁▂▃▄▅▆▇█]")
    assert set(info(path, "ascii")["resident"][1]) <= set("[ .:-=+*%#]")


@on_linux
def test_info_tells_who_maps_the_file(path: Path) -> None:
    assert info(path)["mapped by"][0] == "nobody"
    with sharedmmap.open(path), mmap_of(path, mmap.ACCESS_COPY):
        lines = [line for line in info(path)["mapped by"] if line.startswith(f"process {os.getpid()} (")]
    length = f"{-(-path.stat().st_size // PAGE) * PAGE:,} bytes from offset 0"
    assert len(lines) == 1
    assert f"shared read-write, {length}" in lines[0]
    assert f"private read-write, {length}" in lines[0]


def mmap_of(path: Path, access: int) -> mmap.mmap:
    with path.open("r+b") as file:
        return mmap.mmap(file.fileno(), 0, access=access)


@on_linux
def test_info_tells_who_locks_the_file(path: Path) -> None:
    assert info(path)["locks"] == ["none"]
    with path.open("r+b") as file, sharedmmap.open(path) as m:
        fcntl.flock(file, fcntl.LOCK_SH)
        fcntl.lockf(file, fcntl.LOCK_EX, 10, 5)
        mutex = m.mutex_at(0)
        assert sorted(info(path)["locks"]) == [
            "1 File with mutexes",
            f"FLOCK read lock of the whole file is held by process {os.getpid()}",
            f"POSIX write lock of bytes 5 to 14 is held by process {os.getpid()}",
        ]
        del mutex


LOCKS = """\
1: OFDLCK ADVISORY  WRITE -1 fe:00:7 4611686018427387909 4611686018427387909
2: OFDLCK ADVISORY  READ -1 fe:00:7 0 0
3: POSIX  ADVISORY  WRITE 12 fe:00:7 4611686018427387904 EOF
3: -> POSIX  ADVISORY  WRITE 13 fe:00:7 0 9
4: FLOCK  ADVISORY  WRITE 12 fe:00:8 0 EOF
"""


def test_info_tells_locks_of_all_kinds_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_inspect, "open", lambda *_, **__: io.StringIO(LOCKS), raising=False)
    assert _inspect._locks("fe:00:7") == [
        "OFDLCK read lock of bytes 0 to 0 is held by an open file description",
        "POSIX write lock of bytes 4611686018427387904 to EOF is held by process 12",
        "POSIX write lock of bytes 0 to 9 is waited for by process 13",
        "1 File with mutexes",
    ]


def test_info_shows_no_control_characters_of_a_process_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_inspect, "open", lambda *_, **__: io.StringIO("a\x1b[31mb\n"), raising=False)
    assert _inspect._command(1) == "a?[31mb"


def test_info_of_a_file_whose_name_the_output_cannot_show(tmp_path: Path) -> None:
    path = tmp_path / "é"
    path.touch()
    assert info(path, "ascii")["file"] == [f"{tmp_path}/\\xe9"]


def test_info_of_an_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "empty"
    path.touch()
    found = info(path)
    assert found["size"] == [f"0 bytes, 0 pages of {PAGE}"]
    assert found["resident"] == ["0 of 0 pages"]


# ---- dump ----


def lines_of(*numbers: int) -> str:
    return "".join(
        "\t".join(map(str, (number * struct.calcsize(RECORD), *RECORDS[number]))) + "\n" for number in numbers
    )


@pytest.mark.parametrize(
    ("options", "numbers"),
    [
        pytest.param([], [0, 1, 2, 3, 4], id="all of them"),
        pytest.param(["--offset", 24], [1, 2, 3, 4], id="from an offset"),
        pytest.param(["--offset", "0x30", "--count", 2], [2, 3], id="some, from an offset in hexadecimal"),
        pytest.param(["--count", 0], [], id="none"),
        pytest.param(["--offset", 123], [], id="from the end"),
    ],
)
def test_dump_prints_records_as_lines(records: Path, options: list[object], numbers: list[int]) -> None:
    assert shown("dump", records, "--format", RECORD, *options) == lines_of(*numbers)


def test_dump_shows_bytes_as_python_does(records: Path) -> None:
    assert shown("dump", records, "--format", "3s", "--offset", 120) == "120\tb'end'\n"


def test_dump_ends_quietly_when_nobody_reads_on(records: Path) -> None:
    os.truncate(records, 1 << 20)
    command = [sys.executable, "-m", "sharedmmap", "dump", str(records), "--format", "B"]
    environment = {**os.environ, "PYTHONPATH": PACKAGE_FOLDER}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, env=environment, text=True) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""


# ---- errors, and no writing ----


@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        pytest.param(["info", "nowhere"], 1, "nowhere: No such file or directory", id="no file"),
        pytest.param(["info", "."], 1, ".: this is not a regular file", id="a directory"),
        pytest.param(["dump", os.devnull, "--format", "Q"], 1, "this is not a regular file", id="a device"),
        pytest.param(["dump", "records"], 2, "required: --format", id="no format"),
        pytest.param(["dump", "records", "--format", "?!"], 1, "bad char in struct format", id="a bad format"),
        pytest.param(["dump", "records", "--format", ""], 1, "has no bytes", id="an empty format"),
        pytest.param(["dump", "records", "--format", "Q", "--offset", "-1"], 2, "'-1'", id="a negative offset"),
        pytest.param(["dump", "records", "--format", "Q", "--count", "x"], 2, "'x'", id="no number"),
        pytest.param(
            ["dump", "records", "--format", "Q", "--offset", "200"],
            1,
            "records: offset 200 is past the end of the file, which is 123 bytes long",
            id="past the end",
        ),
        pytest.param(
            ["dump", "records", "--format", RECORD, "--count", "9"],
            1,
            "9 records were asked for, and there are 5 from offset 0",
            id="more than there are",
        ),
        pytest.param(["tell", "records"], 2, "invalid choice: 'tell'", id="no such command"),
    ],
)
def test_an_error_is_one_line(
    records: Path, monkeypatch: pytest.MonkeyPatch, command: list[str], code: int, words: str
) -> None:
    monkeypatch.chdir(records.parent)
    done = run(*command)
    assert done.returncode == code
    assert done.stderr.count("\n") == 1
    assert words in done.stderr


def test_a_file_that_is_cut_meanwhile_is_an_error_in_one_line(records: Path) -> None:
    code = """
    import sharedmmap.__main__ as main
    read = File.read_struct_at
    def cut_first(self, *where):
        os.truncate(path, 0)
        return read(self, *where)
    File.read_struct_at = cut_first
    sys.argv = ["sharedmmap", "dump", path, "--format", "Q"]
    try:
        main.main()
    except SystemExit as error:
        print(error)
    """
    expected = f"sharedmmap: {records}: no page for offset 0 of the mapping: the file is 0 bytes long now"
    assert output(code, records) == expected


@pytest.mark.parametrize("command", [["info"], ["dump", "--format", RECORD]], ids=["info", "dump"])
def test_neither_opens_or_maps_the_file_for_writing(records: Path, command: list[str]) -> None:
    code = """
    import sharedmmap.__main__ as main
    opened, mapped = [], []
    def note(event, arguments):
        if event == "open" and arguments[0] == path:  # with a mode, or from os.open() with flags
            opened.append(arguments[1] or arguments[2] & (os.O_WRONLY | os.O_RDWR))
        elif event == "sharedmmap.File":
            mapped.append(arguments[3])
    sys.addaudithook(note)
    sys.argv = ["sharedmmap", args[0], path, *args[1:]]
    main.main()
    print(set(opened) <= {"r", os.O_RDONLY} and mapped == [sharedmmap.Prot.READ])
    """
    assert output(code, records, *command).splitlines()[-1] == "True"


def test_importing_the_package_imports_nothing_of_the_command_line() -> None:
    code = (
        "import sys, sharedmmap; print(*sorted({'argparse', 'multiprocessing', 'subprocess'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": PACKAGE_FOLDER},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "\n"
