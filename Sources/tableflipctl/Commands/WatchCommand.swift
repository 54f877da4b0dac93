// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import ArgumentParser
import TableflipCore

struct WatchCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "watch",
        abstract: "Tells what happens from now on, through any number of upgrades.",
        discussion: """
            A line, or with --json an object, for each event of each process. The connection goes from process to \
            process with every upgrade. Ends when the service stops, or after --for.

            EXAMPLES
              tableflipctl watch
              tableflipctl watch --json --for 10m

            EXIT STATUS
            \(Outcome.help)
            """
    )

    @OptionGroup var common: CommonOptions

    @Option(
        name: .customLong("for"),
        help: .init("How long to watch; by default until the service stops.", valueName: "time"))
    var time: TimeArgument?

    func run() throws { try Report.of(self.common) { () throws(CtlError) in try self.watch() } }

    private func watch() throws(CtlError) {
        let clock = ContinuousClock()
        let deadline = clock.now + (self.time?.duration ?? .seconds(365 * 86_400))
        let service = try Service(asking: .watch, at: self.common.socketPath)
        var isStopping = false
        // Whoever asks has to be answered, though the time may be over before the question is out.
        while !service.hasAnswered || clock.now < deadline {
            // Where SIGPIPE is ignored nothing else tells that nobody reads any more.
            try Surroundings.requireOutput()
            do throws(CtlError) {
                switch try service.next(within: clock.now.duration(to: deadline)) {
                case nil: return
                case .accepted(let generation, let process) where !self.common.json:
                    Surroundings.write("watching PID \(process), generation \(generation)\n")
                case .accepted(let generation, let process):
                    Report.line(
                        .object([
                            ("type", .text("watching")), ("pid", .number(Int64(process))),
                            ("generation", .number(Int64(generation))),
                        ])
                    )
                case .event(let event):
                    switch event.phase {
                    case "stopping": isStopping = true
                    // Another process has the service, or this one still.
                    case "serving", "owner", "committed": isStopping = false
                    // What happens on the way out: an upgrade that is given up, a drain that overruns.
                    default: break
                    }
                    self.show(event)
                case .failed(let failure): throw CtlError(failure)
                case .unknown: continue
                case .some(let other): throw service.unexpected(other)
                }
            } catch {
                // The end of a service that has said so is no failure.
                if isStopping, error.code == CtlError.hungUpCode { return }
                throw error
            }
        }
    }

    private func show(_ event: ControlEvent) {
        if self.common.json { return Report.line(event.json) }
        let who = "PID \(event.process)".padded(to: 11) + " gen \(event.generation)".padded(to: 8)
        let label = event.label.printable.padded(to: 17)
        let words = "\(Surroundings.date(event.time).suffix(8))  \(who) \(event.colour?.paint(label) ?? label) "
        Surroundings.write(words + event.details.printable + "\n")
    }
}
