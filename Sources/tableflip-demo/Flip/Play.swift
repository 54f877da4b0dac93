// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

#if NIO
import Foundation

/// The course of one demonstration.
struct Play {
    private let command: Flip
    private let director: Director
    private let server: ChildProcess
    private let pidFile: URL
    private let faultFile: URL
    private let log: FileHandle

    init(_ command: Flip, folder: URL) throws {
        self.command = command
        self.director = Director(screen: Screen(json: command.json))
        self.pidFile = folder.appending(path: "server.pid")
        self.faultFile = folder.appending(path: "faults")
        let logFile = folder.appending(path: "server.log")
        try Data().write(to: self.faultFile)
        try Data().write(to: logFile)
        self.log = try FileHandle(forWritingTo: logFile)
        self.server = try ChildProcess(
            [
                "serve", "--listen", "127.0.0.1:0", "--pid-file", self.pidFile.path, "--fault-file",
                self.faultFile.path,
                "--drain-timeout", "10s", "--upgrade-timeout", "20s", "--probation", "400ms", "--json-events",
                // On a busy machine a thread may stand still for a second.
                "--pause-timeout", "10s",
                // Its end is the server's, also where this process is killed.
                "--scratch", folder.path,
            ],
            errors: self.log
        )
    }

    func run() async throws -> Summary {
        var summary = Summary()
        async let following: Void = self.director.follow(server: self.server.lines)
        do {
            let first = try await self.director.expect("the first server listens", from: 0) { $0.phase == "listening" }
            let load = try self.startLoad(port: first.port ?? 0)
            async let counting = (last: load.finalReport(for: self.director), end: ContinuousClock.now)
            do {
                try await self.flip(&summary)
            } catch let error as Director.DidNotHappen {
                summary.missing.append(error.what)
            }
            let told = ContinuousClock.now
            load.stop()
            let (last, end) = await counting
            if end < told { summary.missing.append("a load to the end; its client had ended by itself") }
            await self.director.use(last)
            let report = await self.director.load
            summary.requests = report.requests
            summary.lost = report.lost
            summary.killed = await self.director.killed
            summary.kept = report.kept
            summary.keptConnections = report.keptConnections
            summary.maxLatencyMs = report.maxMilliseconds
            if self.command.client == .builtin, report.keptConnections != self.command.clients {
                summary.missing.append(
                    "\(self.command.clients) connections that are kept; there were \(report.keptConnections)")
            }
            if report.requests == 0 { summary.missing.append("a single request") }
            if !report.isFinal { summary.missing.append("the load client's last word") }
            summary.failures = report.failures
        } catch let error as Director.DidNotHappen {
            summary.missing.append(error.what)
        }
        await self.end()
        await following
        try await self.director.finish(summary)
        return summary
    }

    // MARK: The acts

    private func flip(_ summary: inout Summary) async throws {
        let crashAt = (self.command.upgrades + 1) / 2
        // Of wrk nobody learns when it has lost something, so it cannot be told what died with the process.
        let rollBackAt = self.command.client == .builtin ? (self.command.upgrades + 2) / 2 : 0
        for number in 1...self.command.upgrades {
            try await Task.sleep(for: self.command.interval.duration)
            if number == crashAt { try await self.crash(&summary) }
            if number == rollBackAt { try await self.rollBack(&summary) }
            if self.command.sabotage == .crash { try self.setFault("--exit-before-ready 3") }
            if self.command.sabotage == .kill, number == crashAt { kill(try self.current(), SIGKILL) }
            try await self.upgrade(&summary)
        }
        try await Task.sleep(for: self.command.interval.duration)
    }

    /// A successor that fails before it is ready: the old process serves on.
    private func crash(_ summary: inout Summary) async throws {
        await self.director.announce("next: a successor that crashes before it is ready")
        let (old, now) = (try self.current(), await self.director.now)
        try self.setFault("--exit-before-ready 3")
        kill(old, SIGHUP)
        let failure = try await self.director.expect("a crashing successor is reported", from: now) {
            $0.phase == "failed" && $0.pid == old
        }
        try self.setFault("")
        guard failure.error?.hasPrefix("successorExited") == true else {
            throw Director.DidNotHappen(what: "successorExited as the reason: \(failure.error ?? "")")
        }
        summary.failedUpgrades += 1
        try await Task.sleep(for: self.command.interval.duration)
    }

    /// A successor that dies when it serves already: the old process takes the service back. What the successor had
    /// accepted and not answered dies with it, one request of each client at most; everything else that fails is lost.
    private func rollBack(_ summary: inout Summary) async throws {
        await self.director.announce("next: a successor that is killed when it serves already")
        try await self.director.beginKilling(atMost: self.command.clients)
        let (old, now) = (try self.current(), await self.director.now)
        // It dies on probation, however late its thread is.
        try self.setFault("--crash-after-ready 50ms --successor-probation 30s")
        kill(old, SIGHUP)
        let rollback = try await self.director.expect("a successor that dies in its probation is reported", from: now) {
            ["rolledBack", "failed", "committed", "refused"].contains($0.phase) && $0.pid == old
        }
        try self.setFault("")
        guard rollback.phase == "rolledBack", rollback.error?.hasPrefix("successorKilled") == true else {
            throw Director.DidNotHappen(what: "rolledBack: \(rollback.phase) \(rollback.error ?? "")")
        }
        summary.rollbacks += 1
        try await self.director.endKilling()
        try await Task.sleep(for: self.command.interval.duration)
    }

    private func upgrade(_ summary: inout Summary) async throws {
        let (old, start) = (try self.current(), await self.director.now)
        kill(old, SIGHUP)
        let outcome = try await self.director.expect("upgrade \(summary.upgrades + 1)", from: start) {
            ["committed", "failed", "rolledBack", "refused"].contains($0.phase) && $0.pid == old
        }
        guard outcome.phase == "committed" else {
            throw Director.DidNotHappen(what: "upgrade \(summary.upgrades + 1): \(outcome.error ?? "")")
        }
        summary.upgrades += 1
        summary.generations += 1
        _ = try await self.director.expect("the old process \(old) leaves", from: start) {
            $0.phase == "predecessorLeft" && $0.peer == old
        }
        summary.oldProcessesGone += 1
        let named = try self.current()
        if named != outcome.peer { summary.missing.append("the PID file names \(outcome.peer); it says \(named)") }
    }

    // MARK: Means

    /// The process in charge, by its PID file, as an operator would find it.
    private func current() throws -> Int32 {
        let text = try String(contentsOf: self.pidFile, encoding: .utf8)
        guard let pid = Int32(text.dropLast()), pid > 1 else {
            throw Director.DidNotHappen(what: "a PID file with a process id in it: \"\(text)\"")
        }
        return pid
    }

    private func setFault(_ flags: String) throws { try Data(flags.utf8).write(to: self.faultFile, options: .atomic) }

    private func startLoad(port: UInt16) throws -> any LoadProcess {
        switch self.command.client {
        case .builtin: try BuiltinLoad(port: port, clients: self.command.clients)
        case .wrk: try WrkLoad(port: port, clients: self.command.clients)
        }
    }

    /// Stops the server; whatever of it does not stop is ended. Only processes that it told of are signalled.
    private func end() async {
        let (servers, now) = (await self.director.servers, await self.director.now)
        self.server.closeInput()
        do {
            _ = try await self.director.expect("the last server stops", from: now, within: .seconds(12)) {
                $0.phase == "stopping"
            }
        } catch {
            for server in servers { kill(server, SIGKILL) }
        }
    }
}
#endif  // NIO
