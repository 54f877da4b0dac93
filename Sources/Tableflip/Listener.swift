// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import TableflipCore
import TableflipSystem

/// A socket that outlives this process: bound here or by a generation before, and handed on to the next.
///
/// The upgrader keeps a descriptor of its own for handing over and closes it when the service is handed on or stops.
/// The application reads from a duplicate that it owns.
public final class Listener: Sendable {
    let socket: CarriedDescriptor

    /// The name it is known by across upgrades.
    public var name: String { self.socket.name }
    /// The address that was asked for: of an inherited socket, the one that it was bound for.
    public let address: SocketAddress
    /// Whether it came from the predecessor rather than being bound by this process.
    public var isInherited: Bool { self.socket.isInherited }

    private let backlog: Int32?

    init(_ socket: CarriedDescriptor, address: SocketAddress, backlog: Int32?) {
        self.socket = socket
        self.address = address
        self.backlog = backlog
    }

    /// The port it is bound to, which for port 0 is the kernel's choice; nil for a Unix path, or once it is closed.
    public var port: UInt16? { self.socket.withDescriptor { $0.flatMap { BoundSocket.port(of: $0) } } }

    /// A descriptor of the caller's own for this socket: non-blocking, close-on-exec. The caller closes it, with
    /// close(2); shutdown(2) would end the socket for every process that holds it. It must stay non-blocking: the flag is
    /// every duplicate's, in every process.
    /// - Returns: the descriptor.
    /// - Throws: ``UpgradeError`` with the code `wrongMoment` once the socket has been handed on, or the service has stopped;
    ///   `system`, where there is no room for another descriptor (EMFILE).
    public func duplicate() throws(UpgradeError) -> OwnedDescriptor { try self.socket.duplicate() }

    /// A duplicate for those who would take any number and trap on a bad one.
    package func duplicate(as kind: DescriptorKind) throws(UpgradeError) -> OwnedDescriptor {
        let duplicate = try self.duplicate()
        let number = duplicate.borrowed
        try self.telling { () throws(UpgradeError) in try Upgrader.check(number, is: kind, self.name) }
        return duplicate
    }

    /// Calls listen(2) again with the queue that was asked for: some frameworks call it with a short one when they adopt a
    /// socket. An inherited one has a queue that is the predecessor's, too: it gets the longest, and what was asked for when
    /// this process is the owner.
    package func restoreBacklog() throws(UpgradeError) {
        let backlog = self.socket.isToBeAdjusted ? nil : self.backlog
        let failure = self.socket.withDescriptor { $0.flatMap { BoundSocket.restoreBacklog(of: $0, to: backlog) } }
        guard let failure else { return }
        try self.telling { () throws(UpgradeError) in throw UpgradeError(.listenFailed, "\(self.name): \(failure)") }
    }

    private func telling(_ call: () throws(UpgradeError) -> Void) throws(UpgradeError) {
        if let facts = self.socket.facts { try facts.telling(call) } else { try call() }
    }
}
