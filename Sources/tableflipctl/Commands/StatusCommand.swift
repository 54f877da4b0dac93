// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import ArgumentParser
import TableflipCore

struct StatusCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status",
        abstract: "Shows who serves, since when, on which sockets, and how the last upgrades went.",
        discussion: """
            EXAMPLES
              tableflipctl status
              tableflipctl status --json | jq .pid

            EXIT STATUS
            \(Outcome.help)
            """
    )

    @OptionGroup var common: CommonOptions

    func run() throws {
        try Report.of(self.common) { () throws(CtlError) in
            let service = try Service(asking: .status, at: self.common.socketPath)
            let reply = try service.answer()
            guard case .status(let status) = reply else { throw service.unexpected(reply) }
            if self.common.json { Report.line(status.json) } else { self.show(status) }
            try Surroundings.requireOutput()
        }
    }

    private func show(_ status: ControlStatus) {
        func line(_ label: String, _ text: String) {
            if !text.isEmpty { Surroundings.write(Colour.faint.paint(label.padded(to: 13)) + text + "\n") }
        }
        line("state", Colour.bold.paint(status.state.printable))
        line("process", "PID \(status.process), generation \(status.generation)")
        line("since", "\(Surroundings.date(status.since)) (\((status.time - status.since).asAge))")
        if status.predecessor > 0 { line("old process", "PID \(status.predecessor), finishing what it has begun") }
        if status.successor > 0 { line("new process", "PID \(status.successor)") }
        line("version", status.version.printable)
        line("program", status.program.printable)
        line("PID file", status.pidFile.printable)
        line("connections", "\(status.connections)")
        for (index, listener) in status.listeners.enumerated() {
            let port =
                listener.port > 0 && !listener.address.hasSuffix(":\(listener.port)") ? ", port \(listener.port)" : ""
            let name = listener.name == listener.address || listener.address.isEmpty ? "" : " (\(listener.name))"
            let words =
                "\(listener.kind) \(listener.address.isEmpty ? listener.name : listener.address)"
                + (listener.isControl ? " (control)" : name) + port + (listener.isInherited ? ", inherited" : "")
            line(index == 0 ? "sockets" : "", words.printable)
        }
        for (index, record) in status.upgrades.enumerated() {
            let words =
                record.failure.map { Colour.red.paint("failed") + ": \($0.code): \($0.message)".printable }
                ?? "to PID \(record.successor), generation \(record.generation + 1)"
            line(
                index == 0 ? "upgrades" : "",
                "\(Surroundings.date(record.time))  \(record.milliseconds.asSeconds.padded(to: 9, right: true))  \(words)"
            )
        }
    }
}
