"""Breaks the package in one place after another, and sees that a test fails each time.

Not part of the suite: ``python tests/mutants.py [TEXT]``, on CPython from 3.12 on (which has ``__buffer__``), tries
those that have TEXT in them, in a copy of the tree; with cffi and setuptools installed besides the tests' own
requirements. Those that only PyPy shows are tried with the first ``pypy3`` on the path, if it has these too.

Left out is what nobody could see: what holds a second time what another line makes sure of (a slot that was never
mapped counts as unmapped, region_find() checks the bounds it was just given, region_scatter() that its lowest offset
is not negative).
"""

# ruff: noqa: E501  (a table)
from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
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
    # ---- region.c: faults ----
    Mutant("csrc/region.c", "atomic_compare_exchange_strong(&region->fault, &none, address);", ";", "faults"),
    Mutant("csrc/region.c", "while (state <= LIVE_FENCED && !atomic_compare_exchange_weak(&region->state, &state, FAULTED))", "while (false)", "faults"),
    Mutant("csrc/region.c", "while (state <= LIVE_FENCED && !", "while (!", "injection native"),
    Mutant("csrc/region.c", "(!certain && (atomic_load(&region->state) > LIVE_FENCED || page_is_there(address)))", "false", "signals native"),
    Mutant("csrc/region.c", "fail(region, address) || replace_by_zero_pages(address / page * page, page)", "fail(region, address)", "injection"),
    Mutant("csrc/region.c", "replace_by_zero_pages(address / page * page, page)", "replace_by_zero_pages(address, page)", "injection"),
    # ---- region.c: mapping, and giving back ----
    Mutant("csrc/region.c", "    registry_remove(region);\n", "", "signals late_collection native"),
    Mutant("csrc/region.c", "size == 0 || munmap((void *)start, size) == 0;", "true;", "resources"),
    Mutant("csrc/region.c", "    give_back_again();\n    if", "    if", "injection"),
    Mutant("csrc/region.c", "        *at = region->next;\n        registry_put_slot(region);", "        *at = region->next;", "injection"),
    Mutant("csrc/region.c", "        region->next = not_given_back;\n        not_given_back = region;", "", "injection"),
    Mutant("csrc/region.c", "        atomic_store(&region->size, 0);\n", "", "injection"),
    Mutant("csrc/region.c", "!prepare_overlays() || ", "(prepare_overlays(), false) || ", "injection"),
    Mutant("csrc/region.c", "!sigbus_install(supply_page))", "(sigbus_install(supply_page), false))", "injection"),
    Mutant("csrc/region.c", "        if (size != 0)\n            munmap(start, size);\n", "", "injection resources"),
    Mutant("csrc/region.c", "        atomic_store(&region->dirty, 0);\n        atomic_store(&region->flushes", "        atomic_store(&region->flushes", "mapping model"),
    Mutant("csrc/region.c", "        atomic_store(&region->peak, 0);\n", "", "ranges injection model"),
    Mutant("csrc/region.c", "        atomic_store(&region->fault, 0);\n", "", "faults injection"),
    Mutant("csrc/region.c", "((size_t)(lead + length) + page - 1) / page * page", "(size_t)(lead + length)", "real_faults"),
    Mutant("csrc/region.c", "descriptor_status(old, &status) != 0\n", "false\n", "resources"),
    # ---- region.c: the end ----
    Mutant("csrc/region.c", "return first ? 0 : -1;", "return 0;", "mapping threads"),
    Mutant("csrc/region.c", "    overlay(region); /* where", "    /* where", "threads"),
    Mutant("csrc/region.c", "    descriptor_detach(region);\n    return first", "    return first", "resources mapping"),
    Mutant("csrc/region.c", "        fail(region, (uintptr_t)region->base);", "        ;", "faults"),
    Mutant("csrc/region.c", "    region_unmap(region);\n    liveness_close", "    liveness_close", "resources"),
    Mutant("csrc/region.c", "    prepare_overlays(); /* at", "    /* at", "resources"),
    # ---- region.c: the limit ----
    Mutant("csrc/region.c", "!atomic_compare_exchange_weak(&region->peak, &peak, limit)", "false", "faults model"),
    Mutant("csrc/region.c", "    if (atomic_load(&region->state) > LIVE_FENCED)\n        atomic_store(&region->limit, limit = 0);\n", "", "injection"),
    Mutant("csrc/region.c", "backed < 0 ? 0 : ", "", "mapping ranges"),
    Mutant("csrc/region.c", "backed < region->length ? backed : region->length", "backed < region->length ? backed + 1 : region->length", "copies model"),
    Mutant("csrc/region.c", "backed < region->length ? backed : region->length", "backed", "mapping"),
    Mutant("csrc/region.c", "pthread_mutex_lock(&region->asking);", "pthread_mutex_trylock(&region->asking);", "injection"),
    Mutant("csrc/region.c", "    if (region->regular) {", "    if (true) {", "mapping"),
    Mutant("csrc/region.c", "else if (errno != EBADF)", "else", "mapping"),
    Mutant("csrc/region.c", "else if (errno != EBADF)", "else if (false)", "injection"),
    Mutant("csrc/region.c", "    if (limit >= 0)\n        limit = store_limit", "    limit = store_limit", "injection"),
    Mutant("csrc/region.c", "status.regular ? status.size : -1", "status.size", "real_faults"),
    # ---- region.c: system calls ----
    Mutant("csrc/region.c", "    if (descriptor_status(region, &status) != 0)\n        failed", "    if (false)\n        failed", "resources"),
    Mutant("csrc/region.c", "length != 0 && allocate(", "allocate(", "ranges"),
    Mutant("csrc/region.c", "result != 0 || !is_live(region)", "result != 0", "resources threads injection"),
    Mutant("csrc/region.c", "result != 0 || !is_live(region)", "!is_live(region)", "resources injection"),
    Mutant("csrc/region.c", "    if (complete)\n", "    if (true)\n", "ranges"),
    Mutant("csrc/region.c", "    if (complete)\n        atomic_store(&region->dirty, 0);\n", "", "ranges"),
    Mutant("csrc/region.c", "    if (outcome != FLUSHED)\n        atomic_store(&region->dirty, 1);\n", "    atomic_store(&region->dirty, outcome != FLUSHED || !complete);\n", "injection"),
    Mutant("csrc/region.c", "if (atomic_load(&region->views) != 0)", "if (false)", "view injection"),
    Mutant("csrc/region.c", "pthread_mutex_lock(&region->flushing);", "pthread_mutex_trylock(&region->flushing);", "injection"),
    Mutant("csrc/region.c", "flags == MS_SYNC || (reason", "true || (reason", "injection"),
    Mutant("csrc/region.c", " && reason != EBUSY", "", "injection"),
    Mutant("csrc/region.c", "            atomic_fetch_add(&region->losses, 1);", "            ;", "injection"),
    Mutant("csrc/region.c", "atomic_load(&region->losses) != losses", "false", "injection"),
    Mutant("csrc/region.c", "limit < 0 ? NOT_ASKED : ", "", "injection"),
    Mutant("csrc/region.c", "limit < peak ? SHORTER", "false ? SHORTER", "faults"),
    Mutant("csrc/region.c", "    if (outcome != FLUSHED)\n", "    if (false)\n", "faults injection"),
    Mutant("csrc/region.c", "    errno = reason;\n    return outcome;", "    return outcome;", "injection"),
    Mutant("csrc/region.c", "        atomic_store(&region->dirty, 1);\n    }\n    return region->base", "    }\n    return region->base", "view"),
    Mutant("csrc/region.c", "        atomic_fetch_sub(&region->views, 1);", "        ;", "view"),
    # ---- registry.c ----
    Mutant("csrc/registry.c", "if (generation % 2 == 1 && ", "if (", "signals native"),
    Mutant("csrc/registry.c", "address - start < size &&", "address - start < size - 1 &&", "faults native"),
    Mutant("csrc/registry.c", "address - start < size &&", "address - start <= size + 4095 &&", "native signals"),
    Mutant("csrc/registry.c", " && atomic_load(&region->generation) == generation)", ")", "native"),
    Mutant("csrc/registry.c", "    if (atomic_load(&region->generation) % 2 == 1)\n        atomic", "    atomic", "signals resources native injection"),
    Mutant("csrc/descriptor.c", "pthread_atfork(registry_lock, registry_unlock, put_right_in_child);", "", "injection native"),
    Mutant("csrc/descriptor.c", "    }\n    registry_unlock();\n}\n\n/* When", "    }\n}\n\n/* When", "fork native"),
    # ---- descriptor.c ----
    Mutant("csrc/descriptor.c", "track ? fcntl(fd, F_DUPFD_CLOEXEC, 3)", "track ? fcntl(fd, F_DUPFD, 3)", "mapping resources"),
    Mutant("csrc/descriptor.c", "track ? fcntl(fd, F_DUPFD_CLOEXEC, 3)", "track ? fcntl(fd, F_DUPFD_CLOEXEC, 0)", "mapping resources"),
    Mutant("csrc/descriptor.c", "atomic_fetch_add(&descriptors, track);", "atomic_fetch_add(&descriptors, 1);", "resources injection"),
    Mutant("csrc/descriptor.c", "status->device == region->device && status->inode == region->inode", "true", "resources"),
    Mutant("csrc/descriptor.c", "status_of(region, *fd, &now) == 0 || errno != EBADF", "true", "resources"),
    Mutant("csrc/descriptor.c", "status_of(region, *fd, &now) == 0 || errno != EBADF", "status_of(region, *fd, &now) == 0", "injection"),
    Mutant("csrc/descriptor.c", "    *fd = -1;\n", "", "resources"),
    Mutant("csrc/descriptor.c", "    listed = region;\n", "", "injection"),
    Mutant("csrc/descriptor.c", "    if (region->calls == 0 && region->detached)", "    if (false)", "injection"),
    Mutant("csrc/descriptor.c", "    if (region->calls == 0 && region->detached)", "    if (region->calls == 0)", "mapping"),
    Mutant("csrc/descriptor.c", "    region->calls--;\n    end_call(region);", "    region->calls--;", "injection native"),
    Mutant("csrc/descriptor.c", "    region->detached = true;\n", "", "injection"),
    Mutant("csrc/descriptor.c", "    if (region->calls == 0)\n        close_descriptor", "    close_descriptor", "injection"),
    Mutant("csrc/descriptor.c", "        region->calls = 0;\n", "", "injection"),
    Mutant("csrc/descriptor.c", "        pthread_mutex_init(&region->asking, NULL);\n", "", "injection"),
    Mutant("csrc/descriptor.c", "        pthread_mutex_init(&region->flushing, NULL);\n", "", "injection"),
    Mutant("csrc/descriptor.c", "        if (atomic_exchange(&region->flushes, 0) != 0)\n            atomic_store(&region->dirty, 1);\n", "", "injection"),
    Mutant("csrc/descriptor.c", "if (atomic_exchange(&region->flushes, 0) != 0)", "if (atomic_load(&region->flushes) != 0)", "injection"),
    # ---- overlay.c ----
    Mutant("csrc/overlay.c", "atomic_load(&fences_demanded) ? LIVE_FENCED : LIVE;", "LIVE;", "injection native"),
    Mutant("csrc/overlay.c", "    atomic_compare_exchange_strong(&region->state, &live, LIVE_FENCED);", "    (void)live;", "injection native"),
    Mutant("csrc/overlay.c", "if (atomic_load(&fences_in_force) || memory_barrier_on_every_thread())", "if (true)", "native"),
    Mutant("csrc/overlay.c", "if (atomic_load(&fences_in_force) || memory", "if (memory", "native"),
    Mutant("csrc/overlay.c", "    registry_each(demand_fence);\n", "", "injection native"),
    Mutant("csrc/overlay.c", "    wait_for_accesses_under_way(); /*", "    /*", "native"),
    Mutant("csrc/overlay.c", "    pass_barrier();\n", "", "native"),
    Mutant("csrc/overlay.c", "if (!register_memory_barrier())", "if (false)", "injection native"),
    Mutant("csrc/overlay.c", "    if (page == MAP_FAILED)\n        return false;", "", "injection"),
    Mutant("csrc/overlay.c", "    return keep_spare();", "    return keep_spare() || true;", "injection"),
    Mutant("csrc/overlay.c", "page != NULL && munmap(page, 1) == 0", "page != NULL", "resources injection"),
    Mutant("csrc/overlay.c", "(give_back_spare() && replace(start, size))", "false", "resources injection"),
    Mutant("csrc/overlay.c", "flags | MAP_SHARED, -1, 0) != MAP_FAILED", "flags | MAP_SHARED, -1, 0) == 0", "resources injection"),
    Mutant("csrc/overlay.c", "    atomic_store(&region->limit, 0);\n", "", "faults injection"),
    Mutant("csrc/overlay.c", "replace_by_zero_pages(atomic_load(&region->start), atomic_load(&region->size))", "replace_by_zero_pages(0, 0)", "faults resources"),
    # ---- platform.c ----
    Mutant("csrc/platform.c", "status->regular = S_ISREG(found.stx_mode);", "status->regular = true;", "mapping"),
    Mutant("csrc/platform.c", "system.f_type == HUGETLBFS_MAGIC", "false", "real_faults"),
    Mutant("csrc/platform.c", "fallocate(fd, 0, end - 1, 1) == 0", "ftruncate(fd, end) == 0", "injection"),
    Mutant("csrc/platform.c", "fallocate(fd, 0, end - 1, 1) == 0", "fallocate(fd, 0, now.size, end - now.size) == 0", "mapping"),
    Mutant("csrc/platform.c", "errno == EOPNOTSUPP || errno == ENOSYS ? append_zeros(fd, end) : -1", "-1", "injection"),
    Mutant("csrc/platform.c", "errno == EOPNOTSUPP || errno == ENOSYS ? append_zeros(fd, end) : -1", "append_zeros(fd, end)", "injection"),
    Mutant("csrc/platform.c", "append(fd, &chunk) < 0", "pwritev(fd, &chunk, 1, now.size) < 0", "native"),
    Mutant("csrc/platform.c", "missing < CHUNK ? (size_t)missing : CHUNK", "CHUNK", "injection"),
    Mutant("csrc/platform.c", "            result = -1;\n            break;", "            break;", "injection"),
    Mutant("csrc/platform.c", "return fallocate(fd, 0, offset, length); }", "return posix_fallocate(fd, offset, length); }", "injection"),
    Mutant("csrc/platform.c", "start, size, MLOCK_ONFAULT)", "start, size, 0)", "ranges"),
    # ---- sigbus.c ----
    Mutant("csrc/sigbus.c", " && info->si_code != BUS_MCEERR_AO", "", "native"),
    Mutant("csrc/sigbus.c", "    if (info->si_code > 0)\n        return info", "    if (false)\n        return info", "faults"),
    Mutant("csrc/sigbus.c", " || atomic_load(last) != note", "", "signals"),
    Mutant("csrc/sigbus.c", "is_fault(info) || atomic_load(last) != note", "true", "signals native"),
    Mutant("csrc/sigbus.c", "    atomic_store(last, note);\n", "", "signals native"),
    Mutant("csrc/sigbus.c", "info->si_code != SI_TKILL || ", "", "signals native"),
    Mutant("csrc/sigbus.c", " || info->si_pid != getpid()", "", "native"),
    Mutant("csrc/sigbus.c", "    if (!mended(info, context))", "    if (true)", "faults"),
    Mutant("csrc/sigbus.c", "        action->sa_sigaction(number, info, context);", "        ;", "signals native"),
    Mutant("csrc/sigbus.c", "        action->sa_handler(number);", "        ;", "signals native"),
    Mutant("csrc/sigbus.c", "is_fault(info) && has_special_mask(context)", "false", "native"),
    Mutant("csrc/sigbus.c", "    sigdelset(&blocked, SIGBUS);\n", "", "native"),
    Mutant("csrc/sigbus.c", "    pthread_sigmask(SIG_BLOCK, &blocked, &before);\n", "    pthread_sigmask(SIG_BLOCK, NULL, &before);\n", "native"),
    Mutant("csrc/sigbus.c", "    pthread_sigmask(SIG_SETMASK, &before, NULL);\n", "", "native"),
    Mutant("csrc/sigbus.c", "installed < mark->oldest", "true", "signals native"),
    Mutant("csrc/sigbus.c", "        return 0; /* leads", "        return entry; /* leads", "native"),
    Mutant("csrc/sigbus.c", "    mark->cycles++;\n", "", "native"),
    Mutant("csrc/sigbus.c", "marks[i].copy == previous || ", "", "native"),
    Mutant("csrc/sigbus.c", " && (mark == NULL || mark->cycles <= MOST_CYCLES)", "", "native"),
    Mutant("csrc/sigbus.c", "        done = !fault;", "        done = true;", "signals"),
    Mutant("csrc/sigbus.c", "        done = !fault;", "        done = false;", "signals"),
    Mutant("csrc/sigbus.c", "atomic_exchange(&next->spent, true)", "false", "native"),
    Mutant("csrc/sigbus.c", "        *mark = before;\n", "        ;\n", "native"),
    Mutant("csrc/sigbus.c", "    errno = saved;", "", "native"),
    Mutant("csrc/sigbus.c", "    pthread_sigmask(SIG_UNBLOCK, &set, NULL);\n", "", "native signals"),
    Mutant("csrc/sigbus.c", "    atomic_store(&handler->spent, false);\n", "", "native"),
    Mutant("csrc/sigbus.c", "    if (is_entry(&current))\n        return true;\n", "", "signals native"),
    Mutant("csrc/sigbus.c", "entry = latest % (ENTRIES - 1) + 1;", "entry = 0;", "signals native"),
    Mutant("csrc/sigbus.c", "    atomic_store(&previous[entry], handler);\n", "    if (entry == 0)\n        atomic_store(&previous[entry], handler);\n", "signals native"),
    Mutant("csrc/sigbus.c", "    atomic_store(&sequence[entry], ++installations);\n", "    atomic_store(&sequence[entry], installations = 1);\n", "signals native"),
    Mutant("csrc/sigbus.c", "SA_SIGINFO | SA_ONSTACK | SA_NODEFER", "SA_SIGINFO | SA_ONSTACK", "signals native"),
    Mutant("csrc/sigbus.c", "SA_SIGINFO | SA_ONSTACK | SA_NODEFER", "SA_SIGINFO | SA_NODEFER", "native"),
    # ---- access.h ----
    Mutant("csrc/access.h", "    if (state != LIVE_FENCED)\n        return state == LIVE;", "    if (state != LIVE_FENCED)\n        return state != UNMAPPED;", "faults"),
    Mutant("csrc/access.h", "    if (state != LIVE_FENCED)\n        return state == LIVE;", "    if (state != LIVE_FENCED)\n        return state != FAULTED;", "threads buffers"),
    Mutant("csrc/access.h", "    if (state != LIVE_FENCED)\n        return state == LIVE;", "    return state == LIVE;", "injection"),
    Mutant("csrc/access.h", "    atomic_thread_fence(memory_order_seq_cst);\n", "", "native"),
    Mutant("csrc/access.h", "    return atomic_load_explicit(&region->state, memory_order_relaxed) == LIVE_FENCED;", "    return true;", "native"),
    Mutant("csrc/access.h", "    atomic_store_explicit(&region->dirty, 1, memory_order_release);", "    ;", "mapping model"),
    Mutant("csrc/access.h", ">> 8 == 0;", "<< 16 >> 24 == 0;", "injection"),
    Mutant("csrc/access.h", ">> 8 == 0;", ">> 16 == 0;", "mapping model"),
    Mutant("csrc/access.h", "offset >= 0 && offset <= ", "offset <= ", "scalars items"),
    Mutant("csrc/access.h", "memory_order_relaxed) - n;", "memory_order_relaxed) - n + 1;", "scalars model"),
    Mutant("csrc/access.h", "region->writable && holds", "holds", "scalars mapping"),
    Mutant("csrc/access.h", "return holds(region, offset, n) ? ", "return true ? ", "items copies"),
    Mutant("csrc/access.h", "return may_write(region, offset, n) ? ", "return true ? ", "items copies mapping"),
    Mutant("csrc/access.h", "mark_dirty_and_check(region) : is_live(region)", "mark_dirty_and_check(region) : true", "faults"),
    Mutant("csrc/access.h", "mark_dirty_and_check(region) : is_live(region)", "(mark_dirty_and_check(region), true) : is_live(region)", "faults"),
    Mutant("csrc/access.h", "n - done < PIECE ? n - done : PIECE", "n - done", "faults copies"),
    Mutant("csrc/access.h", "backwards ? n - done - piece : done", "done", "search"),
    Mutant("csrc/access.h", "backwards ? n - done - piece : done", "n - done - piece", "search"),
    # ---- scalar.h ----
    Mutant("csrc/scalar.h", "        if (!holds(region, offset, BITS / 8))                                                              \\\n            return false;", "        if (false)                                                              \\\n            return false;", "scalars faults"),
    Mutant("csrc/scalar.h", "        if (!may_write(region, offset, BITS / 8))", "        if (!holds(region, offset, BITS / 8))", "copies"),
    Mutant("csrc/scalar.h", "        if ((uintptr_t)from % (BITS / 8) == 0)", "        if ((uintptr_t)from % (BITS / 8) == 0)\\\n            for (size_t i = 0; i < sizeof *bits; i++) ((volatile char *)bits)[i] = ((volatile const char *)from)[i];\\\n        else if (false)", "tearing"),
    Mutant("csrc/scalar.h", "        if ((uintptr_t)to % (BITS / 8) == 0)", "        if ((uintptr_t)to % (BITS / 8) == 0)\\\n            for (size_t i = 0; i < sizeof bits; i++) ((volatile char *)to)[i] = (char)(bits >> 8 * i);\\\n        else if (false)", "tearing"),
    Mutant("csrc/scalar.h", "            memcpy(bits, from, BITS / 8);", "            *bits = 0;", "scalars"),
    Mutant("csrc/scalar.h", "            memcpy(to, &bits, BITS / 8);", "            ;", "scalars"),
    Mutant("csrc/scalar.h", "        return is_live(region);", "        return true;", "faults"),
    Mutant("csrc/scalar.h", "return mark_dirty_and_check(region) ? 0 : NOT_ACCESSIBLE;", "return mark_dirty_and_check(region), 0;", "faults"),
    Mutant("csrc/scalar.h", "return mark_dirty_and_check(region) ? 0 : NOT_ACCESSIBLE;", "return is_live(region) ? 0 : NOT_ACCESSIBLE;", "ranges mapping model"),
    Mutant("csrc/scalar.h", "    if (!isnan(narrow))", "    if (true)", "scalars"),
    Mutant("csrc/scalar.h", "    if (isnan(wide)) {", "    if (false) {", "scalars"),
    Mutant("csrc/scalar.h", "        if (payload != 0)", "        if (true)", "scalars"),
    Mutant("csrc/scalar.h", "!isinf(value) || isinf(wide)", "true", "scalars"),
    Mutant("csrc/scalar.h", "!isinf(value) || isinf(wide)", "!isinf(value)", "scalars"),
    # ---- bulk.h ----
    Mutant("csrc/bulk.h", "at + 15 + n <= size", "at + n <= size", "search"),
    Mutant("csrc/bulk.h", "memcmp(text + at + i, sub, n) == 0", "memcmp(text + at + i, sub, n - 1) == 0", "search"),
    Mutant("csrc/bulk.h", "high - middle + n - 1", "high - middle", "search"),
    Mutant("csrc/bulk.h", "at - region->base;\n    return is_live(region) ? found", "at - region->base;\n    return true ? found", "faults buffers search"),
    Mutant("csrc/bulk.h", "window *= 2;\n    }\n    return is_live(region) ? found", "window *= 2;\n    }\n    return true ? found", "faults buffers search"),
    Mutant("csrc/bulk.h", "(size_t)piece);\n        if (!mark_dirty_and_check(region))\n            return NOT_ACCESSIBLE;\n    }\n    return 0;\n}\n\n/* Byte", "(size_t)piece);\n        mark_dirty_and_check(region);\n    }\n    return 0;\n}\n\n/* Byte", "search"),
    Mutant("csrc/bulk.h", "n > 0 && !may_write(", "false && !may_write(", "buffers"),
    Mutant("csrc/bulk.h", "(last < offset ? offset : last) - low + 1", "1", "buffers"),
    Mutant("csrc/bulk.h", "region->base[offset + i * step]", "region->base[offset + i]", "items"),
    Mutant("csrc/bulk.h", "if (!mark_dirty_and_check(region)) /* each", "if (mark_dirty_and_check(region), false) /* each", "faults"),
    Mutant("csrc/bulk.h", " && holds(region, src, n)", "", "buffers search"),
    Mutant("csrc/bulk.h", "may_write(region, dest, n) && ", "", "buffers search"),
    # ---- word.h ----
    Mutant("csrc/word.h", "return holds(word->region, word->offset, size) ? word", "return true ? word", "atomics"),
    Mutant("csrc/word.h", "return may_write(word->region, word->offset, size) ? word", "return holds(word->region, word->offset, size) ? word", "atomics"),
    Mutant("csrc/word.h", "return mark_dirty_and_check(word->region) ? before", "return (mark_dirty_and_check(word->region), true) ? before", "atomics"),
    Mutant("csrc/word.h", "return mark_dirty_and_check(word->region) ? before", "return is_live(word->region) ? before", "atomics"),
    Mutant("csrc/word.h", "return is_live(word->region) ? value", "return true ? value", "atomics"),
    Mutant("csrc/word.h", "atomic_compare_exchange_strong((_Atomic TYPE *)(void *)at, &expected, desired);", "const TYPE seen = *(volatile TYPE *)at; if (seen == expected) *(volatile TYPE *)at = desired; expected = seen;", "multiprocess_atomics"),
    Mutant("csrc/word.h", "seen == expected ? mark_dirty_and_check(word->region) : is_live(word->region);", "is_live(word->region);", "atomics"),
    Mutant("csrc/word.h", "return live ? seen", "return true ? seen", "atomics"),
    Mutant("csrc/word.h", "    (void)atomic_load(at); /* finds", "    /* finds", "injection waiting"),
    Mutant("csrc/word.h", "return is_live(word->region) ? woken", "return true ? woken", "injection waiting"),
    # ---- waiting.c ----
    Mutant("csrc/waiting.h", "FUTEX_WAKE, count", "FUTEX_WAKE_PRIVATE, count", "waiting"),
    Mutant("csrc/waiting.c", ".flags = FUTEX_32}", ".flags = FUTEX_32 | FUTEX_PRIVATE_FLAG}", "waiting"),
    Mutant("csrc/waiting.c", "FUTEX_32 | FUTEX_PRIVATE_FLAG", "FUTEX_32", "waiting"),
    Mutant("csrc/waiting.c", "end < latest ? end : latest", "end", "injection"),
    Mutant("csrc/waiting.c", "errno == EAGAIN || errno == ETIMEDOUT || errno == EINTR)\n        return woken", "true)\n        return woken", "injection"),
    Mutant("_atomic.py", "                self._region.refresh()", "                pass", "waiting"),
    Mutant("csrc/waiting.c", "FUTEX_WAIT_BITSET, seen", "FUTEX_WAIT_BITSET_PRIVATE, seen", "injection"),
    Mutant("csrc/waiting.c", "    if (reason == ETIMEDOUT || reason == EINTR)\n        return false;\n", "", "injection waiting"),
    Mutant("csrc/waiting.c", "if (nanosleep(&step, NULL) != 0)", "if (nanosleep(&step, NULL) != 0 && false)", "injection"),
    Mutant("csrc/waiting.c", "if (atomic_load(at) != seen || !is_live(region))", "if (!is_live(region))", "injection"),
    Mutant("csrc/waiting.c", "    atomic_store(&region->ended, 1);\n", "", "injection"),
    Mutant("csrc/waiting.c", "if (atomic_load(&region->sleepers) != 0)\n        syscall", "if (false)\n        syscall", "waiting"),
    Mutant("csrc/region.c", "    wake_sleepers(region);\n    return overlay", "    return overlay", "waiting"),
    Mutant("csrc/region.c", "    wake_sleepers(region);\n    if (first)", "    if (first)", "waiting"),
    Mutant("_atomic.py", "span = min(2 * span, longest)", "pass", "waiting"),
    Mutant("_atomic.py", "span = min(2 * span, longest)", "span *= 2", "waiting"),
    Mutant("_atomic.py", "            elif left <= 0:", "            elif timeout is not None:", "waiting"),
    # ---- object.h ----
    Mutant("csrc/object.h", "return step == 1 || refuse();", "return true;", "items"),
    # These two show from Python 3.12 on.
    Mutant("csrc/object.h", "PyBytes_CheckExact(src)", "PyBytes_Check(src)", "buffers"),
    Mutant("csrc/object.h", "PyByteArray_CheckExact(src)", "PyByteArray_Check(src)", "buffers"),
    Mutant("csrc/object.h", "PyByteArray_CheckExact(object)", "PyByteArray_Check(object)", "buffers"),
    Mutant("csrc/object.h", "if (size >= PIECE || (wanted", "if ((wanted", "threads"),
    Mutant("csrc/object.h", "size < 0 || size >= PIECE || ", "size >= PIECE || ", "structs"),
    Mutant("csrc/object.h", "size < 0 || size >= PIECE || ", "size < 0 || ", "threads"),
    Mutant("csrc/object.h", "(region_read(region, offset, PyBytes_AsString(bytes), size) != 0 || !is_live(region))", "region_read(region, offset, PyBytes_AsString(bytes), size) != 0", "mapping items"),
    Mutant("csrc/object.h", "region_read(region, offset, PyBytes_AsString(bytes), size) != 0 || !is_live(region)", "(region_read(region, offset, PyBytes_AsString(bytes), size), false)", "faults"),
    Mutant("csrc/object.h", "PyErr_Occurred() || region_read(region, offset, &byte, 1) != 0", "PyErr_Occurred() || (region_read(region, offset, &byte, 1), false)", "faults"),
    Mutant("csrc/object.h", "exact_int((PyObject *)value, 8, true)", "exact_int((PyObject *)value, 16, true)", "items"),
    Mutant("csrc/object.h", "return PyErr_Occurred() ? refuse() : region_write(region, offset, &byte, 1);", "return PyErr_Occurred() ? refuse() : (region_write(region, offset, &byte, 1), 0);", "faults"),
    Mutant("csrc/object.h", "wanted != size)", "wanted > size)", "items"),
    Mutant("csrc/object.h", "wanted != size)", "wanted < size)", "items"),
    Mutant("csrc/object.h", "return write_object(region, start, (PyObject *)value, size) != 0 ? 0", "return (write_object(region, start, (PyObject *)value, size), true) ? 0", "faults"),
    Mutant("csrc/object.h", "size < PIECE && region_read(region, offset, PyByteArray", "region_read(region, offset, PyByteArray", "threads"),
    Mutant("csrc/object.h", "size < PIECE && region_read(region, offset, PyByteArray_AsString(object), size) == 0)", "size < PIECE && (region_read(region, offset, PyByteArray_AsString(object), size), true))", "faults copies"),
    Mutant("csrc/object.h", "region_write(region, offset, src, size) == 0 ? size", "(region_write(region, offset, src, size), true) ? size", "faults copies"),
    # ---- quick.h ----
    Mutant("csrc/quick.h", "    PyErr_SetNone(refused);\n", "", "scalars"),
    Mutant("csrc/quick.h", "overflow == 0 && ", "", "scalars"),
    Mutant("csrc/quick.h", " && value >= low && value <= high)", ")", "scalars"),
    Mutant("csrc/quick.h", "value == (uint64_t)-1 && PyErr_Occurred() ? ", "false ? ", "scalars"),
    Mutant("csrc/quick.h", "Py_TYPE(number) == &PyFloat_Type ? PyFloat_AsDouble(number)", "true ? PyFloat_AsDouble(number)", "scalars"),
    Mutant("csrc/quick.h", "FROM_SIGNED(value) (HAS_FAILED(value) ? NULL : ", "FROM_SIGNED(value) (", "scalars"),
    # ---- _native.py, _arguments.py ----
    Mutant("_native.py", "RefusedError: Any = _errors.RefusedError", "RefusedError: Any = LookupError", "interrupts"),
    Mutant("_arguments.py", "if size < 0:", "if False:", "ranges"),
    Mutant("_arguments.py", "if not 0 <= byte <= 255:", "if False:", "items search"),
    Mutant("_native.py", "except ValueError as error:", "except KeyError as error:", "buffers"),
    # ---- _region.py ----
    Mutant("_region.py", "if failed and ffi.errno in (errno.ENOMEM, errno.EMFILE, errno.ENFILE):", "if False:", "injection"),
    Mutant("_region.py", '        sys.audit("sharedmmap.File", fd, offset, length, prot)\n', "", "mapping"),
    Mutant("_region.py", "        self.cause = self.cause or found  #", "        self.cause = found  #", "interrupts"),
    Mutant("_region.py", "        if limit < 0:", "        if False:", "injection"),
    Mutant("_region.py", "            raise failed\n        self.check()", "            raise failed", "threads buffers injection"),
    Mutant("_region.py", "        if quick.is_live(self.c):\n            limit", "        if True:\n            limit", "faults"),
    Mutant("_region.py", "        else:\n            self.known_cause()", "", "faults"),
    Mutant("_region.py", "        lib.region_end(self.c)", "        pass", "faults"),
    Mutant("_region.py", "        while latest.successors:", "        if latest.successors:", "threads"),
    Mutant("_region.py", "        self.check()\n        if writing:", "        if writing:", "mapping"),
    Mutant("_region.py", "offset > self.c.limit - size and offset", "offset > self.c.limit - size + 1 and offset", "copies ranges model"),
    Mutant("_region.py", "(limit := self.refresh()) - size", "(limit := self.refresh()) - size + 1", "view"),
    Mutant("_region.py", "offset > self.length - size:", "offset > self.length - size + 1:", "copies ranges model"),
    Mutant("_region.py", "            if offset > limit - wanted:", "            if False:", "copies"),
    Mutant("_region.py", "return min(wanted, limit - offset)", "return wanted", "copies model"),
    Mutant("_region.py", "        self.check()\n        self._require_inside(offset, length)", "        self._require_inside(offset, length)", "mapping faults"),
    Mutant("_region.py", "(self.offset + offset) % PAGE", "offset % PAGE", "ranges"),
    Mutant("_region.py", "            length = max(0, min(length, end - offset))", "            pass", "ranges"),
    Mutant("_region.py", "length + before if length else 0", "length + before", "ranges"),
    Mutant("_region.py", 'if call == "descriptor" and reason == errno.EBADF:', "if False:", "mapping"),
    # ---- _cause.py ----
    Mutant("_cause.py", "if 0 <= found.size <= (c.offset + offset) // PAGE * PAGE:", "if 0 <= found.size <= c.offset + offset:", "faults"),
    Mutant("_cause.py", "if 0 <= found.size <= ", "if found.size <= ", "real_faults"),
    Mutant("_cause.py", "if found.free < PAGE:", "if False:", "faults"),
    Mutant("_cause.py", "if found.free < RESERVED and found.needs_space:", "if False:", "real_faults"),
    Mutant("_cause.py", "found.free < RESERVED and found.needs_space", "found.free < RESERVED", "real_faults"),
    Mutant("csrc/platform.c", "system.f_type == BTRFS_SUPER_MAGIC", "false", "real_faults"),
    Mutant("csrc/platform.c", "&extents) == 0 && extents.fm_mapped_extents == 0", "&extents) == 0", "real_faults"),
    Mutant("_cause.py", "if reason == errno.EBADF else", "if False else", "resources"),
    # ---- _copies.py ----
    Mutant("_copies.py", "return quick if size < PIECE else lib", "return quick", "threads"),
    Mutant("_copies.py", "getattr(_calls(stop - start), call)", "getattr(quick, call)", "threads"),
    Mutant("_copies.py", "quick_copy if size < PIECE else long_copy", "quick_copy", "threads"),
    Mutant("_copies.py", "            if size and 0 <= offset", "            if 0 <= offset", "copies mapping"),
    Mutant("_copies.py", "            if size and 0 <= offset < region.length:", "            if size:", "copies"),
    Mutant("_copies.py", "                if not copy(region.c, offset, memory, size):\n                    return size", "                copy(region.c, offset, memory, size)\n                return size", "faults buffers"),
    Mutant("_copies.py", "copy(region, memory, offset, size) < size:", "copy(region, memory, offset, size) < 0:", "faults buffers"),
    Mutant("_copies.py", "    if not span:\n        region.check()\n", "    if not span:\n", "items mapping faults"),
    Mutant("_copies.py", "    low = min(span[0], span[-1])\n    return", "    low = span[0]\n    return", "items"),
    Mutant("_copies.py", "[:: span.step]", "[::1]", "items model"),
    Mutant("_copies.py", "if offset >= region.length:", "if False:", "items"),
    Mutant("_copies.py", "if size != len(span):", "if size < len(span):", "items model"),
    Mutant("_copies.py", "            region.check()\n            region.require_writable()", "            region.require_writable()", "items faults"),
    Mutant("_copies.py", "            region.check()\n            region.require_writable()", "            region.check()", "copies"),
    Mutant("_copies.py", "if position >= 0 else position + region.length", "", "items"),
    Mutant("_copies.py", "    while _calls(size).region_scatter(region.c, span[0], span.step, memory, len(span)):\n        region.require(low, size, writing=True)", "    _calls(size).region_scatter(region.c, span[0], span.step, memory, len(span))", "faults buffers"),
    Mutant("_copies.py", "        if end > limit:\n            limit = region.refresh()\n", "", "search"),
    Mutant("_copies.py", 'return start if call == "region_find" else stop', "return start", "search"),
    Mutant("_copies.py", "if found != lib.SEARCH_FAILED:", "if True:", "search buffers faults"),
    Mutant("_copies.py", "    while _calls(size).region_fill(region.c, offset, byte, size):\n        region.require(offset, size, writing=True)", "    _calls(size).region_fill(region.c, offset, byte, size)", "faults buffers"),
    Mutant("_copies.py", "    while _calls(size).region_move(region.c, dest, src, size):\n        region.require(src, size)\n        region.require(dest, size, writing=True)", "    _calls(size).region_move(region.c, dest, src, size)", "faults buffers"),
    Mutant("_copies.py", "    region.require(offset, size, writing=not readonly)\n", "", "view"),
    Mutant("_copies.py", "partial(lib.view_close, region.c, not readonly)", "partial(lib.view_close, region.c, True)", "view"),
    Mutant("_copies.py", "found.toreadonly() if readonly else found", "found", "view"),
    # ---- _ranges.py ----
    Mutant("_ranges.py", "bool(flags & Sync.SYNC) and size ==", "True and size ==", "faults mapping ranges"),
    Mutant("_ranges.py", " and size == region.pages(0, None)[1]", "", "ranges faults"),
    Mutant("_ranges.py", "    if quick.region_is_clean(region.c):", "    if False:", "ranges injection"),
    Mutant("_ranges.py", "    reason = ffi.errno\n    region.check()\n", "    reason = ffi.errno\n", "injection threads faults"),
    Mutant("_ranges.py", "failed = outcome in (lib.NOT_WRITTEN, lib.NOT_ASKED)", "failed = outcome == lib.NOT_WRITTEN", "injection"),
    Mutant("_ranges.py", "failed = outcome in (lib.NOT_WRITTEN, lib.NOT_ASKED)", "failed = outcome == lib.NOT_ASKED", "injection"),
    Mutant("_ranges.py", "if outcome == lib.SHORTER:", "if False:", "faults model"),
    Mutant("_ranges.py", "advice = Advice(as_index(advice))", "advice = as_index(advice)", "ranges"),
    Mutant("_ranges.py", "    region.check()\n    if failed", "    if failed", "faults injection"),
    Mutant("_ranges.py", "    limit = region.refresh()\n    start, size = region.pages(offset, length, limit)", "    limit = region.refresh()\n    start, size = region.pages(offset, length)", "ranges"),
    Mutant("_ranges.py", "if shorter >= limit:", "if True:", "resources injection"),
    Mutant("_ranges.py", "        start, size = region.pages(offset, length, limit)\n    region.check()", "        start, size = region.pages(offset, length, limit)", "injection threads"),
    Mutant("_ranges.py", "if ffi.errno != errno.EINTR:", "if True:", "injection"),
    Mutant("_ranges.py", "            region.check_mapped()\n            raise error", "            raise error", "injection threads"),
    Mutant("_ranges.py", "    if not 0 <= length <= region.length:", "    if not 0 <= length:", "ranges"),
    Mutant("_ranges.py", "            raise error\n    region.check()", "            raise error", "injection threads"),
    # ---- _file.py ----
    Mutant("_file.py", "region = region.successors[0] if region.successors else None", "region = None", "threads"),
    Mutant("_file.py", "if region.refresh() >= peak:", "if True:", "faults"),
    Mutant("_file.py", "fresh.c.dirty = fresh.c.writable", "pass", "faults"),
    Mutant("_file.py", "            region.end()\n", "", "faults"),
    Mutant("_file.py", "            region.successors.append(fresh)", "            region.successors[:] = [fresh]", "interrupts"),
    Mutant("_file.py", "            lib.descriptor_detach(region.c)  #", "            #", "faults"),
    Mutant("_file.py", "            if not region.successors:", "            if True:", "threads"),
    Mutant("_file.py", "while (latest := region.latest()) is not self._region:", "if (latest := region.latest()) is not self._region:", "interrupts"),
    Mutant("_file.py", "        if region.c.state == lib.UNMAPPED:  #", "        if False:  #", "interrupts"),
    Mutant("_file.py", "            if copied:\n                return copied\n        except RefusedError:\n            pass\n        offset = as_index(offset)  # first: its __index__ could resize dest", "            return copied\n        except RefusedError:\n            pass\n        offset = as_index(offset)  # first: its __index__ could resize dest", "faults copies"),
    Mutant("_file.py", "            if copied:\n                return copied\n        except RefusedError:\n            pass\n        offset = as_index(offset)  # first: its __index__ could resize src", "            return copied\n        except RefusedError:\n            pass\n        offset = as_index(offset)  # first: its __index__ could resize src", "faults copies"),
    Mutant("_file.py", "if len(text[:middle].encode(encoding, errors)) <= room:", "if len(text[:middle].encode(encoding, errors)) < room:", "copies"),
    Mutant("_file.py", '.encode(encoding, errors) if fits else b""', ".encode(encoding, errors)", "copies"),
    Mutant("_file.py", "            if not _set_item(region.c, key, value):\n                return", "            _set_item(region.c, key, value)\n            return", "faults items"),
    Mutant("_file.py", "        region.require(offset, count * empty.itemsize)\n", "", "arrays"),
    Mutant("_file.py", '        size = as_size(layout.size, "size")', "        size = layout.size", "structs"),
    Mutant("_file.py", "            if _write_at(region.c, record, offset):\n                return", "            _write_at(region.c, record, offset)\n            return", "structs"),
    Mutant("_file.py", "(start if start > length else span.start)", "span.start", "search"),
    Mutant("_file.py", "offset, length, bool(on_fault))", "offset, length, on_fault)", "ranges"),
    Mutant("_file.py", "    if not stat.S_ISREG(status.st_mode):", "    if False:", "mapping"),
    Mutant("_file.py", "max(0, region.refresh() - offset) if length is None", "max(0, region.length - offset) if length is None", "view"),
    # ---- _scalars.py ----
    Mutant("_scalars.py", "            region.require(offset, self.size)\n            try:", "            try:", "scalars"),
    Mutant("_scalars.py", "            except RefusedError:  # the limit or the state has changed since\n                continue", "            except KeyError:\n                continue", "buffers"),
    Mutant("_scalars.py", "            value = math.ldexp(value, 0)  #", "            #", "scalars"),
    Mutant("_scalars.py", "if not self.low <= value <= self.high:", "if not self.low <= value:", "scalars"),
    Mutant("_scalars.py", "            if status == lib.TOO_LARGE:", "            if False:", "scalars"),
    Mutant("_scalars.py", "            if not store(region.c, offset, value):\n                return", "            store(region.c, offset, value)\n            return", "scalars"),
    # ---- _atomic.py ----
    Mutant("_atomic.py", "        region.require(offset, self._SIZE)\n", "", "atomics"),
    Mutant("_atomic.py", "        excess = (region.offset + offset) % self._SIZE", "        excess = offset % self._SIZE", "atomics"),
    Mutant("_atomic.py", "            self._region.require(self._offset, self._SIZE, writing=writing)\n", "            pass\n", "atomics"),
    Mutant("_atomic.py", "            except RefusedError:  # the limit or the state has changed since\n                continue", "            except KeyError:\n                continue", "atomics buffers"),
    Mutant("_atomic.py", "if not 0 <= value < 1 << 8 * self._SIZE:", "if not 0 <= value:", "atomics"),
    Mutant("_atomic.py", "math.isnan(timeout)", "False", "waiting"),
    # ---- _stream.py ----
    Mutant("_stream.py", "        self._region.check()\n", "", "stream"),
    Mutant("_stream.py", "min(self._length, self._open_region().refresh() - self._start)", "self._open_region().refresh() - self._start", "stream"),
    Mutant("_stream.py", "        if not ~_MAX_POSITION <= offset <= _MAX_POSITION:", "        if False:", "stream"),
    Mutant("_stream.py", "        if not 0 <= position <= _MAX_POSITION:", "        if not 0 <= position:", "stream"),
    Mutant("_stream.py", "        if whence not in origins:", "        if False:", "stream"),
    Mutant("_stream.py", "left if size < 0 else min(size, left)\n        if not most", "left\n        if not most", "stream"),
    Mutant("_stream.py", "most if newline < 0 else newline + 1 - start", "most if newline < 0 else newline - start", "stream"),
    Mutant("_stream.py", "            with readable_memory(buffer):  # so it is contiguous\n                pass\n", "", "buffers"),
    Mutant("_stream.py", "size = min(len(memory), self._left())", "size = self._left()", "stream"),
    Mutant("_stream.py", "        region.require_writable()\n", "", "stream"),
    Mutant("_stream.py", "            if size > left:", "            if False:", "stream"),
    Mutant("_stream.py", "            if size > left:", "            size = min(size, left)\n            if False:", "stream"),
    Mutant("_stream.py", "writing=True)\n        self._position += size", "writing=True)\n        self._position += size + (size == 7)", "stream"),
    # ---- _open.py ----
    Mutant("_open.py", "if capacity is not None and length is not None and capacity < length:", "if False:", "mapping"),
    Mutant("_open.py", 'if mode in ("w+", "x+") and length is None and offset > 0:', "if False:", "mapping"),
    Mutant("_open.py", "            os.ftruncate(opened.fd, 0)", "            pass", "mapping"),
    Mutant("_open.py", 'if mode != "r" and length is not None:', "if length is not None:", "mapping"),
    Mutant("_open.py", "    while lib.extend(fd, end):", "    if os.fstat(fd).st_size < end:\n        os.ftruncate(fd, end)\n    while False:", "injection"),
    Mutant("_open.py", "        if ffi.errno != errno.EINTR:", "        if True:", "injection"),
    Mutant("_open.py", "capacity < rest_of(fd, offset):", "False:", "mapping"),
    # ---- _descriptor.py ----
    Mutant("_descriptor.py", "if lib.owned_close(self.c) and exc_type is None:", "if False:", "mapping"),
    # ---- the mutex ----
    Mutant("csrc/mutex.h", "    if (!atomic_compare_exchange_strong(at, &seen, desired))\n        return false;", "    if (*at != seen)\n        return false;\n    *at = desired;", "mutex"),
    Mutant("csrc/mutex.h", "seen, owner | WAITERS, call);", "seen, owner, call);", "mutex"),
    Mutant("csrc/mutex.h", "if (owner == 0 || (seen & OWNER) != owner)", "if (owner == 0)", "mutex"),
    Mutant("csrc/mutex.h", "if (seen & WAITERS && desired == 0)", "if (false)", "mutex"),
    Mutant("csrc/mutex.h", "found == 0 ? 0 : found | WAITERS", "0", "mutex"),
    Mutant("csrc/mutex.h", "if (atomic_load(&mutex->call) != call || ", "if (", "mutex"),
    Mutant("csrc/mutex.h", "    return mark_dirty_and_check(mutex->word->region);\n}\n\n/* Takes the mutex if", "    return is_live(mutex->word->region);\n}\n\n/* Takes the mutex if", "mutex"),
    Mutant("csrc/mutex.h", "return mark_dirty_and_check(mutex->word->region) ? RELEASED", "return is_live(mutex->word->region) ? RELEASED", "mutex"),
    Mutant("csrc/mutex.h", "    return mark_dirty_and_check(mutex->word->region);\n}\n\n/* Takes the mutex if", "    return mark_dirty_and_check(mutex->word->region) || true;\n}\n\n/* Takes the mutex if", "mutex"),
    Mutant("csrc/mutex.c", "waiters = WAITERS;", ";", "mutex"),
    Mutant("csrc/mutex.c", "seen & WAITERS || atomic_compare_exchange_strong(at, &seen, seen | WAITERS)", "(seen |= WAITERS)", "mutex"),
    Mutant("csrc/mutex.c", "} else if (nanoseconds <= 0) {", "} else if (false) {", "mutex"),
    Mutant("csrc/descriptor.c", "id != 0 && lock_byte(fd, LIVENESS + id) == 0", "id != 0", "mutex"),
    Mutant("csrc/descriptor.c", "        atomic_store(&region->owner, 0);\n        close_descriptor(region, &region->liveness);\n        end_call", "        close_descriptor(region, &region->liveness);\n        end_call", "mutex"),
    Mutant("csrc/descriptor.c", "        close_descriptor(region, &region->liveness);\n        end_call", "        region->liveness = -1;\n        end_call", "mutex"),
    Mutant("csrc/descriptor.c", "    enter_list(region);\n    region->liveness", "    region->liveness", "mutex"),
    Mutant("csrc/platform.c", " && lock.l_pid == -1", "", "mutex"),
    Mutant("csrc/platform.c", " && lock.l_len == 1", "", "mutex"),
    Mutant("csrc/platform.c", "open(path, O_RDWR | O_CLOEXEC)", "open(path, O_RDWR)", "mutex"),
    Mutant("csrc/platform.c", "const int fresh = open(path, O_RDWR | O_CLOEXEC);", "const int fresh = dup(fd);", "mutex"),
    Mutant("csrc/platform.c", "fresh < 0 || fresh > 2", "true", "mutex"),
    Mutant("csrc/platform.c", "    if (fresh < 0 || fresh > 2)\n", "    if (fresh < 0)\n", "mutex"),
    Mutant("csrc/region.c", "!= 0 && overlay(region))", "!= 0)", "mutex"),
    Mutant("_region.py", "            lib.region_disown(self.c)", "            pass", "mutex"),
    Mutant("_mutex.py", "bool(alive) or self._word.load() != seen", "bool(alive)", "mutex"),
    Mutant("_mutex.py", "        self._mutex.found = 0\n", "", "mutex"),
    Mutant("_mutex.py", "self._wait(call, timeout)\n        except BaseException:\n            _undo(self._mutex, call)\n", "self._wait(call, timeout)\n        except BaseException:\n", "mutex"),
    Mutant("_mutex.py", "            return self\n        except BaseException:\n            _undo(self._mutex, call)\n", "            return self\n        except BaseException:\n", "mutex"),
    Mutant("_mutex.py", "            self._require()\n            _ensure_owner(self._region)\n", "            self._require()\n", "mutex"),
    Mutant("_mutex.py", "        if not quick.mutex_take_over(self._mutex, call, seen):\n            return False\n", "        quick.mutex_take_over(self._mutex, call, seen)\n", "mutex"),
    Mutant("_mutex.py", "            if outcome == lib.NOT_HELD:", "            if False:", "mutex"),
    Mutant("_mutex.py", "        if self._on_owner_died is None:", "        if False:", "mutex"),
    Mutant("_mutex.py", "                if time.monotonic() >= deadline:", "                if False:", "mutex"),
    Mutant("_mutex.py", "if timeout is not None and math.isnan(timeout):", "if False:", "mutex"),
    Mutant("_mutex.py", "        region.require_writable()\n        self._word", "        self._word", "mutex"),
]  # fmt: skip

# What only PyPy runs, or shows.
PYPY_MUTANTS = [
    Mutant("_pypy.py", "writing=False)  # SAFETY: in bounds, alive\n    return NOT_ACCESSIBLE if c.state and not is_live(c) else 0", "writing=False)\n    return 0", "faults"),
    Mutant("_pypy.py", "writing=True)  # SAFETY: in bounds, alive\n    c.dirty = 1\n    return NOT_ACCESSIBLE if c.state and not is_live(c) else 0", "writing=True)\n    c.dirty = 1\n    return 0", "faults"),
    Mutant("_pypy.py", "writing=True)  # SAFETY: in bounds, alive\n    c.dirty = 1\n", "writing=True)\n", "interrupts"),
    Mutant("_pypy.py", "        return NOT_ACCESSIBLE\n    c.dirty = 1\n    _copy(", "        return NOT_ACCESSIBLE\n    _copy(", "interrupts"),
    Mutant("_pypy.py", "if not 0 <= offset <= c.limit - size:\n", "if not offset <= c.limit - size:\n", "copies"),
    Mutant("_pypy.py", "memory if len(memory) == size else memory[:size]", "memory", "copies faults"),
    Mutant("_pypy.py", "type(buffer) in (bytes, bytearray)", "type(buffer) is bytes", "buffers"),
    Mutant("_pypy.py", "raise BufferError(str(error)) from None", "raise", "buffers"),
    Mutant("_pypy.py", "(TypeError, SystemError, ValueError)", "(TypeError, SystemError)", "buffers"),
    Mutant("_pypy.py", "    if not 0 <= offset <= c.limit - size or not c.writable:\n        return NOT_ACCESSIBLE\n    c.dirty", "    if not 0 <= offset <= c.limit - size:\n        return NOT_ACCESSIBLE\n    c.dirty", "copies mapping"),
    Mutant("_pypy.py", "    if c.state and not is_live(c):\n        raise RefusedError\n    return found", "    return found", "faults mapping"),
    Mutant("_pypy.py", "(0 <= size < BYTES_PIECE and 0 <= offset <= c.limit - size)", "(size < BYTES_PIECE and 0 <= offset <= c.limit - size)", "structs items"),
    Mutant("_pypy.py", "    if type(start) is not int or type(stop) is not int or key.step is not None:\n", "    if key.step is not None:\n", "items"),
    Mutant("_pypy.py", "type(stop) is not int or key.step is not None:", "type(stop) is not int:", "items"),
    Mutant("_pypy.py", "(0 <= size < BYTES_PIECE and 0 <= offset <= c.limit - size)", "(0 <= size < BYTES_PIECE and offset <= c.limit - size)", "items structs"),
    Mutant("_pypy.py", "    if stop - start != size or not 0 < size < PIECE:", "    if not 0 < size < PIECE:", "items"),
    Mutant("_pypy.py", "    if stop - start != size or not 0 < size < PIECE:", "    if stop - start != size or not size < PIECE:", "items mapping faults"),
    Mutant("_pypy.py", "size if 0 < size < PIECE and not region_read(c, offset, memory, size) else 0", "size if 0 < size < PIECE and region_read(c, offset, memory, size) < 1 else 0", "copies faults"),
    Mutant("_pypy.py", "size if 0 < size < PIECE and not region_write(c, offset, memory, size) else 0", "size if 0 < size < PIECE and region_write(c, offset, memory, size) < 1 else 0", "copies faults"),
    Mutant("_pypy.py", "            if value != value:", "            if False:", "scalars"),
    Mutant("_pypy.py", "            if not c.state or is_live(c):\n", "            if True:\n", "faults"),
    Mutant("_pypy.py", "return value + wrap if wrap and value < 0 else value", "return value", "scalars"),
    Mutant("_pypy.py", "        if type(offset) is not int or type(value) is not number:", "        if type(value) is not number:", "scalars"),
    Mutant("_pypy.py", "        if type(offset) is not int or type(value) is not number:", "        if type(offset) is not int:", "scalars"),
    Mutant("_pypy.py", "            if number is int:\n                raise RefusedError\n", "", "scalars"),
    Mutant("_pypy.py", "        if not (0 <= offset <= c.limit - size and c.writable):\n            return NOT_ACCESSIBLE\n        if not (low", "        if not (low", "scalars"),
    Mutant("_pypy.py", "        c.dirty = 1\n        cast(stored_as, c.base + offset)[0] = value  # SAFETY: in bounds, alive\n        c.dirty = 1\n", "        cast(stored_as, c.base + offset)[0] = value\n", "ranges mapping scalars"),
    Mutant("_pypy.py", "        cast(stored_as, c.base + offset)[0] = value  # SAFETY: in bounds, alive\n        c.dirty = 1\n        return NOT_ACCESSIBLE if c.state and not is_live(c) else 0", "        cast(stored_as, c.base + offset)[0] = value\n        c.dirty = 1\n        return 0", "faults"),
    Mutant("_pypy.py", "        value: int = load_at(c.base + offset)  # SAFETY: in bounds, alive\n        if c.state and not is_live(c):\n            raise RefusedError\n", "        value: int = load_at(c.base + offset)\n", "atomics"),
    Mutant("_pypy.py", "        c.dirty = 1\n        seen: int = exchange_at(c.base + offset, expected, desired)  # SAFETY: in bounds, alive\n        c.dirty = 1\n        if c.state and not is_live(c):\n            raise RefusedError\n", "        c.dirty = 1\n        seen: int = exchange_at(c.base + offset, expected, desired)\n", "atomics"),
    Mutant("_pypy.py", "            before: int = operate_at(c.base + offset, operand)  # SAFETY: in bounds, alive\n            c.dirty = 1\n            if c.state and not is_live(c):\n                raise RefusedError\n", "            before: int = operate_at(c.base + offset, operand)\n", "atomics"),
    Mutant("_pypy.py", "            c.dirty = 1\n            before: int = operate_at(c.base + offset, operand)  # SAFETY: in bounds, alive\n            c.dirty = 1\n", "            before: int = operate_at(c.base + offset, operand)\n", "atomics"),
    Mutant("_pypy.py", "        if offset > c.limit - size or not c.writable:\n            raise RefusedError\n        c.dirty", "        if offset > c.limit - size:\n            raise RefusedError\n        c.dirty", "atomics"),
    Mutant("_pypy.py", "(operand >= 0 and (operand <= high or operand <= highest))", "operand >= 0", "atomics"),
    # operator.index() makes an exact int on CPython from 3.10 on.
    Mutant("_arguments.py", "value if type(value) is int else int.__add__(value, 0)", "value", "items scalars"),
    Mutant("_arguments.py", "None if bound is None else as_index(bound) for bound", "bound for bound", "items"),
    Mutant("_pypy.py", " or buffer.c_contiguous:", " or True:", "buffers"),
    Mutant("_pypy.py", "            row[:] = ffi.buffer(memory)[:]", "            pass", "buffers"),
    Mutant("_pypy.py", "    if lib.open_descriptors() >= _many_descriptors:", "    if False:", "resources"),
    Mutant("_pypy.py", "    lib.region_keep(c)", "    pass", "view late_collection"),
    Mutant("csrc/region.c", "    if (region->kept && !replace_by_zero_pages(start, size))\n        return false;\n", "", "injection"),
    Mutant("csrc/region.c", "return region->kept || size == 0", "return size == 0", "view late_collection"),
    Mutant("csrc/region.c", "        region->kept = false;\n", "", "resources"),
    Mutant("_copies.py", "        before_view(region.c)\n", "", "view late_collection"),
    Mutant("_region.py", "        before_mapping()\n", "", "resources"),
]  # fmt: skip


def copy_tree(tree: Path) -> None:
    """Copies what is in the project's tree, but for what was built."""
    shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns(".*", "build", "*.so"))


def built(tree: Path, python: str) -> bool:
    command = [python, "build_ffi.py"]
    return subprocess.run(command, cwd=tree, capture_output=True, check=False).returncode == 0


def verdict(tree: Path, mutant: Mutant, python: str) -> str:
    """What killed it, or an empty string."""
    path = tree / "sharedmmap" / mutant.file
    text = path.read_text()
    assert text.count(mutant.old) == 1, f"{mutant.old!r} stands {text.count(mutant.old)} times in {mutant.file}"
    path.write_text(text.replace(mutant.old, mutant.new))
    try:
        if path.suffix != ".py" and not built(tree, python):
            return "the compiler"
        tests = [f"tests/test_{name}.py" for name in mutant.tests.split()]
        command = [python, "-m", "pytest", "-xq", "-p", "no:cacheprovider", *tests]
        environment = {**os.environ, "PYTHONPATH": str(tree)}
        try:
            run = subprocess.run(
                command, cwd=tree, env=environment, capture_output=True, text=True, timeout=300, check=False
            )
        except subprocess.TimeoutExpired:
            return "a test that did not end"
        failed = re.search(r"^(?:FAILED|ERROR) \S+?::(.*?)(?: - .*)?$", run.stdout, re.MULTILINE)
        return "" if run.returncode == 0 else failed[1] if failed else f"pytest's exit code {run.returncode}"
    finally:
        path.write_text(text)


def survivors(mutants: list[Mutant], python: str, folder: Path) -> int:
    """How many of them no test kills: one after another on each processor, each with a tree of its own."""
    left = iter(mutants)

    def lived_in(tree: Path) -> int:
        copy_tree(tree)
        lived = 0
        changed_c = True  # by the mutant before
        for mutant in left:
            if changed_c and not built(tree, python):
                sys.exit(f"the package does not build with {python}")
            changed_c = not mutant.file.endswith(".py")
            killer = verdict(tree, mutant, python)
            lived += not killer
            print(f"{f'killed by {killer}' if killer else 'LIVED'}: {mutant}\n", end="", flush=True)
        return lived

    trees = [folder / f"{Path(python).name}.{number}" for number in range(os.cpu_count() or 1)]
    with ThreadPoolExecutor(len(trees)) as lanes:
        lived = sum(lanes.map(lived_in, trees))
    print(f"{len(mutants) - lived} of {len(mutants)} killed with {python}")
    return lived


def has_all(python: str) -> bool:
    """Whether the interpreter has what building and testing takes."""
    command = [python, "-c", "import cffi, hypothesis, pytest, setuptools"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def main() -> int:
    tables = {sys.executable: MUTANTS}
    pypy = shutil.which("pypy3")
    if pypy is not None and has_all(pypy):
        tables[pypy] = PYPY_MUTANTS
    else:
        print("there is no pypy3 with all that is needed: its own mutants are left out")
    lived = 0
    with tempfile.TemporaryDirectory() as folder:
        for python, table in tables.items():
            chosen = [mutant for mutant in table if not sys.argv[1:] or sys.argv[1] in str(mutant)]
            lived += survivors(chosen, python, Path(folder)) if chosen else 0
    return min(lived, 1)


if __name__ == "__main__":
    sys.exit(main())
