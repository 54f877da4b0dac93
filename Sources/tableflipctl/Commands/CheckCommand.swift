// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import ArgumentParser
import TableflipCore

struct CheckCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "check",
        abstract: "Looks at everything that an upgrade would need.",
        discussion: """
            The program and what kind of file it is, its arguments and environment, its directory, the PID file, and \
            which sockets would be inherited. Nothing is started. Exits with 1 when an upgrade would fail.

            Whether the new program comes to serve, which sockets it claims and which it binds anew, only it knows. \
            With --start it is started and handed everything, as in an upgrade, and ended when it says that it is ready. \
            The old process serves all the while. What the new program does before it is ready, it does.

            EXAMPLES
              tableflipctl check
              tableflipctl check --executable /srv/hello/releases/1.5/hello
              tableflipctl check --start --timeout 30s

            EXIT STATUS
            \(Outcome.help)
            """
    )

    @OptionGroup var common: CommonOptions
    @OptionGroup var options: OrderOptions

    @Flag(help: "Start the new program as well, up to the moment at which it is ready.")
    var start = false

    @Option(
        help: .init(
            "With --start: how long the new process may take until it is ready: 500ms, 30s, 1.5m; by default as configured.",
            valueName: "time"))
    var timeout: TimeArgument?

    func validate() throws {
        try OrderOptions.validate(timeout: self.timeout)
        if self.timeout != nil, !self.start { throw ValidationError("--timeout goes with --start") }
    }

    func run() throws {
        try Report.of(self.common) { () throws(CtlError) in
            let findings = try self.findings()
            for finding in findings {
                if self.common.json {
                    Report.line(finding.json)
                } else {
                    let mark = finding.isGood ? Colour.green.paint("ok  ") : Colour.red.paint("FAIL")
                    let words = "\(finding.name.padded(to: 12)) \(finding.message)"
                    Surroundings.write("\(mark)  \(words.printable)\n")
                }
            }
            guard let bad = findings.first(where: { !$0.isGood }) else { return try Surroundings.requireOutput() }
            throw CtlError(.failed, code: "check", "an upgrade would fail: \(bad.name): \(bad.message)")
        }
    }

    private func findings() throws(CtlError) -> [ControlFinding] {
        var order = try self.options.order()
        order.timeoutMilliseconds = self.timeout?.milliseconds
        let service = try Service(asking: self.start ? .rehearse(order) : .check(order), at: self.common.socketPath)
        // The service ends a new process that is not ready in time; but it may be held up itself.
        let patience = self.start ? .seconds(86_400) + (self.timeout?.duration ?? .zero) : Service.patience
        while true {
            switch try service.next(within: patience) {
            case nil:
                throw CtlError(
                    self.start ? .nobodyServes : .nobodyAnswers, code: "impatient",
                    "no answer came within \(patience.components.seconds) s", cure: Service.openEnd)
            case .findings(let findings): return findings
            case .failed(let failure): throw CtlError(failure)
            case .accepted, .event, .unknown: continue
            case .some(let other): throw service.unexpected(other)
            }
        }
    }
}
