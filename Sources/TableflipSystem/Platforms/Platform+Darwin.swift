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

    /// ip(4), `IP_BOUND_IF`, and the same of IPv6: the interface's index, or 0.
    package static func isBoundToInterface(_ descriptor: CInt) -> Bool {
        [(IPPROTO_IP, IP_BOUND_IF), (IPPROTO_IPV6, IPV6_BOUND_IF)].contains { level, option in
            var index: UInt32 = 0
            var size = socklen_t(MemoryLayout<UInt32>.size)
            return getsockopt(descriptor, level, option, &index, &size) == 0 && index != 0
        }
    }

    package static func fill(_ address: inout sockaddr_un) {
        address.sun_family = sa_family_t(AF_UNIX)
        address.sun_len = UInt8(MemoryLayout<sockaddr_un>.size)
    }
}
#endif  // canImport(Darwin)
