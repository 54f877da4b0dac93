// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

/// One datagram of a service, as sd_notify(3) has it.
struct Notification: Equatable {
    /// The process that it says is in charge.
    private(set) var main: CInt?
    /// The process in charge says so before it starts another one.
    private(set) var beginsUpgrade = false
    /// Everything else: what its own manager may be told.
    private(set) var rest: [UInt8] = []

    private static let mainProcess = Array("MAINPID=".utf8)
    /// What its own manager is not told. That one follows this process, and would give this process what it stores. What
    /// comes with a descriptor has been dealt with when it has been read: the descriptor is closed.
    private static let ours =
        [mainProcess] + ["FDSTORE=", "FDSTOREREMOVE=", "FDNAME=", "FDPOLL=", "BARRIER="].map { Array($0.utf8) }

    init(_ bytes: [UInt8]) {
        let lines = bytes.split(separator: UInt8(ascii: "\n"))
        for line in lines where line.starts(with: Self.mainProcess) {
            self.main = CInt(String(decoding: line.dropFirst(Self.mainProcess.count), as: UTF8.self))
        }
        self.beginsUpgrade = lines.contains { $0.elementsEqual("RELOADING=1".utf8) }
        let rest = lines.filter { line in !Self.ours.contains { line.starts(with: $0) } }
        self.rest = Array(rest.joined(separator: [UInt8(ascii: "\n")]))
    }
}
