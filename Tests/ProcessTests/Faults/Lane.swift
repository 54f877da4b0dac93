// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Foundation
import Tableflip

/// A service that goes through one cell after the other, for as long as one of its processes serves.
struct Lane {
    private static let arguments = [
        // Short, so that what only a deadline ends does not take long.
        "--deadlines", "700", "--quick", "300",
        "--owner-lock", "--check", "--pause-timeout", "700", "--upgrade-timeout", "2500", "--drain-timeout", "3000",
    ]
    /// How long a process is stopped: longer than every deadline that the other one may have meanwhile.
    private static let stop = Duration.milliseconds(5500)
    private static let patience = Duration.seconds(25)

    let server: Server
    let clients: [Client]
    private let kinds: [String: Int]

    /// Goes through the cells of one story, beginning with this one.
    /// - Returns: what is wrong with each.
    static func run(_ first: Cell, _ queue: CellQueue) async throws -> [Cell: [String]] {
        var results: [Cell: [String]] = [:]
        let probation = Int(first.story.probation / .milliseconds(1))
        let variant = Variant(name: "faults", arguments: ["--reader"], hasPath: true)
        let start = Server.Start(
            arguments: (["--probation", "\(probation)", "--faults", "FAULTS"] + self.arguments).map { Array($0.utf8) },
            prepare: { home in
                try FileManager.default.createDirectory(
                    at: home.appending(path: "FAULTS"), withIntermediateDirectories: true)
            }
        )
        try await Server.withProcess(variant, start) { server in
            let lane = try await Lane(server)
            var next: Cell? = first
            while let cell = next {
                let mark = server.mark
                var complaints: [String] = []
                do {
                    complaints = try await lane.meet(cell)
                } catch {
                    complaints = ["\(error)"]
                }
                if !complaints.isEmpty {
                    complaints.append(server.lines(from: mark))
                    complaints.append(String(server.errorText.suffix(4000)))
                }
                results[cell] = complaints
                next = complaints.isEmpty && server.isAlive ? queue.next(like: cell) : nil
            }
            for client in lane.clients { _ = client.stop() }
        }
        return results
    }

    private init(_ server: Server) async throws {
        self.server = server
        try await server.line(of: server.first, startingWith: "event owner")
        try await server.line(of: server.first, startingWith: "serving")
        self.kinds = ProcessFacts(of: server.first).kinds
        self.clients = [.tcp(port: server.port), .unix(path: server.socket.path)].map { Client($0, server.log) }
        try await server.answer(from: server.first)
    }

    // MARK: One cell

    private func meet(_ cell: Cell) async throws -> [String] {
        let server = self.server
        let old = server.current
        let mark = server.mark
        try server.misbehave(cell.story.behaviour)
        for (name, words) in cell.files {
            let file = server.directory.appending(path: "FAULTS").appending(path: name)
            try Data(words.utf8).write(to: file, options: .atomic)
        }
        server.requestUpgrade(of: old)
        let met = try await server.log.wait(for: "\(cell)", within: Self.patience) {
            $0.first(from: mark) { $0 == "fault \(cell)" }
        }
        if cell.fault == .stop { try await self.letGo(met.process) }
        if cell.isShortage { try await self.relief(of: met.process, from: mark) }
        let survivor = try await self.survivor(of: old, from: mark, cell)

        var complaints = self.lost(cell, from: mark, survivor)
        let history = server.log.history
        if history.first(from: mark, { $0 == "lock refused" }) != nil, !cell.mayRefuseTheLock {
            complaints.append("two owners at a time")
        }
        guard let survivor else {
            if !cell.mayEndTheService { complaints.append("nobody is left") }
            return complaints
        }
        server.current = survivor
        complaints += await self.leftovers(survivor)
        try server.misbehave("")
        try await self.answersEverywhere()
        try await self.upgradeOnceMore()
        // What is lost now is lost for nothing.
        complaints += self.clients.flatMap { $0.takeFailures() }
        return complaints
    }

    /// A process that was stopped goes on when the other one has had time for everything, if it has not been killed.
    private func letGo(_ process: CInt) async throws {
        let ended: Void? = try? await self.server.log.wait(for: "", within: Self.stop) { _ in
            ProcessFacts.state(of: process) == nil ? () : nil
        }
        if ended == nil { kill(process, SIGCONT) }
    }

    /// A successor that is started meanwhile inherits the shortage, and has nobody who ends it.
    private func relief(of process: CInt, from mark: Int) async throws {
        try await self.server.log.wait(for: "the end of the shortage", within: Self.patience) { history in
            let isOver = history.first(process, from: mark) { $0 == "relief" } != nil
            return isOver || ProcessFacts.state(of: process) == nil ? () : nil
        }
    }

    /// Who is left when everything is over.
    private func survivor(of old: CInt, from mark: Int, _ cell: Cell) async throws -> CInt? {
        let server = self.server
        let group = server.first
        let looked = Locked(ContinuousClock.now)
        let survivor: CInt?? = try await server.log.wait(for: "one process to be left", within: Self.patience) {
            history in
            if history.childrenHaveEnded { return .some(nil) }
            guard let candidate = history.outcome(of: old, from: mark) else { return nil }
            // Looking through all processes takes longer than an answer.
            let now = ContinuousClock.now
            let isTime = looked.withLock { last in
                guard now - last > .milliseconds(20) else { return false }
                last = now
                return true
            }
            guard isTime, ProcessFacts.processes(inGroup: group) == [candidate] else { return nil }
            return .some(candidate)
        }
        return survivor ?? nil
    }

    /// What clients lost that they should not have.
    private func lost(_ cell: Cell, from mark: Int, _ survivor: CInt?) -> [String] {
        let failures = self.clients.map { $0.takeFailures() }
        guard survivor != nil else { return [] }
        let history = self.server.log.history
        let killed =
            (cell.fault == .kill ? 1 : 0)
            + history.lines.dropFirst(mark).filter { $0.words.hasPrefix("step ") }.count
        var complaints = failures.flatMap { $0 }.filter { $0.hasPrefix("connect") }
        for lost in failures where lost.count > killed {
            complaints.append("\(killed) processes were killed, and one client lost \(lost)")
        }
        return complaints
    }

    /// What should not be there any more.
    private func leftovers(_ survivor: CInt) async -> [String] {
        let (server, kinds) = (self.server, self.kinds)
        var complaints: [String] = []
        if server.namedProcess != survivor { complaints.append("the PID file names \(server.namedProcess ?? 0)") }
        if !(await server.eventually { ProcessFacts(of: survivor).kinds == kinds }) {
            complaints.append("descriptors \(ProcessFacts(of: survivor).kinds), not \(kinds)")
        }
        // A directory that cannot be read shows below.
        let names = (try? FileManager.default.contentsOfDirectory(atPath: server.directory.path)) ?? []
        let expected = ["FAULTS", "behaviour", "errors", "pid", "pid.lock", "socket"]
        if names.sorted() != expected { complaints.append("files \(names.sorted())") }
        let faults = (try? FileManager.default.contentsOfDirectory(atPath: server.directory.path + "/FAULTS")) ?? []
        if !faults.isEmpty { complaints.append("not reached: \(faults)") }
        return complaints
    }

    private func answersEverywhere() async throws {
        for client in self.clients {
            let count = client.answers
            try await self.server.log.wait(for: "an answer at \(client.address)", within: Self.patience) { _ in
                client.answers > count + 1 ? () : nil
            }
        }
    }

    /// The deadlines of this test are so short that a busy machine may not keep them.
    private func upgradeOnceMore() async throws {
        let server = self.server
        for attempt in 1...4 {
            let (old, mark) = (server.current, server.mark)
            server.requestUpgrade(of: old)
            let outcome = try await server.outcome(of: old, from: mark)
            if outcome.phase == "committed" {
                server.current = outcome.peer
                try await server.line(of: outcome.peer, startingWith: "event predecessorLeft \(old)")
                guard server.namedProcess == outcome.peer else {
                    throw Overdue(description: "after the next upgrade the PID file names \(server.namedProcess ?? 0)")
                }
                return
            }
            guard attempt < 4 else { throw Overdue(description: "the next upgrade: \(outcome)") }
            _ = try await self.survivorAlone(old)
        }
    }

    private func survivorAlone(_ old: CInt) async throws {
        let group = self.server.first
        try await self.server.log.wait(for: "the failed successor to leave", within: Self.patience) { _ in
            ProcessFacts.processes(inGroup: group) == [old] ? () : nil
        }
    }
}

extension History {
    /// Who must be the only one left, once it can be told: an upgrade of this process has begun at the mark. Not one that
    /// is stopping, even if it is the last.
    fileprivate func outcome(of old: CInt, from mark: Int) -> CInt? {
        self.winner(of: old, from: mark).flatMap { winner in
            self.first(winner, from: mark) { $0.hasPrefix("event stopping") } == nil ? winner : nil
        }
    }

    private func winner(of old: CInt, from mark: Int) -> CInt? {
        for line in self.lines.dropFirst(mark) {
            let words = line.words.split(separator: " ")
            guard words.count >= 2, words[0] == "event" else { continue }
            if line.process == old, ["failed", "rolledBack"].contains(words[1]) { return old }
            if words[1] == "predecessorLeft", line.process != old { return line.process }
        }
        return nil
    }
}

extension Server {
    fileprivate var isAlive: Bool { !self.log.history.childrenHaveEnded }

    fileprivate func lines(from mark: Int) -> String {
        let history = self.log.history
        return history.lines.dropFirst(mark).map { $0.description(since: history.start) }.joined(separator: "\n")
    }
}
