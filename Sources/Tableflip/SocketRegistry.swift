// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import CTableflip
import Synchronization
import TableflipCore
import TableflipSystem

/// What this process carries: what it inherited and nobody claimed yet, and what it will hand on.
final class SocketRegistry: Sendable {
    private struct State {
        /// In the order in which the predecessor offered it; that order is what `ready` speaks of.
        var inherited: [InventoryEntry] = []
        /// By index into `inherited`, until claimed.
        var unclaimed: [Int: CarriedDescriptor] = [:]
        var indexByName: [String: Int] = [:]
        /// What was claimed, by index into `inherited`.
        var claimed: [Int: CarriedDescriptor] = [:]
        /// What the next generation gets, in the order in which it was asked for.
        var carried: [CarriedDescriptor] = []
        var names: Set<String> = []
        /// ready() has been called: what was inherited and not asked for is closed.
        var isSealed = false
        /// A successor has been promised what is carried now.
        var isFrozen = false
        /// It has been handed on, or the service has stopped.
        var isClosed = false

        mutating func take(_ name: String) throws(UpgradeError) {
            guard self.names.insert(name).inserted else {
                throw UpgradeError(
                    .duplicateName, "two descriptors are asked for under the name \(name)",
                    cure: "Give each a name of its own: listen(on:name:).", serving: .nobody
                )
            }
        }
    }

    private let state = Mutex(State())

    // MARK: What the application asks for

    /// The inherited descriptor of this name, or a new one.
    func descriptor(
        for entry: InventoryEntry, unixPath: String?, make: () throws(UpgradeError) -> OwnedDescriptor
    ) throws(UpgradeError) -> CarriedDescriptor {
        if let found = try self.claim(entry) { return found }
        do throws(UpgradeError) {
            let made = CarriedDescriptor(entry, try make(), unixPath: unixPath.flatMap { UnixPath($0) })
            self.state.withLock { $0.carried.append(made) }
            return made
        } catch {
            self.state.withLock { _ = $0.names.remove(entry.name) }  // the caller may try again
            throw error
        }
    }

    /// The inherited descriptor of this name; nil where there is none, and the name stays free.
    func inherited(_ entry: InventoryEntry) throws(UpgradeError) -> CarriedDescriptor? {
        let found = try self.claim(entry)
        if found == nil { self.state.withLock { _ = $0.names.remove(entry.name) } }
        return found
    }

    /// Everything inherited of this kind that has not been asked for, in the order in which it was carried.
    func allInherited(_ kind: DescriptorKind) throws(UpgradeError) -> [CarriedDescriptor] {
        let entries = try self.state.withLock { state throws(UpgradeError) in
            guard !state.isSealed else { throw .afterReady("every inherited \(kind)") }
            return state.unclaimed.sorted { $0.key < $1.key }.map(\.value.entry).filter { $0.kind == kind }
        }
        var found: [CarriedDescriptor] = []
        for entry in entries { if let descriptor = try self.claim(entry) { found.append(descriptor) } }
        return found
    }

    /// Carries what the application made: also after ready(), but not while a successor is being given everything.
    func add(
        _ entry: InventoryEntry, _ descriptor: consuming OwnedDescriptor
    ) throws(UpgradeError) -> CarriedDescriptor {
        let added = CarriedDescriptor(entry, descriptor)
        try self.state.withLock { state throws(UpgradeError) in
            if state.isFrozen || state.isClosed {
                throw UpgradeError(
                    .wrongMoment,
                    "\(entry.name) was added "
                        + (state.isClosed ? "after the service was handed on" : "during an upgrade"),
                    cure: state.isClosed
                        ? "" : "Wait for the upgrade's outcome: it carries what was there when it began.",
                    serving: state.isClosed ? .successor : .predecessor
                )
            }
            if state.indexByName[entry.name].map({ state.unclaimed[$0] != nil }) == true {
                throw UpgradeError(
                    .duplicateName, "\(entry.name) was inherited and has not been asked for",
                    cure: "Ask for it, or give the new one another name.", serving: .nobody
                )
            }
            try state.take(entry.name)
            state.carried.append(added)
        }
        return added
    }

    /// Carries it in the place of what has this name and kind.
    func replace(_ entry: InventoryEntry, _ descriptor: consuming OwnedDescriptor) throws(UpgradeError) {
        let old = self.state.withLock { state in
            state.isFrozen ? nil : state.carried.first { $0.name == entry.name && $0.kind == entry.kind }
        }
        if let old { self.remove(old) }
        _ = try self.add(entry, descriptor)
    }

    /// What was inherited under this name and not asked for yet.
    func unclaimed(_ name: String) -> InventoryEntry? {
        self.state.withLock { state in state.indexByName[name].flatMap { state.unclaimed[$0]?.entry } }
    }

    /// Carries it no further; its name is free again.
    func remove(_ descriptor: CarriedDescriptor) {
        self.state.withLock { state in
            guard !state.isFrozen, let index = state.carried.firstIndex(where: { $0 === descriptor }) else { return }
            state.carried.remove(at: index)
            state.names.remove(descriptor.name)
        }
    }

    /// Takes an inherited descriptor; nil where there is none of this name. The name is taken in either case.
    private func claim(_ entry: InventoryEntry) throws(UpgradeError) -> CarriedDescriptor? {
        try self.state.withLock { state throws(UpgradeError) -> CarriedDescriptor? in
            guard !state.isSealed else { throw .afterReady(entry.name) }
            try state.take(entry.name)
            guard let index = state.indexByName[entry.name], let found = state.unclaimed[index] else { return nil }
            guard found.kind == entry.kind else {
                state.names.remove(entry.name)
                throw UpgradeError(
                    .duplicateName, "\(entry.name) is a \(found.kind) in the predecessor and a \(entry.kind) here",
                    cure: "Give the new one another name."
                )
            }
            state.unclaimed[index] = nil
            state.claimed[index] = found
            state.carried.append(found)
            return found
        }
    }

    // MARK: As a successor

    /// Checks a whole batch before any of it is adopted; what is refused is closed.
    func inherit(
        _ entries: [InventoryEntry], _ descriptors: consuming DescriptorBatch, directory: String = "."
    ) throws(UpgradeError) {
        var sockets: [CarriedDescriptor] = []
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
            // The flag is the open description's, which the predecessor shares: set, and never cleared.
            if entry.kind == .listener || entry.kind == .datagram {
                _ = try UpgradeError.wrapping("\(entry.name) cannot be made non-blocking", .predecessorMisbehaved) {
                    () throws(SystemCallError) in try check("fcntl") { tf_set_nonblocking(number) }
                }
            }
            sockets.append(
                CarriedDescriptor(
                    entry, descriptor, unixPath: entry.unixPath(from: directory).flatMap { UnixPath($0) },
                    isInherited: true
                )
            )
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

    var carried: [CarriedDescriptor] { self.state.withLock { $0.carried } }

    /// What an upgrade hands over. Until ``thaw()`` nothing is added or taken away.
    func freeze() -> [CarriedDescriptor] {
        self.state.withLock { state in
            state.isFrozen = true
            return state.carried
        }
    }

    /// The upgrade has failed.
    func thaw() { self.state.withLock { $0.isFrozen = false } }

    func close() {
        let all = self.state.withLock { state in
            state.isClosed = true
            return state.carried
        }
        for descriptor in all { descriptor.close() }
    }

    /// Applies the options that inherited sockets were asked for with: for the owner, once.
    /// - Returns: in words, what could not be changed.
    func adjust() -> [(name: String, problem: String)] {
        self.carried.flatMap { socket in
            guard let wanted = socket.takeWanted() else { return [(name: String, problem: String)]() }
            let problems = socket.withDescriptor { number in
                number.map {
                    BoundSocket.adjust(
                        $0, path: socket.unixPath?.path, isListening: socket.kind == .listener, to: wanted
                    )
                } ?? []
            }
            return problems.map { (socket.name, $0) }
        }
    }

    /// Removes the paths of Unix listeners: for the last owner.
    func unlink() { for socket in self.carried { socket.unixPath?.remove() } }
}

extension InventoryDigest {
    /// A descriptor that cannot be looked at counts as another one than any.
    mutating func combine(_ socket: CarriedDescriptor, _ capabilities: Capabilities) {
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
        guard let path = SocketAddress(self.address)?.unixPath else { return nil }
        return path.hasPrefix("/") ? path : directory + "/" + path
    }
}

extension UpgradeError {
    fileprivate static func afterReady(_ what: String) -> UpgradeError {
        UpgradeError(
            .wrongMoment, "\(what) was asked for after ready()",
            cure: "Ask for every socket before ready(): what is not asked for by then is closed."
        )
    }
}
