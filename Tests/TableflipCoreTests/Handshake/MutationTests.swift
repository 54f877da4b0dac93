// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Foundation
import Testing

/// The explorer says that the machines keep the rules. Would it notice if they did not?
@Suite struct MutationTests {
    private typealias Trial = (mutation: Mutation?, verdict: Workshop.Verdict, output: String)

    /// Takes minutes of both cores, so it is asked for.
    @Test(
        .enabled(if: ProcessInfo.processInfo.environment["TABLEFLIP_MUTATIONS"] != nil, "run by Scripts/mutate.sh"),
        .timeLimit(.minutes(30))
    )
    func `two faults break no rule, but do where any one guard is missing`() async throws {
        let workshop = try await Workshop()
        defer { workshop.close() }
        let trials: [Mutation?] = [nil] + Mutation.all
        let surprises = try await withThrowingTaskGroup(of: Trial.self) { group in
            var surprises: [String] = []
            for (started, mutation) in trials.enumerated() {
                // Two at a time: each needs a core.
                if started >= 2, let trial = try await group.next() { surprises += self.report(trial) }
                group.addTask {
                    let (verdict, output) = try await workshop.tryOut(mutation, faults: 2)
                    return (mutation, verdict, output)
                }
            }
            for try await trial in group { surprises += self.report(trial) }
            return surprises
        }
        #expect(surprises == [])
    }

    /// Prints what came of it, and returns it if it is bad news.
    private func report(_ trial: Trial) -> [String] {
        let name = trial.mutation.map { "\($0.machine) \($0.name)" } ?? "the machines as they are"
        switch (trial.verdict, trial.mutation) {
        case (.broken(let rule), .some):
            print("\(name): \(rule)")
            return []
        case (.holds, nil):
            print(trial.output)
            return []
        case (.broken(let rule), nil): return ["\(name): \(rule)"]
        case (.holds, .some): return ["\(name): it breaks no rule"]
        case (.untried(let reason), _): return ["\(name): \(reason)"]
        }
    }

    @Test func `there are many mutations, no two the same, and none that changes nothing`() {
        let edits = Mutation.all.map { [$0.file, $0.text, $0.replacement] }
        #expect(edits.count >= 25)
        #expect(Set(edits).count == edits.count)
        #expect(Mutation.all.allSatisfy { $0.text != $0.replacement })
    }
}
