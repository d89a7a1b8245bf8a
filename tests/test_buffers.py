"""Every kind of buffer goes in and out; none of them can pull the memory away in the middle."""

from __future__ import annotations

import contextlib
import ctypes
import io
import mmap
import sys
from array import array

import pytest
from child import RAISING, output, run

import sharedmmap
from sharedmmap import OutOfBoundsError

MIB = 1 << 20
SIZE = 2 * MIB + 4096
CONTENT = bytes(i * i % 251 for i in range(4096)) * (SIZE // 4096)
PYPY = sys.implementation.name == "pypy"


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    return path


@pytest.fixture
def m(path):
    with sharedmmap.open(path) as m:
        yield m


class Record(ctypes.Structure):
    _fields_ = (("flag", ctypes.c_uint8), ("count", ctypes.c_uint64), ("name", ctypes.c_char * 5))


class Bytearray(bytearray):
    pass


BUFFERS = {
    "bytearray": lambda: bytearray(100),
    "bytearray of a page and more": lambda: bytearray(5000),
    "bytearray of pieces": lambda: bytearray(2 * MIB + 1),
    "subclass of bytearray": lambda: Bytearray(100),
    "memoryview": lambda: memoryview(bytearray(100)),
    "part of a memoryview": lambda: memoryview(bytearray(100))[7:-7],
    "memoryview of shorts": lambda: memoryview(bytearray(100)).cast("h"),
    "memoryview of two dimensions": lambda: memoryview(bytearray(96)).cast("B", shape=[8, 12]),
    "memoryview of three dimensions": lambda: memoryview(bytearray(96)).cast("I", shape=[2, 3, 4]),
    "memoryview of no dimensions": lambda: memoryview(bytearray(8)).cast("Q", shape=[]),
    "buffer of a BytesIO": lambda: io.BytesIO(bytes(100)).getbuffer(),
    "one item of a memoryview with a step": lambda: memoryview(bytearray(16)).cast("d")[::2],
    "the bytes of such an item": lambda: memoryview(bytearray(16)).cast("d")[::2].cast("B"),
    "array of bytes": lambda: array("b", bytes(100)),
    "array of ints": lambda: array("I", bytes(100)),
    "array of doubles": lambda: array("d", bytes(8 * 20_000)),
    "array of pieces": lambda: array("Q", bytes(2 * MIB)),
    "ctypes int": ctypes.c_uint64,
    "ctypes chars": lambda: ctypes.create_string_buffer(100),
    "ctypes array": lambda: (ctypes.c_int32 * 25)(),
    "big-endian ctypes array": lambda: (ctypes.c_int32.__ctype_be__ * 25)(),
    "ctypes arrays in an array": lambda: (ctypes.c_double * 3 * 4)(),
    "ctypes structure": Record,
    "ctypes array of structures": lambda: (Record * 10)(),
}
NUMPY = {
    "bytes": "zeros(100, 'u1')",
    "doubles": "zeros(1000)",
    "doubles of pieces": "zeros(2 * 2**17 + 1)",
    "two dimensions": "zeros((5, 7), 'i4')",
    "rows of a table": "zeros((9, 7), 'i4')[2:5]",
    "one row": "zeros((9, 7), 'i4')[3]",
    "a transposed fortran table": "zeros((5, 7), 'i4', order='F').T",
    "no dimensions": "array(0, 'u8')",
    "big-endian": "zeros(20, '>i4')",
    "structured": "zeros(20, [('a', 'u1'), ('b', '<f8'), ('c', 'S3')])",
    "bools": "zeros(20, '?')",
    "half floats": "zeros(20, 'f2')",
    "complex": "zeros(20, 'c16')",
    "fixed strings": "zeros(20, 'S7')",
}
EMPTY = {
    "bytearray": bytearray,
    "memoryview": lambda: memoryview(bytearray()),
    "array": lambda: array("d"),
    "ctypes array": lambda: (ctypes.c_int * 0)(),
}


def assert_goes_both_ways(m, make, offset):
    dest = make()
    size = memoryview(dest).nbytes if not hasattr(dest, "nbytes") else dest.nbytes
    expected = CONTENT[offset : offset + size]
    m.write_at(CONTENT, 0)
    assert m.read_at(dest, offset) == len(expected)
    shown = dest.tobytes() if hasattr(dest, "tobytes") else bytes(dest)
    assert shown == expected + bytes(size - len(expected))

    m.fill(0)
    assert m.write_at(dest, offset) == len(expected)
    assert m[:offset] == bytes(offset)
    assert m[offset : offset + size] == expected
    assert not m.find(b"\1", offset + size) + 1

    m.write_at(CONTENT, 0)
    stream = m.stream(offset)
    again = make()
    assert stream.readinto(again) == len(expected) == stream.tell()
    assert (again.tobytes() if hasattr(again, "tobytes") else bytes(again)) == shown
    stream.seek(0)
    m.fill(0)
    if len(expected) < size:
        with pytest.raises(OSError, match=f"{size} bytes do not fit"):
            stream.write(again)
        expected = bytes(len(expected))
    else:
        assert stream.write(again) == size
    assert m[offset : offset + size] == expected


@pytest.mark.parametrize("offset", [0, 3, 4096, SIZE - 4])
@pytest.mark.parametrize("make", BUFFERS.values(), ids=BUFFERS)
def test_any_contiguous_buffer_is_read_into_and_written_from(m, make, offset):
    assert_goes_both_ways(m, make, offset)


@pytest.mark.parametrize("code", NUMPY.values(), ids=NUMPY)
def test_any_contiguous_numpy_array_is_read_into_and_written_from(m, code):
    numpy = pytest.importorskip("numpy")
    for offset in 0, 5, SIZE - 4:
        assert_goes_both_ways(m, lambda: eval(f"numpy.{code}", {"numpy": numpy}), offset)


@pytest.mark.parametrize("make", EMPTY.values(), ids=EMPTY)
def test_an_empty_buffer_copies_nothing(m, make):
    assert m.read_at(make(), 5) == m.write_at(make(), SIZE - 1) == 0
    assert m.write_at(b"", 0) == 0
    for offset in -1, SIZE:
        with pytest.raises(OutOfBoundsError):
            m.read_at(make(), offset)
        with pytest.raises(OutOfBoundsError):
            m.write_at(make(), offset)
    assert m[:] == CONTENT


def test_values_arrive_as_they_were(m):
    numpy = pytest.importorskip("numpy")
    table = numpy.arange(24, dtype="<f8").reshape(4, 6)
    m.write_at(table, 11)
    assert m.read_array_at("d", 11, 24).tolist() == list(range(24))
    again = numpy.empty_like(table)
    assert m.read_at(again[1:3], 11 + 6 * 8) == 96
    assert again[1:3].tolist() == table[1:3].tolist()
    assert numpy.asarray(m.read_array_at("d", 11, 24)).sum() == table.sum()
    assert m.write_array_at(table[:2], 0) == 96
    assert m.read_float64_at(8) == 1.0


def test_numpy_integers_are_offsets_that_do_not_wrap(m):
    numpy = pytest.importorskip("numpy")
    for kind in "u1", "i1", "u2", "i8", "u8":
        offset = numpy.array(numpy.iinfo(kind).max & 0xFFFF, kind)[()]
        dest = bytearray(16)
        assert m.read_at(dest, offset) == 16
        assert dest == CONTENT[int(offset) : int(offset) + 16]
        assert m.read_uint64_at(offset) == int.from_bytes(dest[:8], "little")
        assert m[offset : int(offset) + 16] == dest
    for offset in numpy.uint64(2**64 - 4), numpy.int64(-4):
        with pytest.raises(OutOfBoundsError):
            m.read_at(dest, offset)
        with pytest.raises(OutOfBoundsError):
            m.read_uint64_at(offset)


# ---- what is refused ----

READ_ONLY = {
    "bytes": lambda: b"x" * 8,
    "read-only buffer of a BytesIO": lambda: io.BytesIO(bytes(8)).getbuffer().toreadonly(),
    "read-only memoryview": lambda: memoryview(bytearray(8)).toreadonly(),
    "str": lambda: "x" * 8,
    "int": lambda: 8,
    "None": lambda: None,
    "list": lambda: [0] * 8,
}
NOT_CONTIGUOUS = {
    "memoryview with a step": lambda: memoryview(bytearray(16))[::2],
    "memoryview backwards": lambda: memoryview(bytearray(16))[::-1],
}


@pytest.mark.parametrize("make", {**READ_ONLY, **NOT_CONTIGUOUS}.values(), ids={**READ_ONLY, **NOT_CONTIGUOUS})
def test_what_is_no_writable_contiguous_buffer_is_not_read_into(m, make):
    stream = m.stream()
    for read in (lambda dest: m.read_at(dest, 0)), stream.readinto:
        with pytest.raises((TypeError, ValueError, BufferError)):
            read(make())
    assert stream.tell() == 0


@pytest.mark.parametrize("make", [*NOT_CONTIGUOUS.values(), lambda: "x" * 8, lambda: 8, lambda: None, lambda: [0]])
def test_what_is_no_contiguous_buffer_is_not_written_from(m, make):
    stream = m.stream()
    for write in (lambda src: m.write_at(src, 0)), (lambda src: m.write_array_at(src, 0)), stream.write:
        with pytest.raises((TypeError, ValueError, BufferError)):
            write(make())
    assert (m[:], stream.tell(), m.dirty) == (CONTENT, 0, False)


@pytest.mark.parametrize("code", ["zeros((5, 7), order='F')", "zeros((5, 7))[:, 2]", "zeros(9)[::-1]"])
def test_a_numpy_array_that_is_not_contiguous_is_refused(m, code):
    numpy = pytest.importorskip("numpy")
    apart = eval(f"numpy.{code}", {"numpy": numpy})
    for use in m.read_at, m.write_at:
        with pytest.raises(BufferError):
            use(apart, 0)
    assert not apart.any()
    assert m[:] == CONTENT


def test_a_readonly_numpy_array_is_written_from_and_not_read_into(m):
    numpy = pytest.importorskip("numpy")
    constant = numpy.ones(4)
    constant.flags.writeable = False
    assert m.write_at(constant, 0) == 32
    with pytest.raises((TypeError, ValueError, BufferError)):
        m.read_at(constant, 64)
    assert constant.tolist() == [1.0] * 4


@pytest.mark.parametrize("kind", ["memoryview", "mmap"])
def test_a_buffer_that_is_closed_is_a_buffer_error(m, kind):
    buffer = memoryview(bytearray(8)) if kind == "memoryview" else mmap.mmap(-1, 8)
    buffer.release() if kind == "memoryview" else buffer.close()
    for use in (
        lambda: m.read_at(buffer, 0),
        lambda: m.write_at(buffer, 0),
        lambda: m.__setitem__(slice(0, 8), buffer),
        lambda: m.write_array_at(buffer, 0),
        lambda: m.find(buffer),
        lambda: m.stream().write(buffer),
        lambda: m.stream().readinto(buffer),
    ):
        with pytest.raises(BufferError):
            use()
    assert m[:] == CONTENT


@pytest.mark.skipif(not PYPY, reason="CPython refuses to resize it")
@pytest.mark.parametrize("write", ["write_at", "slice"])
def test_a_bytearray_that_is_resized_while_it_is_written_is_written_as_it_was(m, monkeypatch, write):
    def copy(*arguments, **keywords):
        source[:] = b"after."
        source.extend(bytes(MIB))
        return whole(*arguments, **keywords)

    whole = sharedmmap._pypy._copy
    monkeypatch.setattr("sharedmmap._pypy._copy", copy)
    source = bytearray(b"before")
    if write == "slice":
        m[2:8] = source
    else:
        assert m.write_at(source, 2) == 6
    assert (m[2:8], len(source)) == (b"before", 6 + MIB)


def test_a_buffer_is_free_again_after_a_copy_and_after_an_error(m):
    for dest in bytearray(10), bytearray(10_000):
        m.read_at(dest, 0)
        m.write_at(dest, 0)
        m.stream().readinto(dest)
        for offset in -1, SIZE, "0":
            for copy in m.read_at, m.write_at:
                with pytest.raises((OutOfBoundsError, TypeError)):
                    copy(dest, offset)
        m.write_array_at(dest, 0)
        with memoryview(dest) as whole, whole[:1] as one, whole[:: len(dest)] as step:
            for view in whole, one, step:
                m.read_at(view, 0)
                m.write_at(view, 0)
                m.stream().readinto(view)
        dest.append(1)
    items = array("d", [1.0])
    m.write_at(items, 0)
    items.append(2.0)


@pytest.mark.parametrize(
    "call",
    [
        "m.read_at(memory, len(m))",
        "m.write_at(memory, len(m))",
        "m.write_array_at(memory, len(m))",
        "m.__setitem__(slice(3), memory)",
        "m.__setitem__(slice(0, 6, 2), memory)",
        "stream.write(memory)",
    ],
)
def test_a_memoryview_is_collected_with_the_exception_of_the_call_it_was_given_to(path, call):
    """Its export must be over by then: CPython before 3.12.7 would crash, see gh-77894."""
    code = f"""
    m = File(os.open(path, os.O_RDWR), trackfd=False)
    stream = m.stream()
    os.truncate(path, 0)

    def keep():
        memory = memoryview(bytearray(8))
        try:
            {call}
        except Exception as error:
            kept = error  # whose traceback has this frame, which has the error

    keep()
    gc.collect()
    """
    assert output(code, path) == ""


@pytest.mark.slow
@pytest.mark.skipif(sys.version_info < (3, 11), reason="a signal may come between the body and the end of a with")
@pytest.mark.parametrize(
    "call",
    [
        "m.write_at(memory, 0)",
        "m.read_at(memory, 0)",
        "m.write_array_at(memory, 0)",
        "m[: len(memory)] = memory",
    ],
)
def test_a_call_that_a_signal_handler_ends_keeps_no_buffer(path, call):
    """The exception has the frames; an export that they keep would keep the buffer, or crash the collector."""
    code = f"""
    m = sharedmmap.open(path)
    signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 1e-4, 1e-4)
    for _ in range(3000):
        memory = memoryview(bytearray(600))
        try:
            armed = True
            while True:
                {call}
        except Interrupt as error:
            kept = error
            memory.release()  # raises where there is an export
    signal.setitimer(signal.ITIMER_REAL, 0)
    """
    assert output(code, path, setup=RAISING) == ""


def test_a_stream_that_raises_keeps_no_buffer(path):
    code = """
    stream = sharedmmap.open(path).stream()
    stream.seek(0, 2)
    memory = bytearray(8)
    try:
        stream.write(memory)
    except OSError as error:
        memory.append(1)
        print(errno.errorcode[error.errno])
    """
    assert output(code, path) == "ENOSPC"


@pytest.mark.skipif(sys.version_info < (3, 12), reason="needs __buffer__")
def test_a_buffer_is_asked_for_its_memory_once(path):
    code = """
    class Buffer:
        asked = 0
        def __buffer__(self, flags):
            Buffer.asked += 1
            return memoryview(b"abcd"[: 5 - Buffer.asked])

    m = sharedmmap.open(path)
    m[0:8:2] = Buffer()
    print(m[0:8:2], Buffer.asked)
    """
    assert output(code, path) == "b'abcd' 1"


@pytest.mark.skipif(sys.version_info < (3, 12), reason="needs __buffer__")
@pytest.mark.parametrize("kind", [bytes, bytearray])
def test_a_subclass_that_shows_other_memory_than_its_own_is_taken_at_its_word(m, kind):
    shown = bytearray(b"shown")

    class Other(kind):
        def __buffer__(self, flags):
            return memoryview(shown)

    m[:5] = b"-----"
    assert m.write_at(Other(b"own"), 0) == 5
    assert m[:5] == b"shown"
    m[5:10] = Other(b"other")
    assert m[5:10] == b"shown"
    m[:5] = b"again"
    assert m.read_at(Other(b"other"), 0) == 5
    assert shown == b"again"


def outcomes(names, code, *args, setup):
    """What the child prints for each name, in order; where it dies, the list ends."""
    child = run(code, *args, setup=REPORTING + setup)
    found = dict(line.split(": ", 1) for line in child.stdout.splitlines())
    assert child.returncode == 0, (child.returncode, child.stderr, found)
    assert list(found) == list(names)
    return found


REPORTING = """
def report(name, call):
    print(name, end=": ", flush=True)
    try:
        print(call())
    except Exception as error:
        print(type(error).__name__)
"""

# ---- arguments that call back ----

CALLS_BACK = {
    "offset of read_at": "m.read_at(bytearray(8), Int())",
    "offset of a long read_at": "m.read_at(bytearray(2 << 20), Int())",
    "offset of read_at into an array": "m.read_at(array('d', [0]), Int())",
    "offset of write_at": "m.write_at(b'x' * 8, Int())",
    "offset of a long write_at": "m.write_at(bytearray(2 << 20), Int())",
    "offset of read_uint64_at": "m.read_uint64_at(Int())",
    "offset of write_uint64_at": "m.write_uint64_at(5, Int())",
    "value of write_uint64_at": "m.write_uint64_at(Int(), 0)",
    "value of write_int8_at": "m.write_int8_at(Int(), 0)",
    "value of write_float64_at": "m.write_float64_at(Float(), 0)",
    "value of write_float32_at": "m.write_float32_at(Float(), 0)",
    "index": "m[Int()]",
    "value of an item": "m.__setitem__(0, Int())",
    "slice": "m[Int() : 8]",
    "slice with a step": "m[Int() : 16 : 2]",
    "slice of an assignment": "m.__setitem__(slice(Int(), 8), b'x' * 8)",
    "offset of read_string_at": "m.read_string_at(Int(), 8)",
    "length of read_string_at": "m.read_string_at(0, Int(8))",
    "text of write_string_at": "m.write_string_at(Text('x' * 8), 0)",
    "offset of write_string_at": "m.write_string_at('x' * 8, Int())",
    "offset of read_array_at": "m.read_array_at('d', Int(), 1)",
    "count of read_array_at": "m.read_array_at('d', 0, Int(1))",
    "offset of write_array_at": "m.write_array_at(array('d', [1]), Int())",
    "offset of read_struct_at": "m.read_struct_at('dd', Int())",
    "value of write_struct_at": "m.write_struct_at('q', 0, Int())",
    "offset of write_struct_at": "m.write_struct_at('q', Int(), 0)",
    "bound of find": "m.find(b'x', Int())",
    "byte of fill": "m.fill(Int())",
    "length of fill": "m.fill(1, 0, Int(8))",
    "count of move": "m.move(8, 0, Int(8))",
    "offset of view": "m.view(Int(), 8)",
    "length of view": "m.view(0, Int(8))",
    "offset of stream": "m.stream(Int()).read()",
    "size of read": "s.read(Int(8))",
    "position of seek": "s.seek(Int())",
    "operand of an atomic": "a.fetch_add(Int(1))",
    "expected of an atomic": "a.compare_exchange(Int(), 1)",
    "offset of flush": "m.flush(Sync.SYNC, Int())",
    "offset of residency": "m.residency(Int(), 8)",
    "length of reserve": "m.reserve(Int(8))",
}
HAS_DUNDER_BUFFER = {
    "dest of read_at": "m.read_at(Buffer(), 0)",
    "src of write_at": "m.write_at(Buffer(), 0)",
    "values of write_array_at": "m.write_array_at(Buffer(), 0)",
    "value of a slice": "m.__setitem__(slice(8), Buffer())",
    "value of a slice with a step": "m.__setitem__(slice(0, 16, 2), Buffer())",
    "needle of find": "m.find(Buffer())",
    "needle of rfind": "m.rfind(Buffer())",
    "readinto": "s.readinto(Buffer())",
    "write": "s.write(Buffer())",
}
CALLING_BACK = """
from array import array
content = open(path, "rb").read()

def unmap():
    m.unmap()
    for _ in range(2):
        gc.collect()

class Int:
    def __init__(self, value=0):
        self.value = value

    def __index__(self):
        if not m.closed:
            unmap()
        return self.value

class Float(Int):
    def __float__(self):
        return float(self.__index__())

class Text(str):
    def encode(self, *args):
        unmap()
        return super().encode(*args)

class Buffer:
    def __buffer__(self, flags):
        unmap()
        return memoryview(bytearray(8))
"""


@pytest.mark.parametrize(
    "calls",
    [
        pytest.param(CALLS_BACK, id="number or text"),
        pytest.param(
            HAS_DUNDER_BUFFER,
            id="buffer",
            marks=pytest.mark.skipif(sys.version_info < (3, 12), reason="needs __buffer__"),
        ),
    ],
)
def test_an_argument_that_unmaps_ends_in_an_error(path, calls):
    code = f"""
    for name, call in {calls}.items():
        m = sharedmmap.open(path)
        s, a = m.stream(), m.atomic_uint64_at(0)
        m[0] = m[0]
        report(name, lambda: eval(call))
        assert m.closed and open(path, "rb").read() == content
    """
    assert outcomes(calls, code, path, setup=CALLING_BACK) == dict.fromkeys(calls, "UnmappedMemoryError")


SHRINKING = """
from array import array
from functools import partial

class Shrinks:
    def __init__(self, target, size):
        self.target, self.size = target, size

    def __index__(self):
        try:
            del self.target[:]
        except BufferError:
            pass
        gc.collect()
        self.others = [bytearray(b"o" * self.size) for _ in range(10)]
        return 0

class Bytearray(bytearray):
    pass

def copy(m, name, make, size):
    target = make(b"t" * size)
    shrinks = Shrinks(target, size)
    try:
        done = getattr(m, name)(target, shrinks)
    except (BufferError, ValueError):
        done = 0
    assert 0 <= done <= size
    assert all(other.count(b"o") == len(other) for other in shrinks.others), "others' memory was written"
    if len(target):
        assert done == size and m[:size] == bytes(target)
"""


@pytest.mark.parametrize("call", ["read_at", "write_at", "write_array_at"])
@pytest.mark.parametrize("kind", ["bytearray", "Bytearray", "partial(array, 'b')"])
def test_a_buffer_that_shrinks_meanwhile_is_not_overrun(path, kind, call):
    code = f"""
    m = sharedmmap.open(path)
    for size in (100, 5000, 2 << 20) * 3:
        copy(m, "{call}", {kind}, size)
    """
    child = run(code, path, setup=SHRINKING)
    assert (child.returncode, child.stderr) == (0, "")


# ---- trouble at every step ----

STEPS = """
from array import array
from io import BufferedReader
from itertools import count
new = b"n" * 100
content = bytes(i * i % 251 + 1 for i in range(200)) + new + bytes(2 * PAGE)

def tracing(left, trouble):
    def step(frame, event, arg):
        frame.f_trace_opcodes = True
        left[0] -= 1
        if left[0] == 0:
            sys.settrace(None)
            trouble()
        return step
    return step

def at_every_step(operation, trouble, errors, is_sound):
    for step in count(1):
        with open(path, "wb") as file:
            file.write(content)
        m, left = sharedmmap.open(path), [step]
        try:
            sys.settrace(tracing(left, lambda: trouble(m)))
            try:
                result = operation(m)
            finally:
                sys.settrace(None)
        except errors:
            assert left[0] <= 0
        else:
            if not is_sound(result):
                return f"unsound at step {step}: {result!r}"
        m.close()
        if left[0] > 0:
            return "sound" if step > 3 else "not tried"

def into(make):
    def read(m):
        dest = make()
        done = m.read_at(dest, 5)
        return bytes(dest)[:done]
    return read

def readinto(m):
    dest = bytearray(100)
    done = m.stream(5).readinto(dest)
    return bytes(dest[:done])

def unmap(m):
    m.unmap()

def truncate(m):
    os.truncate(path, 0)

def cut(m):
    os.truncate(path, PAGE)
    assert m.accessible == PAGE

def is_contents(result):
    return content[5:].startswith(result)

class Offset:
    def __index__(self):
        return 8

def is_value(result):
    return result == int.from_bytes(content[8:16], "little")

def has_arrived(done):
    return 0 < done and open(path, "rb").read()[5 : 5 + done] == new[:done]

def is_some(done):
    return 0 < done <= 100
"""
READS = {
    "read_at": "into(lambda: bytearray(100))",
    "read_at an array": "into(lambda: array('d', bytes(800)))",
    "slice": "lambda m: m[5:100]",
    "slice with a step": "lambda m: m[5:100][::-1][::-1]",
    "uint64": "lambda m: m.read_uint64_at(5).to_bytes(8, 'little')",
    "array": "lambda m: m.read_array_at('H', 5, 50).tobytes()",
    "struct": "lambda m: m.read_struct_at('40s', 5)[0]",
    "string": "lambda m: m.read_string_at(5, 40, encoding='latin-1').encode('latin-1')",
    "stream.read": "lambda m: m.stream(5).read(50)",
    "stream.readall": "lambda m: m.stream(5).readall()",
    "stream.readinto": "readinto",
    "buffered": "lambda m: BufferedReader(m.stream(5)).read(70)",
}
WRITES = {
    "write_at": "lambda m: m.write_at(new, 5)",
    "write_at an array": "lambda m: m.write_at(array('B', new), 5)",
    "slice": "lambda m: m.__setitem__(slice(5, 105), new) or 100",
    "array": "lambda m: m.write_array_at(bytearray(new), 5)",
    "struct": "lambda m: m.write_struct_at('100s', 5, new) or 100",
    "string": "lambda m: m.write_string_at(new.decode(), 5)",
    "stream.write": "lambda m: m.stream(5).write(new)",
    "stream.write an array": "lambda m: m.stream(5).write(array('B', new))",
    "fill": "lambda m: m.fill(ord('n'), 5, 100) or 100",
    "move": "lambda m: m.move(5, 200, 100) or 100",
    "uint64": "lambda m: m.write_uint64_at(int.from_bytes(b'n' * 8, 'little'), 5) or 8",
}


def tried(operations, trouble, errors, is_sound, path):
    code = f"""
    operations = {{{", ".join(f"{name!r}: {call}" for name, call in operations.items())}}}
    for name, operation in operations.items():
        report(name, lambda: at_every_step(operation, {trouble}, {errors}, {is_sound}))
    """
    return outcomes(operations, code, path, setup=STEPS)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("trouble", "errors"),
    [("unmap", "UnmappedMemoryError"), ("truncate", "(MappingFaultError, OutOfBoundsError)")],
)
def test_no_read_takes_lost_memory_for_the_contents_at_any_step(path, trouble, errors):
    assert tried(READS, trouble, errors, "is_contents", path) == dict.fromkeys(READS, "sound")


# Those with an Offset or a bool take the checked path.
VALUES = {
    "uint64": "lambda m: m.read_uint64_at(Offset())",
    "int64": "lambda m: m.read_int64_at(Offset()) % 2**64",
    "load": "lambda m: m.atomic_uint64_at(8).load()",
    "fetch_or": "lambda m: m.atomic_uint64_at(8).fetch_or(1)",
    "fetch_or of a bool": "lambda m: m.atomic_uint64_at(8).fetch_or(True)",
    "compare_exchange": "lambda m: m.atomic_uint64_at(8).compare_exchange(0, True)[1]",
    "half a word": "lambda m: m.atomic_uint32_at(12).exchange(True) << 32 | m.read_uint32_at(8)",
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("trouble", "errors"),
    [("unmap", "UnmappedMemoryError"), ("truncate", "(MappingFaultError, OutOfBoundsError)")],
)
def test_no_value_of_lost_memory_is_returned_at_any_step(path, trouble, errors):
    assert tried(VALUES, trouble, errors, "is_value", path) == dict.fromkeys(VALUES, "sound")


@pytest.mark.slow
def test_no_write_into_lost_memory_is_reported_as_done_at_any_step(path):
    found = tried(WRITES, "unmap", "UnmappedMemoryError", "has_arrived", path)
    assert found == dict.fromkeys(WRITES, "sound")


@pytest.mark.slow
def test_a_write_to_a_file_that_shrinks_at_any_step_is_done_or_says_why_not(path):
    found = tried(WRITES, "truncate", "(OSError, OutOfBoundsError)", "is_some", path)
    assert found == dict.fromkeys(WRITES, "sound")


# Over the first page's end.
ACROSS = {
    "slice": "lambda m: m.__setitem__(slice(PAGE - 50, PAGE + 50), new)",
    "slice with a step": "lambda m: m.__setitem__(slice(PAGE - 50, PAGE + 50, 2), new[:50])",
    "slice backwards": "lambda m: m.__setitem__(slice(PAGE + 50, PAGE - 50, -2), new[:50])",
    "array": "lambda m: m.write_array_at(bytearray(new), PAGE - 50)",
    "struct": "lambda m: m.write_struct_at('100s', PAGE - 50, new)",
    "fill": "lambda m: m.fill(7, PAGE - 50, 100)",
    "move there": "lambda m: m.move(PAGE - 50, 200, 100)",
    "move from there": "lambda m: m.move(5, PAGE - 50, 100)",
    "uint64": "lambda m: m.write_uint64_at(7, PAGE - 4)",
    "find": "lambda m: m.find(new[:50] + bytes(1))",
}


@pytest.mark.slow
def test_what_was_found_to_be_cut_off_at_any_step_is_out_of_bounds_and_no_lost_page(path):
    """The mapping is asked how much is accessible then, so no page that the file has not is touched. (On PyPy the
    check and the access are not one step, and the page may go between the two.)"""
    raised = (
        "OutOfBoundsError" if sys.implementation.name == "cpython" else "(OutOfBoundsError, MappingFaultError)"
    )
    found = tried(ACROSS, "cut", raised, "lambda done: True", path)
    assert found == dict.fromkeys(ACROSS, "sound")


SEARCHES = {name: f"lambda m: m.{name}(new, 1)" for name in ("find", "rfind")}


def test_a_search_is_right_or_raises_whatever_step_unmaps(path):
    found = tried(SEARCHES, "unmap", "UnmappedMemoryError", "(200).__eq__", path)
    assert found == dict.fromkeys(SEARCHES, "sound")


TAKES = {
    "read_at": lambda m, buffer: m.read_at(buffer, 0),
    "write_at": lambda m, buffer: m.write_at(buffer, 0),
    "write_array_at": lambda m, buffer: m.write_array_at(buffer, 0),
    "slice": lambda m, buffer: m.__setitem__(slice(0, 4), buffer),
    "find": lambda m, buffer: m.find(buffer),
    "rfind": lambda m, buffer: m.rfind(buffer),
    "in": lambda m, buffer: buffer in m,
    "stream read": lambda m, buffer: m.stream().readinto(buffer),
    "stream write": lambda m, buffer: m.stream().write(buffer),
}


@pytest.mark.parametrize("take", TAKES.values(), ids=TAKES)
def test_a_buffer_that_is_not_contiguous_is_a_buffer_error_everywhere(m, path, take):
    before = path.read_bytes()
    strided = [memoryview(bytearray(8))[::2], memoryview(bytearray(8))[::-2]]
    with contextlib.suppress(ImportError):
        import numpy

        strided += [numpy.zeros(8, "u1")[::2], numpy.zeros((2, 4), "u1")[:, :2]]
    for buffer in strided:
        with pytest.raises(BufferError):
            take(m, buffer)
    assert path.read_bytes() == before


def test_a_buffer_without_a_format_of_its_own_goes_everywhere(m):
    numpy = pytest.importorskip("numpy")
    dates = numpy.array(["2026-01-01", "2026-01-02"], "datetime64[D]")
    content = dates.tobytes()
    m[8:24] = dates
    assert m[8:24] == content
    assert m.find(dates) == m.rfind(dates) == 8
    assert dates in m
    stream = m.stream(100)
    assert stream.write(dates) == 16
    found = numpy.zeros(2, "datetime64[D]")
    stream.seek(0)
    assert stream.readinto(found) == 16
    assert (found == dates).all()
