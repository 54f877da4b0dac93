// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Synchronization
import TableflipCore
import TableflipSystem

/// A socket that outlives this process: bound here or by a generation before, and handed on to the next.
///
/// The upgrader keeps a descriptor of its own for handing over and closes it when the service is handed on or stops.
/// The application reads from a duplicate that it owns.
public final class Listener: Sendable {
    let socket: CarriedSocket

    /// The name it is known by across upgrades.
    public var name: String { self.socket.entry.name }
    /// The address that was asked for.
    public let address: SocketAddress
    /// Whether it came from the predecessor rather than being bound by this process.
    public let isInherited: Bool

    init(_ socket: CarriedSocket, address: SocketAddress, isInherited: Bool) {
        self.socket = socket
        self.address = address
        self.isInherited = isInherited
    }

    /// The port it is bound to, which for port 0 is the kernel's choice; nil for a Unix path, or once it is closed.
    public var port: UInt16? { self.socket.withDescriptor { $0.flatMap { BoundSocket.port(of: $0) } } }

    /// A descriptor of the caller's own for this socket: non-blocking, close-on-exec. The caller closes it, with
    /// close(2); shutdown(2) would end the socket for every process that holds it.
    /// - Returns: the descriptor.
    /// - Throws: ``UpgradeError`` with the code `wrongMoment` once the socket has been handed on.
    public func duplicate() throws(UpgradeError) -> OwnedDescriptor { try self.socket.duplicate() }

    /// Calls listen(2) again with the longest queue: some frameworks call it with a short one when they adopt a socket.
    package func restoreBacklog() throws(UpgradeError) {
        let failure = self.socket.withDescriptor { $0.flatMap { BoundSocket.restoreBacklog(of: $0) } }
        if let failure { throw UpgradeError(.listenFailed, "\(self.name): \(failure)") }
    }
}

/// A descriptor that is carried from generation to generation.
package final class CarriedSocket: Sendable {
    package let entry: InventoryEntry
    let unixPath: UnixPath?
    private let descriptor: Mutex<OwnedDescriptor?>

    init(_ entry: InventoryEntry, _ descriptor: consuming OwnedDescriptor, unixPath: UnixPath?) {
        self.entry = entry
        self.unixPath = unixPath
        self.descriptor = Mutex(descriptor)
    }

    /// Lends the number, or nil once it is closed.
    func withDescriptor<Result: Sendable>(_ body: (CInt?) -> Result) -> Result {
        self.descriptor.withLock { descriptor in
            switch descriptor {
            case .some(let open): body(open.borrowed)
            case .none: body(nil)
            }
        }
    }

    package func duplicate() throws(UpgradeError) -> OwnedDescriptor {
        let result = self.withDescriptor { number -> Result<CInt, UpgradeError> in
            guard let number else {
                return .failure(
                    UpgradeError(.wrongMoment, "the socket \(self.entry.name) has been handed on and is closed here")
                )
            }
            do throws(SystemCallError) {
                return .success(try OwnedDescriptor(duplicating: number).release())
            } catch {
                return .failure(UpgradeError(.system, "the socket \(self.entry.name) cannot be duplicated: \(error)"))
            }
        }
        return OwnedDescriptor(takingOwnershipOf: try result.get())
    }

    func close() { self.descriptor.withLock { $0 = nil } }
}
