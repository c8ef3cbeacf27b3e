#!/usr/bin/env python3
"""Sends one IPv6 router advertisement, as any machine on a link can: "I am a router, and this prefix is yours".

    router_advertisement.py INTERFACE PREFIX      PREFIX is the first 64 bits, such as 2001:db8:66::
"""

import socket
import struct
import sys

ROUTER_ADVERTISEMENT, PREFIX_INFORMATION = 134, 3
LIFETIME_SECONDS = 1800
ON_LINK_AND_AUTONOMOUS = 0xC0


def main() -> None:
    interface, prefix = sys.argv[1:]
    index = socket.if_nametoindex(interface)
    body = struct.pack("!BBHBBHII", ROUTER_ADVERTISEMENT, 0, 0, 64, 0, LIFETIME_SECONDS, 0, 0)
    body += struct.pack("!BBBBIII", PREFIX_INFORMATION, 4, 64, ON_LINK_AND_AUTONOMOUS, LIFETIME_SECONDS, LIFETIME_SECONDS, 0)
    body += socket.inet_pton(socket.AF_INET6, prefix)
    with socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as sender:
        sender.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
        sender.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
        sender.sendto(body, ("ff02::1", 0, 0, index))


main()
