// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Testing

/// The explorer says that the machines keep the rules. Would it notice if they did not?
@Suite struct MutationTests {
    private typealias Trial = (mutation: Mutation, verdict: Workshop.Verdict)

    @Test(.timeLimit(.minutes(10)))
    func `a machine that lacks any one guard breaks a rule`() async throws {
        let workshop = try Workshop()
        defer { workshop.close() }
        let unnoticed = try await withThrowingTaskGroup(of: Trial.self) { group in
            var unnoticed: [String] = []
            for (started, mutation) in Mutation.all.enumerated() {
                // Two at a time: the compiler needs a core each.
                if started >= 2, let trial = try await group.next() { unnoticed += self.report(trial) }
                group.addTask { (mutation, try await workshop.tryOut(mutation, faults: 2).verdict) }
            }
            for try await trial in group { unnoticed += self.report(trial) }
            return unnoticed
        }
        #expect(unnoticed == [])
    }

    /// Prints one line, and returns it if it is bad news.
    private func report(_ trial: Trial) -> [String] {
        let name = "\(trial.mutation.machine) \(trial.mutation.name)"
        switch trial.verdict {
        case .broken(let rule):
            print("\(name): \(rule)")
            return []
        case .holds: return ["\(name): it breaks no rule"]
        case .untried(let reason): return ["\(name): \(reason)"]
        }
    }

    @Test func `there are many mutations, no two the same, and none that changes nothing`() {
        let edits = Mutation.all.map { [$0.file, $0.text, $0.replacement] }
        #expect(edits.count >= 25)
        #expect(Set(edits).count == edits.count)
        #expect(Mutation.all.allSatisfy { $0.text != $0.replacement })
    }
}
