#!/usr/bin/env python3
"""Tests of how scripts/bench.sh reads and reports. Run by scripts/test.sh."""

import contextlib
import io
import json
import os
import tempfile
import unittest
import unittest.mock
from xml.etree import ElementTree

import readings
import report


def transfer(subject, number, measure, gigabits, cpu):
    reading = {"bits_per_second": gigabits * 1e9, "bytes": gigabits * 1e9, "cpu_seconds": cpu}
    return readings.line(subject, number, measure, {**reading, "packets_per_second": 1e4, "lost_percent": 0.5})


def pair(subject, number, gigabits, cpu=1):
    names = ["tcp-1-up", "tcp-1-down", "tcp-4-up", "tcp-4-down", "udp-1372", "udp-64"]
    lines = [transfer(subject, number, name, gigabits, cpu) for name in names]
    lines += [readings.line(subject, number, name, {"median_us": 200}) for name in ("ping-idle", "ping-loaded")]
    lines += [readings.line(subject, number, f"memory-{node}", {"bytes": size}) for node, size in (("gateway", 3e6), ("client", 5e6))]
    return lines


class Reports(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = os.path.join(folder.name, "file")

    def write(self, text):
        with open(self.path, "w", encoding="utf-8") as file:
            file.write(text)

    def results(self, *pairs):
        run = readings.run("3", "4", "500M", "hybrid-aes=a 1", "wireguard-go=b 2")
        self.write("\n".join(json.dumps(entry) for entry in [run, *sum(pairs, [])]))
        return report.Results(self.path)

    def test_a_ratio_is_that_of_the_same_round(self):
        # The machine becomes ten times slower: both medians are of other rounds, the ratio is 2 in each.
        speeds = [(1, 4.0), (2, 3.0), (3, 0.4)]
        results = self.results(*[pair("hybrid-aes", n, 2 * s) + pair("wireguard-go", n, s) for n, s in speeds])
        self.assertEqual(results.ratios("hybrid-aes", report.FIGURES[0]), [2, 2, 2])

    def test_a_round_that_failed_for_one_has_no_ratio(self):
        results = self.results(pair("hybrid-aes", 1, 2), pair("hybrid-aes", 2, 8), pair("wireguard-go", 2, 2))
        self.assertEqual(results.ratios("hybrid-aes", report.FIGURES[0]), [4])

    def test_cpu_is_that_of_all_tcp_transfers_and_memory_that_of_the_larger_end(self):
        results = self.results(pair("hybrid-aes", 1, 2.0, cpu=3))
        figures = {figure.title: results.values("hybrid-aes", figure) for figure in report.FIGURES}
        self.assertEqual((figures["CPU"], figures["memory"]), ([1.5], [5.0]))

    def test_the_chart_is_well_formed_whatever_a_subject_is_called(self):
        results = self.results(pair("hybrid-aes", 1, 2), pair("wireguard-go", 1, 1))
        report.NAMES["wireguard-go"] = 'a <b> & "c"'
        self.addCleanup(report.NAMES.pop, "wireguard-go")
        ElementTree.fromstring(report.draw(results))

    def test_publishing_replaces_one_part_and_wants_its_marks(self):
        self.write("a\n<!-- figures: scripts/bench.sh --publish writes from here -->\nold\n<!-- figures: to here -->\nz\n")
        with contextlib.redirect_stderr(io.StringIO()), self.assertRaises(SystemExit):
            report.publish("memory", self.path)
        with unittest.mock.patch("sys.stdin", io.StringIO("new\n")):
            report.publish("figures", self.path)
        with open(self.path, encoding="utf-8") as file:
            lines = file.read().splitlines()
        self.assertEqual((lines[0], lines[2], lines[-1], len(lines)), ("a", "new", "z", 5))

    def test_of_udp_what_arrives_counts_and_of_tcp_what_is_received(self):
        udp = {"sum": {"packets": 1000, "lost_packets": 250, "lost_percent": 25.0, "bytes": 64000, "seconds": 2.0}}
        self.write(json.dumps({"end": udp}))
        reading = readings.transfer("x", "1", "udp-64", self.path, "300")
        self.assertEqual((reading["packets_per_second"], reading["bits_per_second"]), (375, 375 * 64 * 8))
        self.assertEqual(reading["cpu_seconds"], 300 / readings.TICKS_PER_SECOND)
        tcp = {"sum_sent": {"retransmits": 1, "bytes": 9}, "sum_received": {"bytes": 8, "bits_per_second": 16.0}}
        self.write(json.dumps({"end": tcp}))
        reading = readings.transfer("x", "1", "tcp-1-up", self.path, "0")
        self.assertEqual((reading["bytes"], reading["bits_per_second"]), (8, 16.0))

    def test_lost_pings_are_counted_and_not_averaged(self):
        self.write("64 bytes: time=0.100 ms\n64 bytes: time=0.300 ms\n64 bytes: time=9.000 ms\n4 packets transmitted, 3 received")
        reading = readings.ping("x", "1", "ping-idle", self.path)
        self.assertEqual((reading["median_us"], reading["lost"]), (300, 1))


if __name__ == "__main__":
    unittest.main()
