// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Foundation

/// Things that have happened, for threads that wait for more of them.
final class Journal<Entry>: @unchecked Sendable {
    // SAFETY: `entries` and `hasEnded` are touched under `condition` only.
    private let condition = NSCondition()
    private var entries: [Entry] = []
    private var hasEnded = false

    var all: [Entry] { self.condition.withLock { self.entries } }

    func append(_ entry: Entry) {
        self.condition.withLock {
            self.entries.append(entry)
            self.condition.broadcast()
        }
    }

    /// There will be no more.
    func end() {
        self.condition.withLock {
            self.hasEnded = true
            self.condition.broadcast()
        }
    }

    /// Looks now and after everything that happens, until there is something to see.
    func wait<Value>(
        for what: @autoclosure () -> String, within seconds: TimeInterval = 60, _ look: ([Entry]) throws -> Value?
    ) throws -> Value {
        let deadline = Date(timeIntervalSinceNow: seconds)
        self.condition.lock()
        defer { self.condition.unlock() }
        while true {
            if let value = try look(self.entries) { return value }
            guard !self.hasEnded else { throw Unexpected("\(what()): everything ended before") }
            guard self.condition.wait(until: deadline) else { throw Unexpected("\(what()): not within \(seconds) s") }
        }
    }

    func waitForEnd(within seconds: TimeInterval) -> Bool {
        let deadline = Date(timeIntervalSinceNow: seconds)
        self.condition.lock()
        defer { self.condition.unlock() }
        while !self.hasEnded { if !self.condition.wait(until: deadline) { return false } }
        return true
    }
}

extension NSCondition {
    fileprivate func withLock<Result>(_ body: () -> Result) -> Result {
        self.lock()
        defer { self.unlock() }
        return body()
    }
}
