"""The out-of-line cffi build script of sharedmmap's two extension modules.

Run by hand (``python build_ffi.py``, with cffi and setuptools installed) it builds both in place. The package
build runs it through the hatchling hook at the end.

``sharedmmap._ffi`` holds the system calls, the regions, and everything that may take long: its calls release the
GIL, as cffi's do. ``sharedmmap._quick`` holds calls of a few nanoseconds, which keep it: a thread that releases it
beside a busy one waits a whole switch interval to get it back.
"""

from __future__ import annotations

import re
import shutil
import sys
import sysconfig
from pathlib import Path
from runpy import run_path
from typing import Any

import cffi
from cffi import FFI

ROOT = Path(__file__).resolve().parent
PACKAGE = ROOT / "sharedmmap"
CSRC = PACKAGE / "csrc"
BUILD = ROOT / "build"
SCALARS: tuple[str, ...] = run_path(str(PACKAGE / "_scalar_names.py"))["SCALARS"]

if sys.platform not in ("linux", "darwin") or sys.byteorder != "little" or sys.maxsize < 2**63 - 1:
    sys.exit(
        "sharedmmap needs Linux or macOS on a 64-bit little-endian machine; "
        f"this is {sys.platform}, {sys.maxsize.bit_length() + 1}-bit, {sys.byteorder}-endian."
    )

# Advice that can neither destroy data nor make a later access fault. What the headers lack is -1. Type checkers
# know the names from the class Advice in _flags.py.
ADVICE = (
    *("NORMAL", "RANDOM", "SEQUENTIAL", "WILLNEED", "DONTNEED", "COLD", "PAGEOUT", "HUGEPAGE", "NOHUGEPAGE"),
    *("COLLAPSE", "POPULATE_READ", "POPULATE_WRITE", "DODUMP", "DONTDUMP"),
)

SYSTEM_CALLS = """
    void *mmap(void *addr, size_t length, int prot, int flags, int fd, int64_t offset);
    int munmap(void *addr, size_t length);
    int msync(void *addr, size_t length, int flags);
    int madvise(void *addr, size_t length, int advice);
    int mlock(const void *addr, size_t length);
    int munlock(const void *addr, size_t length);
    int mincore(void *addr, size_t length, unsigned char *vec);
    #define PROT_READ ...
    #define PROT_WRITE ...
    #define MS_SYNC ...
    #define MS_ASYNC ...
    #define MS_INVALIDATE ...
"""

REGION = """
    struct region {
        char *base;
        int64_t limit, peak;
        uint8_t state, dirty;
        uint16_t flushes;
        uint8_t writable;  /* a bool in C; of a bool PyPy checks at each access that it is 0 or 1 */
        int64_t offset, length;
        uint32_t owner;
        int fd;
        ...;
    };
    #define FAULTED ...
    #define UNMAPPED ...
    #define PIECE ...
    #define NOT_ACCESSIBLE ...
    #define SEARCH_FAILED ...
    #define TOO_LARGE ...
    void *region_new(size_t size);
    const char *region_map(struct region *region, int fd, int64_t offset, int64_t length, bool writable,
                           bool track);
    const char *region_map_again(struct region *region, struct region *old);
    int region_unmap(struct region *region);
    void region_end(struct region *region);
    void region_disown(struct region *region);
    void descriptor_detach(struct region *region);
    void region_close(void *region);
    void region_keep(struct region *region);
    int64_t region_fault(struct region *region);
    int64_t region_refresh(struct region *region);
    struct explanation {
        int64_t size, free;
        bool needs_space;
    };
    int region_explain(struct region *region, struct explanation *explanation);
    const char *region_reserve(struct region *region, int64_t length);
    int region_lock(struct region *region, void *start, size_t size, bool on_fault);
    #define NOT_WRITTEN ...
    #define NOT_ASKED ...
    #define SHORTER ...
    int region_flush(struct region *region, void *start, size_t size, int flags, bool complete);
    struct view {
        char first, rest[];
    };
    void *view_open(struct region *region, int64_t offset, bool writable, size_t size);
    void view_close(struct region *region, bool writable, void *first);
    int open_descriptors(void);
    int extend(int fd, int64_t end);
"""

COPIES = """
    int region_read(struct region *region, int64_t offset, void *dest, int64_t n);
    int region_write(struct region *region, int64_t offset, const void *src, int64_t n);
    int64_t region_find(struct region *region, int64_t start, int64_t end, const void *sub, int64_t n);
    int64_t region_rfind(struct region *region, int64_t start, int64_t end, const void *sub, int64_t n);
    int region_fill(struct region *region, int64_t offset, int byte, int64_t n);
    int region_move(struct region *region, int64_t dest, int64_t src, int64_t n);
    int region_scatter(struct region *region, int64_t offset, int64_t step, const char *src, int64_t n);
"""

OWNED = """
    struct owned {
        int fd;
    };
    #define AT_FDCWD ...
    #define AT_SYMLINK_FOLLOW ...
    #define O_TMPFILE ...
    #define SEEK_DATA ...
    #define SEEK_HOLE ...
    int linkat(int olddirfd, const char *oldpath, int newdirfd, const char *newpath, int flags);
    void *owned_new(size_t size);
    int owned_close(struct owned *owned);
    void owned_free(void *owned);
    int owned_open(struct owned *owned, int directory, const char *path, int flags, unsigned mode);
    const char *region_duplicate(struct region *region, struct owned *owned);
"""

# On CPython alone, where uintptr_t stands for a Python object: csrc/object.h.
OBJECTS = """
    uintptr_t refuse_with(uintptr_t exception);
    int defer_counts(uintptr_t object);
    uintptr_t unset_bytes(int64_t size);
    uintptr_t region_bytes(struct region *region, int64_t offset, int64_t size);
    uintptr_t region_get_item(struct region *region, uintptr_t key);
    int region_set_item(struct region *region, uintptr_t key, uintptr_t value);
    int64_t region_read_at(struct region *region, uintptr_t dest, int64_t offset);
    int64_t region_write_at(struct region *region, uintptr_t src, int64_t offset);
"""

WORD = """
    struct word {
        struct region *region;
        int64_t offset;
        ...;
    };
    int word_wait(struct word *word, uint32_t expected, int64_t nanoseconds);
"""

MUTEX = """
    struct mutex {
        struct word *word;
        uint32_t found;
        ...;
    };
    #define OWNER ...
    #define LIVENESS ...
    #define RELEASED ...
    #define NOT_HELD ...
    #define TAKEN ...
    int64_t mutex_wait(struct mutex *mutex, int64_t call, int64_t nanoseconds);
    const char *liveness_open(struct region *region);
    int liveness_of(struct region *region, uint32_t id);
"""

QUICK_WAITING = """
    int word_notify(struct word *word, int count);
    bool mutex_take(struct mutex *mutex, int64_t call);
    bool mutex_take_over(struct mutex *mutex, int64_t call, uint32_t seen);
    int mutex_release(struct mutex *mutex);
    void mutex_undo(struct mutex *mutex, int64_t call);
"""

WORDS = ("uint32", "uint64")
FETCH_OPERATIONS = ("exchange", "fetch_add", "fetch_sub", "fetch_and", "fetch_or", "fetch_xor")


def c_type(scalar: str) -> str:
    return "double" if scalar.startswith("float") else scalar + "_t"


def in_c(template: str, scalars: tuple[str, ...] = SCALARS) -> str:
    """One line of C for each scalar."""
    return "\n".join(
        template.format(name=name, type=c_type(name), bits=re.sub(r"\D", "", name)) for name in scalars
    )


CPYTHON = sys.implementation.name == "cpython"

# Debug and free-threaded builds of CPython have no limited API.
FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
LIMITED_API = not FREE_THREADED and not sysconfig.get_config_var("Py_DEBUG")
OPTIONS: dict[str, Any] = {
    "include_dirs": [str(CSRC)],
    "extra_compile_args": ["-std=gnu11", "-Werror=implicit-function-declaration", "-fvisibility=hidden"],
    "py_limited_api": LIMITED_API,
    "define_macros": [
        ("_GNU_SOURCE", "1"),
        ("Py_LIMITED_API", "0x03090000") if LIMITED_API else ("_CFFI_NO_LIMITED_API", None),
    ],
    "depends": [str(path) for path in sorted(CSRC.glob("*.h"))],
}

ffibuilder = FFI()
ffibuilder.cdef(
    SYSTEM_CALLS
    + "".join(f"\n    #define MADV_{name} ..." for name in ADVICE)
    + (REGION + OWNED + COPIES + WORD + MUTEX)
)
ffibuilder.set_source(
    "sharedmmap._ffi",
    "#include <fcntl.h>\n#include <sys/mman.h>\n#include <unistd.h>\n"
    + "#ifdef __linux__\n#include <linux/mman.h>\n#endif\n"
    + "#ifndef O_TMPFILE\n#define O_TMPFILE 0\n#endif\n"
    + "".join(f"#ifndef MADV_{name}\n#define MADV_{name} -1\n#endif\n" for name in ADVICE)
    + '#include "bulk.h"\n#include "descriptor.h"\n#include "module.h"\n#include "mutex.h"\n#include "owned.h"\n'
    + '#include "scalar.h"\n',
    sources=[str(BUILD / "csrc" / path.name) for path in sorted(CSRC.glob("*.c"))],
    **OPTIONS,
)

quickbuilder = FFI()
quickbuilder.include(ffibuilder)
quickbuilder.cdef(
    COPIES
    + (OBJECTS if CPYTHON else "")
    + QUICK_WAITING
    + "bool is_live(struct region *region);\nbool region_is_clean(struct region *region);\n"
    + in_c("{type} load_{name}(struct region *region, int64_t offset);")
    + in_c("int store_{name}(struct region *region, int64_t offset, {type} value);")
    + in_c("{type} load_word_{name}(struct word *word);", WORDS)
    + in_c("{type} load_at_{name}(char *at);", WORDS)
    + in_c("{type} compare_exchange_{name}(struct word *word, {type} expected, {type} desired);", WORDS)
    + in_c("{type} compare_exchange_at_{name}(char *at, {type} expected, {type} desired);", WORDS)
    + "".join(
        in_c(f"{{type}} {operation}_{{name}}(struct word *word, {{type}} operand);", WORDS)
        + in_c(f"{{type}} {operation}_at_{{name}}(char *at, {{type}} operand);", WORDS)
        for operation in FETCH_OPERATIONS
    )
)
quickbuilder.set_source(
    "sharedmmap._quick",
    '#include "quick.h"\n#include "bulk.h"\n#include "module.h"\n#include "mutex.h"\n#include "object.h"\n'
    + '#include "owned.h"\n#include "scalar.h"\n'
    + in_c("DEFINE_INTEGER({name}, {type}, {bits})", tuple(s for s in SCALARS if "int" in s))
    + in_c("\nDEFINE_WORD({name}, {type})", WORDS),
    **OPTIONS,
)


def check_wrappers(source: str) -> None:
    """Stops the build if cffi does not use the names that ``quick.h`` and ``module.h`` redefine as they expect."""
    for wrapper in (
        "Py_BEGIN_ALLOW_THREADS\n"
        "  _cffi_restore_errno();\n"
        "  { result = store_uint64(x0, x1, x2); }\n"
        "  _cffi_save_errno();\n"
        "  Py_END_ALLOW_THREADS\n",
        "x2 = _cffi_to_c_int(arg2, uint64_t);",
        "pyresult = _cffi_from_c_int(result, uint64_t);",
        "pyresult = _cffi_from_c_double(result);",
        "x2 = (double)_cffi_to_c_double(arg2);",
        "return _cffi_init(",
    ):
        if wrapper not in source:
            sys.exit(
                f"This cffi ({cffi.__version__}) writes other C than quick.h and module.h in csrc/ expect; "
                f"build with an older cffi. Missing: {wrapper!r}"
            )


def build(verbose: bool = False) -> list[Path]:
    """Compiles both modules under build/, away from pyproject.toml, and returns their paths."""
    (BUILD / "csrc").mkdir(parents=True, exist_ok=True)
    for source in CSRC.glob("*.c"):  # copied: cffi from 1.18 on puts the objects beside the sources
        (BUILD / "csrc" / source.name).write_bytes(source.read_bytes())
    if CPYTHON:
        quickbuilder.emit_c_code(str(BUILD / "wrappers.c"))
        check_wrappers((BUILD / "wrappers.c").read_text())
    return [Path(ffi.compile(tmpdir=str(BUILD), verbose=verbose)) for ffi in (ffibuilder, quickbuilder)]


def build_in_place(verbose: bool = False) -> None:
    for module in build(verbose):
        # Replaced, not overwritten: a running interpreter may have the old one mapped.
        (PACKAGE / module.name).unlink(missing_ok=True)
        shutil.copy(module, PACKAGE / module.name)


def get_build_hook() -> type:
    """The hatchling build hook: https://hatch.pypa.io/latest/plugins/build-hook/custom/."""
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface

    class FFIBuildHook(BuildHookInterface):
        def initialize(self, version: str, build_data: dict[str, Any]) -> None:
            if self.target_name != "wheel":
                return
            modules = build()
            if version == "editable":
                build_in_place()
            else:
                for module in modules:
                    build_data["force_include"][str(module)] = f"sharedmmap/{module.name}"
            build_data["pure_python"] = False
            if all(".abi3." in module.name for module in modules):
                # The platform as hatchling tells it: on macOS it heeds ARCHFLAGS and MACOSX_DEPLOYMENT_TARGET.
                platform = self.build_config.builder.get_best_matching_tag().rpartition("-")[2]
                build_data["tag"] = f"cp39-abi3-{platform}"
            else:
                build_data["infer_tag"] = True

    return FFIBuildHook


if __name__ == "__main__":
    build_in_place(verbose=True)
