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

/// bind(2), out of the reach of methods of that name.
func bindSocket(_ socket: CInt, _ address: UnsafePointer<sockaddr>, _ length: socklen_t) -> CInt {
    bind(socket, address, length)
}

/// connect(2), likewise.
private func connectSocket(_ socket: CInt, _ address: UnsafePointer<sockaddr>, _ length: socklen_t) -> CInt {
    connect(socket, address, length)
}

/// An AF_UNIX address (unix(7)).
package struct UnixAddress {
    private var storage = sockaddr_un()
    private let length: socklen_t

    /// nil: the path does not fit. It is never cut: a cut path is another path.
    package init?(_ path: String) {
        self.init(Array(path.utf8), length: socklen_t(MemoryLayout<sockaddr_un>.size))
    }

    /// A name after a zero byte; it ends where the address does, not at another zero.
    init?(abstract name: String) {
        let start = MemoryLayout<sockaddr_un>.offset(of: \.sun_path) ?? 0
        self.init(Array(name.utf8), skipping: 1, length: socklen_t(start + 1 + name.utf8.count))
    }

    private init?(_ bytes: [UInt8], skipping first: Int = 0, length: socklen_t) {
        guard !bytes.isEmpty, bytes.count <= Platform.unixPathLimit, !bytes.contains(0) else { return nil }
        self.length = length
        Platform.fill(&self.storage)
        withUnsafeMutableBytes(of: &self.storage.sun_path) { room in
            UnsafeMutableRawBufferPointer(rebasing: room[first...]).copyBytes(from: bytes)
        }
    }

    package func bind(_ socket: CInt) throws(SystemCallError) {
        try check("bind") { self.withAddress { bindSocket(socket, $0, $1) } }
    }

    func connect(_ socket: CInt) throws(SystemCallError) {
        try check("connect") { self.withAddress { connectSocket(socket, $0, $1) } }
    }

    /// Whether nobody is behind the path. Asked by a datagram socket, which whoever is there hears nothing of: one of
    /// another type answers EPROTOTYPE (unix(7)), also before it listens and, on Darwin, where its queue is full and a
    /// stream would be refused as if nobody were there (xnu bsd/kern/uipc_usrreq.c, unp_connect).
    package var isStale: Bool {
        get throws(SystemCallError) {
            let probe = OwnedDescriptor(
                takingOwnershipOf: try check("socket") { tf_socket(AF_UNIX, Platform.datagram, 0) })
            let result = self.withAddress { connectSocket(probe.borrowed, $0, $1) }
            return result < 0 && errno == ECONNREFUSED
        }
    }

    private func withAddress<Result>(_ body: (UnsafePointer<sockaddr>, socklen_t) -> Result) -> Result {
        // SAFETY: sockaddr_un starts as every sockaddr does; the length says where it ends.
        withUnsafePointer(to: self.storage) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0, self.length) }
        }
    }
}
