// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import ArgumentParser
import TableflipCore

struct CommitCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "commit",
        abstract: "Ends the probation of a running upgrade: the new process stays.",
        discussion: """
            EXIT STATUS
            \(Outcome.help)
            """
    )

    @OptionGroup var common: CommonOptions

    func run() throws {
        try Report.of(self.common) { () throws(CtlError) in
            try Order(.commit, self.common).follow(until: ["committed"], "committed: the new process owns the service")
        }
    }
}

struct RollbackCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "rollback",
        abstract: "Takes a running upgrade back: the old process serves on.",
        discussion: """
            From the request, if it has to wait, up to the end of the probation. Whoever waits for the upgrade (tableflipctl upgrade) is told so.

            EXIT STATUS
            \(Outcome.help)
            """
    )

    @OptionGroup var common: CommonOptions

    func run() throws {
        try Report.of(self.common) { () throws(CtlError) in
            try Order(.rollback, self.common).follow(
                until: ["failed", "rolledBack"], "rolled back: the old process serves")
        }
    }
}

struct StopCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "stop",
        abstract: "Stops the service, and waits until its process has gone.",
        discussion: """
            The process finishes what it has begun; drainTimeout bounds that. A running upgrade is given up. Meanwhile \
            a second SIGTERM to the process ends it at once; the control socket is gone by then.

            EXIT STATUS
            \(Outcome.help)
            """
    )

    @OptionGroup var common: CommonOptions

    func run() throws {
        try Report.of(self.common) { () throws(CtlError) in
            try Order(.stop, self.common).follow(until: [], "stopped")
        }
    }
}

/// A word to the service, and what comes of it.
struct Order {
    private let service: Service
    private let options: CommonOptions
    /// The service's own deadlines are shorter: a drain, an unwinding.
    private static let patience = Duration.seconds(3600)

    init(_ request: ControlRequest, _ options: CommonOptions) throws(CtlError) {
        self.service = try Service(asking: request, at: options.socketPath)
        self.options = options
    }

    /// Until one of these phases has been heard; where there are none, until the service hangs up because it has ended.
    func follow(until phases: Set<String>, _ words: String) throws(CtlError) {
        while true {
            let reply: ControlReply?
            do throws(CtlError) {
                reply = try self.service.next(within: Self.patience)
            } catch {
                guard phases.isEmpty, error.code == CtlError.hungUpCode else { throw error }
                return self.succeed(words)
            }
            switch reply {
            case nil:
                throw CtlError(.nobodyServes, code: "impatient", "nothing came of it within an hour")
            case .event(let event):
                if self.options.json { Report.line(event.json) }
                guard phases.contains(event.phase) else { continue }
                // The upgrade was given up because the service stops.
                if let failure = event.failure, failure.serving == "nobody" { throw CtlError(failure) }
                return self.succeed(words)
            case .failed(let failure): throw CtlError(failure)
            case .done: return self.succeed(words)
            case .accepted, .unknown: continue
            case .some(let other): throw self.service.unexpected(other)
            }
        }
    }

    private func succeed(_ words: String) {
        if self.options.json {
            Report.line(.object([("type", .text("result")), ("exit", .number(0)), ("message", .text(words))]))
        } else {
            Surroundings.write(words + "\n")
        }
    }
}
