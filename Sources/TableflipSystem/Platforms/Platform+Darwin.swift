// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

#if canImport(Darwin)
package import Darwin
package import TableflipCore

/// Constants and types that have other Swift types elsewhere. `Platform+Linux.swift` has the same names.
package enum Platform {
    package static let stream = SOCK_STREAM
    package static let datagram = SOCK_DGRAM
    /// Unix sockets may have names without files.
    package static let hasAbstractNames = false

    /// What execve(2) says of a file that is no program for this machine.
    package static let badFormat: Set<CInt> = [ENOEXEC, EINVAL, EBADEXEC, EBADARCH, ESHLIBVERS, EBADMACHO]

    /// Of `SuspendingClock`.
    package static let suspendingClock = CLOCK_UPTIME_RAW

    package static func type(_ kind: SocketAddress.UnixKind) -> CInt {
        switch kind {
        case .stream: self.stream
        case .datagram: self.datagram
        case .seqpacket: SOCK_SEQPACKET
        }
    }

    /// The room for a path in `sockaddr_un`, less the zero at its end.
    package static let unixPathLimit = 103
    /// The longest accept queue that listen(2) takes; the kernel cuts it to kern.ipc.somaxconn.
    package static let longestBacklog: CInt = 4096

    package static func fill(_ address: inout sockaddr_un) {
        address.sun_family = sa_family_t(AF_UNIX)
        address.sun_len = UInt8(MemoryLayout<sockaddr_un>.size)
    }
}
#endif  // canImport(Darwin)
