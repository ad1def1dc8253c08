"""Times of collectives and instructions, and the table of them."""

import json
from dataclasses import replace

import pytest
from helpers.hlo_programs import work

from jaxmusic.aot.chips import read_topology
from jaxmusic.aot.compiling import (
    Compiled,
    Memory,
    TooLarge,
)
from jaxmusic.aot.report import Column, collective_lines, scaling, table_lines, to_json
from jaxmusic.aot.roofline import HOP_SECONDS, collective_seconds, estimate
from jaxmusic.aot.work import Collective, Cost, Timed


def test_how_chips_are_connected() -> None:
    corners = {
        name: (read_topology(name).chips, read_topology(name).links, read_topology(name).hops)
        for name in ("v5e:1x1", "v5e:2x4", "v5e:16x16", "v6e:8x16", "v4:4x4x4", "v5p:2x4x4")
    }
    assert corners == {
        "v5e:1x1": (1, 0, 0),
        "v5e:2x4": (8, 2, 1 + 3),
        "v5e:16x16": (256, 4, 8 + 8),
        "v6e:8x16": (128, 3, 7 + 8),
        "v4:4x4x4": (64, 6, 2 + 2 + 2),
        "v5p:2x4x4": (32, 3, 1 + 3 + 3),
    }


def test_an_all_reduce_moves_its_bytes_twice() -> None:
    topology = read_topology("v5e:2x4")
    million = Collective("all-reduce", 1, 10**6, 1, in_time_loop=False, in_step=True)
    moved = 2 * 7 / 8 * 10**6 / (2 * 50e9)
    assert collective_seconds(million, topology) == pytest.approx(moved + 8 * HOP_SECONDS)
    assert collective_seconds(million, read_topology("v5e:1x1")) == 0


def test_an_instruction_takes_the_longer_of_its_times() -> None:
    topology = read_topology("v5e:2x4")
    chip = topology.chip
    product = Timed(Cost(10**9, 6 * 10**9, 8, 0), 100, True, False, False)
    copy = Timed(Cost(0, 0, 10**6, 10**5), 1, False, False, False)
    ahead = Timed(Cost(0, 0, 10**6, 0), 1, False, True, False)
    found = estimate(work(product, copy, ahead), topology)
    assert found.products == pytest.approx(6e11 / 197e12)
    assert found.memory == pytest.approx(2_000_800 / 819e9)
    assert found.at_best_in_time_loops == pytest.approx(found.products)
    assert found.at_best == pytest.approx(found.products + 1e6 / 819e9)
    assert chip.clock == pytest.approx(1.503e9, rel=1e-3)
    assert found.by_cycles == pytest.approx(found.products + 1e5 / 1.503e9, rel=1e-4)
    # What is copied ahead hides no longer than the rest takes.
    alone = estimate(work(ahead), topology)
    assert alone.at_best == alone.memory == pytest.approx(1e6 / 819e9)
    assert estimate(work(product), read_topology("v6e:2x4")).by_cycles is None


def test_the_table_and_the_json_say_the_same() -> None:
    reduce = Collective("all-reduce", 1, 2**20, 3, in_time_loop=False, in_step=True)
    small = Collective("all-reduce", 2, 2**10, 1, in_time_loop=True, in_step=True)
    done = work(Timed(Cost(10**12, 10**12, 10**6, 0), 1, False, False, False))
    done = replace(done, collectives=(reduce, small))
    memory = Memory(2**20, 0, 2**21, 2**20)
    columns = []
    for name in ("v5e:2x4", "v5e:16x16"):
        topology = read_topology(name)
        columns.append(
            Column(topology, 128 * topology.chips, 10**12 * topology.chips,
                   Compiled("", memory, 3.0), done, estimate(done, topology))
        )  # fmt: skip
    full = Column(columns[0].topology, 10**6, 10**12, TooLarge("40.05G", "15.75G"))
    rows = {line.strip().split("  ")[0]: line.split() for line in table_lines([*columns, full])}
    assert rows["fits"][1:] == ["yes", "yes", "no:", "40.05G", "of", "15.75G"]
    assert rows["in all"][-3:] == ["4.0", "4.0", "-"]
    assert rows["to the network's own"][-3:] == ["1.000", "1.000", "-"]
    (between,) = collective_lines([*columns, full])
    assert between == (
        "  v5e:2x4, v5e:16x16: 3 x all-reduce a step (1 of 1.0 MiB, 2 of 1.0 to 1.0 KiB); "
        "2 inside a time loop"
    )
    documents = json.loads(json.dumps(to_json([*columns, full])))
    assert [each["fits"] for each in documents] == [True, True, False]
    share = scaling(columns[0], columns[1], by_cycles=False)
    assert documents[1]["scaling"]["at_best"] == share
    assert share is not None and 0.5 < share < 1.1
