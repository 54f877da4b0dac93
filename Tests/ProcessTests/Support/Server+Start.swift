// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Foundation
import ProcessSupport

extension Server {
    /// How to start it, beside the variant.
    struct Start {
        /// What a shell starts in `directory`; nil: the probe by its full path.
        var program: [UInt8]?
        /// `FIFO`, `PROGRAM`, `CONTROL` and `FAULTS` stand for a file of this name in the service's directory.
        var arguments: [[UInt8]] = []
        /// nil: the program.
        var argumentZero: [UInt8]?
        /// Beside, or instead of, what this process has.
        var environment: [String: [UInt8]] = [:]
        var descriptors: [CInt: CInt] = [:]
        /// Where it starts; nil: where the tests do.
        var directory: URL?
        /// What is closed when it starts.
        var closed: ClosedStreams?
        /// A program that executes it, and its arguments.
        var launcher: [String] = []
        /// Called with the service's directory before it starts.
        var prepare: ((URL) throws -> Void)?

        enum ClosedStreams: CaseIterable {
            case inputAndError
            /// What it says, it says on its standard error.
            case output
        }

        /// As the first process of a namespace of its own: unshare(1) ends with its child, by the child's status.
        static let asProcessOne = ["unshare", "--pid", "--fork", "--kill-child", "--"]
        /// With the rights that its user has, and not all: root may otherwise write where nobody may.
        static let withoutPrivilege =
            getuid() != 0
            ? []
            : ["--bounding-set", "--inh-caps"].reduce(["setpriv"]) { $0 + [$1, "-dac_override,-dac_read_search"] }
        /// With `directory` as a file system of its own of two pages, which goes away with it.
        static func withTinyFileSystem(at directory: URL) -> [String] {
            let script = "mount -t tmpfs -o size=8k,mode=755 none \"$0\" && exec \"$@\""
            return ["unshare", "--mount", "--", "sh", "-c", script, directory.path]
        }
        /// With `directory` as a file system of its own with a journal, which can be frozen and goes away with it.
        static func withJournal(at directory: URL) -> [String] {
            let script = """
                truncate --size 8M "$0.img" && mkfs.ext4 -q "$0.img" && mount -o loop "$0.img" "$0" && exec "$@"
                """
            return ["unshare", "--mount", "--", "sh", "-c", script, directory.path]
        }

        var wantsFifo: Bool { self.arguments.contains(Array("FIFO".utf8)) }

        func command(_ variant: Variant, _ home: URL) -> Command {
            let options = self.options(variant, home.path).map { Array($0.utf8) }
            let own = self.arguments.map { argument in
                let isFile = ["FIFO", "PROGRAM", "CONTROL", "FAULTS"].contains { Array($0.utf8) == argument }
                return isFile ? Array((home.path + "/").utf8) + argument : argument
            }
            let product = Server.products.appending(path: variant.program).path
            var command = Command(
                path: product, arguments: [self.argumentZero ?? self.program ?? Array(product.utf8)] + options + own,
                environment: self.wholeEnvironment, descriptors: self.descriptors, errors: home.path + "/errors"
            )
            if let directory {
                let shell = ["sh", "-c", "cd \"$0\" && exec \"$@\"", directory.path]
                command.path = "/bin/sh"
                command.arguments = shell.map { Array($0.utf8) } + command.arguments
            }
            if let closed {
                let how = closed == .output ? "--say-on-error 2>&1 >&-" : "<&- 2>&-"
                let shell = ["sh", "-c", "exec \"$0\" \"$@\" \(how)", command.path]
                command.path = "/bin/sh"
                command.arguments = shell.map { Array($0.utf8) } + command.arguments.dropFirst()
            }
            if !self.launcher.isEmpty {
                command.path = "/usr/bin/env"
                command.arguments = (["env"] + self.launcher).map { Array($0.utf8) } + command.arguments
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
            let path = variant.hasPath ? ["--listen", "unix:\(home)/socket"] : []
            return options + path + (variant.isWrapped ? ["--executable", "\(home)/wrapper"] : []) + variant.arguments
        }

        private var wholeEnvironment: [[UInt8]] {
            var all = ProcessInfo.processInfo.environment.mapValues { Array($0.utf8) }
            // The tests may be run by something that upgrades; and a crash is wanted as it is, without its picture.
            let managers = ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"]
            for name in all.keys
            where name.hasPrefix("TABLEFLIP") || name == "SWIFT_BACKTRACE" || managers.contains(name) {
                all[name] = nil
            }
            all.merge(self.environment) { $1 }
            return all.map { Array("\($0)=".utf8) + $1 }
        }
    }
}
