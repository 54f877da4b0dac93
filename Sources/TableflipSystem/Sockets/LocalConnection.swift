// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import CTableflip

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// Connections between processes of one machine, by a path: either side of the control socket.
package enum LocalConnection {
    /// Who is at the other end, by the kernel's word.
    package struct Peer: Hashable, Sendable {
        package var user: UInt32
        /// 0 where the kernel does not say.
        package var process: Int32

        package init(user: UInt32, process: Int32) {
            self.user = user
            self.process = process
        }
    }

    /// What came of a call that does not block.
    package enum Transfer: Hashable, Sendable {
        case bytes(Int)
        case wouldBlock
        /// The other side has closed, or died.
        case ended
    }

    /// The next connection that waits; nil where none does any more.
    package static func accept(from listener: CInt) throws(SystemCallError) -> OwnedDescriptor? {
        do throws(SystemCallError) {
            return OwnedDescriptor(takingOwnershipOf: try check("accept") { tf_accept(listener) })
        } catch {
            // ECONNABORTED: it went away while it waited.
            if error.number == EAGAIN || error.number == ECONNABORTED { return nil }
            throw error
        }
    }

    package static func peer(of connection: CInt) throws(SystemCallError) -> Peer {
        var user: uid_t = 0
        var process: pid_t = 0
        try check("getsockopt") { tf_peer(connection, &user, &process) }
        return Peer(user: user, process: process)
    }

    /// The user that this process acts as.
    package static var ownUser: UInt32 { geteuid() }

    package static func receive(from connection: CInt, into buffer: inout [UInt8]) -> Transfer {
        while true {
            // What descriptors come along are dropped by the kernel: nobody makes room for them.
            let count = recv(connection, &buffer, buffer.count, CInt(MSG_DONTWAIT))
            if count > 0 { return .bytes(count) }
            if count == 0 { return .ended }
            if errno == EAGAIN { return .wouldBlock }
            if errno != EINTR { return .ended }
        }
    }

    package static func send(_ bytes: ArraySlice<UInt8>, to connection: CInt) -> Transfer {
        while true {
            // SAFETY: the buffer lives through the call, which reads no more than its length.
            let count = bytes.withUnsafeBytes { tf_send(connection, $0.baseAddress, $0.count, nil, 0) }
            if count >= 0 { return .bytes(count) }
            if errno == EAGAIN { return .wouldBlock }
            if errno != EINTR { return .ended }
        }
    }

    /// Connects to a path. Waits for room in the listener's queue no longer than `timeout`, then fails with EAGAIN.
    package static func connect(to path: String, timeout: Duration) throws(SystemCallError) -> OwnedDescriptor {
        guard let address = UnixAddress(path) else { throw SystemCallError("connect", ENAMETOOLONG) }
        let connection = OwnedDescriptor(
            takingOwnershipOf: try check("socket") { tf_socket(AF_UNIX, Platform.stream, 0) }
        )
        let number = connection.borrowed
        // connect(2) to a Unix socket waits only where the queue is full, and on Linux; SO_SNDTIMEO bounds that.
        try check("fcntl") { fcntl(number, F_SETFL, fcntl(number, F_GETFL) & ~O_NONBLOCK) }
        var limit = timeval()
        limit.tv_sec = .init(timeout.components.seconds)
        limit.tv_usec = .init(timeout.components.attoseconds / 1_000_000_000_000)
        try check("setsockopt") {
            setsockopt(number, SOL_SOCKET, SO_SNDTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        }
        try address.connect(number)
        _ = tf_set_nonblocking(number)
        return connection
    }
}
