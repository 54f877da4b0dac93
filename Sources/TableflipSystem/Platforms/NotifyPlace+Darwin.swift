// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

#if canImport(Darwin)
import Darwin
import TableflipCore

/// Where a notify socket is made. `NotifyPlace+Linux.swift` has the same names.
struct NotifyPlace {
    static let prefix = "/tmp/tableflip-run-"

    let directory: String?
    let address: String
    let socketAddress: SocketAddress

    /// A directory that only this user may enter: here the kernel names no sender of datagrams.
    init() throws(SystemCallError) {
        var template = Array((Self.prefix + "XXXXXX").utf8CString)
        let path = template.withUnsafeMutableBufferPointer { buffer -> String? in
            // SAFETY: mkdtemp writes into the buffer, which ends with a zero, and returns it or null.
            buffer.baseAddress.flatMap { mkdtemp($0) }.map { String(cString: $0) }
        }
        guard let path else { throw SystemCallError("mkdtemp") }
        self.directory = path
        self.address = path + "/notify"
        self.socketAddress = .unix(path: self.address, kind: .datagram)
    }
}
#endif  // canImport(Darwin)
