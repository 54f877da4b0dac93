// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

package import TableflipCore

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

extension BoundSocket {
    /// Whether a socket that somebody else has bound is bound to this address. A relative path counts from `directory`. Port
    /// 0 is no address that one could be bound to.
    package static func isBound(_ descriptor: CInt, to address: SocketAddress, from directory: String) -> Bool {
        self.isBound(descriptor, to: self.names(of: address, from: directory))
    }

    /// The same, for an address that has been looked up.
    package static func isBound(_ descriptor: CInt, to names: Set<Name>) -> Bool {
        self.name(of: descriptor).map { self.isPlace($0, among: names) } ?? false
    }

    /// A path may be written in other words, by way of a link say.
    package static func isPlace(_ name: Name, among names: Set<Name>) -> Bool {
        if names.contains(name) { return true }
        guard let path = name.path else { return false }
        return names.contains { $0.path.map { FileAccess.isSame($0, path) } ?? false }
    }

    /// Whether a socket has another port or path than these words say. A host may be written, and found, in many ways, and
    /// is not compared.
    package static func isElsewhere(_ descriptor: CInt, than address: SocketAddress, from directory: String) -> Bool {
        switch address.kind {
        case .tcp(_, let wanted, _), .udp(_, let wanted, _):
            switch self.port(of: descriptor) {
            case .some(let port): wanted > 0 && port != wanted
            // It is another kind of socket.
            case .none: true
            }
        case .unix, .abstract: !self.isBound(descriptor, to: address, from: directory)
        case .vsock: self.name(of: descriptor) != nil
        }
    }

    /// Everything that these words may be bound to.
    package static func names(of address: SocketAddress, from directory: String) -> Set<Name> {
        switch address.kind {
        case .tcp(let host, let port, let family), .udp(let host, let port, let family):
            port > 0 ? self.names(host, port, family) : []
        case .unix(let path, _): [.unix(Array(path.absolutePath(from: directory).utf8))]
        case .abstract(let words, _): [.unix([0] + Array(words.utf8))]
        case .vsock: []
        }
    }

    /// What a socket is bound to, among those of its kind.
    package enum Name: Hashable, Sendable {
        /// Port and address, as on the wire.
        case internet([UInt8])
        /// An abstract name begins with a zero.
        case unix([UInt8])

        fileprivate var path: String? {
            guard case .unix(let bytes) = self, bytes.first != 0 else { return nil }
            return String(decoding: bytes, as: UTF8.self)
        }

        fileprivate init?(_ bytes: UnsafeRawBufferPointer) {
            guard bytes.count >= MemoryLayout<sa_family_t>.size + 1 else { return nil }
            var address = sockaddr()
            withUnsafeMutableBytes(of: &address) { $0.copyBytes(from: bytes.prefix($0.count)) }
            switch CInt(address.sa_family) {
            // Port, then address (ip(7)); between them IPv6 has a flow label (ipv6(7)).
            case AF_INET where bytes.count >= 8: self = .internet(Array(bytes[2..<8]))
            case AF_INET6 where bytes.count >= 24: self = .internet(Array(bytes[2..<4]) + Array(bytes[8..<24]))
            case AF_UNIX:
                let path = bytes.dropFirst(MemoryLayout<sockaddr_un>.offset(of: \.sun_path) ?? 2)
                // A path ends at a zero, an abstract name with the address (unix(7)).
                self = .unix(path.first == 0 ? Array(path) : Array(path.prefix { $0 != 0 }))
            default: return nil
            }
        }
    }

    /// getsockname(2); nil for what has no such name.
    package static func name(of descriptor: CInt) -> Name? {
        var storage = sockaddr_storage()
        var size = socklen_t(MemoryLayout<sockaddr_storage>.size)
        // SAFETY: sockaddr_storage has room for, and the alignment of, every address (socket(7)).
        let result = withUnsafeMutablePointer(to: &storage) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { getsockname(descriptor, $0, &size) }
        }
        guard result == 0 else { return nil }
        return withUnsafeBytes(of: storage) { Name(UnsafeRawBufferPointer(rebasing: $0.prefix(Int(size)))) }
    }

    private static func names(_ host: String, _ port: UInt16, _ family: SocketAddress.Family) -> Set<Name> {
        var hints = addrinfo()
        switch family {
        case .any: hints.ai_family = AF_UNSPEC
        case .v4: hints.ai_family = AF_INET
        case .v6: hints.ai_family = AF_INET6
        }
        hints.ai_socktype = Platform.stream
        hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV
        var list: UnsafeMutablePointer<addrinfo>?
        guard getaddrinfo(host.isEmpty ? nil : host, String(port), &hints, &list) == 0 else { return [] }
        defer { freeaddrinfo(list) }
        var names: Set<Name> = []
        var next = list
        while let info = next {
            next = info.pointee.ai_next
            // SAFETY: getaddrinfo made address and length; they live until freeaddrinfo.
            let bytes = UnsafeRawBufferPointer(start: info.pointee.ai_addr, count: Int(info.pointee.ai_addrlen))
            if let name = Name(bytes) { names.insert(name) }
        }
        return names
    }
}
