// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

/// Where to listen: the address as the program asks for it, which is also what a socket is known by across upgrades.
///
/// A successor that asks for `.tcp(host: "127.0.0.1", port: 0)` gets the socket that its predecessor bound for the same
/// words, on the port that the kernel picked then.
public struct SocketAddress: Hashable, Sendable {
    /// Which versions of the internet protocol a host may be of.
    public enum Family: String, Hashable, Sendable, CaseIterable {
        /// Either; an empty host means every IPv6 and every IPv4 address on one socket.
        case any = ""
        /// IPv4 only; an empty host means every IPv4 address.
        case v4 = "4"
        /// IPv6 only; an empty host means every IPv6 address.
        case v6 = "6"
    }

    /// How a Unix socket carries data (unix(7)).
    public enum UnixKind: String, Hashable, Sendable, CaseIterable {
        /// Connections that carry a stream of bytes.
        case stream = ""
        /// Datagrams without a connection.
        case datagram = "gram"
        /// Connections that keep the borders of messages. Linux only.
        case seqpacket = "packet"
    }

    /// The kinds of address.
    package enum Kind: Hashable, Sendable {
        case tcp(host: String, port: UInt16, Family)
        case udp(host: String, port: UInt16, Family)
        case unix(path: String, UnixKind)
        case abstract(name: String, UnixKind)
        case vsock(contextID: UInt32?, port: UInt32)
    }

    package let kind: Kind

    /// A TCP listener. An IPv6 literal is written without brackets.
    /// - Parameters:
    ///   - host: a numeric address or a name, which getaddrinfo(3) looks up; its first answer is bound. Empty: every
    ///     address of this machine.
    ///   - port: the port, or 0 for one that the kernel picks.
    ///   - family: which addresses will do.
    /// - Returns: the address.
    public static func tcp(host: String, port: UInt16, family: Family = .any) -> SocketAddress {
        .init(kind: .tcp(host: host, port: port, family))
    }

    /// A UDP socket.
    /// - Parameters:
    ///   - host: as for ``tcp(host:port:family:)``.
    ///   - port: the port, or 0 for one that the kernel picks.
    ///   - family: which addresses will do.
    /// - Returns: the address.
    public static func udp(host: String, port: UInt16, family: Family = .any) -> SocketAddress {
        .init(kind: .udp(host: host, port: port, family))
    }

    /// A socket on a path of the file system. A relative path counts from the directory the process started in. The
    /// path is unlinked by the last process that owns the service, never by one that has handed it on.
    /// - Parameters:
    ///   - path: at most 107 bytes on Linux and 103 on Darwin, the room in `sockaddr_un` (unix(7)).
    ///   - kind: how it carries data.
    /// - Returns: the address.
    public static func unix(path: String, kind: UnixKind = .stream) -> SocketAddress {
        // In words a leading @ means an abstract name.
        .init(kind: .unix(path: path.hasPrefix("@") ? "./" + path : path, kind))
    }

    /// A Unix socket without a file: a name in the namespace of the network (unix(7), "abstract"). Linux only.
    /// - Parameters:
    ///   - name: 1 to 107 bytes, without the zero byte that stands before it in `sun_path`.
    ///   - kind: how it carries data.
    /// - Returns: the address.
    public static func abstract(name: String, kind: UnixKind = .stream) -> SocketAddress {
        .init(kind: .abstract(name: name, kind))
    }

    /// A stream listener between a virtual machine and its host (vsock(7)). Linux only.
    /// - Parameters:
    ///   - contextID: the machine's own address, such as 2 for the host; nil: every one of its addresses.
    ///   - port: the port.
    /// - Returns: the address.
    public static func vsock(contextID: UInt32? = nil, port: UInt32) -> SocketAddress {
        .init(kind: .vsock(contextID: contextID, port: port))
    }

    private init(kind: Kind) { self.kind = kind }

    /// What kind of descriptor a socket bound to it is.
    package var descriptorKind: DescriptorKind {
        switch self.kind {
        case .udp, .unix(_, .datagram), .abstract(_, .datagram): .datagram
        case .tcp, .unix, .abstract, .vsock: .listener
        }
    }

    /// The file that a Unix socket is reached by; nil for what has none.
    package var unixPath: String? {
        guard case .unix(let path, _) = self.kind else { return nil }
        return path
    }
}

extension SocketAddress: LosslessStringConvertible {
    /// `tcp://127.0.0.1:8080`, `tcp6://[::1]:8080`, `udp4://…`, `unix:/run/x.sock`, `unixgram:`, `unixpacket:`,
    /// `unix:@abstract`, `vsock://2:1024`, `vsock://any:1024`: the words that Go's `net` has for them.
    public var description: String {
        func authority(_ host: String, _ port: UInt16) -> String {
            host.utf8.contains(UInt8(ascii: ":")) ? "[\(host)]:\(port)" : "\(host):\(port)"
        }
        return switch self.kind {
        case .tcp(let host, let port, let family): "tcp\(family.rawValue)://" + authority(host, port)
        case .udp(let host, let port, let family): "udp\(family.rawValue)://" + authority(host, port)
        case .unix(let path, let kind): "unix\(kind.rawValue):" + path
        case .abstract(let name, let kind): "unix\(kind.rawValue):@" + name
        case .vsock(let contextID, let port): "vsock://\(contextID.map { "\($0)" } ?? "any"):\(port)"
        }
    }

    /// Reads what ``description`` writes.
    /// - Parameter description: the address in words; nil comes back where it is none.
    public init?(_ description: String) {
        guard let colon = description.firstIndex(of: ":") else { return nil }
        let scheme = description[..<colon]
        let rest = description[description.index(after: colon)...]
        if let kind = UnixKind(rawValue: String(scheme.dropFirst(4))), scheme.hasPrefix("unix") {
            guard !rest.isEmpty, rest != "@" else { return nil }
            self =
                rest.hasPrefix("@")
                ? .abstract(name: String(rest.dropFirst()), kind: kind) : .unix(path: String(rest), kind: kind)
            return
        }
        guard rest.hasPrefix("//"), let (host, digits) = Self.split(rest.dropFirst(2)) else { return nil }
        if scheme == "vsock", let port = UInt32(digits), host == "any" || Self.isNumber(host) {
            guard host == "any" || UInt32(host) != nil else { return nil }
            self = .vsock(contextID: UInt32(host), port: port)
        } else if let port = UInt16(digits), let family = Family(rawValue: String(scheme.dropFirst(3))) {
            switch scheme.prefix(3) {
            case "tcp": self = .tcp(host: host, port: port, family: family)
            case "udp": self = .udp(host: host, port: port, family: family)
            default: return nil
            }
        } else {
            return nil
        }
    }

    /// What stands before and after the last colon; the brackets of an IPv6 literal are taken off.
    private static func split(_ text: Substring) -> (host: String, port: Substring)? {
        guard let colon = text.lastIndex(of: ":") else { return nil }
        let digits = text[text.index(after: colon)...]
        guard self.isNumber(digits) else { return nil }
        let host = text[..<colon]
        guard host.first == "[" else { return host.contains(":") ? nil : (String(host), digits) }
        return host.last == "]" ? (String(host.dropFirst().dropLast()), digits) : nil
    }

    /// The integer types alone would read "+80" as well.
    private static func isNumber(_ text: some StringProtocol) -> Bool {
        !text.isEmpty && text.utf8.allSatisfy { (48...57).contains($0) }
    }
}
