// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

#if os(Linux)
import TableflipCore

/// Where a notify socket is made. `NotifyPlace+Darwin.swift` has the same names.
struct NotifyPlace {
    /// What every address begins with.
    static let prefix = "@tableflip-run/"

    /// To be removed with the socket; nil: there is no file.
    let directory: String?
    /// As in the environment.
    let address: String
    let socketAddress: SocketAddress

    /// A name without a file: a container may have no directory that can be written to. Anybody in the network namespace
    /// can send there; the kernel names each sender.
    init() throws(SystemCallError) {
        self.directory = nil
        self.address = "\(Self.prefix)\(ProcessID.current)/\(UInt64.random(in: 0...UInt64.max))"
        self.socketAddress = .abstract(name: String(self.address.dropFirst()), kind: .datagram)
    }
}
#endif  // os(Linux)
