// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Foundation
import Testing

extension LiveTests {
    /// What cannot move, and what does not end.
    @Suite(.timeLimit(.minutes(5)))
    struct DrainTests {
        @Test
        func `A drain that does not end is ended at its deadline, and what it cut is counted`() async throws {
            try await Demo.with(["--drain-timeout", "10s"]) { demo in
                let (busy, idle) = (try demo.connect(5), try demo.connect(7))
                for connection in idle { try connection.ask(demo.process) }
                for connection in busy { try connection.send(Request.get("/delay/5m")) }
                // All have been accepted, and are asked for something.
                try demo.connect().ask(demo.process)
                try demo.upgrade()
                for connection in busy { try connection.expectEnd() }
                for connection in idle { try connection.ask(demo.process) }
                #expect(demo.errors.contains("connections=5"), "the log tells how many were cut")
            }
        }

        @Test
        func `Connections that cannot move are answered once more, and are told that it was the last time`()
            async throws
        {
            try await Demo.with(["--stay"]) { demo in
                let connections = try demo.connect(50)
                for connection in connections { try connection.ask(demo.process) }
                let upgrade = try demo.startUpgrade()
                try demo.event("owner", of: demo.commit(upgrade))
                for connection in connections { try connection.askUntilTold(upgrade.old) }
                try demo.end(upgrade)
            }
        }

        /// The service goes on, so nobody may notice.
        @Test
        func `A successor that alone is told to stop in its probation ends its connections as after a rollback`()
            async throws
        {
            try await Self.withLateAnswers(["--probation", "5m"]) { demo, late in
                let upgrade = try demo.startUpgrade()
                let successor = try demo.awaitProbation(upgrade)
                let (busy, idle) = (try demo.connect(5), try demo.connect(20))
                for connection in idle { try connection.ask(successor) }
                try late.request(busy)
                // All have been accepted, and are asked for something.
                try demo.connect().ask(successor)
                try require(kill(successor, SIGTERM) == 0, "\(successor) is gone")
                try demo.event("rolledBack", of: upgrade.old)
                for connection in idle { try connection.askUntilTold(successor) }
                guard late.isStillToCome else { return false }
                for connection in busy {
                    try connection.expect(from: [successor], saysClose: true)
                    try connection.expectEnd()
                }
                try demo.connect().ask(upgrade.old)
                return true
            }
        }

        @Test
        func `A stop in a successor's probation lets both finish what they had begun, and closes what rests`()
            async throws
        {
            try await Self.withLateAnswers(["--probation", "5m"]) { demo, late in
                var (busy, idle) = (try demo.connect(5), try demo.connect(5))
                for connection in idle { try connection.ask(demo.process) }
                try late.request(busy)
                try demo.connect().ask(demo.process)
                let upgrade = try demo.startUpgrade()
                let successor = try demo.awaitProbation(upgrade)
                let (later, laterIdle) = (try demo.connect(5), try demo.connect(5))
                for connection in laterIdle { try connection.ask(successor) }
                try late.request(later)
                try demo.connect().ask(successor)
                busy += later
                idle += laterIdle
                try demo.startStop()
                for connection in idle { try connection.expectEnd() }
                guard late.isStillToCome else { return false }
                for connection in busy {
                    try connection.expect(from: [upgrade.old, successor], saysClose: true)
                    try connection.expectEnd()
                }
                return true
            }
        }

        /// Each connection asks again and again until it is told. When it is told is the server's choice.
        @Test
        func `Connections that cannot move are told over a time, so that they do not all come back at once`()
            async throws
        {
            try await Demo.with(["--stay", "--drain-spread", "4s"]) { demo in
                var left = try demo.connect(100)
                for connection in left { try connection.ask(demo.process) }
                let upgrade = try demo.startUpgrade()
                try demo.commit(upgrade)
                var told: [TimeInterval] = []
                let start = Date()
                while !left.isEmpty, Date().timeIntervalSince(start) < 60 {
                    var open: [Connection] = []
                    for connection in left {
                        try connection.send(Request.get)
                        let answer = try connection.answer()
                        if answer.saysClose {
                            told.append(Date().timeIntervalSince(start))
                        } else {
                            open.append(connection)
                        }
                    }
                    left = open
                }
                try require(told.count == 100, "\(left.count) were never told")
                // Evenly: between the tenth and the ninetieth lie four fifths of the time.
                #expect(told[89] - told[9] > 1.5, "\(told)")
                try demo.end(upgrade)
            }
        }

        /// It ends itself when it is the owner, and the thousand are not with it yet.
        @Test
        func `Connections that the new process did not live to take are answered once more by the old one`()
            async throws
        {
            try await Demo.with(["--crash-after-ready", "0s", "--drain-timeout", "10m"]) { demo in
                let connections = try demo.connect(1000)
                for connection in connections { try connection.ask(demo.process) }
                var upgrade = try demo.startUpgrade()
                // One that ends before its commit is rolled back.
                while try demo.outcome(of: upgrade).phase != "committed" { upgrade = try demo.startUpgrade() }
                let new = try demo.commit(upgrade)
                // Seen to end, and reaped by the old one, which has taken back what is its own.
                let deadline = Date(timeIntervalSinceNow: 60)
                while kill(new, 0) == 0 || !demo.errors.contains("connections stay") {
                    try require(Date() < deadline, "\(new) goes on, or nobody has noticed that it does not")
                    _ = try connections[0].isReadable(within: 10)
                }
                // The others ended with the new one.
                let left = try connections.filter { try !$0.isReadable(within: 0) }
                #expect(!left.isEmpty, "all of them had moved already")
                for connection in left { try connection.askUntilTold(upgrade.old) }
                // 32 on each of two event loops may have been on their way. The others are not offered any more.
                let takenBack = demo.errors.matches(of: /connections=(\d+) .*connections stay/)
                    .reduce(0) { $0 + (Int($1.1) ?? 0) }
                #expect(takenBack <= 64)
                // Its time for the drain is longer than anybody waits here.
                try demo.waitForEnd()
            }
        }

        @Test
        func `At a stop what rests is closed at once, and what is asked is answered`() async throws {
            try await Self.withLateAnswers { demo, late in
                let (busy, idle) = (try demo.connect(5), try demo.connect(20))
                for connection in idle { try connection.ask(demo.process) }
                try late.request(busy)
                try demo.connect().ask(demo.process)
                try demo.startStop()
                for connection in idle { try connection.expectEnd() }
                guard late.isStillToCome else { return false }
                for connection in busy {
                    try connection.expect(from: [demo.process], saysClose: true)
                    try connection.expectEnd()
                }
                return true
            }
        }

        /// With answers that must come after something else: later and later, until that was early enough. `body` returns
        /// false where it was not: the answers say nothing then.
        private static func withLateAnswers(
            _ arguments: [String] = [], _ body: @escaping @Sendable (Demo, LateAnswers) throws -> Bool
        ) async throws {
            for seconds in [2, 8, 32] {
                let outcome = Journal<Bool>()
                try await Demo.with(arguments) { outcome.append(try body($0, LateAnswers(seconds))) }
                if outcome.all == [true] { return }
            }
            throw Unexpected("what takes a moment took more than half a minute")
        }

        /// Hard case 31 at a size that every machine has room for; `Benchmarks/` measures larger ones.
        @Test
        func `Thousands of descriptors, hundreds of connections and much memory go through an upgrade`() async throws {
            try await Demo.with(["--extra-files", "3000", "--ballast", "512M"]) { demo in
                let connections = try demo.connect(300)
                for connection in connections { try connection.ask(demo.process) }
                for _ in 0..<2 {
                    try demo.upgrade()
                    for connection in connections { try connection.ask(demo.process) }
                }
            }
        }
    }
}

/// Answers that come some seconds after their requests.
private final class LateAnswers {
    private let seconds: Int
    private var began: ContinuousClock.Instant?

    init(_ seconds: Int) { self.seconds = seconds }

    func request(_ connections: [Connection]) throws {
        if self.began == nil { self.began = .now }
        for connection in connections { try connection.send(Request.get("/delay/\(self.seconds)s")) }
    }

    /// None has come, and none comes for some time.
    var isStillToCome: Bool {
        self.began.map { ContinuousClock.now - $0 < .seconds(self.seconds - 1) } ?? true
    }
}

extension Connection {
    /// Asks this process, which may not have begun to drain yet, until it says that it was the last time.
    fileprivate func askUntilTold(_ process: CInt) throws {
        var isTold = false
        while !isTold {
            try self.send(Request.get)
            let answer = try self.answer()
            try require(answer.text == "\(process)\n", "\(answer)")
            isTold = answer.saysClose
        }
        try self.expectEnd()
    }
}
