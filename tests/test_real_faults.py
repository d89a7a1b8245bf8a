"""Faults as they happen: another process that cuts the file, a full disk, bad blocks, a writer that is killed.

What was reported as written is in the file afterwards, and nothing but exceptions comes of the rest.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from child import RESERVE_TOO_MUCH, output

PAGE = mmap.PAGESIZE

# ---- a file that another process cuts and lets grow ----

# The first KEPT bytes of the file are never cut off, the others at any moment.
KEPT = 4 * PAGE
LENGTH = 16 * PAGE

CUTTER = f"""
import os, random, select, sys
path, seed = sys.argv[1:]
rng = random.Random(seed)
print(flush=True)
while not select.select([sys.stdin], [], [], 0)[0]:
    os.truncate(path, rng.choice([{KEPT}, {LENGTH}, rng.randint({KEPT}, {LENGTH + PAGE})]))
"""

RANDOM_OPERATIONS = f"""
import itertools, random, struct
from array import array

KEPT, LENGTH = {KEPT}, {LENGTH}

def cutter(seed):
    command = [sys.executable, "-c", {CUTTER!r}, path, seed]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    process.stdout.readline()
    return process

def stream_write(at, new):
    stream = m.stream()
    stream.seek(at)
    return stream.write(new)

def stream_read(at, size):
    stream = m.stream()
    stream.seek(at)
    return stream.read(size)

def read_into(at, dest):
    return bytes(dest[: m.read_at(dest, at)])

# Each writes `new` at `at`, and returns how much of it; those with a size of their own come with it.
WRITERS = [
    (0, lambda at, new: m.write_at(new, at)),
    (0, lambda at, new: m.write_at(bytearray(new), at)),
    (0, lambda at, new: m.write_at(memoryview(new), at)),
    (0, lambda at, new: m.__setitem__(slice(at, at + len(new)), new)),
    (0, lambda at, new: m.__setitem__(slice(at + len(new) - 1, at - 1 if at else None, -1), new[::-1])),
    (0, lambda at, new: m.write_string_at(new.decode("latin-1"), at, encoding="latin-1")),
    (0, lambda at, new: m.write_array_at(array("B", new), at)),
    (0, stream_write),
    (1, lambda at, new: m.__setitem__(at, new[0])),
    (2, lambda at, new: m.write_int16_at(*struct.unpack("<h", new), at)),
    (4, lambda at, new: m.write_uint32_at(*struct.unpack("<I", new), at)),
    (8, lambda at, new: m.write_uint64_at(*struct.unpack("<Q", new), at)),
    (8, lambda at, new: m.write_float64_at(*struct.unpack("<d", new), at)),
    (13, lambda at, new: m.write_struct_at("<IBQ", at, *struct.unpack("<IBQ", new))),
]
READERS = [
    (0, lambda at, size: m[at : at + size]),
    (0, lambda at, size: m[at + size - 1 : at - 1 if at else None : -1][::-1]),
    (0, lambda at, size: read_into(at, bytearray(size))),
    (0, lambda at, size: read_into(at, memoryview(bytearray(size)))),
    (0, lambda at, size: m.read_string_at(at, size, encoding="latin-1").encode("latin-1")),
    (0, lambda at, size: m.read_array_at("B", at, size).tobytes()),
    (0, stream_read),
    (1, lambda at, size: bytes([m[at]])),
    (2, lambda at, size: struct.pack("<h", m.read_int16_at(at))),
    (4, lambda at, size: struct.pack("<I", m.read_uint32_at(at))),
    (8, lambda at, size: struct.pack("<Q", m.read_uint64_at(at))),
    (13, lambda at, size: struct.pack("<IBQ", *m.read_struct_at("<IBQ", at))),
]
CALLS = [
    lambda at, size: m.flush(),
    lambda at, size: m.flush(Sync.ASYNC),
    lambda at, size: m.flush(Sync.SYNC, at, size),
    lambda at, size: (m.lock(at, size), m.unlock(at, size)),
    lambda at, size: m.advise(sharedmmap.Advice.WILLNEED, at, size),
    lambda at, size: m.residency(at, size),
    lambda at, size: m.find(b"no such bytes", at),
    lambda at, size: m.rfind(b"no such bytes", 0, at),
    lambda at, size: m.check(),
]
"""


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_random_operations_lose_no_write_while_another_process_cuts_the_file(tmp_path, seed):
    """``model`` is what the kept part must hold; a write that raised may be there in part."""
    code = """
    rng = random.Random(args[0])
    with open(path, "wb") as file:
        file.write(bytes(LENGTH))
    m = sharedmmap.open(path)
    model = bytearray(KEPT)
    faults = written = 0

    def attempt(operation):
        # What it returns, or None where it met a fault; the mapping works again then.
        global faults
        try:
            return operation()
        except MappingFaultError:
            faults += 1
            m.restore()
        except OutOfBoundsError:
            pass
        except OSError as error:  # of mlock(2), that found a page gone; of a stream that ends before
            assert error.errno in (errno.ENOMEM, errno.ENOSPC), error

    def write(at, new, operation):
        global written
        # None is also what returns from a write that is all or nothing.
        done = attempt(lambda: (operation(at, new),))
        count = 0 if done is None else len(new) if done[0] is None else done[0]
        kept = new[: max(0, min(len(new), KEPT - at))]
        if done is not None:
            assert min(count, len(kept)) == len(kept)  # nobody cuts that off, so it is never short there
            model[at : at + len(kept)] = kept
            written += bool(kept)
            return
        with open(path, "rb") as file:
            file.seek(at)
            found = file.read(len(kept))
        assert all(byte in pair for byte, *pair in zip(found, kept, model[at:])), (at, found, kept)
        model[at : at + len(found)] = found

    def read(at, size, operation):
        found = attempt(lambda: operation(at, size))
        if found is not None:
            kept = max(0, min(size, KEPT - at))
            assert found[:kept] == model[at : at + kept], (at, size)

    def word(at, operand):
        kept = at + 8 <= KEPT
        before = model[at : at + 8] if kept else None
        value = int.from_bytes(before, "little") if kept else 0
        how = rng.randrange(3)
        sum = (value + operand) % 2**64

        def operate(at, new):
            atomic = m.atomic_uint64_at(at)
            seen = [
                lambda: atomic.fetch_add(operand),
                lambda: atomic.exchange(sum),
                lambda: atomic.compare_exchange(value, sum)[1],
            ][how]()
            assert seen == value or not kept, (at, seen, value)

        write(at, sum.to_bytes(8, "little") if kept else bytes(8), operate)

    def move(dest, src, size):
        size = min(size, KEPT - src) if src < KEPT else size
        if src < KEPT or dest >= KEPT:
            write(dest, bytes(model[src : src + size]).ljust(size), lambda at, new: m.move(dest, src, size))

    def operate():
        at = min(max(0, rng.randrange(LENGTH) if rng.random() < 0.5 else rng.randrange(KEPT)), LENGTH - 16)
        size = min(rng.choice([1, 8, 100, PAGE, 3 * PAGE]), LENGTH - at)
        kind = rng.randrange(10)
        if kind < 4:
            own, operation = rng.choice(WRITERS)
            write(at, rng.getrandbits(8 * (own or size)).to_bytes(own or size, "little"), operation)
        elif kind < 6:
            own, operation = rng.choice(READERS)
            read(at, own or size, operation)
        elif kind == 6:
            word(at & ~7, rng.getrandbits(64))
        elif kind == 7:
            byte = rng.randrange(256)
            write(at, bytes([byte]) * size, lambda at, new: m.fill(byte, at, size))
        elif kind == 8:
            src = rng.randrange(LENGTH)
            move(at, src, min(size, LENGTH - src))
        else:
            operation = rng.choice(CALLS)
            attempt(lambda: operation(at, size))

    with cutter(args[0]) as process:
        for number in itertools.count():
            operate()
            if number >= 10_000 and faults >= 100:
                break
        process.stdin.close()
    m.restore()
    m.flush()
    with open(path, "rb") as file:
        assert file.read(KEPT) == model
    assert written > 1000
    assert m[:KEPT] == model
    """
    assert output(code, tmp_path / "file", seed, setup=RANDOM_OPERATIONS) == ""


# ---- a disk of its own ----


EXT4 = "mkfs.ext4", "-q", "-F", "-m", "0", "-b", str(PAGE), "-O", "^has_journal"


class Disk:
    """A file system on a loop device, whose last blocks can be made bad."""

    def __init__(self, directory, size, make):
        self.size = size
        self.point = directory / "disk"
        self.point.mkdir()
        self.image = directory / "image"
        self.image.write_bytes(b"")
        os.truncate(self.image, size)
        run(*make, self.image)
        self.device = run("losetup", "--find", "--show", self.image)

    def mount(self):
        run("mount", self.device, self.point)

    def umount(self):
        run("umount", self.point)

    def remount(self):
        """What is read afterwards comes from the device."""
        self.umount()
        self.mount()

    def end_at(self, size):
        """The device ends there: no other block can be read or written."""
        os.truncate(self.image, size)
        run("losetup", "--set-capacity", self.device)


def run(*command):
    found = subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True)
    return found.stdout.strip()


@contextlib.contextmanager
def loop_device(directory, size=8 << 20, make=EXT4):
    if sys.platform != "linux" or PAGE != 4096 or not shutil.which(make[0]) or not shutil.which("losetup"):
        pytest.skip(f"{make[0]} and losetup are needed, and pages of 4 KiB")
    try:
        disk = Disk(directory, size, make)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"cannot make a loop device: {getattr(error, 'stderr', None) or error}")
    try:
        yield disk
    finally:
        run("losetup", "--detach", disk.device)


@contextlib.contextmanager
def mounted(disk):
    try:
        disk.mount()
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"cannot mount a loop device: {getattr(error, 'stderr', None) or error}")
    try:
        yield disk
    finally:
        disk.umount()


@pytest.fixture
def disk(tmp_path):
    with loop_device(tmp_path) as disk, mounted(disk):
        yield disk


def test_what_a_full_disk_took_is_on_it_and_all_works_once_there_is_space(disk):
    """ext4 sets the space aside when a page is first written to: there the fault is, not at the flush."""
    path = disk.point / "file"
    ballast = disk.point / "ballast"
    ballast.write_bytes(bytes(2 << 20))
    os.sync()
    setup = """
def fill(page):
    # Numbers the pages from there as long as there is space; the first it could not write.
    try:
        while True:
            m.write_uint64_at(page + 1, page * PAGE)
            page += 1
    except MappingFaultError as error:
        assert error.errno == errno.ENOSPC and error.offset == page * PAGE, error
    m.restore()
    assert m.dirty
    return page
"""
    code = """
    m = sharedmmap.open(path, "w+", length=16 << 20)
    print(fill(0))
    m.flush()
    """
    pages = int(output(code, path, setup=setup))
    assert pages * PAGE > 4 << 20
    disk.remount()
    assert held(path, pages) == list(range(1, pages + 1))
    disk.remount()  # a hole that was read is in memory as one large page, and needs the space for all of it
    code = """
    m = sharedmmap.open(path)
    page = fill(int(args[0]))
    os.unlink(args[1])
    for late in range(page, page + 50):
        m.write_uint64_at(late + 1, late * PAGE)
    m.flush()
    assert not m.dirty
    print(page + 50)
    """
    pages = int(output(code, path, pages, ballast, setup=setup))
    disk.remount()
    assert held(path, pages) == list(range(1, pages + 1))


# On a disk that the ballast leaves 8 MiB of, writes to every third page: a new one, or one that is on the disk.
FILL_DISK = """
m = sharedmmap.open(path + "/file", "w+", length=48 << 20)
if args:
    m.fill(7)
    m.flush()
os.sync()
space = os.statvfs(path)
with open(path + "/ballast", "wb") as ballast:
    os.posix_fallocate(ballast.fileno(), 0, space.f_bavail * space.f_frsize - (8 << 20))
try:
    for page in range(0, len(m), 3 * PAGE):
        m[page] = 1
except MappingFaultError as error:
    print(errno.errorcode[error.errno], error.offset == page)
"""
XFS = 320 << 20, ("mkfs.xfs", "-q", "-f")
BTRFS = 128 << 20, ("mkfs.btrfs", "-q", "-f", "--mixed")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file_system", "arguments"),
    [(XFS, []), (BTRFS, []), (BTRFS, ["is there"])],
    ids=["xfs", "btrfs", "btrfs, of pages that are there"],
)
def test_a_disk_is_full_even_if_the_file_system_keeps_space_for_itself(tmp_path, file_system, arguments):
    """These refuse a page while statvfs(3) still shows free space; btrfs also one that is only to be changed."""
    with loop_device(tmp_path, *file_system) as disk, mounted(disk):
        assert output(FILL_DISK, disk.point, *arguments) == "ENOSPC True"


def test_reserving_more_than_an_ext4_has_raises_without_a_fault(disk):
    path = disk.point / "file"
    assert output(RESERVE_TOO_MUCH, path) == "ENOSPC False"
    disk.remount()
    assert path.read_bytes()[:PAGE] == b"w" * PAGE


def held(path, pages):
    with open(path, "rb") as file:
        return [int.from_bytes(file.read(PAGE)[:8], "little") for _ in range(pages)]


# ---- bad blocks ----

PAGES = 1536  # of 2048 the disk has: some are in the half that turns bad, whatever ext4 puts where


@pytest.fixture
def filled(disk):
    """The path of a file on the disk, page ``n`` of which holds ``n + 1``; none of it is in memory."""
    path = disk.point / "file"
    path.write_bytes(b"".join((page + 1).to_bytes(8, "little").ljust(PAGE, b"\0") for page in range(PAGES)))
    disk.remount()
    return path


def test_reading_a_bad_block_raises_and_the_others_are_read(disk, filled):
    disk.end_at(disk.size // 2)
    code = f"""
    m = sharedmmap.open(path)
    bad = []
    for page in range({PAGES}):
        for read in m.read_uint64_at, lambda at: int.from_bytes(m[at : at + 8], "little"):
            try:
                assert read(page * PAGE) == page + 1
            except MappingFaultError as error:
                assert error.errno == errno.EIO and error.offset == page * PAGE, error
                bad.append(page)
                m.restore()
    assert bad[::2] == bad[1::2]
    print(len(bad) // 2)
    """
    bad = int(output(code, filled))
    assert PAGES // 4 < bad < PAGES


def test_flushing_to_a_bad_block_raises_and_what_is_written_again_is_flushed(disk, filled):
    """The kernel takes pages it could not write for clean: it is the writer who has to write them again."""
    code = f"""
    m = sharedmmap.open(path)
    image, device = args

    def end_at(size):
        os.truncate(image, size)
        subprocess.run(["losetup", "--set-capacity", device], check=True)

    def write():
        for page in range({PAGES}):
            m.write_uint64_at(page + 7, page * PAGE)

    write()
    end_at({disk.size // 2})
    try:
        m.flush()
    except OSError as error:
        assert not isinstance(error, MappingFaultError)
        assert error.errno == errno.EIO and "msync" in str(error), error
        print(m.dirty)
    end_at({disk.size})
    write()
    m.flush()
    print(m.dirty)
    """
    assert output(code, filled, disk.image, disk.device).split() == ["True", "False"]
    disk.remount()
    assert held(filled, PAGES) == list(range(7, PAGES + 7))


# ---- a writer that is killed ----


@pytest.mark.slow
@pytest.mark.parametrize("together", [1, 7])
def test_no_record_whose_flush_had_returned_is_lost_with_a_killed_writer(tmp_path, together):
    """Each writer goes on where the one before was killed; the word says how many records are flushed."""
    code = """
    import random, struct, zlib

    RECORD = struct.Struct("<QI88s")  # its number, a checksum, what is summed up; aligned to nothing
    SIZE, KILLS = 20_000, 100
    together = int(args[0])
    rng = random.Random(together)
    m = sharedmmap.open(path, "w+", length=SIZE * RECORD.size)
    m.reserve(len(m))
    progress = sharedmmap.open(path + ".progress", "w+", length=8)
    flushed = progress.atomic_uint64_at(0)

    def write(first, report):
        for number in range(first, SIZE, together):
            for each in range(number, min(number + together, SIZE)):
                text = (b"%d " % each * 44)[:88]
                m.write_struct_at(RECORD, each * RECORD.size, each, zlib.crc32(text), text)
            m.flush()
            report(min(number + together, SIZE))

    def check(first, last):
        with open(path, "rb") as file:
            file.seek(first * RECORD.size)
            for each in range(first, last):
                number, checksum, text = RECORD.unpack(file.read(RECORD.size))
                assert (number, checksum) == (each, zlib.crc32(text)), (each, number)
                assert text.startswith(b"%d " % each)

    write(SIZE - 2000, lambda _: None)  # compiles it where there is a compiler
    m.fill(0)
    m.flush()

    for _ in range(KILLS):
        first = flushed.load()
        assert first < SIZE
        heard, told = os.pipe()
        pid = os.fork()
        if pid == 0:
            signal.alarm(60)

            def report(number):
                flushed.store(number)
                os.write(told, b".")

            write(first, report)
            os._exit(1)  # it was to be killed before
        os.close(told)
        for _ in range(rng.randint(1, 8)):
            assert os.read(heard, 1) == b"."
        for _ in range(rng.randrange(20_000)):
            pass
        os.kill(pid, signal.SIGKILL)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
        os.close(heard)
        assert flushed.load() > first
        check(first, flushed.load())
    check(0, flushed.load())
    """
    assert output(code, tmp_path / "file", together) == ""


def test_a_bad_block_of_a_device_is_an_input_output_error(tmp_path):
    """A device has no length of its own that it could be found shorter than."""
    with loop_device(tmp_path) as disk:
        disk.end_at(PAGE)
        code = """
        m = File(os.open(path, os.O_RDWR), 0, 8 << 20)
        try:
            m[4 << 20]
        except MappingFaultError as error:
            print(errno.errorcode[error.errno])
        """
        assert output(code, disk.device) == "EIO"


# ---- huge pages ----


def huge_page_size():
    """The default one of the kernel: 2 MiB on x86-64, 32 MiB on arm64 with pages of 16 KiB."""
    try:
        (size,) = re.findall(r"^Hugepagesize: *(\d+) kB$", Path("/proc/meminfo").read_text(), re.MULTILINE)
    except (OSError, ValueError):
        return 2 << 20
    return int(size) << 10


HUGE = huge_page_size()


@pytest.fixture
def huge_pages():
    """Four of them, for as long as the test runs."""
    knob = Path("/proc/sys/vm/nr_hugepages")
    with contextlib.ExitStack() as undo:
        try:
            fcntl.flock(undo.enter_context(knob.open()), fcntl.LOCK_EX)  # it is one for all of the machine
            before = knob.read_text()
            knob.write_text(str(int(before) + 4))
        except OSError as error:
            pytest.skip(f"there is no way to huge pages: {error}")
        undo.callback(knob.write_text, before)
        if int(knob.read_text()) < int(before) + 4 or not hasattr(os, "memfd_create"):
            pytest.skip("no huge pages to be had")
        yield


@pytest.mark.parametrize("length", [1, PAGE + 1, HUGE, HUGE + 1])
def test_a_lost_huge_page_raises_and_unmapping_gives_it_back(huge_pages, length):
    """The kernel maps whole ones, whatever was asked for."""
    code = f"""
    fd = os.memfd_create(path, os.MFD_HUGETLB)
    os.ftruncate(fd, {2 * HUGE})

    def mappings():
        with open("/proc/self/maps") as maps:
            return sum(f"memfd:{{path}}" in line for line in maps)

    m = File(fd, 0, {length})
    m[-1] = 7
    assert mappings() == 1
    os.ftruncate(fd, 0)
    try:
        m[-1]
    except MappingFaultError as error:
        print(errno.errorcode[error.errno])
    os.ftruncate(fd, {2 * HUGE})
    m.restore()
    m[-1] = 7
    m.unmap()
    assert mappings() == 0
    """
    assert output(code, "huge") == "ENXIO"


def test_huge_pages_that_could_not_be_kept_are_given_back(huge_pages):
    code = f"""
    fd = os.memfd_create(path, os.MFD_HUGETLB)
    os.ftruncate(fd, {HUGE})
    with open("/proc/self/maps") as maps:
        resource.setrlimit(resource.RLIMIT_NOFILE, (maps.fileno() + 1, maps.fileno() + 1))
        try:
            File(fd, 0, 1)
        except OSError as error:
            print(errno.errorcode[error.errno], f"memfd:{{path}}" in maps.read())
    """
    assert output(code, "huge") == "EMFILE False"
