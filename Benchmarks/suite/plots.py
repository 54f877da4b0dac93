# SPDX-License-Identifier: Apache-2.0
# Copyright (c) the swift-tableflip authors
"""Plots, by Debian's python3-matplotlib."""

import matplotlib

from .numbers import short

matplotlib.use("svg")
import matplotlib.pyplot as pyplot  # noqa: E402

# One colour for a server in all plots; ours stands out.
COLOURS = {"swift-tableflip": "#d9480f", "floor": "#868e96", "Go tableflip": "#0b7285", "nginx": "#2b8a3e",
           "HAProxy": "#5f3dc4", "gunicorn": "#a61e4d"}


def colour(name):
    return next((value for key, value in COLOURS.items() if name.startswith(key)), "#495057")


def draw(plot, path):
    matplotlib.rcParams.update({"svg.fonttype": "none", "font.family": "sans-serif", "font.size": 10,
                                "axes.spines.top": False, "axes.spines.right": False})
    figure, axes = pyplot.subplots(figsize=(7.2, 3.6 if plot.lines else 0.9 + 0.42 * len(plot.bars)))
    if plot.lines:
        styles = {}
        for name, points in plot.lines.items():
            points = sorted(points)
            xs, ys, lows, highs = (list(column) for column in zip(*points))
            # A second server of the same family is dashed.
            count = styles[colour(name)] = styles.get(colour(name), 0) + 1
            axes.plot(xs, ys, "o" + ("-", "--", ":")[min(count, 3) - 1], label=name, color=colour(name), markersize=4)
            axes.fill_between(xs, lows, highs, color=colour(name), alpha=0.15, linewidth=0)
        axes.set_xlabel(plot.x)
        axes.set_ylabel(plot.y)
        axes.legend(frameon=False)
        if plot.logarithmic:
            axes.set_yscale("log")
        else:
            axes.set_ylim(bottom=0)
    else:
        names = list(plot.bars)[::-1]
        values = [plot.bars[name][0] for name in names]
        errors = [[max(0, plot.bars[name][0] - plot.bars[name][1]) for name in names],
                  [max(0, plot.bars[name][2] - plot.bars[name][0]) for name in names]]
        axes.barh(names, values, xerr=errors, color=[colour(name) for name in names], height=0.6, ecolor="#212529")
        for name, value in zip(names, values):
            axes.annotate(" " + short(value), (value, name), va="bottom", fontsize=8)
        axes.set_xlabel(plot.y)
        if plot.logarithmic:
            axes.set_xscale("symlog", linthresh=1)
    axes.set_title(plot.title, loc="left", fontsize=11)
    figure.savefig(path, bbox_inches="tight", metadata={"Date": None})
    pyplot.close(figure)
