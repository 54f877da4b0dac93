// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

public import TableflipCore

/// How a socket is bound. An inherited socket was bound by an older generation: its backlog, mode and owner are changed
/// when this process becomes the owner, and a warning in the log names what cannot be changed.
public struct ListenOptions: Sendable {
    /// How many connections may wait to be accepted (listen(2)); the kernel cuts it to its own limit. nil: as many as
    /// the kernel allows, up to 4096. Means nothing for datagrams.
    ///
    /// The queue is one for all processes that hold the socket. Where a successor accepts by SwiftNIO it is as long as can be
    /// from the moment the socket is adopted: if the upgrade fails after that, it stays so.
    public var backlog: Int32?

    /// Whether an IPv6 socket leaves IPv4 alone (`IPV6_V6ONLY`, ipv6(7)). nil: it does, unless the host is empty and
    /// any family will do. Means nothing for other addresses.
    public var isIPv6Only: Bool?

    /// Whether several sockets may be bound to one address, and the kernel spreads what arrives among them
    /// (`SO_REUSEPORT`, socket(7)). Give each socket of the group a name of its own. The names and the number of a group
    /// stay the same across an upgrade: a successor that asks for one more, or for one fewer, fails, because connections
    /// would wait in a queue that nobody reads. Stop and start the service to change them; a group may go as a whole.
    public var reusesPort: Bool

    /// The permissions of a Unix socket's file, such as 0o660, exactly: the umask does not cut them. Nobody can connect
    /// before they are set. nil: what the umask leaves of 0o777.
    public var unixMode: UInt16?

    /// The user and the group that a Unix socket's file belongs to (chown(2)).
    public var unixOwner: Owner?

    /// Called with the new socket before bind(2), for options that have no name here: `SO_RCVBUF`, `TCP_FASTOPEN`,
    /// `IP_FREEBIND`. The number is lent: it must not be closed or kept. What it throws fails the call to `listen`.
    public var configure: (@Sendable (_ socket: CInt) throws(UpgradeError) -> Void)?

    /// Who a file belongs to.
    public struct Owner: Hashable, Sendable {
        /// The user's number; nil leaves it.
        public var user: UInt32?
        /// The group's number; nil leaves it.
        public var group: UInt32?

        /// Makes an owner.
        /// - Parameters:
        ///   - user: see ``user``.
        ///   - group: see ``group``.
        public init(user: UInt32? = nil, group: UInt32? = nil) {
            self.user = user
            self.group = group
        }
    }

    /// Makes options.
    /// - Parameters:
    ///   - backlog: see ``backlog``.
    ///   - isIPv6Only: see ``isIPv6Only``.
    ///   - reusesPort: see ``reusesPort``.
    ///   - unixMode: see ``unixMode``.
    ///   - unixOwner: see ``unixOwner``.
    ///   - configure: see ``configure``.
    public init(
        backlog: Int32? = nil, isIPv6Only: Bool? = nil, reusesPort: Bool = false, unixMode: UInt16? = nil,
        unixOwner: Owner? = nil, configure: (@Sendable (_ socket: CInt) throws(UpgradeError) -> Void)? = nil
    ) {
        self.backlog = backlog
        self.isIPv6Only = isIPv6Only
        self.reusesPort = reusesPort
        self.unixMode = unixMode
        self.unixOwner = unixOwner
        self.configure = configure
    }

    func validate(for address: SocketAddress) throws(UpgradeError) {
        if let backlog, backlog < 1 {
            throw UpgradeError(
                .invalidConfiguration, "\(address): a backlog of \(backlog)", cure: "Give it at least 1, or nil.",
                serving: .nobody
            )
        }
        if let unixMode, unixMode > 0o777 {
            throw UpgradeError(
                .invalidConfiguration, "\(address): the mode 0o\(String(unixMode, radix: 8))",
                cure: "Give it permissions only, up to 0o777.", serving: .nobody
            )
        }
        let hasPort =
            switch address.kind {
            case .tcp, .udp: true
            case .unix, .abstract, .vsock: false
            }
        if self.reusesPort, !hasPort {
            throw UpgradeError(
                .invalidConfiguration, "\(address) has no port that several sockets could share",
                cure: "Leave reusesPort out.", serving: .nobody
            )
        }
        if address.unixPath == nil, self.unixMode != nil || self.unixOwner != nil {
            throw UpgradeError(
                .invalidConfiguration, "\(address) has no file that could have a mode or an owner",
                cure: "Leave unixMode and unixOwner out.", serving: .nobody
            )
        }
    }
}
