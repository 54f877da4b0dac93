// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

#if os(Linux)
#if canImport(Glibc)
package import Glibc
#else
package import Musl
#endif
package import TableflipCore

/// Constants and types that have other Swift types elsewhere. `Platform+Darwin.swift` has the same names.
package enum Platform {
    #if canImport(Glibc)
    package static let stream = CInt(SOCK_STREAM.rawValue)
    package static let datagram = CInt(SOCK_DGRAM.rawValue)
    private static let seqpacket = CInt(SOCK_SEQPACKET.rawValue)
    #else
    package static let stream = SOCK_STREAM
    package static let datagram = SOCK_DGRAM
    private static let seqpacket = SOCK_SEQPACKET
    #endif
    /// Unix sockets may have names without files.
    package static let hasAbstractNames = true

    /// What execve(2) says of a file that is no program for this machine.
    package static let badFormat: Set<CInt> = [ENOEXEC, EINVAL, ELIBBAD]

    /// Of `SuspendingClock`.
    package static let suspendingClock = CLOCK_MONOTONIC

    package static func type(_ kind: SocketAddress.UnixKind) -> CInt {
        switch kind {
        case .stream: self.stream
        case .datagram: self.datagram
        case .seqpacket: self.seqpacket
        }
    }

    /// The room for a path in `sockaddr_un`, less the zero at its end.
    package static let unixPathLimit = 107
    /// The longest accept queue that listen(2) takes; the kernel cuts it to net.core.somaxconn.
    package static let longestBacklog: CInt = 4096

    /// socket(7), `SO_BINDTODEVICE`: with an empty name there is none.
    package static func isBoundToInterface(_ descriptor: CInt) -> Bool {
        var name = [UInt8](repeating: 0, count: Int(IF_NAMESIZE))
        var size = socklen_t(name.count)
        return getsockopt(descriptor, SOL_SOCKET, SO_BINDTODEVICE, &name, &size) == 0 && size > 1
    }

    package static func fill(_ address: inout sockaddr_un) { address.sun_family = sa_family_t(AF_UNIX) }
}
#endif  // os(Linux)
