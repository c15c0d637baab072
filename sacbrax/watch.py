"""Watch runs in a browser: `python -m sacbrax.watch RUN|DIR [--port N]`."""

if __name__ == "__main__":  # signals are heard while the rest is imported
    from sacbrax.core.command import begin

    begin()

import argparse
import contextlib
import ipaddress
import sys
from collections.abc import Sequence
from pathlib import Path

from sacbrax.cli import Parser, guarded, leave
from sacbrax.config import ConfigError
from sacbrax.core.errors import Interrupted
from sacbrax.core.signals import Interrupt

PORT = 8642


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Arguments of the door."""
    parser = Parser(
        prog="python -m sacbrax.watch",
        description="Serve a page on this machine that lists the runs and sweeps below a directory, draws their curves "
        "while they grow, shows how their settings differ and plays their policies. It only reads.",
        epilog="example: python -m sacbrax.watch runs; from another machine: ssh -L 8642:127.0.0.1:8642 HOST",
    )
    parser.add_argument(
        "directory", nargs="?", type=Path, default=Path("runs"), help="a run, or a directory of them (runs)"
    )
    parser.add_argument("--port", type=int, default=PORT, help=f"port to listen on, 0 for any that is free ({PORT})")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1: this machine alone)")
    args = parser.parse_args(argv)
    if not 0 <= args.port < 65536:
        parser.error("--port must be from 0 to 65535")
    try:
        ipaddress.ip_address(args.host)
    except ValueError:
        parser.error(f"--host: {args.host} is no address, such as 127.0.0.1 or 0.0.0.0")
    return args


@guarded
def main(argv: Sequence[str] | None = None) -> int:
    """Run the door until Ctrl-C; returns the exit status."""
    args = parse(argv)
    if not args.directory.is_dir():
        raise ConfigError(f"{args.directory}: no such directory; name the one that the runs are in")
    from sacbrax.view.live.directory import Directory
    from sacbrax.view.live.server import Server

    with Interrupt(raises=True), Server(args.host, args.port, Directory(args.directory)) as server:
        if not ipaddress.ip_address(args.host).is_loopback:
            print("warning: whoever reaches this port can read these runs; there is no password", file=sys.stderr)
        print(f"{server.url} shows {args.directory}; Ctrl-C ends it", flush=True)
        with contextlib.suppress(Interrupted):
            server.serve_forever()
    return 0


if __name__ == "__main__":
    leave(main())
