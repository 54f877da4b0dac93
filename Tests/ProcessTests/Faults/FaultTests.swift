// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Foundation
import Tableflip
import Testing

#if os(Linux)
/// Something goes wrong at every step of the handshake, in the process of either role, while clients ask.
@Suite(
    .timeLimit(.minutes(5)),
    .enabled(
        if: ProcessInfo.processInfo.environment["TABLEFLIP_ALONE"] != nil,
        "keeps every core busy with stopped and dying processes, so it runs alone: TABLEFLIP_ALONE=1 swift test --filter FaultTests"
    )
)
struct FaultTests {
    @Test
    func `Whatever goes wrong at whichever step, the service goes on, with one owner and nothing left behind`()
        async throws
    {
        for step in EngineStep.all { #expect((step.story == nil) == (step.notReached != nil), "\(step)") }
        let queue = CellQueue(Self.cells)
        let table = try await withThrowingTaskGroup(of: [Cell: [String]].self) { group in
            // Those in which a process is stopped are mostly time that passes.
            for isLong in [true, true, true, true, true, true, false, false, false] {
                group.addTask {
                    var results: [Cell: [String]] = [:]
                    while let cell = queue.next(long: isLong) {
                        results.merge(try await Lane.run(cell, queue)) { $1 }
                    }
                    return results
                }
            }
            return try await group.reduce(into: FaultTable()) { $0.results.merge($1) { $1 } }
        }
        print(table)
        for (cell, complaints) in table.results where !complaints.isEmpty {
            Issue.record("\(cell): \(complaints.joined(separator: "\n"))")
        }
        #expect(table.results.count == Self.cells.count)
    }

    /// All, or those whose name begins with what a person who looks for a mistake says.
    private static var cells: [Cell] {
        let wanted = ProcessInfo.processInfo.environment["TABLEFLIP_FAULTS"] ?? ""
        return Cell.all.filter { "\($0)".hasPrefix(wanted) }
    }
}
#endif
