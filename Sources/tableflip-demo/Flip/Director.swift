// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

#if NIO
import Foundation

/// Follows the server and the load, and answers "has this happened yet".
actor Director {
    struct DidNotHappen: Error {
        var what: String
    }

    private struct Waiter {
        var what: String
        var matches: @Sendable (EventLine) -> Bool
        var continuation: CheckedContinuation<EventLine, any Error>
    }

    private var screen: Screen
    private var waiters: [Int: Waiter] = [:]
    private var nextWaiter = 0
    private var seen: [EventLine] = []
    /// All that the load has counted, what died on purpose too.
    private(set) var counted = LoadReport()
    /// What was inside processes that were killed on purpose. It is not lost.
    private var excused: [String: Int] = [:]
    /// While one is being killed: what had been counted before, and how many requests it can have inside.
    private var killing: (before: LoadReport, atMost: Int)?
    private var loadAtLastSecond: [(ContinuousClock.Instant, Int)] = []
    private var serverHasEnded = false
    /// How many reports of the load there were.
    private var reports = 0
    private(set) var rows: [GenerationRow] = []
    private var phase = "starting"
    private var generation = 1

    init(screen: Screen) { self.screen = screen }

    // MARK: What comes in

    func follow(server lines: AsyncStream<String>) async {
        for await line in lines {
            guard let event = try? JSONDecoder().decode(EventLine.self, from: Data(line.utf8)) else { continue }
            self.take(event)
        }
        self.serverHasEnded = true
        for id in self.waiters.keys { self.fail(id) }
    }

    func follow(load lines: AsyncStream<String>) async {
        for await line in lines {
            // Anything else on the line is not from our client.
            guard let report = try? JSONDecoder().decode(LoadReport.self, from: Data(line.utf8)) else { continue }
            self.counted = report
            self.reports += 1
            self.draw()
            self.wake(EventLine(pid: 0, generation: self.reports, phase: "report"))
        }
    }

    private func take(_ event: EventLine) {
        self.seen.append(event)
        self.note(event)
        self.screen.say(event, Self.words(for: event))
        self.draw()
        self.wake(event)
    }

    private func wake(_ event: EventLine) {
        for (id, waiter) in self.waiters where waiter.matches(event) {
            self.waiters[id] = nil
            waiter.continuation.resume(returning: event)
        }
    }

    private func note(_ event: EventLine) {
        switch event.phase {
        case "listening":
            self.generation = event.generation
            self.phase = "serving"
            if event.generation == 1 {
                self.rows.append(GenerationRow(generation: 1, pid: event.pid, outcome: "first"))
            }
        case "ready":
            self.rows.append(
                GenerationRow(
                    generation: event.generation + 1, pid: event.peer, ready: event.milliseconds, outcome: "ready"))
        case "committed":
            if let last = self.rows.indices.last {
                self.rows[last].committed = event.milliseconds
                self.rows[last].outcome = "took over"
            }
        case "failed":
            self.rows.append(
                GenerationRow(
                    generation: event.generation + 1, pid: event.peer,
                    outcome: event.error.map { String($0.prefix { $0 != ":" }) } ?? "failed"
                )
            )
            self.phase = "serving"
        case "rolledBack":
            if let last = self.rows.indices.last { self.rows[last].outcome = "rolled back" }
            self.phase = "serving"
        case "requested", "spawned", "handedOver", "go", "probation": self.phase = event.phase
        default: break
        }
    }

    private func draw() {
        let (now, load) = (ContinuousClock.now, self.load)
        self.loadAtLastSecond.append((now, load.requests))
        self.loadAtLastSecond.removeAll { $0.0 < now - .seconds(1) }
        let first = self.loadAtLastSecond.first.map { (time: $0.0, requests: $0.1) }
        let elapsed = first.map { now - $0.time } ?? .zero
        let rate =
            elapsed > .milliseconds(50)
            ? Int(Double(load.requests - (first?.requests ?? 0)) / elapsed.milliseconds * 1e3) : 0
        self.screen.show(load, rate: rate, generation: self.generation, phase: self.phase)
    }

    private static func words(for event: EventLine) -> String {
        let time = event.milliseconds > 0 ? String(format: " +%.1f ms", event.milliseconds) : ""
        let words =
            switch event.phase {
            case "listening": "listens on port \(event.port ?? 0)"
            case "requested": "upgrade"
            case "spawned": "  started \(event.peer)\(time)"
            case "handedOver": "  \(event.peer) holds every socket\(time)"
            case "ready": "  \(event.peer) is ready\(time)"
            case "go": "  paused; \(event.peer) goes\(time)"
            case "probation": "  \(event.peer) serves, in probation\(time)"
            case "rolledBack": "  serves again: \(event.error ?? "")\(time)"
            case "committed": "  \(event.peer) owns the service\(time); draining"
            case "failed", "refused": "  \(event.error ?? event.phase)\(time)"
            case "predecessorLeft": "the old process \(event.peer) has left"
            default: event.phase
            }
        return "[\(event.generation)] \(event.pid) \(words)"
    }

    // MARK: What is waited for

    /// How many events there have been.
    var now: Int { self.seen.count }

    /// Waits for an event. Those from number `start` on count, so one that has come since then is found as well.
    func expect(
        _ what: String, from start: Int, within limit: Duration = .seconds(25),
        _ matches: @escaping @Sendable (EventLine) -> Bool
    ) async throws -> EventLine {
        if let event = self.seen[start...].first(where: matches) { return event }
        guard !self.serverHasEnded else { throw DidNotHappen(what: what) }
        self.nextWaiter += 1
        let id = self.nextWaiter
        let deadline = Task {
            try await Task.sleep(for: limit)
            self.fail(id)
        }
        defer { deadline.cancel() }
        return try await withCheckedThrowingContinuation { continuation in
            self.waiters[id] = Waiter(what: what, matches: matches, continuation: continuation)
        }
    }

    /// What the load has counted until now: a report that was begun after this was asked for.
    func freshReport() async throws -> LoadReport {
        let next = self.reports + 2
        _ = try await self.expect("a report of the load", from: self.now) {
            $0.phase == "report" && $0.generation >= next
        }
        return self.load
    }

    // MARK: What dies on purpose

    /// From now on what is cut off was inside a process that is killed, up to so many requests.
    func beginKilling(atMost limit: Int) async throws {
        self.killing = (try await self.freshReport(), limit)
    }

    /// The process is dead, and what died with it has been counted.
    func endKilling() async throws {
        _ = try await self.freshReport()
        self.excused = self.allExcused
        self.killing = nil
    }

    /// How many requests died with such processes.
    var killed: Int { self.allExcused.values.reduce(0, +) }

    private var allExcused: [String: Int] {
        guard let (before, limit) = self.killing else { return self.excused }
        return self.excused.merging(self.counted.cut(since: before, atMost: limit), uniquingKeysWith: +)
    }

    /// What the load has counted, less what died on purpose.
    var load: LoadReport { self.counted.excusing(self.allExcused) }

    private func fail(_ id: Int) {
        guard let waiter = self.waiters.removeValue(forKey: id) else { return }
        waiter.continuation.resume(throwing: DidNotHappen(what: waiter.what))
    }

    /// Every process of the server that has been heard of.
    var servers: Set<Int32> { Set(self.seen.flatMap { [$0.pid, $0.peer] }.filter { $0 > 1 }) }

    func use(_ report: LoadReport) { self.counted = report }

    /// What comes next, for those who watch.
    func announce(_ words: String) { self.screen.announce(words) }

    func finish(_ summary: Summary) throws { try self.screen.finish(summary, self.rows) }
}
#endif  // NIO
