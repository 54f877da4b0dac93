// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Tableflip

/// What goes wrong, in the words of the probe.
enum Fault: String, CaseIterable {
    case kill
    case stop
    case delay
    case descriptors
    case room
    case channel
    case trickle
    case interrupts
}

/// One fault at one step.
struct Cell: Hashable, CustomStringConvertible {
    var step: EngineStep
    var fault: Fault
    var story: Story

    var description: String { "\(self.step) \(self.fault.rawValue)" }

    static let all: [Cell] = EngineStep.all.flatMap { step in
        Fault.allCases.compactMap { fault in step.story.map { Cell(step: step, fault: fault, story: $0) } }
    }

    /// Only a deadline of the other process ends it.
    var isLong: Bool { self.fault == .stop }

    var isShortage: Bool { self.fault == .descriptors || self.fault == .room }

    /// The contents of the files that the probe reads at its steps.
    var files: [String: String] {
        var files: [String: String] = [:]
        for (step, words) in self.story.events { files["\(step)"] = words }
        files["\(self.step)", default: ""] += " \(self.fault.rawValue)"
        return files
    }

    var isOfPredecessor: Bool {
        switch self.step {
        case .predecessor: true
        case .successor: false
        }
    }

    /// Whether it is no failure that no process is left.
    var mayEndTheService: Bool {
        self.story.endsTheService || (self.fault == .kill && self.step.deathEndsTheService)
    }

    /// The one exception to one owner at a time: a predecessor that does not run still holds what it had.
    var mayRefuseTheLock: Bool { self.fault == .stop && self.isOfPredecessor }
}

/// The cells that are left, for several who take them.
final class CellQueue: Sendable {
    private let cells: Locked<[Cell]>

    init(_ cells: [Cell]) { self.cells = Locked(cells) }

    /// One that is left, if possible a long one, or not.
    func next(long isLong: Bool) -> Cell? {
        self.cells.withLock { cells in
            let index = cells.firstIndex { $0.isLong == isLong } ?? cells.indices.first
            return index.map { cells.remove(at: $0) }
        }
    }

    /// One that is left of the same story and length.
    func next(like cell: Cell) -> Cell? {
        self.cells.withLock { cells in
            cells.firstIndex { $0.story == cell.story && $0.isLong == cell.isLong }.map { cells.remove(at: $0) }
        }
    }
}

/// What became of each cell.
struct FaultTable: CustomStringConvertible {
    var results: [Cell: [String]] = [:]

    var description: String {
        let width = EngineStep.all.map { "\($0)".count }.max() ?? 0
        let faults = Fault.allCases.map(\.rawValue)
        func row(_ name: String, _ cells: [String]) -> String {
            zip([name] + cells, [width] + faults.map(\.count))
                .map { $0 + String(repeating: " ", count: max(0, $1 - $0.count)) }.joined(separator: "  ")
        }
        var lines = [row("step", faults)]
        for step in EngineStep.all {
            if let reason = step.notReached {
                lines.append(row("\(step)", []) + "  not reached: \(reason)")
                continue
            }
            lines.append(
                row(
                    "\(step)",
                    Fault.allCases.map { fault in
                        let complaints = self.results.first { $0.key.step == step && $0.key.fault == fault }?.value
                        return complaints.map { $0.isEmpty ? "passed" : "FAILED" } ?? "missing"
                    }))
        }
        return lines.joined(separator: "\n")
    }
}
