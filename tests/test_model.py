"""A mapping against a ``bytearray``: whatever the order of operations, both end up the same.

The machine cuts the file under its mapping, so it runs in a process of its own: this file, as a script.
"""

from __future__ import annotations

import mmap
import os
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

import sharedmmap
from sharedmmap import MappingFaultError, OutOfBoundsError, Sync, UnmappedMemoryError

PAGE = mmap.PAGESIZE
CAPACITY = 4 * PAGE
SCALARS = {
    "int8": ("<b", st.integers(-(2**7), 2**7 - 1)),
    "uint16": ("<H", st.integers(0, 2**16 - 1)),
    "int32": ("<i", st.integers(-(2**31), 2**31 - 1)),
    "uint64": ("<Q", st.integers(0, 2**64 - 1)),
    "float32": ("<f", st.floats(width=32, allow_nan=False)),
    "float64": ("<d", st.floats(allow_nan=False)),
}

# Mostly near the edges, where the mistakes are.
EDGES = st.sampled_from([0, PAGE - 8, PAGE, 2 * PAGE - 3, 3 * PAGE, CAPACITY - 8, CAPACITY])
POSITIONS = st.integers(0, CAPACITY + 8) | st.builds(lambda edge, by: max(0, edge + by), EDGES, st.integers(-9, 9))
BOUNDS = st.none() | POSITIONS | POSITIONS.map(lambda position: position - CAPACITY)
SLICES = st.builds(slice, BOUNDS, BOUNDS, st.none() | st.sampled_from([1, 2, 7, PAGE, -1, -3]))
BYTES = st.builds(
    lambda piece, times: piece * times, st.binary(min_size=1, max_size=40), st.sampled_from([1, 3, 200])
)
WRAPS = st.sampled_from([bytes, bytearray, memoryview])


class Model(RuleBasedStateMachine):
    """``file`` is what the file holds. ``peak`` is how much was accessible since the last complete flush."""

    @initialize(offset=st.sampled_from([0, 1, 100, PAGE - 1, PAGE, PAGE + 7]), size=st.integers(0, 3 * PAGE))
    def start(self, offset, size):
        self.directory = tempfile.TemporaryDirectory()
        self.path = Path(self.directory.name, "file")
        self.offset = offset
        self.file = bytearray(i * 31 % 251 for i in range(offset + size))
        self.path.write_bytes(self.file)
        self.open()

    def open(self):
        self.m = sharedmmap.open(self.path, offset=self.offset, capacity=CAPACITY)
        self.dirty = False
        self.peak = self.accessible

    def teardown(self):
        if hasattr(self, "m"):
            self.m.close()
            self.directory.cleanup()

    @property
    def accessible(self):
        return max(0, min(len(self.file) - self.offset, CAPACITY))

    def put(self, position, new):
        """Makes the model hold ``new`` at ``position`` of the mapping."""
        start = self.offset + position
        self.file[start : start + len(new)] = new
        self.dirty = True

    def get(self, position, size):
        start = self.offset + position
        return bytes(self.file[start : start + size])

    # ---- copies ----

    @rule(position=POSITIONS, new=BYTES, wrap=WRAPS)
    def write(self, position, new, wrap):
        if position >= self.accessible:
            with pytest.raises(OutOfBoundsError):
                self.m.write_at(wrap(new), position)
        else:
            count = min(len(new), self.accessible - position)
            assert self.m.write_at(wrap(new), position) == count
            self.put(position, new[:count])

    @rule(position=POSITIONS, size=st.integers(1, 2 * PAGE), wrap=WRAPS)
    def read(self, position, size, wrap):
        dest = bytearray(b"#" * size)
        view = dest if wrap is bytearray else memoryview(dest)
        if position >= self.accessible:
            with pytest.raises(OutOfBoundsError):
                self.m.read_at(view, position)
            assert dest == b"#" * size
        else:
            count = min(size, self.accessible - position)
            assert self.m.read_at(view, position) == count
            assert dest == self.get(position, count).ljust(size, b"#")

    @rule(position=POSITIONS, text=st.text("aé€😀", min_size=1, max_size=20))
    def write_string(self, position, text):
        if position >= self.accessible:
            with pytest.raises(OutOfBoundsError):
                self.m.write_string_at(text, position)
        else:
            while len(text.encode()) > self.accessible - position:
                text = text[:-1]
            assert self.m.write_string_at(text, position) == len(text.encode())
            if text:
                self.put(position, text.encode())
                assert self.m.read_string_at(position, len(text.encode())) == text

    # ---- slices and items ----

    @rule(key=SLICES)
    def read_slice(self, key):
        positions = range(CAPACITY)[key]
        if any(position >= self.accessible for position in positions):
            with pytest.raises(OutOfBoundsError):
                self.m[key]
        else:
            assert self.m[key] == bytes(self.file[self.offset + position] for position in positions)

    @rule(key=SLICES, fill=st.integers(0, 255), wrap=WRAPS)
    def write_slice(self, key, fill, wrap):
        positions = range(CAPACITY)[key]
        new = bytes((fill + i) % 256 for i in range(len(positions)))
        with pytest.raises(ValueError, match="cannot be assigned"):
            self.m[key] = wrap(new + b"!")
        if any(position >= self.accessible for position in positions):
            with pytest.raises(OutOfBoundsError):
                self.m[key] = wrap(new)
        else:
            self.m[key] = wrap(new)
            for position, byte in zip(positions, new):
                self.put(position, bytes([byte]))
            self.dirty = self.dirty or self.m.dirty  # assigning nothing may count as a write

    @rule(position=POSITIONS, byte=st.integers(0, 255), negative=st.booleans())
    def item(self, position, byte, negative):
        i = position - CAPACITY if negative else position
        if position >= self.accessible:
            for access in (lambda: self.m[i], lambda: self.m.__setitem__(i, byte)):
                if not (negative and i >= 0):  # those count from the start again
                    with pytest.raises(OutOfBoundsError):
                        access()
        else:
            assert self.m[i] == self.get(position, 1)[0]
            self.m[i] = byte
            self.put(position, bytes([byte]))

    # ---- single values ----

    @rule(position=POSITIONS, name=st.sampled_from(sorted(SCALARS)), data=st.data())
    def scalar(self, position, name, data):
        code, values = SCALARS[name]
        value = data.draw(values)
        read, write = getattr(self.m, f"read_{name}_at"), getattr(self.m, f"write_{name}_at")
        packed = struct.pack(code, value)
        if position > self.accessible - len(packed):
            for access in (lambda: read(position), lambda: write(value, position)):
                with pytest.raises(OutOfBoundsError):
                    access()
        else:
            before = self.get(position, len(packed))
            assert struct.pack(code, read(position)) == before or "float" in name  # which may be a NaN
            write(value, position)
            self.put(position, packed)
            assert read(position) == value

    # ---- the size of the file ----

    @rule(size=POSITIONS, beyond=st.integers(0, PAGE))
    def grow(self, size, beyond):
        """By somebody else, unannounced."""
        self.extend(self.offset + size + beyond)

    def extend(self, size):
        self.file.extend(bytes(max(0, size - len(self.file))))
        os.truncate(self.path, len(self.file))

    @rule(length=POSITIONS)
    def reserve(self, length):
        if length > CAPACITY:
            with pytest.raises(OutOfBoundsError):
                self.m.reserve(length)
            return
        self.m.reserve(length)
        if length:
            self.file.extend(bytes(max(0, self.offset + length - len(self.file))))

    @rule(size=POSITIONS)
    def shrink(self, size):
        """By somebody else, and noticed before the next access."""
        self.cut(min(len(self.file), self.offset + size))
        assert self.m.accessible == self.accessible

    def cut(self, size):
        assert self.m.accessible == self.accessible
        self.peak = max(self.peak, self.accessible)
        os.truncate(self.path, size)
        del self.file[size:]

    @rule(data=st.data(), writing=st.booleans())
    def fault(self, data, writing):
        """By somebody else, and noticed by the access to a page that is gone."""
        self.extend(self.offset + 2 * PAGE)
        size = data.draw(st.integers(0, self.offset + self.accessible - PAGE - 1), label="size")
        gone = max(0, -(-size // PAGE) * PAGE - self.offset)
        position = data.draw(st.integers(gone, self.accessible - 1), label="position")
        self.cut(size)
        for access in (
            (lambda: self.m.write_at(b"x", position)) if writing else (lambda: self.m.read_uint8_at(position)),
            lambda: self.m[0],
            lambda: self.m.write_uint8_at(1, 0),
            lambda: self.m.accessible,
            lambda: self.m.flush(),
        ):
            with pytest.raises(MappingFaultError, match=f"{size} bytes long"):
                access()
        assert "faulted" in repr(self.m)
        self.m.restore()
        self.dirty = True
        self.peak = self.accessible

    @rule()
    def restore(self):
        """Where there was no fault, and the file is no shorter than it was, it changes nothing."""
        self.m.restore()
        self.dirty = self.dirty or self.accessible < self.peak
        self.peak = self.accessible

    # ---- flush, close ----

    @rule(
        args=st.sampled_from(
            [(), (Sync.SYNC,), (Sync.SYNC, 0, CAPACITY), (Sync.ASYNC,), (Sync.SYNC, PAGE), (Sync.SYNC, 0, 5)]
        )
    )
    def flush(self, args):
        complete = args in [(), (Sync.SYNC,), (Sync.SYNC, 0, CAPACITY)]
        if self.dirty and self.accessible < self.peak:
            with pytest.raises(MappingFaultError, match=f"backs {self.accessible} of the {self.peak} bytes"):
                self.m.flush(*args)
        else:
            self.m.flush(*args)
            if complete and self.dirty:
                self.dirty = False
                self.peak = self.accessible

    @precondition(lambda self: len(self.file) >= self.offset and len(self.file) <= self.offset + CAPACITY)
    @rule(unmap=st.booleans())
    def close_and_reopen(self, unmap):
        (self.m.unmap if unmap else self.m.close)()
        for access in (lambda: self.m[0], lambda: self.m.write_at(b"x", 0), lambda: self.m.flush(), self.m.unmap):
            with pytest.raises(UnmappedMemoryError):
                access()
        self.open()

    # ---- always ----

    @invariant()
    def the_file_holds_what_the_model_holds(self):
        if hasattr(self, "m"):
            assert self.path.read_bytes() == self.file

    @invariant()
    def it_is_dirty_as_long_as_something_is_owed(self):
        if hasattr(self, "m"):
            assert self.m.dirty == self.dirty
            assert not self.m.closed
            assert len(self.m) == CAPACITY


@pytest.mark.slow
def test_any_sequence_of_operations_agrees_with_a_bytearray():
    child = subprocess.run([sys.executable, __file__], capture_output=True, text=True, timeout=600, check=False)
    assert child.returncode == 0, child.stdout + child.stderr


if __name__ == "__main__":
    examples = int(sys.argv[1]) if len(sys.argv) > 1 else 120
    run_state_machine_as_test(
        Model,
        settings=settings(
            max_examples=examples,
            stateful_step_count=40,
            deadline=None,
            database=None,
            derandomize=len(sys.argv) == 1,
            suppress_health_check=list(HealthCheck),
        ),
    )
