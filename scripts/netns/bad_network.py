"""A UDP relay that does to datagrams what a bad network does: it loses, repeats, damages and reorders some.

    bad_network.py LISTEN_ADDRESS PORT SERVER_ADDRESS PORT LOST REPEATED DAMAGED REORDERED

The last four are percentages, for both directions. A reordered datagram is overtaken by up to OVERTAKEN others. Where the
kernel has netem this could be done with it; not every kernel has, and a relay keeps the seed. It says "relaying" when it
is ready and, at SIGTERM, how many of how many datagrams met which fate, for each direction.
"""

import random
import select
import signal
import socket
import sys

OVERTAKEN = 30
IDLE = 0.02  # seconds without a datagram after which those that are held back go on
BUFFER = 8 << 20  # bytes; a full buffer would lose more than was asked for
AT_ONCE = 64  # datagrams taken from one side before the other has its turn


class Way:
    """One direction."""

    def __init__(self, chances, seed):
        self.random = random.Random(seed)
        self.lost, self.repeated, self.damaged, self.reordered = chances
        self.counts = dict.fromkeys(("passed", "lost", "repeated", "damaged", "reordered"), 0)
        self.held = []  # (number of the datagram that sets it free, datagram)

    def happens(self, fate, chance):
        if self.random.random() * 100 >= chance:
            return False
        self.counts[fate] += 1
        return True

    def carry(self, datagram):
        """What leaves after this one has come in."""
        self.counts["passed"] += 1
        leaving = []
        if not self.happens("lost", self.lost):
            if self.happens("damaged", self.damaged):
                datagram = bytearray(datagram)
                datagram[self.random.randrange(len(datagram))] ^= 1 << self.random.randrange(8)
            if self.happens("reordered", self.reordered):
                self.held.append((self.counts["passed"] + self.random.randint(1, OVERTAKEN), datagram))
            else:
                leaving.append(datagram)
            if self.happens("repeated", self.repeated):
                leaving.append(datagram)
        return leaving + self.release(self.counts["passed"])

    def release(self, number=sys.maxsize):
        free = [datagram for due, datagram in self.held if due <= number]
        self.held = [(due, datagram) for due, datagram in self.held if due > number]
        return free


def open_socket(address):
    sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
    for option in (33, 32):  # SO_RCVBUFFORCE, SO_SNDBUFFORCE
        sock.setsockopt(socket.SOL_SOCKET, option, BUFFER)
    sock.setblocking(False)
    return sock


def main(listen, port, server, server_port, *chances):
    near, far = open_socket(listen), open_socket(server)
    near.bind((listen, int(port)))
    ways = {near: Way(map(float, chances), 1), far: Way(map(float, chances), 2)}
    other = {near: far, far: near}
    send_to = {far: (server, int(server_port)), near: None}  # the near side is known when it has spoken

    def report(*_):
        for name, way in (("there", ways[near]), ("back", ways[far])):
            print(name, *(f"{count} {fate}" for fate, count in way.counts.items()), flush=True)
        sys.exit()

    def pass_on(side, datagrams):
        for datagram in datagrams:
            try:
                side.sendto(datagram, send_to[side])
            except OSError:
                pass  # a full buffer, or nobody listens: a network loses such datagrams, too

    signal.signal(signal.SIGTERM, report)
    print("relaying", flush=True)
    while True:
        readable, _, _ = select.select([near, far], [], [], IDLE)
        for side, way in ways.items():
            if not readable:
                pass_on(other[side], way.release())
            for _ in range(AT_ONCE if side in readable else 0):
                try:
                    datagram, source = side.recvfrom(65535)
                except OSError:
                    break
                if side is near:
                    send_to[near] = source
                if datagram:
                    pass_on(other[side], way.carry(datagram))


main(*sys.argv[1:])
