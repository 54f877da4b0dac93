// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Testing

/// Runs a few tests at a time: each has several processes and threads, and all of them at once would only wait for each
/// other, past their deadlines.
struct Slots: SuiteTrait, TestTrait, TestScoping {
    private actor Gate {
        private var free = 6
        private var waiting: [CheckedContinuation<Void, Never>] = []

        func enter() async {
            guard self.free == 0 else {
                self.free -= 1
                return
            }
            await withCheckedContinuation { self.waiting.append($0) }
        }

        func leave() {
            // A slot goes from hand to hand while somebody waits for it.
            if self.waiting.isEmpty { self.free += 1 } else { self.waiting.removeFirst().resume() }
        }
    }

    private static let gate = Gate()

    var isRecursive: Bool { true }

    func provideScope(
        for test: Test, testCase: Test.Case?, performing function: @Sendable () async throws -> Void
    ) async throws {
        await Self.gate.enter()
        do {
            try await function()
        } catch {
            await Self.gate.leave()
            throw error
        }
        await Self.gate.leave()
    }
}

extension Trait where Self == Slots {
    static var fewAtATime: Slots { Slots() }
}
