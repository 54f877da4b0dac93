// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Foundation

extension Server {
    /// How to start it, beside the variant.
    struct Start {
        /// What a shell starts in `directory`; nil: the probe by its full path.
        var program: [UInt8]?
        /// `FIFO` and `PROGRAM` stand for a file of this name in the service's directory.
        var arguments: [[UInt8]] = []
        /// nil: the program.
        var argumentZero: [UInt8]?
        /// Beside, or instead of, what this process has.
        var environment: [String: [UInt8]] = [:]
        var descriptors: [CInt: CInt] = [:]
        /// Where it starts; nil: where the tests do.
        var directory: URL?
        /// With standard input and standard error closed.
        var lacksStreams = false
        /// As the first process of a namespace of its own.
        var isProcessOne = false
        /// Called with the service's directory before it starts.
        var prepare: ((URL) throws -> Void)?

        var wantsFifo: Bool { self.arguments.contains(Array("FIFO".utf8)) }

        func command(_ variant: Variant, _ home: URL) -> Command {
            let options = self.options(variant, home.path).map { Array($0.utf8) }
            let own = self.arguments.map { argument in
                let isFile = ["FIFO", "PROGRAM"].contains { Array($0.utf8) == argument }
                return isFile ? Array((home.path + "/").utf8) + argument : argument
            }
            var command = Command(
                path: Server.probe.path,
                arguments: [self.argumentZero ?? self.program ?? Array(Server.probe.path.utf8)] + options + own,
                environment: self.wholeEnvironment, descriptors: self.descriptors, errors: home.path + "/errors"
            )
            if let directory {
                let shell = ["sh", "-c", "cd \"$0\" && exec \"$@\"", directory.path]
                command.path = "/bin/sh"
                command.arguments = shell.map { Array($0.utf8) } + command.arguments
            }
            if self.lacksStreams {
                let shell = ["sh", "-c", "exec \"$0\" \"$@\" <&- 2>&-", command.path]
                command.path = "/bin/sh"
                command.arguments = shell.map { Array($0.utf8) } + command.arguments.dropFirst()
            }
            if self.isProcessOne {
                // Ends with its child, by the child's status.
                let words = ["unshare", "--pid", "--fork", "--kill-child", "--"].map { Array($0.utf8) }
                command.path = "/usr/bin/unshare"
                command.arguments = words + command.arguments
            }
            return command
        }

        private func options(_ variant: Variant, _ home: String) -> [String] {
            let address =
                switch variant.transport {
                case .tcp: "tcp://127.0.0.1:0"
                case .udp: "udp://127.0.0.1:0"
                case .unix: "unix:\(home)/socket"
                }
            let options = [
                "--listen", address, "--pid-file", "\(home)/pid", "--behaviour-file", "\(home)/behaviour",
                // Long enough that a busy machine does not matter. What a test wants shorter follows, and wins.
                "--upgrade-timeout", "60000", "--pause-timeout", "10000", "--drain-timeout", "20000",
            ]
            return options + (variant.isWrapped ? ["--executable", "\(home)/wrapper"] : []) + variant.arguments
        }

        private var wholeEnvironment: [[UInt8]] {
            var all = ProcessInfo.processInfo.environment.mapValues { Array($0.utf8) }
            // The tests may be run by something that upgrades; and a crash is wanted as it is, without its picture.
            for name in all.keys where name.hasPrefix("TABLEFLIP") || name == "SWIFT_BACKTRACE" { all[name] = nil }
            all.merge(self.environment) { $1 }
            return all.map { Array("\($0)=".utf8) + $1 }
        }
    }
}
