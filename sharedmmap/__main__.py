"""``python -m sharedmmap``: a tour; with ``info FILE`` and ``dump FILE``, what a mapped file is and holds."""

from __future__ import annotations

import argparse
import io
import os
import struct
import sys
from typing import NoReturn

from . import _inspect, _tour

__all__ = ["main"]


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """In one line; ``--help`` shows the usage."""
        self.exit(2, f"{self.prog}: {message}\n")


def _natural(text: str) -> int:
    """A number that is not negative: ``4096``, ``0x1000``."""
    number = int(text, 0)
    if number < 0:
        raise ValueError
    return number


_natural.__name__ = "number"  # as argparse calls it where it is none


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m sharedmmap",
        description="Without a command: a tour on a temporary file, with a second process.",
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    info = commands.add_parser(
        "info",
        help="what can be known of a mapped file",
        description="Shows the size, the holes, which pages are in memory, who maps the file and who locks it. "
        "Who does is known on Linux alone, and of the processes of other users to root alone. Writes nothing.",
    )
    dump = commands.add_parser(
        "dump",
        help="the records of a file, one a line",
        description="Prints the records of a file, one a line: its offset, and its values, with tabs between. "
        "Writes nothing to the file.",
    )
    for command in info, dump:
        command.add_argument("file", metavar="FILE")
    dump.add_argument("--format", required=True, help="of a record, as in the struct module: '<QQd'")
    dump.add_argument("--offset", type=_natural, default=0, metavar="N", help="of the first record, in bytes")
    dump.add_argument("--count", type=_natural, metavar="N", help="how many records (default: to the end)")
    return parser


def main() -> None:
    options = _parser().parse_args()
    if options.command is None:
        _tour.main()
        return
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # of names that the output cannot show
    try:
        if options.command == "info":
            _inspect.info(options.file)
        else:
            _inspect.dump(options.file, options.format, options.offset, options.count)
        sys.stdout.flush()
    except BrokenPipeError:  # whoever reads this has had enough, as head(1)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError, IndexError, struct.error) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        sys.exit(f"sharedmmap: {options.file}: {reason}")


if __name__ == "__main__":
    main()
