# SPDX-License-Identifier: Apache-2.0
# Copyright (c) the swift-tableflip authors
"""Medians, their spread, and straight lines through points."""

import dataclasses
import statistics


@dataclasses.dataclass
class Spread:
    median: float
    low: float
    high: float
    samples: int

    @staticmethod
    def of(values):
        ordered = sorted(values)
        last = len(ordered) - 1
        return Spread(statistics.median(ordered), ordered[round(0.1 * last)], ordered[round(0.9 * last)], len(ordered))

    @staticmethod
    def read(summary):
        """What handover-cost.py --json has for each of its cells."""
        return Spread(summary["median"], summary["p10"], summary["p90"], summary["samples"])

    def __str__(self):
        return f"{short(self.median)} ({short(self.low)}–{short(self.high)})"


def short(value):
    """Three digits that count."""
    if value == 0:
        return "0"
    magnitude = abs(value)
    return f"{value:,.0f}" if magnitude >= 100 else f"{value:.1f}" if magnitude >= 10 else f"{value:.2f}"


@dataclasses.dataclass
class Line:
    """y = base + slope * x, by least squares; `fit` is R squared."""
    base: float
    slope: float
    fit: float

    @staticmethod
    def through(points):
        xs, ys = [x for x, _ in points], [y for _, y in points]
        slope, base = statistics.linear_regression(xs, ys)
        try:
            fit = statistics.correlation(xs, ys) ** 2
        except statistics.StatisticsError:  # all the same
            fit = 1.0
        return Line(base, slope, fit)
