// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Synchronization
import TableflipCore
import TableflipSystem

/// What this process carries: what it inherited and nobody claimed yet, and what it will hand on.
final class SocketRegistry: Sendable {
    private struct State {
        /// In the order in which the predecessor offered it; that order is what `ready` speaks of.
        var inherited: [InventoryEntry] = []
        /// By index into `inherited`, until claimed.
        var unclaimed: [Int: CarriedSocket] = [:]
        var indexByName: [String: Int] = [:]
        /// What was claimed, by index into `inherited`.
        var claimed: [Int: CarriedSocket] = [:]
        /// What the next generation gets, in the order in which it was asked for.
        var carried: [CarriedSocket] = []
        var names: Set<String> = []
        var isSealed = false
    }

    private let state = Mutex(State())

    // MARK: What the application asks for

    /// The inherited socket of this name, or a new one.
    /// - Returns: the socket, and whether it was inherited.
    func socket(
        for entry: InventoryEntry, unixPath: String?, make: () throws(UpgradeError) -> OwnedDescriptor
    ) throws(UpgradeError) -> (CarriedSocket, isInherited: Bool) {
        if let found = try self.claim(entry) { return (found, true) }
        do throws(UpgradeError) {
            let socket = CarriedSocket(entry, try make(), unixPath: unixPath.flatMap { UnixPath($0) })
            self.state.withLock { $0.carried.append(socket) }
            return (socket, false)
        } catch {
            self.state.withLock { _ = $0.names.remove(entry.name) }  // the caller may try again
            throw error
        }
    }

    /// Takes an inherited socket; nil where there is none of this name. The name is taken in either case.
    private func claim(_ entry: InventoryEntry) throws(UpgradeError) -> CarriedSocket? {
        try self.state.withLock { state throws(UpgradeError) -> CarriedSocket? in
            guard !state.isSealed else {
                throw UpgradeError(
                    .wrongMoment, "\(entry.name) was asked for after ready()",
                    cure: "Ask for every socket before ready(): what is not asked for by then is closed."
                )
            }
            guard state.names.insert(entry.name).inserted else {
                throw UpgradeError(
                    .duplicateName, "two sockets are asked for under the name \(entry.name)",
                    cure: "Give each a name of its own: listen(on:name:).", serving: .nobody
                )
            }
            guard let index = state.indexByName[entry.name], let socket = state.unclaimed[index] else { return nil }
            guard socket.entry.kind == entry.kind else {
                throw UpgradeError(
                    .duplicateName,
                    "\(entry.name) is a \(socket.entry.kind) in the predecessor and a \(entry.kind) here",
                    cure: "Give the new one another name."
                )
            }
            state.unclaimed[index] = nil
            state.claimed[index] = socket
            state.carried.append(socket)
            return socket
        }
    }

    // MARK: As a successor

    /// Checks a whole batch before any of it is adopted; what is refused is closed.
    func inherit(
        _ entries: [InventoryEntry], _ descriptors: consuming DescriptorBatch, directory: String = "."
    ) throws(UpgradeError) {
        var sockets: [CarriedSocket] = []
        for entry in entries {
            guard let descriptor = descriptors.takeFirst() else {
                throw UpgradeError(.predecessorMisbehaved, "\(entry.name) came without a descriptor")
            }
            let number = descriptor.borrowed
            let facts = try UpgradeError.wrapping("\(entry.name) came with a bad descriptor", .predecessorMisbehaved) {
                () throws(SystemCallError) in try DescriptorFacts(of: number)
            }
            guard facts.fits(entry.kind) else {
                throw UpgradeError(.predecessorMisbehaved, "\(entry.name) is no \(entry.kind)")
            }
            sockets.append(
                CarriedSocket(entry, descriptor, unixPath: entry.unixPath(from: directory).flatMap { UnixPath($0) }))
        }
        try self.state.withLock { state throws(UpgradeError) in
            var names: Set<String> = []
            for entry in entries where state.indexByName[entry.name] != nil || !names.insert(entry.name).inserted {
                throw UpgradeError(.predecessorMisbehaved, "\(entry.name) was offered twice")
            }
            for socket in sockets {
                let index = state.inherited.count
                state.indexByName[socket.entry.name] = index
                state.inherited.append(socket.entry)
                state.unclaimed[index] = socket
            }
        }
    }

    var inheritedCount: Int { self.state.withLock { $0.inherited.count } }

    /// No more is claimed from here on.
    func seal() { self.state.withLock { $0.isSealed = true } }

    /// For each inherited entry whether it was claimed, the digest over those that were, and how many are new.
    func claims(_ capabilities: Capabilities) -> (claimed: [Bool], digest: UInt64, fresh: Int) {
        self.state.withLock { state in
            var digest = InventoryDigest()
            var claimed: [Bool] = []
            claimed.reserveCapacity(state.inherited.count)
            for index in state.inherited.indices {
                claimed.append(state.claimed[index] != nil)
                if let socket = state.claimed[index] { digest.combine(socket, capabilities) }
            }
            return (claimed, digest.value, state.carried.count - state.claimed.count)
        }
    }

    /// Closes what nobody claimed.
    /// - Returns: the names, and the Unix paths that may be removed once the service is this process's own.
    func closeUnclaimed() -> (names: [String], paths: [UnixPath]) {
        let unclaimed = self.state.withLock { state in
            defer { state.unclaimed = [:] }
            return state.unclaimed.sorted { $0.key < $1.key }.map(\.value)
        }
        for socket in unclaimed { socket.close() }
        return (unclaimed.map(\.entry.name), unclaimed.compactMap(\.unixPath))
    }

    // MARK: As a predecessor

    var carried: [CarriedSocket] { self.state.withLock { $0.carried } }

    func close() { for socket in self.carried { socket.close() } }

    /// Removes the paths of Unix listeners: for the last owner.
    func unlink() { for socket in self.carried { socket.unixPath?.remove() } }
}

extension InventoryDigest {
    /// A descriptor that cannot be looked at counts as another one than any.
    mutating func combine(_ socket: CarriedSocket, _ capabilities: Capabilities) {
        let identity = socket.withDescriptor { number -> UInt64 in
            guard let number else { return .max }
            // An error here is what the digest is for: the two sides will differ.
            return (try? DescriptorFacts.identity(of: number, capabilities)) ?? .max
        }
        self.combine(socket.entry, identity: identity)
    }
}

extension InventoryEntry {
    func unixPath(from directory: String) -> String? {
        guard let address = SocketAddress(self.address), case .unix(let path) = address.kind else { return nil }
        return path.hasPrefix("/") ? path : directory + "/" + path
    }
}
