// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import TableflipCore
import TableflipSystem

extension Upgrader {
    /// A Unix socket by which `tableflipctl` asks for upgrades, watches them, and sees how the service is.
    ///
    /// It is inherited as every listener is, so no upgrade takes its path away, and the process in charge answers on it. Where
    /// somebody else removes the file, only a restart brings it back; a new owner logs that.
    /// Whoever may connect by the permissions of the path is asked for by the kernel's word (SO_PEERCRED, unix(7);
    /// getpeereid(3)): the service's own user, root, and ``allowedUsers`` are heard, everybody else is refused and logged.
    /// `docs/control.md` is its protocol.
    public struct ControlSocket: Hashable, Sendable {
        /// Where it is: at most 107 bytes on Linux and 103 on Darwin. A relative path counts from the directory the
        /// process started in.
        public var path: String

        /// The permissions of the path. Other users of ``allowedUsers`` need some that let them connect (write, on Linux).
        public var mode: UInt16

        /// The numbers of users that are heard beside the service's own and root.
        public var allowedUsers: Set<UInt32>

        /// Makes a description.
        /// - Parameters:
        ///   - path: see ``path``.
        ///   - mode: see ``mode``; by default for the service's own user only.
        ///   - allowedUsers: see ``allowedUsers``.
        public init(path: String, mode: UInt16 = 0o600, allowedUsers: Set<UInt32> = []) {
            self.path = path
            self.mode = mode
            self.allowedUsers = allowedUsers
        }

        func validate() throws(UpgradeError) {
            guard
                self.path.isEmpty || self.path.hasSuffix("/") || self.path.utf8.contains(0) || self.path.hasPrefix("@")
            else { return }
            throw UpgradeError(
                .invalidConfiguration, "controlSocket is \"\(self.path)\", which names no file",
                cure: "Give it a path such as /run/hello.control, or nil for none.", serving: .nobody
            )
        }
    }
}

extension Upgrader.ControlSocket {
    /// Names that no socket of the application may have. The path is part of it: a new path is a new socket.
    static let namePrefix = ControlStatus.Listener.controlPrefix
    static let historyName = "tableflip-control-history"

    /// Whether it is of these: no application gets it, also where this process has no control socket, or another.
    static func owns(_ entry: InventoryEntry) -> Bool {
        switch entry.kind {
        case .listener: entry.name.hasPrefix(self.namePrefix)
        case .state: entry.name == self.historyName
        default: false
        }
    }

    /// The socket, inherited or bound. To be called when the inventory is here.
    func claim(_ context: EngineContext) throws(UpgradeError) -> CarriedDescriptor {
        let path = self.path.absolutePath(from: context.directory)
        let address = SocketAddress.unix(path: path)
        let options = ListenOptions(unixMode: self.mode)
        let entry = try Upgrader.entry(Self.namePrefix + path, .listener, address: address.description)
        let socket = try context.sockets.descriptor(for: entry, unixPath: path) { () throws(UpgradeError) in
            try BoundSocket.bind(address, options)
        }
        if socket.isInherited { socket.want(options) }
        return socket
    }

    /// Takes what the predecessor has left of the upgrades before.
    static func claimHistory(_ context: EngineContext) throws(UpgradeError) -> ControlHistory {
        guard context.sockets.unclaimed(self.historyName)?.kind == .state,
            let left = try context.sockets.inherited(try Upgrader.entry(self.historyName, .state))
        else { return ControlHistory() }
        // It is there for one upgrade only.
        defer { context.sockets.remove(left) }
        // What cannot be read is not worth an upgrade: the history begins anew.
        return (try? ControlHistory(reading: HandedState(left).bytes())) ?? ControlHistory()
    }
}
