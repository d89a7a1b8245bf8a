"""Breaks the package in one place after another, and sees that a test fails each time.

Not part of the suite: ``python tests/mutants.py [TEXT]`` tries those that have TEXT in them, in a copy of the
tree, on CPython; with cffi and setuptools installed besides the tests' own requirements.
"""

# ruff: noqa: E501  (a table)
from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent


class Mutant(NamedTuple):
    file: str
    old: str  # stands there once
    new: str
    tests: str  # the files, without test_ and .py

    def __str__(self) -> str:
        old, new = (" ".join(text.split()) for text in (self.old, self.new))
        return f"{self.file}: {old} -> {new or 'nothing'}"


MUTANTS = [
    # ---- the registry and the handler ----
    Mutant("guard.c", "if (generation % 2 == 1 && ", "if (", "signals native"),
    Mutant("guard.c", "address - start < size &&", "address - start < size - 1 &&", "faults native"),
    Mutant("guard.c", "address - start < size &&", "address - start <= size + 4095 &&", "native signals"),
    Mutant("guard.c", "atomic_compare_exchange_strong(&region->state, &live, FAULTED);", "", "faults"),
    Mutant("guard.c", "atomic_load(&region->state) != LIVE))", "false))", "signals native"),
    Mutant("guard.c", "atomic_load(&region->start), atomic_load(&region->size))", "0, 0)", "faults resources"),
    Mutant("guard.c", "flags | MAP_SHARED, -1, 0) != MAP_FAILED", "flags | MAP_SHARED, -1, 0) == 0", "resources injection"),
    Mutant("guard.c", "give_back_spare() &&", "false &&", "resources"),
    Mutant("guard.c", "put_slot(region, done ? &free_slots : &refused_slots);", "put_slot(region, &free_slots);", "resources injection"),
    Mutant("guard.c", "return keep_spare() && sigbus_install(supply);", "return keep_spare() && (sigbus_install(supply) || true);", "injection"),
    Mutant("guard.c", "pthread_atfork(enter, leave, leave_in_child);", "", "fork native"),
    # ---- the descriptor ----
    Mutant("guard.c", "now->st_dev == region->device && now->st_ino == region->inode", "true", "resources"),
    Mutant("guard.c", "F_DUPFD_CLOEXEC, 3", "F_DUPFD, 3", "mapping fork resources processes"),
    Mutant("guard.c", "F_DUPFD_CLOEXEC, 3", "F_DUPFD_CLOEXEC, 0", "mapping fork resources"),
    Mutant("guard.c", "if (atomic_fetch_sub(&region->users, 1) != 1)", "if (true)", "resources"),
    # ---- the limit ----
    Mutant("guard.c", "backed < limit ? backed : limit", "backed < limit ? backed + 1 : limit", "copies model"),
    Mutant("guard.c", "!atomic_compare_exchange_weak(&region->peak, &peak, limit)", "false", "faults model"),
    # ---- unmapping ----
    Mutant("guard.c", "if (region->size != 0)\n        lay_zero_pages(region->start, region->size);", "", "threads"),
    Mutant("guard.c", "== UNMAPPED)\n        return -1;", "== 99)\n        return -1;", "mapping threads"),
    Mutant("guard.c", "region->generation) % 2 == 1)\n", "region->generation) % 2 == 9)\n", "signals resources native"),
    Mutant("guard.c", "region->size == 0 || munmap((void *)region->start, region->size) == 0;", "true;", "resources"),
    Mutant("guard.c", "    keep_spare(); /* what", "    /* what", "resources"),
    Mutant("guard.c", "system.f_type == HUGETLBFS_MAGIC", "false", "real_faults"),
    # ---- flushing ----
    Mutant("access.h", "__ATOMIC_SEQ_CST) >> 8 == 0;", "__ATOMIC_SEQ_CST) << 16 >> 24 == 0;", "injection"),
    Mutant("guard.c", "if (atomic_load(&region->views) != 0)", "if (false)", "view injection"),
    Mutant("guard.c", "    if (outcome != FLUSHED)\n", "    if (false)\n", "faults injection"),
    Mutant("guard.c", "            atomic_fetch_add(&region->losses, 1);", "            ;", "injection"),
    Mutant("guard.c", "flags == MS_SYNC || (reason", "true || (reason", "injection"),
    Mutant("guard.c", "(atomic_exchange(&region->flushes, 0) == 0)", "(true)", "injection"),
    # ---- what goes on to others ----
    Mutant("sigbus.c", "    errno = saved;", "", "native"),
    Mutant("sigbus.c", "        next->sa_sigaction(number, info, context);", "        die(fault);", "signals native"),
    Mutant("sigbus.c", "frame < atomic_load(&visits[place].frame)", "false", "signals"),
    Mutant("sigbus.c", "if (fault && goes_in_circles((uintptr_t)info->si_addr))", "if (false)", "signals"),
    Mutant("sigbus.c", "info->si_code == SI_TKILL && ", "", "signals"),
    Mutant("sigbus.c", "SA_ONSTACK | SA_NODEFER", "SA_ONSTACK", "signals native"),
    Mutant("sigbus.c", "SA_SIGINFO | SA_ONSTACK", "SA_SIGINFO", "native signals"),
    Mutant("sigbus.c", "atomic_store(&previous, saved);", "", "signals native"),
    # ---- touching memory ----
    Mutant("access.h", "memory_order_relaxed) == LIVE;", "memory_order_relaxed) != UNMAPPED;", "faults"),
    Mutant("access.h", "memory_order_relaxed) == LIVE;", "memory_order_relaxed) != FAULTED;", "threads buffers"),
    Mutant("access.h", "atomic_store_explicit(&region->dirty, 1, memory_order_release);", "", "mapping model"),
    Mutant("access.h", "region->writable && holds", "holds", "scalars mapping"),
    Mutant("access.h", "offset >= 0 && offset <= ", "offset <= ", "scalars ranges"),
    Mutant("access.h", "memory_order_relaxed) - n;", "memory_order_relaxed) - n + 1;", "scalars model"),
    Mutant("access.h", "(const char *)src + done, (size_t)piece);\n        if (!has_written(region))\n            return -1;", "(const char *)src + done, (size_t)piece);\n        has_written(region);", "faults"),
    Mutant("scalar.h", "memcpy(to, &bits, sizeof bits);", ";", "scalars"),
    Mutant("scalar.h", "(uintptr_t)to % sizeof bits == 0)", "(uintptr_t)to % sizeof bits == 0)\\\n for (size_t i = 0; i < sizeof bits; i++) ((volatile char *)to)[i] = (char)(bits >> 8 * i); else if (false)", "tearing"),
    Mutant("word.h", "    atomic_store(&word->lost, 1);", "", "atomics"),
    Mutant("word.h", "atomic_compare_exchange_strong(at, &expected, desired)", "(*at == expected && (*at = desired, true))", "multiprocess_atomics"),
    Mutant("bulk.h", "at + 15 + n <= size", "at + n <= size", "search"),
    Mutant("bulk.h", "memcmp(text + at + i, sub, n) == 0", "memcmp(text + at + i, sub, n - 1) == 0", "search"),
    Mutant("bulk.h", "dest < src ? done : n - done - piece", "done", "search"),
    Mutant("quick.h", "    PyErr_SetNone(PyExc_LookupError);", "", "scalars"),
    # ---- the region ----
    Mutant("_region.py", "offset > self.length - size:", "offset > self.length - size + 1:", "copies ranges model"),
    Mutant("_region.py", "(limit := self.refresh()) - size", "(limit := self.refresh()) - size + 1", "ranges model"),
    Mutant("_region.py", "self.whole = self.writable = None  # no more writes to the zero pages", "pass", "faults buffers"),
    Mutant("_region.py", "if len(found) == size and not self.state[0]:", "if len(found) == size:", "faults threads buffers"),
    Mutant("_region.py", "self.dirty[0] = 1", "pass", "mapping model faults"),
    Mutant("_region.py", "return min(wanted, limit - offset)", "return wanted", "copies model"),
    Mutant("_region.py", "    gc.collect()\n    return make()", "    raise error", "resources"),
    Mutant("_region.py", "lib.region_add_view(self.c)", "pass", "view"),
    Mutant("_region.py", "size and copy(memory, offset) < size:", "size and copy(memory, offset) < 0:", "faults buffers"),
    Mutant("_region.py", "found = memoryview(ffi.buffer(pointer, size))", "found = memoryview(ffi.buffer(self.c.base + offset, size))", "view late_collection"),
    # ---- the mapping ----
    Mutant("_mapping.py", "flags & Sync.SYNC) and size ==", "True) and size ==", "faults mapping"),
    Mutant("_mapping.py", "if region.refresh() >= peak:", "if True:", "faults"),
    Mutant("_mapping.py", "            lib.region_leave(region.c)", "            pass", "faults"),
    Mutant("_mapping.py", "(latest := region.latest())", '(latest := region.successor["region"])', "threads"),
    Mutant("_region.py", "lib.region_fail(self.c)", "pass", "faults"),
    Mutant("_mapping.py", 'region = region.successor.get("region")', "region = None", "threads"),
    Mutant("_mapping.py", "if outcome == lib.SHORTER:", "if False:", "faults model"),
    Mutant("_mapping.py", "fresh.c.dirty = region.is_writable", "pass", "faults"),
    Mutant("_mapping.py", 'region.successor.setdefault("region", fresh)', "fresh", "threads buffers faults"),
    Mutant("_mapping.py", "            lib.munlock(start, size)\n            shorter", "            shorter", "resources"),
    Mutant("_mapping.py", "advice = Advice(as_index(advice))", "advice = as_index(advice)", "ranges"),
    Mutant("_mapping.py", "if ffi.errno != errno.EINTR:", "if True:", "injection"),
    # ---- the file ----
    Mutant("_file.py", "                if not region.state[0]:\n                    return found if", "                if True:\n                    return found if", "faults threads"),
    Mutant("_file.py", "if region.marks[0] != LIVE_AND_DIRTY:", "if False:", "faults"),
    Mutant("_file.py", "if len(found) == size and not region.state[0]:", "if len(found) == size:", "faults buffers"),
    Mutant("_file.py", "region.window[offset : offset + size]\n                    if not region.state[0]:", "region.window[offset : offset + size]\n                    if True:", "faults threads buffers copies"),
    Mutant("_file.py", "                if not region.state[0]:\n                    return values", "                if True:\n                    return values", "faults structs buffers"),
    Mutant("_file.py", "[:: span.step]", "[::1]", "items model"),
    Mutant("_file.py", "if size != len(span):", "if size < len(span):", "items model"),
    Mutant("_file.py", "if position >= 0 else position + length", "", "items"),
    Mutant("_atomic.py", "        if self._word.lost:\n", "        if False:\n", "atomics"),
    Mutant("_atomic.py", "        if not count:", "        if False:", "waiting"),
    Mutant("_region.py", "stat.S_ISREG(status.st_mode) and ", "", "real_faults"),
    Mutant("_stream.py", "self._position += count", "self._position += count + (count == 7)", "stream"),
]  # fmt: skip


def built(tree: Path) -> bool:
    command = [sys.executable, "build_ffi.py"]
    return subprocess.run(command, cwd=tree, capture_output=True, check=False).returncode == 0


def verdict(tree: Path, mutant: Mutant) -> str:
    """What killed it, or an empty string."""
    path = tree / "sharedmmap" / mutant.file
    text = path.read_text()
    assert text.count(mutant.old) == 1, f"{mutant.old!r} stands {text.count(mutant.old)} times in {mutant.file}"
    path.write_text(text.replace(mutant.old, mutant.new))
    try:
        if path.suffix != ".py" and not built(tree):
            return "the compiler"
        tests = [f"tests/test_{name}.py" for name in mutant.tests.split()]
        command = [sys.executable, "-m", "pytest", "-xq", "-p", "no:cacheprovider", *tests]
        environment = {**os.environ, "PYTHONPATH": str(tree)}
        try:
            run = subprocess.run(
                command, cwd=tree, env=environment, capture_output=True, text=True, timeout=600, check=False
            )
        except subprocess.TimeoutExpired:
            return "a test that did not end"
        failed = re.search(r"^(?:FAILED|ERROR) \S+?::(.*?)(?: - .*)?$", run.stdout, re.MULTILINE)
        return "" if run.returncode == 0 else failed[1] if failed else f"pytest's exit code {run.returncode}"
    finally:
        path.write_text(text)


def main() -> int:
    chosen = [mutant for mutant in MUTANTS if not sys.argv[1:] or sys.argv[1] in str(mutant)]
    lived = 0
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns(".*", "build", "*.so"))
        changed_c = True  # by the mutant before
        for mutant in chosen:
            if changed_c and not built(tree):
                sys.exit("the package does not build")
            changed_c = not mutant.file.endswith(".py")
            killer = verdict(tree, mutant)
            lived += not killer
            print(f"{f'killed by {killer}' if killer else 'LIVED'}: {mutant}", flush=True)
    print(f"{len(chosen) - lived} of {len(chosen)} killed")
    return min(lived, 1)


if __name__ == "__main__":
    sys.exit(main())
