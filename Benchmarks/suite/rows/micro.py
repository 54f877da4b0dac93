# SPDX-License-Identifier: Apache-2.0
# Copyright (c) the swift-tableflip authors
"""The core alone: frames, digest, machines. See Benchmarks/Micro."""

import json
import os

from ..numbers import short
from ..report import Result, Table
from ..tools import BENCHMARKS, output

UNITS = {"ns": 1e-3, "μs": 1.0, "us": 1.0, "ms": 1e3}
# Each codec row beside the copying of its bytes.
MESSAGES = ["hello", "offer of 253", "253 connections"]


def run(tools):
    result = Result("micro", "The core alone")
    folder = tools.new_folder("micro")
    folder.mkdir()
    output(["swift", "package", "--package-path", BENCHMARKS / "Micro", "--allow-writing-to-directory", folder, "benchmark",
            "--no-progress", "--quiet", "--format", "jsonSmallerIsBetter", "--path", folder],
           env=os.environ | ({"TABLEFLIP_QUICK": "1"} if tools.quick else {}))
    taken = {}
    for entry in json.loads(next(folder.glob("*.json")).read_text()):
        taken[entry["name"].split(" - ")[0]] = entry["value"] * UNITS[entry["unit"]]
    table = Table("Microseconds, mean of a second of repetitions. The floor of a message is one copy of its bytes; no peer has "
                  "such messages: Go's tableflip hands names over as JSON, and nothing is agreed upon.",
                  ["what", "encode", "decode", "floor"])
    for message in MESSAGES:
        table.rows.append([message, *(short(taken[f"{verb} {message}"]) for verb in ("encode", "decode", "copy"))])
    result.tables.append(table)
    table = Table("", ["what", "µs"])
    table.rows = [[name, short(value)] for name, value in taken.items() if name.split(" ", 1)[-1] not in MESSAGES]
    result.tables.append(table)
    return result
