"""Mapping a file and letting it go: what is accepted, what is refused, and what a ``File`` says of itself."""

from __future__ import annotations

import copy
import errno
import fcntl
import io
import mmap
import os
import pickle
import socket
import stat
import sys
import weakref

import pytest
from child import output

import sharedmmap
from sharedmmap import File, OutOfBoundsError, Prot, UnmappedMemoryError

PAGE = mmap.PAGESIZE
LINUX_ONLY = pytest.mark.skipif(sys.platform != "linux", reason="what Linux does")


class Numbered:
    """An object whose ``fileno()`` says what it is told to."""

    def __init__(self, number):
        self.fileno = lambda: number


@pytest.fixture
def f(path):
    with path.open("r+b") as f:
        yield f


# ---- what is mapped ----


def test_the_whole_file_is_mapped_by_default(f, contents):
    m = File(f)
    assert (len(m), m.accessible, m.offset, m.prot) == (len(contents), len(contents), 0, Prot.READ | Prot.WRITE)
    assert not m.dirty
    assert not m.closed
    assert m[:] == contents


@pytest.mark.parametrize(
    "offset", [0, 1, 7, PAGE - 1, PAGE, PAGE + 1, 2 * PAGE + 50, 3 * PAGE + 99, 3 * PAGE + 100]
)
def test_any_offset_maps_from_that_byte_on(f, contents, offset):
    m = File(f, offset)
    assert m.offset == offset
    assert m[:] == contents[offset:]


@pytest.mark.parametrize(
    ("offset", "length"), [(0, 1), (1, 2), (PAGE - 1, 2), (PAGE + 3, PAGE), (3 * PAGE + 99, 1)]
)
def test_offset_and_length_map_a_part_and_no_more(f, contents, offset, length):
    m = File(f, offset, length)
    assert m[:] == contents[offset : offset + length]
    with pytest.raises(OutOfBoundsError):
        m[length]
    m[:] = b"x" * length
    assert f.read() == contents[:offset] + b"x" * length + contents[offset + length :]


def test_a_mapping_may_reach_past_the_end_of_the_file(f, contents):
    m = File(f, 10, len(contents) + PAGE)
    assert len(m) == len(contents) + PAGE
    assert m.accessible == len(contents) - 10
    with pytest.raises(OutOfBoundsError, match=f"past the end of the file.*{len(contents) - 10}"):
        m.read_uint8_at(len(contents) - 10)


def test_a_mapping_may_lie_past_the_end_until_the_file_is_there(f, path):
    m = File(f, 10 * PAGE + 1, 20)
    assert m.accessible == 0
    os.truncate(path, 11 * PAGE)
    m.write_at(b"now", 0)
    assert path.read_bytes()[10 * PAGE + 1 :][:3] == b"now"


def test_accessible_follows_the_file(f, path, contents):
    m = File(f, 100, len(contents))
    for size in (50, 100, 101, len(contents), 2 * len(contents)):
        os.truncate(path, size)
        assert m.accessible == max(0, min(size - 100, len(contents)))


def test_an_empty_file_gives_an_empty_file(tmp_path):
    (tmp_path / "empty").touch()
    with sharedmmap.open(tmp_path / "empty") as m:
        assert (len(m), m.accessible, m[:], m[::-1]) == (0, 0, b"", b"")
        m[:] = b""
        m.flush()
        m.lock()
        m.unlock()
        m.advise(sharedmmap.Advice.RANDOM)
        m.reserve(0)
        m.restore()
        assert m.residency() == b""
        for access in (lambda: m[0], lambda: m.read_at(bytearray(1), 0), lambda: m.write_at(b"x", 0)):
            with pytest.raises(OutOfBoundsError):
                access()
    with pytest.raises(UnmappedMemoryError):
        m[:]


def test_a_huge_sparse_file_is_accessible_to_its_last_byte(tmp_path):
    size = 2**40 + 5
    with open(tmp_path / "huge", "w+b") as f:
        f.truncate(size)
        m = File(f)
        m[-1] = 1
        m.write_uint32_at(0xDEADBEEF, size - 5)
        assert m.read_uint32_at(size - 5) == 0xDEADBEEF
        assert len(m) == size
        assert File(f, size - 5)[:] == b"\xef\xbe\xad\xde\x01"


def test_several_mappings_of_a_file_show_the_same_bytes(f, contents):
    whole, part = File(f), File(f, PAGE + 1, 10)
    part[0:4] = b"both"
    assert whole[PAGE + 1 : PAGE + 5] == b"both"


# ---- what is mapped from ----


def test_the_file_may_be_closed_at_once(path, contents):
    with path.open("r+b") as f:
        m = File(f)
    m.write_at(b"still here", 0)
    assert m.accessible == len(contents)
    m.reserve(len(m))
    assert path.read_bytes().startswith(b"still here")


@pytest.mark.parametrize(
    "wrap", [lambda f: f, lambda f: f.fileno(), lambda f: Numbered(f.fileno()), lambda f: f.raw]
)
def test_a_descriptor_or_anything_with_one_can_be_mapped(f, contents, wrap):
    assert File(wrap(f))[:5] == contents[:5]


@pytest.mark.parametrize(
    "what", [None, "file", b"file", 1.0, [], object(), *map(Numbered, [None, "1", 1.5, b"1"])]
)
def test_what_is_no_descriptor_is_a_type_error(what):
    with pytest.raises(TypeError, match="descriptor"):
        File(what, length=10)


@pytest.mark.parametrize("number", [-1, -(2**70), 2**31, 2**32, 2**70])
@pytest.mark.parametrize("wrap", [int, Numbered])
def test_a_number_no_descriptor_can_have_is_a_value_error(number, wrap):
    with pytest.raises(ValueError, match="descriptor"):
        File(wrap(number), length=10)


@pytest.mark.parametrize("length", [None, 10])
@pytest.mark.parametrize("wrap", [int, Numbered])
def test_a_closed_descriptor_is_refused(f, length, wrap):
    number = fcntl.fcntl(f, fcntl.F_DUPFD, 900)
    os.close(number)
    with pytest.raises(OSError) as caught:  # noqa: PT011 -- the errno says it
        File(wrap(number), 0, length)
    assert caught.value.errno == errno.EBADF


def test_a_closed_file_object_raises_its_own_error(f):
    f.close()
    with pytest.raises(ValueError, match="closed file"):
        File(f)


def test_what_fileno_raises_comes_through():
    with pytest.raises(io.UnsupportedOperation):
        File(io.BytesIO(b"abc"))


@pytest.fixture(params=["pipe", "directory", "socket", "/dev/null"])
def unmappable(request, tmp_path):
    if request.param == "pipe":
        opened = os.pipe()
    elif request.param == "socket":
        opened = [end.detach() for end in socket.socketpair()]
    else:
        opened = [os.open(tmp_path if request.param == "directory" else "/dev/null", os.O_RDONLY)]
    yield opened[0]
    for fd in opened:
        os.close(fd)


def test_what_cannot_be_mapped_is_refused(unmappable):
    with pytest.raises(OSError, match="mmap") as caught:
        File(unmappable, 0, 10, Prot.READ)
    assert caught.value.errno in (errno.ENODEV, errno.EACCES, errno.EINVAL)
    with pytest.raises(ValueError, match="length must be given"):
        File(unmappable, prot=Prot.READ)


@LINUX_ONLY
def test_dev_zero_is_mapped_to_the_given_length():
    with open("/dev/zero", "r+b", buffering=0) as f:
        m = File(f, length=PAGE + 5)
        assert m.accessible == PAGE + 5
        assert m[:] == bytes(PAGE + 5)
        m.write_at(b"kept", PAGE)
        assert m[PAGE:] == b"kept\0"
        m.flush()
        with pytest.raises(ValueError, match="length must be given"):
            File(f)


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="no memfd_create here")
def test_memory_without_a_name_is_mapped_like_a_file():
    fd = os.memfd_create("name")
    m = File(fd, length=PAGE)
    assert m.accessible == 0
    os.ftruncate(fd, 10)
    m.write_at(b"0123456789", 0)
    assert os.pread(fd, 20, 0) == b"0123456789"
    os.close(fd)


# ---- what is refused ----


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"offset": -1}, "negative"),
        ({"offset": -(2**70), "length": 1}, "negative"),
        ({"offset": 3 * PAGE + 101}, "past the end"),
        ({"offset": 2**64}, "past the end"),
        ({"offset": 2**63 - 1, "length": 1}, "largest"),
        ({"offset": 2**64, "length": 1}, "largest"),
        ({"length": 0}, "at least 1"),
        ({"length": -1}, "at least 1"),
        ({"length": 2**63}, "largest"),
        ({"length": 2**70}, "largest"),
        ({"prot": 0}, "prot"),
        ({"prot": Prot.WRITE}, "prot"),
        ({"prot": mmap.PROT_READ | mmap.PROT_EXEC}, "prot"),
        ({"prot": 2**70}, "prot"),
    ],
)
def test_values_no_mapping_can_have_are_value_errors(f, options, says):
    with pytest.raises(ValueError, match=says):
        File(f, **options)


@pytest.mark.parametrize("name", ["offset", "length", "prot"])
@pytest.mark.parametrize("value", [1.0, "1", b"1", []])
def test_values_of_another_type_are_type_errors(f, name, value):
    with pytest.raises(TypeError):
        File(f, **{name: value})


@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_WRONLY])
def test_a_descriptor_not_open_for_both_is_a_permission_error(path, flags):
    fd = os.open(path, flags)
    with pytest.raises(PermissionError, match="open for reading") as caught:
        File(fd)
    os.close(fd)
    assert caught.value.errno == errno.EACCES


@pytest.mark.no_sanitizer
@LINUX_ONLY
def test_too_much_for_the_address_space_names_the_limit(f):
    with pytest.raises(OSError, match=r"vm\.max_map_count") as caught:
        File(f, length=2**62)
    assert caught.value.errno == errno.ENOMEM


@pytest.mark.no_sanitizer
def test_no_descriptor_left_names_the_limit(path):
    code = """
        f = open(path, "r+b")
        resource.setrlimit(resource.RLIMIT_NOFILE, (f.fileno() + 1, f.fileno() + 1))
        try:
            File(f)
        except OSError as error:
            print(error.errno == errno.EMFILE, f"RLIMIT_NOFILE is {f.fileno() + 1}" in str(error))
        print(len(File(f, trackfd=False)))
        f.close()
    """
    assert output(code, path).split() == ["True", "True", str(path.stat().st_size)]


@pytest.mark.parametrize(
    "prot", [Prot.READ, mmap.PROT_READ, Prot.READ | Prot.WRITE, mmap.PROT_READ | mmap.PROT_WRITE]
)
def test_the_constants_of_the_mmap_module_are_accepted(f, prot):
    m = File(f, prot=prot)
    assert m.prot == prot
    assert isinstance(m.prot, Prot)


def test_a_read_only_mapping_needs_no_writable_descriptor(path, contents):
    with path.open("rb") as f:
        assert File(f, prot=Prot.READ)[:] == contents


# ---- open() ----


def test_open_maps_for_reading_and_writing_by_default(path, contents):
    with sharedmmap.open(path) as m:
        assert m[:] == contents
        m[0] = 255
    assert path.read_bytes() == b"\xff" + contents[1:]


def test_open_r_maps_for_reading_only(path):
    with sharedmmap.open(path, "r") as m:
        assert m.prot == Prot.READ
        with pytest.raises(io.UnsupportedOperation):
            m[0] = 1


@pytest.mark.parametrize("as_path", [str, os.fsencode, lambda path: path])
def test_open_takes_what_os_open_takes(path, contents, as_path):
    with sharedmmap.open(as_path(path)) as m:
        assert m[:] == contents


@pytest.mark.parametrize("mode", ["r", "r+"])
def test_open_needs_the_file_unless_it_creates_it(tmp_path, mode):
    with pytest.raises(FileNotFoundError, match="missing"):
        sharedmmap.open(tmp_path / "missing", mode)
    assert not (tmp_path / "missing").exists()


@pytest.mark.parametrize("mode", ["w+", "x+"])
def test_open_creates_a_file_of_zeros(tmp_path, mode):
    with sharedmmap.open(tmp_path / "new", mode, offset=5, length=PAGE) as m:
        assert m[:] == bytes(PAGE)
        m[-1] = 7
    assert (tmp_path / "new").read_bytes() == bytes(5 + PAGE - 1) + b"\7"


def test_open_creates_with_the_permissions_the_umask_leaves(tmp_path):
    code = """
        os.umask(0o027)
        sharedmmap.open(path, "x+", length=1)
    """
    output(code, tmp_path / "new")
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o640


def test_open_w_empties_what_was_there(path):
    with sharedmmap.open(path, "w+", length=10) as m:
        assert m[:] == bytes(10)
    assert path.stat().st_size == 10


def test_open_w_without_a_length_gives_an_empty_file(path):
    with sharedmmap.open(path, "w+") as m:
        assert len(m) == 0
    assert path.stat().st_size == 0


def test_open_x_leaves_what_is_there_alone(path, contents):
    with pytest.raises(FileExistsError):
        sharedmmap.open(path, "x+", length=10)
    assert path.read_bytes() == contents


@pytest.mark.parametrize("length", [1, 3 * PAGE + 100, 5 * PAGE])
def test_open_extends_a_file_that_is_too_short_and_cuts_none(path, contents, length):
    with sharedmmap.open(path, offset=50, length=length) as m:
        assert len(m) == m.accessible == length
    assert path.read_bytes() == contents.ljust(50 + length, b"\0")


def test_open_extends_sparsely(tmp_path):
    with sharedmmap.open(tmp_path / "new", "x+", length=2**30) as m:
        assert m.accessible == 2**30
    assert (tmp_path / "new").stat().st_blocks * 512 < 2**20


def test_open_for_reading_extends_nothing(path, contents):
    with sharedmmap.open(path, "r", length=5 * PAGE) as m:
        assert (len(m), m.accessible) == (5 * PAGE, len(contents))
    assert path.read_bytes() == contents


@pytest.mark.parametrize("mode", ["r", "r+"])
def test_capacity_is_mapped_and_not_in_the_file(path, contents, mode):
    with sharedmmap.open(path, mode, offset=1, capacity=10 * PAGE) as m:
        assert (len(m), m.accessible) == (10 * PAGE, len(contents) - 1)
    assert path.read_bytes() == contents


def test_capacity_is_room_for_more_than_the_length(tmp_path):
    with sharedmmap.open(tmp_path / "new", "x+", length=100, capacity=PAGE) as m:
        assert (len(m), m.accessible) == (PAGE, 100)
        m.reserve(200)
        assert m.accessible == 200
    assert (tmp_path / "new").stat().st_size == 200


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"mode": "rb"}, "mode"),
        ({"mode": "w"}, "mode"),
        ({"mode": ""}, "mode"),
        ({"offset": -1}, "negative"),
        ({"offset": 3 * PAGE + 101}, "past the end"),
        ({"length": 0}, "length"),
        ({"length": -5}, "length"),
        ({"length": 2**63}, "length"),
        ({"capacity": 0}, "capacity"),
        ({"capacity": 100, "length": 101}, "capacity 100 is less"),
        ({"capacity": 100}, "capacity 100 is less"),
        ({"mode": "w+", "offset": 1}, "length must be given"),
        ({"mode": "x+", "offset": 1}, "length must be given"),
    ],
)
def test_open_refuses_values_no_mapping_can_have_and_leaves_the_file_alone(path, contents, options, says):
    with pytest.raises(ValueError, match=says):
        sharedmmap.open(path, **options)
    assert path.read_bytes() == contents


@pytest.mark.parametrize("mode", ["w+", "x+"])
def test_open_that_would_map_past_the_end_of_a_new_file_creates_none(tmp_path, mode):
    with pytest.raises(ValueError, match="length must be given"):
        sharedmmap.open(tmp_path / "new", mode, offset=1)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    "options", [{"offset": 1.0}, {"length": "5"}, {"capacity": b"5"}, {"path": 5}, {"path": None}]
)
def test_open_refuses_other_types(path, options):
    with pytest.raises(TypeError):
        sharedmmap.open(**{"path": path, **options})


def test_open_of_a_directory_is_refused(tmp_path):
    with pytest.raises(IsADirectoryError):
        sharedmmap.open(tmp_path)
    with pytest.raises((OSError, ValueError)):
        sharedmmap.open(tmp_path, "r")


def test_an_open_that_fails_keeps_no_descriptor(path):
    code = """
        before = os.listdir("/dev/fd")
        for options in ({"offset": 10**9}, {"capacity": 1}, {"length": 2**62}):
            try:
                sharedmmap.open(path, **options)
            except (ValueError, OSError):
                continue
            print("mapped")
        print(len(os.listdir("/dev/fd")) - len(before))
    """
    assert output(code, path) == "0"


# ---- life ----


def test_unmap_succeeds_once(m):
    m.unmap()
    assert m.closed
    with pytest.raises(UnmappedMemoryError):
        m.unmap()


def test_close_may_be_repeated(m):
    m.close()
    m.close()
    assert m.closed


def test_unmap_after_close_raises(m):
    m.close()
    with pytest.raises(UnmappedMemoryError):
        m.unmap()


def test_close_works_however_far_the_constructor_got():
    File.__new__(File).close()
    refused = File.__new__(File)
    with pytest.raises(TypeError):
        refused.__init__(None)
    refused.close()


def test_with_closes_and_lets_the_exception_through(path):
    with pytest.raises(KeyError), sharedmmap.open(path) as m:
        raise KeyError
    assert m.closed


def test_with_allows_closing_inside(path):
    with sharedmmap.open(path) as m:
        m.unmap()


def test_with_on_what_is_closed_raises(m):
    m.close()
    with pytest.raises(UnmappedMemoryError), m:
        pass


@LINUX_ONLY
@pytest.mark.parametrize("end", ["unmap", "close"])
def test_the_file_is_let_go_at_once(path, end):
    code = f"""
        def references():
            opened = [os.path.realpath(f"/proc/self/fd/{{fd}}") for fd in os.listdir("/proc/self/fd")]
            return bytes_of("/proc/self/maps").count(path.encode()) + opened.count(path)
        m = sharedmmap.open(path)
        print(references() >= 2)
        m.{end}()
        print(references())
    """
    assert output(code, path).split() == ["True", "0"]


def test_what_was_written_stays_written(path):
    with sharedmmap.open(path) as m:
        m.write_at(b"stays", 1)
    assert path.read_bytes()[1:6] == b"stays"


def test_restore_changes_nothing_where_there_was_no_fault(m, contents):
    m.restore()
    assert not m.dirty
    m[0] = 255
    m.restore()
    assert m.dirty
    assert m[:] == b"\xff" + contents[1:]


# ---- what it says of itself ----


def test_repr_says_offset_length_protection_and_state(f, read_only):
    m = File(f, 5, 10)
    assert repr(m) == "<File offset=5 length=10 prot=READ|WRITE mapped>"
    m.close()
    assert repr(m) == "<File offset=5 length=10 prot=READ|WRITE unmapped>"
    assert "prot=READ mapped" in repr(read_only)


def test_repr_names_the_subclass(f):
    class Ring(File):
        """A subclass."""

    assert repr(Ring(f)).startswith("<Ring ")


def test_a_file_is_true_unless_it_is_empty(f, contents):
    assert File(f)
    assert not File(f, len(contents))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickling_is_a_type_error(m, protocol):
    with pytest.raises(TypeError, match="File cannot be pickled or copied"):
        pickle.dumps(m, protocol)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_copying_is_a_type_error(m, copied):
    with pytest.raises(TypeError, match="File cannot be pickled or copied"):
        copied(m)


def test_the_enums_can_be_pickled():
    for member in (Prot.READ | Prot.WRITE, sharedmmap.Sync.SYNC, *sharedmmap.Advice):
        assert pickle.loads(pickle.dumps(member)) == member


def test_a_file_can_be_referred_to_weakly_and_compares_by_identity(f):
    m, other = File(f), File(f)
    assert weakref.ref(m)() is m
    assert m != other
    assert len({m, other}) == 2


def test_a_mapping_is_not_changed_by_assigning_to_its_attributes(m):
    for name in ("offset", "prot", "closed", "dirty", "accessible", "anything"):
        with pytest.raises(AttributeError):
            setattr(m, name, 1)


# ---- without a descriptor ----


def test_without_a_descriptor_all_of_the_mapping_counts_as_accessible(f, contents):
    m = File(f, 0, 4 * PAGE, trackfd=False)
    assert m.accessible == 4 * PAGE
    assert m[: len(contents)] == contents
    m.write_at(b"x", 0)
    m.flush()
    assert not m.dirty


def test_without_a_descriptor_reserving_is_refused(f):
    m = File(f, trackfd=False)
    with pytest.raises(io.UnsupportedOperation, match="trackfd"):
        m.reserve(10)


def test_without_a_descriptor_record_locks_survive_the_mapping(f, path):
    """POSIX drops the locks of a process on a file whenever it closes any descriptor of the file."""
    fcntl.lockf(f, fcntl.LOCK_EX)
    File(f, trackfd=False).close()
    code = """
        import fcntl
        with open(path, "r+b") as f:
            try:
                fcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                print("locked")
    """
    assert output(code, path) == "locked"


# ---- auditing ----


def test_every_mapping_is_audited(path):
    code = """
        seen = []
        sys.addaudithook(lambda name, args: seen.append(args) if name == "sharedmmap.File" else None)
        f = open(path, "r+b")
        File(f, 5, 10)
        File(f, prot=mmap.PROT_READ)
        print(seen == [(f.fileno(), 5, 10, 3), (f.fileno(), 0, os.fstat(f.fileno()).st_size, 1)])
    """
    assert output(code, path) == "True"


def test_an_audit_hook_can_refuse_a_mapping(path):
    code = """
        def hook(name, args):
            if name == "sharedmmap.File":
                raise PermissionError("not here")
        sys.addaudithook(hook)
        before = len(os.listdir("/dev/fd"))
        try:
            sharedmmap.open(path)
        except PermissionError as error:
            print(error, len(os.listdir("/dev/fd")) - before)
    """
    assert output(code, path) == "not here 0"


@pytest.mark.parametrize("trackfd", [1, 2, "yes", [0], 0, None, ""])
def test_trackfd_is_any_truth_value(f, trackfd):
    with File(f, trackfd=trackfd) as m:
        if trackfd:
            m.reserve(1)
        else:
            with pytest.raises(io.UnsupportedOperation):
                m.reserve(1)


@pytest.mark.parametrize("number", [-5, 2**40])
def test_a_descriptor_that_lies_in_comparisons_is_taken_for_what_it_is(number):
    class Liar(int):
        __lt__ = __le__ = __gt__ = __ge__ = lambda self, other: True

    with pytest.raises(ValueError, match=f"{number} is no file descriptor"):
        File(Liar(number))


RANGES = {
    "an empty array": lambda m, at: m.read_array_at("B", at, 0),
    "an empty array written": lambda m, at: m.write_array_at(b"", at),
    "an empty record": lambda m, at: m.read_struct_at("", at),
    "an empty record written": lambda m, at: m.write_struct_at("", at),
    "filling nothing": lambda m, at: m.fill(7, at, 0),
    "moving nothing": lambda m, at: m.move(at, at, 0),
    "an empty view": lambda m, at: m.view(at, 0),
    "an empty stream": lambda m, at: m.stream(at, 0),
    "an integer": lambda m, at: m.read_uint64_at(at),
    "an integer written": lambda m, at: m.write_uint64_at(7, at),
    "copying nothing": lambda m, at: m.read_at(bytearray(), at),
    "copying nothing in": lambda m, at: m.write_at(b"", at),
    "a copy": lambda m, at: m.read_at(bytearray(8), at),
    "a copy written": lambda m, at: m.write_at(bytes(8), at),
    "a text": lambda m, at: m.read_string_at(at),
    "a word": lambda m, at: m.atomic_uint64_at(at),
}


@pytest.mark.parametrize("call", RANGES.values(), ids=RANGES)
@pytest.mark.parametrize("at", [0, 8, 10**9, -8])
def test_after_unmap_it_is_told_that_it_is_unmapped_whatever_the_range(m, call, at):
    m.unmap()
    with pytest.raises(UnmappedMemoryError):
        call(m, at)
