"""A virtual machine whose power can be cut: QEMU with Debian's kernel, and a Debian in memory with the package."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from typing_extensions import Self

__all__ = ["Machine", "MachineError", "System", "UnavailableError", "build", "copy_disk", "make_disk"]

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parent.parent
os.environ["PATH"] += ":/usr/sbin:/sbin"

# The programs that are run here, and the packages of Debian that have them.
PROGRAMS = {
    "qemu-system-x86_64": "qemu-system-x86",
    "mmdebstrap": "mmdebstrap",
    "cpio": "cpio",
    "depmod": "kmod",
    "mkfs.ext4": "e2fsprogs",
    "mkfs.xfs": "xfsprogs",
    "mkfs.btrfs": "btrfs-progs",
}

# In the virtual machine: packages, modules that are loaded, and what is left out, since all of it is in memory.
PACKAGES = "base-files,linux-image-cloud-amd64,python3-minimal,python3-cffi-backend,kmod,mount,dmsetup"
MODULES = ["virtio_pci", "virtio_blk", "xfs", "btrfs", "dm-log-writes", "dm-flakey", "dm-snapshot"]
LEFT_OUT = [
    "boot",
    "var",
    "usr/share",
    "usr/lib/locale",
    "usr/lib/*/gconv",
    "usr/lib/*/perl-base",
    "usr/bin/perl*",
]
LEFT_OUT += ["usr/lib/python3.*/test", "usr/lib/udev", "lib/udev"]

DISK_SIZE = 512 << 20  # bytes, of which the image takes what is written; xfs needs 300 MiB

# So long may a machine take. It is a matter of seconds; but a machine that runs this one may stop it for minutes.
HANGING = 900


class UnavailableError(Exception):
    """The virtual machine cannot be built here."""


class MachineError(Exception):
    """The virtual machine ended by itself, or did not end."""


class System(NamedTuple):
    """What a machine boots."""

    kernel: Path
    initramfs: Path
    accelerator: str

    def __str__(self) -> str:
        qemu = run("qemu-system-x86_64", "--version").split()[3]
        how = "KVM" if self.accelerator == "kvm" else "software emulation"
        return f"Linux {self.kernel.name.partition('-')[2]}, QEMU {qemu}, {how}"


def run(*command: str | Path, cwd: Path | None = None) -> str:
    """What the command prints. Raises ``UnavailableError`` where it fails."""
    ended = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    if ended.returncode:
        last = (ended.stdout + ended.stderr).strip().splitlines()[-20:]
        raise UnavailableError("\n".join([f"{command[0]} failed:", *last]))
    return ended.stdout


def install() -> None:
    """Installs the programs that are missing."""
    missing = sorted(package for program, package in PROGRAMS.items() if not shutil.which(program))
    if not missing:
        return
    if os.geteuid() or not shutil.which("apt-get"):
        raise UnavailableError(f"these packages of Debian are needed, and only root can install them: {missing}")
    os.environ["DEBIAN_FRONTEND"] = "noninteractive"
    run("apt-get", "update", "-qq")
    run("apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing)


def build(work: Path, suite: str | None) -> System:
    """Builds the package and the system in ``work``; ``suite``: of Debian, by default that which runs here."""
    if platform.machine() != "x86_64" or platform.python_implementation() != "CPython":
        raise UnavailableError("CPython on x86-64 is needed: its wheel goes into the virtual machine")
    install()
    if suite is None:
        release = dict(line.partition("=")[::2] for line in Path("/etc/os-release").read_text().splitlines())
        suite = release.get("VERSION_CODENAME", "stable")
    source, wheels, root = work / "source", work / "wheels", work / "root"
    shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns(".*", "tests", "build", "*.so"))
    run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", wheels, source)
    root.mkdir()
    run("mmdebstrap", "--variant=extract", f"--include={PACKAGES}", suite, work / "debian.tar")
    run("tar", "-xf", work / "debian.tar", "--exclude=./dev/*", "-C", root)
    run(sys.executable, "-m", "zipfile", "-e", *wheels.iterdir(), root / "usr/lib/python3/dist-packages")
    kernel = shutil.copy(next(root.glob("boot/vmlinuz-*")), work)
    keep_modules(root, next(root.glob("lib/modules/*")).name)
    for pattern in LEFT_OUT:
        for path in root.glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    for name in ("dev", "proc", "sys", "disk"):
        (root / name).mkdir(exist_ok=True)
    for path in FOLDER.glob("guest*.py"):
        shutil.copy(path, root)
    return System(Path(kernel), archive(root, work / "initramfs"), accelerator())


def keep_modules(root: Path, version: str) -> None:
    """Deletes all modules but those that are loaded."""
    run("depmod", "-b", root, version)
    needed = set()
    for module in MODULES:
        for line in run("modprobe", "-d", root, "-S", version, "--show-depends", module).splitlines():
            needed.add(os.path.realpath(line.split()[1]))  # insmod PATH
    for path in (root / "lib/modules" / version).rglob("*.ko*"):
        if os.path.realpath(path) not in needed:
            path.unlink()
    run("depmod", "-b", root, version)


def archive(root: Path, initramfs: Path) -> Path:
    names = b"\n".join(bytes(path.relative_to(root)) for path in root.rglob("*"))
    with initramfs.open("wb") as file:
        subprocess.run(["cpio", "-o", "-H", "newc", "--quiet"], cwd=root, input=names, stdout=file, check=True)
    return initramfs


def accelerator() -> str:
    """/dev/kvm may be there, and QEMU may open it, where the processor has no virtualization and nothing runs."""
    virtualization = re.search(r"\b(vmx|svm)\b", Path("/proc/cpuinfo").read_text())
    return "kvm" if virtualization and os.access("/dev/kvm", os.R_OK | os.W_OK) else "tcg"


def make_disk(image: Path, kind: str | None = None) -> Path:
    """An empty disk, with a file system on it."""
    image.unlink(missing_ok=True)
    with image.open("wb") as file:
        file.truncate(DISK_SIZE)
    if kind:
        run(f"mkfs.{kind}", "-q", image)
    return image


def copy_disk(image: Path, copy: Path) -> Path:
    run("cp", "--sparse=always", image, copy)
    return copy


class Machine:
    """A machine with disks that does one task: ``/guest.py`` with arguments. ``lines()`` is what that says."""

    def __init__(self, system: System, disks: list[Path], task: list[str]) -> None:
        self._console = disks[0].with_suffix(".console")
        command = ["qemu-system-x86_64", "-accel", system.accelerator, "-cpu", "max", "-m", "512"]
        command += ["-display", "none", "-nodefaults", "-no-reboot"]
        command += ["-serial", f"file:{self._console}", "-serial", "stdio"]
        for disk in disks:
            command += ["-drive", f"file={disk},if=virtio,format=raw,cache=writeback"]
        command += ["-kernel", str(system.kernel), "-initrd", str(system.initramfs), "-append"]
        command += [f"console=ttyS0 quiet panic=-1 nokaslr rdinit=/guest.py -- {' '.join(task)}"]
        self._qemu = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        self._cut = False
        self._timers: list[threading.Timer] = []
        self._kill_after(HANGING, cut=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for timer in self._timers:
            timer.cancel()
        self._qemu.kill()
        self._qemu.communicate()

    def _kill_after(self, seconds: float, *, cut: bool) -> None:
        def kill() -> None:
            self._cut = cut
            self._qemu.kill()

        timer = threading.Timer(seconds, kill)
        timer.daemon = True
        timer.start()
        self._timers.append(timer)

    def cut_after(self, seconds: float) -> None:
        """Cuts the power: QEMU is killed. What it was told to flush is in the image."""
        self._kill_after(seconds, cut=True)

    def lines(self) -> Iterator[list[str]]:
        """What the guest says, a list of words each time, to the power cut or to the word ``done``."""
        assert self._qemu.stdout
        for line in self._qemu.stdout:
            if line.endswith(b"\n"):  # else the power was cut in the middle of it
                words = line.decode().split()
                if words == ["done"]:
                    return
                yield words
        if not self._cut:
            raise MachineError("the virtual machine ended:\n" + self._console.read_text(errors="replace")[-4000:])
