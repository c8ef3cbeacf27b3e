#!/usr/bin/env python3
"""Prints configurations with many peers, for scripts/bench/memory.sh.

    peers.py hybrid COUNT        [[peer]] tables for vpn-server
    peers.py wireguard COUNT     [Peer] sections for wg setconf
"""

import base64
import ipaddress
import random
import sys

P = 2**255 - 19
D = -121665 * pow(121666, -1, P) % P
FIRST = ipaddress.IPv4Address("10.66.1.0")


def is_ed25519_point(y):
    """Whether some x completes it: RFC 8032, 5.1.3. The few points of small order are not met by chance."""
    x2 = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    return x2 != 0 and pow(x2, (P - 1) // 2, P) == 1


def ed25519_key(rng):
    """A public key whose secret nobody knows."""
    while True:
        y = rng.randrange(2, P)
        if is_ed25519_point(y):
            return y.to_bytes(32, "little")


def main():
    if len(sys.argv) != 3 or sys.argv[1] not in ("hybrid", "wireguard"):
        sys.exit(__doc__)
    kind, count, rng = sys.argv[1], int(sys.argv[2]), random.Random(1)
    for number in range(count):
        address = FIRST + number
        if kind == "hybrid":
            key = base64.b64encode(ed25519_key(rng)).decode()
            print(f'[[peer]]\nname = "peer-{number}"\npublic_key = "{key}"\nallowed_ips = ["{address}/32"]')
        else:
            key = base64.b64encode(rng.randbytes(32)).decode()
            print(f"[Peer]\nPublicKey = {key}\nAllowedIPs = {address}/32")


if __name__ == "__main__":
    main()
