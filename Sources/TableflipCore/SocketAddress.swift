// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

/// Where to listen: the address as the program asks for it, which is also what a socket is known by across upgrades.
///
/// A successor that asks for `.tcp(host: "127.0.0.1", port: 0)` gets the socket that its predecessor bound for the same
/// words, on the port that the kernel picked then.
public struct SocketAddress: Hashable, Sendable {
    /// The kinds of address.
    package enum Kind: Hashable, Sendable {
        case tcp(host: String, port: UInt16)
        case udp(host: String, port: UInt16)
        case unix(path: String)
    }

    package let kind: Kind

    /// A TCP listener. An IPv6 literal is written without brackets; an empty host means every IPv6 and IPv4 address.
    /// - Parameters:
    ///   - host: a numeric address or a name, which getaddrinfo(3) looks up; its first answer is bound.
    ///   - port: the port, or 0 for one that the kernel picks.
    /// - Returns: the address.
    public static func tcp(host: String, port: UInt16) -> SocketAddress { .init(kind: .tcp(host: host, port: port)) }

    /// A UDP socket.
    /// - Parameters:
    ///   - host: as for ``tcp(host:port:)``.
    ///   - port: the port, or 0 for one that the kernel picks.
    /// - Returns: the address.
    public static func udp(host: String, port: UInt16) -> SocketAddress { .init(kind: .udp(host: host, port: port)) }

    /// A stream listener on a path of the file system. A relative path counts from the directory the process started
    /// in. The path is unlinked by the last process that owns the service, never by one that has handed it on.
    /// - Parameter path: at most 107 bytes on Linux and 103 on Darwin, the room in `sockaddr_un` (unix(7)).
    /// - Returns: the address.
    public static func unix(path: String) -> SocketAddress { .init(kind: .unix(path: path)) }

    private init(kind: Kind) { self.kind = kind }

    /// Whether connections are accepted from it (else it carries datagrams).
    package var isStream: Bool {
        switch self.kind {
        case .tcp, .unix: true
        case .udp: false
        }
    }
}

extension SocketAddress: LosslessStringConvertible {
    /// `tcp://127.0.0.1:8080`, `tcp://[::1]:8080`, `udp://…`, `unix:/run/x.sock`.
    public var description: String {
        func authority(_ host: String, _ port: UInt16) -> String {
            host.utf8.contains(UInt8(ascii: ":")) ? "[\(host)]:\(port)" : "\(host):\(port)"
        }
        return switch self.kind {
        case .tcp(let host, let port): "tcp://" + authority(host, port)
        case .udp(let host, let port): "udp://" + authority(host, port)
        case .unix(let path): "unix:" + path
        }
    }

    /// Reads what ``description`` writes.
    /// - Parameter description: the address in words; nil comes back where it is none.
    public init?(_ description: String) {
        func split(_ text: Substring) -> (String, UInt16)? {
            guard let colon = text.lastIndex(of: ":") else { return nil }
            let digits = text[text.index(after: colon)...]
            // UInt16 alone would read "+80" as well.
            guard digits.utf8.allSatisfy({ (48...57).contains($0) }), let port = UInt16(digits) else { return nil }
            let host = text[..<colon]
            guard host.first == "[" else { return host.contains(":") ? nil : (String(host), port) }
            guard host.last == "]" else { return nil }
            return (String(host.dropFirst().dropLast()), port)
        }
        if description.hasPrefix("tcp://"), let (host, port) = split(description.dropFirst(6)) {
            self = .tcp(host: host, port: port)
        } else if description.hasPrefix("udp://"), let (host, port) = split(description.dropFirst(6)) {
            self = .udp(host: host, port: port)
        } else if description.hasPrefix("unix:"), description.utf8.count > 5 {
            self = .unix(path: String(description.dropFirst(5)))
        } else {
            return nil
        }
    }
}
