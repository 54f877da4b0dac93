// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

/// The command line, the same for all three servers.
struct Options {
    var pidFile: String?
    /// How many files are carried beside the listener.
    var carried = 0
    /// Bytes of resident memory, filled once the predecessor has left.
    var ballast = 0
    /// Bytes of state that are handed over at the last moment.
    var state = 0
    /// Where `tableflipctl` would reach it.
    var control: String?
    /// To measure the bare start of a process.
    var exitsAtOnce = false

    init(_ arguments: [String]) {
        var rest = arguments.dropFirst()
        while let option = rest.popFirst() {
            switch option {
            case "--pid-file": self.pidFile = rest.popFirst()
            case "--carry": self.carried = rest.popFirst().flatMap { Int($0) } ?? 0
            case "--ballast": self.ballast = rest.popFirst().flatMap { Int($0) } ?? 0
            case "--state": self.state = rest.popFirst().flatMap { Int($0) } ?? 0
            case "--control": self.control = rest.popFirst()
            case "--exit": self.exitsAtOnce = true
            default: fatalError("unknown option \(option)")
            }
        }
    }
}
