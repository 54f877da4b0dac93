// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import ArgumentParser
import TableflipCore

/// What an upgrade may be told about the process that it starts.
struct OrderOptions: ParsableArguments {
    @Option(
        help: .init(
            "The program to start, instead of the configured one; without a slash it is looked for in the service's PATH.",
            valueName: "program"), completion: .file())
    var executable: String?

    @Option(
        help: .init(
            "A file of variables for the new process, NAME=value a line, instead of the configured one.",
            valueName: "file"),
        completion: .file())
    var envFile: String?

    /// An empty one is a variable that nobody has set, and not a wish for what is configured.
    func validate() throws {
        if self.executable == "" { throw ValidationError("--executable takes a program; this is an empty word") }
        if self.envFile == "" { throw ValidationError("--env-file takes a file; this is an empty word") }
    }

    /// What the service accepts.
    static func validate(timeout: TimeArgument?) throws {
        guard (1...ControlLimit.timeoutMilliseconds).contains(timeout?.milliseconds ?? 1) else {
            throw ValidationError("--timeout takes a time above zero, and at most a year")
        }
    }

    func order() throws(CtlError) -> ControlOrder {
        var order = ControlOrder()
        if let executable { order.executable = try Surroundings.program(executable) }
        if let envFile { order.environmentFile = try Surroundings.absolute(envFile) }
        return order
    }
}

struct UpgradeCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "upgrade",
        abstract: "Replaces the running process with a new one, and waits for the end.",
        discussion: """
            Starts the program anew, hands every socket over to it, and shows each phase as it happens: on a terminal \
            with a line that moves, in a pipe with a plain line each, with --json with an object a line. Ends when the \
            old process has gone, which has by then finished what it had begun (drainTimeout bounds that); with \
            --no-drain, when the new process owns the service.

            If the new process exits, crashes, hangs or says that it cannot serve, the old one serves on as if nothing \
            had been, and the command says why. The service itself ends a new process that is not ready within \
            --timeout. Ending this command does not end the upgrade.

            EXAMPLES
              tableflipctl upgrade --timeout 30s
              tableflipctl upgrade --probation 1m && echo "the new version stays"
              tableflipctl upgrade --executable /srv/hello/releases/1.5/hello --json

            EXIT STATUS
            \(Outcome.help)
            """
    )

    @OptionGroup var common: CommonOptions
    @OptionGroup var options: OrderOptions

    @Option(
        help: .init(
            "How long the new process may take until it is ready: 500ms, 30s, 1.5m, 1h; by default as configured.",
            valueName: "time"))
    var timeout: TimeArgument?

    @Option(
        help: .init(
            "How long the new process serves while the old one can still take the service back; by default as configured.",
            valueName: "time"))
    var probation: TimeArgument?

    @Option(help: .init("How long this command waits in all.", valueName: "time"))
    var patience = TimeArgument(milliseconds: 3_600_000)

    @Flag(help: "Do not wait until the old process has gone.")
    var noDrain = false

    func validate() throws {
        try OrderOptions.validate(timeout: self.timeout)
        guard self.patience.milliseconds > 0 else { throw ValidationError("--patience takes a time above zero") }
        if let probation, probation.milliseconds > WireLimit.probationMilliseconds {
            throw ValidationError("--probation takes at most a day")
        }
    }

    func run() throws { try Report.of(self.common) { () throws(CtlError) in try self.upgrade() } }

    private func upgrade() throws(CtlError) {
        var order = try self.options.order()
        order.timeoutMilliseconds = self.timeout?.milliseconds
        order.probationMilliseconds = self.probation?.milliseconds
        let clock = ContinuousClock()
        let deadline = clock.now + self.patience.duration
        let service = try Service(asking: .upgrade(order), at: self.common.socketPath)
        var picture = UpgradePicture(isLive: !self.common.json && Surroundings.outputIsTerminal)
        defer { picture.erase() }
        var isStopping = false
        while clock.now < deadline {
            let left = clock.now.duration(to: deadline)
            let reply: ControlReply?
            do throws(CtlError) {
                reply = try service.next(within: min(left, picture.pause ?? left))
            } catch {
                picture.erase()
                // The new process has taken the service over, and may have ended.
                guard error.code == CtlError.hungUpCode, let committed = picture.committed else { throw error }
                try self.look(for: committed)
                return self.succeed(committed, "its further course was not followed")
            }
            switch reply {
            case nil: picture.tick()
            // What somebody else was told, who asked meanwhile: why one's own request was refused, the answer says.
            case .event(let event) where event.phase == "refused": continue
            case .event(let event):
                if self.common.json { Report.line(event.json) } else { picture.show(event) }
                if self.common.json { picture.note(event) }
                if self.noDrain, let committed = picture.committed { return self.succeed(committed, nil) }
                isStopping = isStopping || event.phase == "stopping"
            case .done:
                picture.erase()
                guard let committed = picture.committed else { throw service.unexpected(.done) }
                guard !isStopping else { throw Self.stopping(committed) }
                return self.succeed(committed, nil)
            case .failed(let failure):
                picture.erase()
                throw CtlError(failure)
            case .accepted, .unknown: continue
            case .some(let other): throw service.unexpected(other)
            }
        }
        throw CtlError(
            .nobodyServes, code: "impatient",
            "the upgrade has not ended within \(self.patience.defaultValueDescription)",
            cure: service.hasAnswered
                ? "It goes on: see `tableflipctl status`, or wait longer with --patience." : Service.openEnd
        )
    }

    private static func stopping(_ committed: ControlEvent) -> CtlError {
        CtlError(
            .nobodyServes, code: "stopping",
            "the new process (PID \(committed.peer)) had taken the service over, and was told to stop since",
            cure: "Start the service anew."
        )
    }

    /// Whether the process that has taken the service over answers.
    private func look(for committed: ControlEvent) throws(CtlError) {
        var now = "nobody answers"
        do throws(CtlError) {
            if case .status(let status) = try Service(asking: .status, at: self.common.socketPath).answer() {
                if status.process == committed.peer { return }
                now = "PID \(status.process) answers"
            }
        } catch {
            // What it would say of the path is not what went wrong.
        }
        throw CtlError(
            .nobodyServes, code: CtlError.hungUpCode,
            "the new process (PID \(committed.peer)) had taken the service over, and has hung up; \(now) at "
                + self.common.socketPath,
            cure: "Look at its log. A probation (--probation) lets the old process take the service back."
        )
    }

    private func succeed(_ committed: ControlEvent, _ remark: String?) {
        let milliseconds = committed.elapsedNanoseconds / 1_000_000
        if self.common.json {
            Report.line(
                .object([
                    ("type", .text("result")), ("exit", .number(0)), ("pid", .number(Int64(committed.peer))),
                    ("generation", .number(Int64(committed.generation + 1))),
                    ("seconds", .seconds(Double(committed.elapsedNanoseconds) / 1e9)),
                ])
            )
        } else {
            let words =
                "upgraded in \(milliseconds.asSeconds): PID \(committed.peer) serves, generation "
                + "\(committed.generation + 1)" + (remark.map { "; \($0)" } ?? "")
            Surroundings.write(Colour.green.paint(words) + "\n")
        }
    }
}
