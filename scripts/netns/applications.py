#!/usr/bin/env python3
"""Applications that never give up: sends datagrams, opens connections and asks for names, over and over, whatever the
answer. What of it is seen outside the tunnel is a leak.

    applications.py ADDRESS... [-- INTERFACE ADDRESS...]

To the addresses after the interface it sends from sockets that are bound to that interface (SO_BINDTODEVICE).
"""

import socket
import sys
import time

PORTS = (53, 853, 443, 9999)
PAUSE_SECONDS = 0.05


def datagram(address: str, port: int, interface: str | None) -> None:
    with make(address, socket.SOCK_DGRAM, interface) as sender:
        sender.sendto(b"leak", (address, port))


def connection(address: str, port: int, interface: str | None) -> None:
    with make(address, socket.SOCK_STREAM, interface) as caller:
        caller.setblocking(False)
        caller.connect_ex((address, port))


def make(address: str, kind: int, interface: str | None) -> socket.socket:
    made = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind)
    if interface:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
    return made


def main() -> None:
    arguments = sys.argv[1:]
    split = arguments.index("--") if "--" in arguments else len(arguments)
    targets = [(address, None) for address in arguments[:split]]
    targets += [(address, arguments[split + 1]) for address in arguments[split + 2:]]
    print("sending", flush=True)
    while True:
        for address, interface in targets:
            for port in PORTS:
                for send in (datagram, connection):
                    try:
                        send(address, port, interface)
                    except OSError:
                        pass
        time.sleep(PAUSE_SECONDS)


main()
