// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Testing

/// The ways to run a service in which the same must hold.
struct Variant: Hashable, Sendable, CustomTestStringConvertible {
    enum Transport: Hashable, Sendable {
        case tcp
        case udp
        case unix
    }

    var name: String
    /// What is started; it speaks as `tableflip-probe` does.
    var program = "tableflip-probe"
    var arguments: [String] = []
    var transport = Transport.tcp
    /// A shell stands between two generations, and stays.
    var isWrapped = false
    /// It listens on the path `socket` too.
    var hasPath = false

    var testDescription: String { self.name }

    /// What may be said of a successor that SIGKILL has ended. A shell in between says 137 for it. Of another process's child
    /// a kernel tells how it ended if it is new enough and the parent has reaped it soon (`PIDFD_INFO_EXIT`, Linux 6.15).
    var codesOfAKill: [String] {
        if self.isWrapped { return ["successorExited"] }
        return self.arguments.contains("--parenthood") ? ["successorKilled", "successorExited"] : ["successorKilled"]
    }

    static let plain = Variant(name: "no reader")
    static let reader = Variant(name: "reader", arguments: ["--reader"])
    static let portable = Variant(name: "portable", arguments: ["--portable"])
    static let portableReader = Variant(name: "portable, reader", arguments: ["--portable", "--reader"])
    static let wrapped = Variant(name: "behind a shell", arguments: ["--reader"], isWrapped: true)
    static let portableWrapped = Variant(name: "portable, behind a shell", arguments: ["--portable"], isWrapped: true)

    #if os(Linux)
    /// As under a service manager, which the tests are here.
    static let managed = [
        Variant(name: "the manager's child", arguments: ["--parenthood", "manager", "--reader"]),
        Variant(name: "adopted", arguments: ["--parenthood", "adopted", "--reader"]),
        Variant(name: "adopted, behind a shell", arguments: ["--parenthood", "adopted"], isWrapped: true),
    ]
    #else
    static let managed: [Variant] = []
    #endif

    static let all =
        managed + [
            plain, reader, portable, portableReader, wrapped, portableWrapped,
            Variant(name: "300 files", arguments: ["--files", "300"]),
            Variant(name: "2000 files, reader", arguments: ["--files", "2000", "--reader"]),
            Variant(name: "portable, 300 files, reader", arguments: ["--portable", "--files", "300", "--reader"]),
            Variant(name: "portable, 2000 files", arguments: ["--portable", "--files", "2000"]),
            Variant(name: "udp", transport: .udp),
            Variant(name: "udp, reader", arguments: ["--reader"], transport: .udp),
            Variant(name: "unix", transport: .unix),
            Variant(name: "unix, portable, reader", arguments: ["--portable", "--reader"], transport: .unix),
        ]
}
