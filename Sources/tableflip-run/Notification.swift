// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

/// One datagram of a service, as sd_notify(3) has it.
struct Notification: Equatable {
    /// The process that it says is in charge.
    private(set) var main: CInt?
    /// The process in charge says so before it starts another one.
    private(set) var beginsUpgrade = false
    /// Everything else: what its own manager may be told. That one follows this process.
    private(set) var rest: [UInt8] = []

    init(_ bytes: [UInt8]) {
        let prefix = Array("MAINPID=".utf8)
        let lines = bytes.split(separator: UInt8(ascii: "\n"))
        for line in lines where line.starts(with: prefix) {
            self.main = CInt(String(decoding: line.dropFirst(prefix.count), as: UTF8.self))
        }
        self.beginsUpgrade = lines.contains { $0.elementsEqual("RELOADING=1".utf8) }
        self.rest = Array(lines.filter { !$0.starts(with: prefix) }.joined(separator: [UInt8(ascii: "\n")]))
    }
}
