// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import CTableflip
package import TableflipCore

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// Making sockets that listen.
package enum BoundSocket {
    /// Binds and listens. The socket is close-on-exec and non-blocking. A relative path counts from `directory`.
    package static func bind(
        _ address: SocketAddress, from directory: String = "."
    ) throws(UpgradeError) -> OwnedDescriptor {
        switch address.kind {
        case .tcp(let host, let port): try self.bindInternet(host, port, Platform.stream, address)
        case .udp(let host, let port): try self.bindInternet(host, port, Platform.datagram, address)
        case .unix(let path): try self.bindUnix(path, from: directory, address)
        }
    }

    /// The port that a socket is bound to; nil for what has none.
    package static func port(of descriptor: CInt) -> UInt16? {
        self.localAddress(of: descriptor) { storage in
            switch CInt(storage.ss_family) {
            case AF_INET:
                withUnsafeBytes(of: storage) { UInt16(bigEndian: $0.loadUnaligned(fromByteOffset: 2, as: UInt16.self)) }
            case AF_INET6:
                withUnsafeBytes(of: storage) { UInt16(bigEndian: $0.loadUnaligned(fromByteOffset: 2, as: UInt16.self)) }
            default: nil
            }
        }
    }

    /// listen(2) on a socket that listens already changes only the length of its queue.
    package static func restoreBacklog(of descriptor: CInt) -> SystemCallError? {
        listen(descriptor, Platform.longestBacklog) == 0 ? nil : SystemCallError("listen")
    }

    private static func localAddress<Result>(of descriptor: CInt, _ body: (sockaddr_storage) -> Result?) -> Result? {
        var storage = sockaddr_storage()
        var size = socklen_t(MemoryLayout<sockaddr_storage>.size)
        // SAFETY: sockaddr_storage has room for, and the alignment of, every address (socket(7)).
        let result = withUnsafeMutablePointer(to: &storage) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { getsockname(descriptor, $0, &size) }
        }
        return result == 0 ? body(storage) : nil
    }

    // MARK: Internet

    private static func bindInternet(
        _ host: String, _ port: UInt16, _ type: CInt, _ address: SocketAddress
    ) throws(UpgradeError) -> OwnedDescriptor {
        var hints = addrinfo()
        hints.ai_socktype = type
        hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV
        var list: UnsafeMutablePointer<addrinfo>?
        let result = getaddrinfo(host.isEmpty ? nil : host, String(port), &hints, &list)
        guard result == 0, let first = list else {
            // SAFETY: gai_strerror returns a static string.
            throw UpgradeError(
                .invalidAddress, "\(address) cannot be looked up: \(String(cString: gai_strerror(result)))",
                cure: "Write the address as a number, such as 127.0.0.1 or ::1."
            )
        }
        defer { freeaddrinfo(list) }
        do throws(SystemCallError) {
            return try host.isEmpty ? self.bindEverything(first, type) : self.bind(first.pointee, type)
        } catch {
            throw .listen(address, error)
        }
    }

    /// An IPv6 socket takes IPv4 as well (ipv6(7)); where there is no IPv6, every IPv4 address is everything.
    private static func bindEverything(
        _ first: UnsafeMutablePointer<addrinfo>, _ type: CInt
    ) throws(SystemCallError) -> OwnedDescriptor {
        var next: UnsafeMutablePointer<addrinfo>? = first
        while let info = next {
            next = info.pointee.ai_next
            guard info.pointee.ai_family == AF_INET6 else { continue }
            do throws(SystemCallError) {
                return try self.bind(info.pointee, type, takesIPv4: true)
            } catch  where error.number == EAFNOSUPPORT || error.number == EADDRNOTAVAIL {
                break
            }
        }
        return try self.bind(first.pointee, type)
    }

    private static func bind(
        _ info: addrinfo, _ type: CInt, takesIPv4: Bool = false
    ) throws(SystemCallError) -> OwnedDescriptor {
        let socket = OwnedDescriptor(
            takingOwnershipOf: try check("socket") { tf_socket(info.ai_family, type, info.ai_protocol) }
        )
        let number = socket.borrowed
        if type == Platform.stream {
            // A restart must not wait for connections in TIME_WAIT (socket(7)); every server sets it.
            try self.set(number, SOL_SOCKET, SO_REUSEADDR, 1)
        }
        if info.ai_family == AF_INET6 { try self.set(number, CInt(IPPROTO_IPV6), IPV6_V6ONLY, takesIPv4 ? 0 : 1) }
        // SAFETY: getaddrinfo made address and length; they live until freeaddrinfo.
        try check("bind") { bindSocket(number, info.ai_addr, info.ai_addrlen) }
        if type == Platform.stream { try check("listen") { listen(number, Platform.longestBacklog) } }
        return socket
    }

    private static func set(
        _ socket: CInt, _ level: CInt, _ option: CInt, _ value: CInt
    ) throws(SystemCallError) {
        var value = value
        try check("setsockopt") { setsockopt(socket, level, option, &value, socklen_t(MemoryLayout<CInt>.size)) }
    }

    // MARK: Unix

    private static func bindUnix(
        _ words: String, from directory: String, _ address: SocketAddress
    ) throws(UpgradeError) -> OwnedDescriptor {
        let path = words.isEmpty || words.hasPrefix("/") ? words : directory + "/" + words
        guard let socketAddress = UnixAddress(path) else {
            throw UpgradeError(
                .invalidAddress,
                "\(address): a path of \(path.utf8.count) bytes; the system has room for 1 to \(Platform.unixPathLimit)",
                cure: "Use a shorter path, such as one below /run."
            )
        }
        do throws(SystemCallError) {
            let socket = OwnedDescriptor(
                takingOwnershipOf: try check("socket") { tf_socket(AF_UNIX, Platform.stream, 0) }
            )
            let number = socket.borrowed
            do throws(SystemCallError) {
                try socketAddress.bind(number)
            } catch  where error.number == EADDRINUSE {
                // A socket without a listener behind it was left by a crash: it is in nobody's use. Any other file is
                // somebody's, though connect(2) refuses it with the same error.
                guard UnixPath(path) != nil, try socketAddress.isStale() else { throw error }
                unlink(path)
                try socketAddress.bind(number)
            }
            try check("listen") { listen(number, Platform.longestBacklog) }
            return socket
        } catch {
            throw .listen(address, error)
        }
    }
}

/// bind(2), out of the reach of methods of that name.
private func bindSocket(_ socket: CInt, _ address: UnsafePointer<sockaddr>, _ length: socklen_t) -> CInt {
    bind(socket, address, length)
}

/// An AF_UNIX address (unix(7)).
private struct UnixAddress {
    private var storage = sockaddr_un()

    /// nil: the path does not fit. It is never cut: a cut path is another path.
    init?(_ path: String) {
        let bytes = Array(path.utf8)
        guard !bytes.isEmpty, bytes.count <= Platform.unixPathLimit, !bytes.contains(0) else { return nil }
        Platform.fill(&self.storage)
        withUnsafeMutableBytes(of: &self.storage.sun_path) { $0.copyBytes(from: bytes) }
    }

    func bind(_ socket: CInt) throws(SystemCallError) {
        try check("bind") { self.withAddress { bindSocket(socket, $0, $1) } }
    }

    /// Whether nobody listens behind the path. Connecting does not block: a full queue answers EAGAIN, which is alive.
    func isStale() throws(SystemCallError) -> Bool {
        let probe = OwnedDescriptor(takingOwnershipOf: try check("socket") { tf_socket(AF_UNIX, Platform.stream, 0) })
        let result = self.withAddress { connect(probe.borrowed, $0, $1) }
        return result < 0 && errno == ECONNREFUSED
    }

    private func withAddress<Result>(_ body: (UnsafePointer<sockaddr>, socklen_t) -> Result) -> Result {
        // SAFETY: sockaddr_un starts as every sockaddr does; the size says where it ends.
        withUnsafePointer(to: self.storage) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                body($0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
    }
}

extension UpgradeError {
    fileprivate static func listen(_ address: SocketAddress, _ error: SystemCallError) -> UpgradeError {
        switch error.number {
        case EADDRINUSE:
            UpgradeError(
                .addressInUse, "\(address) is taken: \(error)",
                cure: "Another program listens there; `ss -lntup` (Linux) or `lsof -i` shows which.", serving: .nobody
            )
        case EACCES, EPERM:
            UpgradeError(
                .listenFailed, "\(address) may not be bound: \(error)",
                cure: "A port below 1024 wants CAP_NET_BIND_SERVICE; a path wants a writable directory.",
                serving: .nobody
            )
        case EADDRNOTAVAIL:
            UpgradeError(
                .listenFailed, "\(address) is not an address of this machine: \(error)", serving: .nobody
            )
        default: UpgradeError(.listenFailed, "\(address) cannot be listened on: \(error)", serving: .nobody)
        }
    }
}
