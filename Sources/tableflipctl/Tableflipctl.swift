// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import ArgumentParser
import TableflipCore

/// Asks a service for upgrades, and sees how it is.
@main
struct Tableflipctl: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "tableflipctl",
        abstract: "Upgrades a running service without losing a connection, and tells what comes of it.",
        discussion: """
            The service listens on a control socket (Configuration.controlSocket). Its path is given by \
            --control-socket, or by the environment variable TABLEFLIP_CONTROL_SOCKET. The service's own user, root and \
            the users that the service allows may ask.

            EXAMPLES
              tableflipctl upgrade --control-socket /run/hello.control
              tableflipctl upgrade --timeout 30s --executable /srv/hello/releases/1.5/hello
              tableflipctl status --json

            EXIT STATUS
            \(Outcome.help)

            ENVIRONMENT
              TABLEFLIP_CONTROL_SOCKET  the control socket, if there is no --control-socket
              NO_COLOR                  if set and not empty: no colours
            """,
        version: "tableflipctl of swift-tableflip, control protocol \(ControlFrame.version)",
        subcommands: [
            UpgradeCommand.self, StatusCommand.self, WatchCommand.self, CheckCommand.self, CommitCommand.self,
            RollbackCommand.self, StopCommand.self,
        ]
    )

    /// A script whose command is an empty variable has upgraded nothing.
    func run() throws { throw ValidationError(Self.question) }

    static func main() {
        let words = CommandLine.arguments.dropFirst()
        // Of a command that there is not, `help` would explain the others, and be content.
        if words.first == "help", let word = words.dropFirst().first, !word.hasPrefix("-"),
            !(Self.names + ["help"]).contains(word)
        {
            self.exit(withError: ValidationError("There is no command \"\(word)\". \(Self.question)"))
        }
        self.main(nil)
    }

    private static var question: String { "Which command? One of \(Self.names.joined(separator: ", "))." }

    private static var names: [String] { self.configuration.subcommands.compactMap { $0.configuration.commandName } }
}

/// How the command ends. `docs/tableflipctl.md` lists the same.
enum Outcome: Int32, CaseIterable {
    case done = 0
    case failed = 1
    case running = 2
    case rolledBack = 3
    case refused = 4
    case nobodyAnswers = 5
    case notPermitted = 6
    case notUnderstood = 7
    case nobodyServes = 8
    case outputFailed = 74  // EX_IOERR, sysexits.h

    var words: String {
        switch self {
        case .done: "done"
        case .failed: "the upgrade failed, or would; the old process serves"
        case .running: "refused: an upgrade is running"
        case .rolledBack: "rolled back: the old process serves again"
        case .refused: "refused otherwise, nothing was started; watch: nobody to follow"
        case .nobodyAnswers: "nobody answers at the control socket"
        case .notPermitted: "not permitted"
        case .notUnderstood: "service and command do not understand each other; nothing started"
        case .nobodyServes: "the service is stopping or has ended, or what came of it is not known"
        case .outputFailed: "status, watch, check: the output cannot be written"
        }
    }

    static var help: String {
        var words = Self.allCases.map { ($0.rawValue, $0.words) }
        words.insert((64, "wrong usage"), at: words.count - 1)
        return words.map { "  " + "\($0)".padded(to: 4) + $1 }.joined(separator: "\n")
    }
}

/// Where the service is, and how it is told.
struct CommonOptions: ParsableArguments {
    @Option(
        name: .customLong("control-socket"), help: .init("The service's control socket.", valueName: "path"),
        completion: .file())
    var path: String?

    @Flag(help: "Write one object of JSON a line.")
    var json = false

    static let variable = "TABLEFLIP_CONTROL_SOCKET"

    func validate() throws {
        // What stands for bytes that are no UTF-8 (U+FFFD): the name would be another one.
        if CommandLine.arguments.contains(where: { $0.contains("\u{FFFD}") }) || self.socketPath.contains("\u{FFFD}") {
            throw ValidationError("A path or word that is not UTF-8 cannot be sent to a service.")
        }
        guard self.socketPath.isEmpty else { return }
        throw ValidationError("Which service? Give --control-socket PATH, or set \(Self.variable).")
    }

    var socketPath: String { self.path ?? Surroundings.variable(Self.variable) ?? "" }
}

/// `500ms`, `2s`, `1.5m`, `1h`.
struct TimeArgument: ExpressibleByArgument {
    var milliseconds: Int64
    var duration: Duration { .milliseconds(self.milliseconds) }

    init(milliseconds: Int64) { self.milliseconds = milliseconds }

    init?(argument: String) {
        let number = argument.prefix { $0.isNumber || $0 == "." }
        let units: [Substring: Double] = ["ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000]
        guard let value = Double(number), let unit = units[argument.dropFirst(number.count)], value >= 0,
            value.isFinite
        else { return nil }
        // Longer than anything that is accepted: that is said in words.
        self.milliseconds = Int64(min(value * unit, 1e15).rounded())
    }

    var defaultValueDescription: String {
        self.milliseconds % 3_600_000 == 0 && self.milliseconds > 0
            ? "\(self.milliseconds / 3_600_000)h"
            : self.milliseconds % 1000 == 0 ? "\(self.milliseconds / 1000)s" : "\(self.milliseconds)ms"
    }
}
