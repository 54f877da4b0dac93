// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import ArgumentParser
import TableflipCore

struct CheckCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "check",
        abstract: "Looks at everything that an upgrade would need, and starts nothing.",
        discussion: """
            The program and what kind of file it is, its arguments and environment, its directory, the PID file, and \
            which sockets would be inherited. Which of them the new program claims, and what it binds anew, only it \
            knows. Exits with 1 when an upgrade would fail.

            EXAMPLES
              tableflipctl check
              tableflipctl check --executable /srv/hello/1.5/hello

            EXIT STATUS
            \(Outcome.help)
            """
    )

    @OptionGroup var common: CommonOptions
    @OptionGroup var options: OrderOptions

    func run() throws {
        try Report.of(self.common) { () throws(CtlError) in
            let reply = try Service(asking: .check(self.options.order), at: self.common.socketPath).answer()
            guard case .findings(let findings) = reply else { throw .unexpected(reply) }
            for finding in findings {
                if self.common.json {
                    Report.line(finding.json)
                } else {
                    let mark = finding.isGood ? Colour.green.paint("ok  ") : Colour.red.paint("FAIL")
                    Surroundings.write("\(mark)  \(finding.name.padded(to: 12)) \(finding.message)\n")
                }
            }
            guard let bad = findings.first(where: { !$0.isGood }) else { return }
            throw CtlError(.failed, code: "check", "an upgrade would fail: \(bad.name): \(bad.message)")
        }
    }
}
