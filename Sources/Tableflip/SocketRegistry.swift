// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Synchronization
import TableflipCore
import TableflipSystem

/// What this process carries: what it inherited and nobody claimed yet, and what it will hand on.
final class SocketRegistry: Sendable {
    private struct Inherited {
        /// nil once it is closed because nobody asked for it.
        var descriptor: CarriedDescriptor?
        var isClaimed = false

        var unclaimed: CarriedDescriptor? { self.isClaimed ? nil : self.descriptor }
    }

    /// What is known of a socket that was inherited and is forgotten: its descriptor goes with its last reference.
    private struct Forgotten {
        let entry: InventoryEntry
        let unixPath: UnixPath?
        let identity: UInt64

        init(_ descriptor: CarriedDescriptor) {
            self.entry = descriptor.entry
            self.unixPath = descriptor.unixPath
            self.identity = descriptor.identity
        }
    }

    private struct State {
        /// In the order in which the predecessor offered it; that order is what `ready` speaks of.
        var inherited: [Inherited] = []
        /// Indices of what is carried no further, and kept because this process has to answer for it in `ready`.
        var forgotten: [Int] = []
        /// The sockets of those: until ready() they count as not asked for. That a connection has ended is no news.
        var forgottenSockets: [Forgotten] = []
        var isAnsweredFor = false
        /// Where what was inherited is, by name, for as long as that keeps the name.
        var indexByName = NameIndex()
        /// The names of what was not inherited.
        var names: Set<String> = []
        /// What the next generation gets, in the order in which it was asked for.
        var carried: [CarriedDescriptor] = []
        /// What a service manager gave this process, and nobody has asked for.
        var passed = PassedDescriptors()
        /// What of it, or of the inheritance, was not asked for.
        var unclaimedStored: [StoreName] = []
        /// ready() has been called: what was inherited and not asked for is closed.
        var isSealed = false
        /// A successor has been promised what is carried now.
        var isFrozen = false
        /// What is to be carried no further when that promise is void.
        var removedLater: [CarriedDescriptor] = []
        /// It has been handed on, or the service has stopped.
        var isClosed = false

        mutating func unclaimed(_ name: String) -> CarriedDescriptor? {
            self.indexByName[name].flatMap { self.inherited[$0].unclaimed }
        }

        mutating func claim(_ index: Int) {
            self.inherited[index].isClaimed = true
            if let descriptor = self.inherited[index].descriptor { self.carried.append(descriptor) }
        }

        mutating func remove(_ descriptor: CarriedDescriptor) {
            guard let index = self.carried.firstIndex(where: { $0 === descriptor }) else { return }
            self.carried.remove(at: index)
            let isSocket = descriptor.kind == .listener || descriptor.kind == .datagram
            if isSocket, !self.isSealed { self.unclaimedStored.append(StoreName(descriptor.entry)) }
            guard self.names.remove(descriptor.name) == nil else { return }
            if let index = self.indexByName.remove(descriptor.name) {
                self.forgotten.append(index)
                if isSocket, !self.isSealed {
                    self.forgottenSockets.append(Forgotten(descriptor))
                }
            }
            if self.isAnsweredFor { self.dropForgotten() }
        }

        /// With what is forgotten as if it had not been asked for.
        var asked: [Inherited] {
            var all = self.inherited
            for index in self.forgotten { all[index].isClaimed = false }
            return all
        }

        mutating func dropForgotten() {
            for index in self.forgotten { self.inherited[index].descriptor = nil }
            self.forgotten = []
        }

        mutating func take(_ name: String) throws(UpgradeError) {
            guard self.indexByName[name] == nil, self.names.insert(name).inserted else {
                throw UpgradeError(
                    .duplicateName, "two descriptors are asked for under the name \(name)",
                    cure: "Give each a name of its own: listen(on:name:).", serving: .nobody
                )
            }
        }
    }

    private let state = Mutex(State())
    private let facts: EngineFacts

    init(_ facts: EngineFacts = EngineFacts()) { self.facts = facts }

    // MARK: What the application asks for

    /// The inherited descriptor of this name, or a new one.
    func descriptor(
        for entry: InventoryEntry, unixPath: String?, make: () throws(UpgradeError) -> OwnedDescriptor
    ) throws(UpgradeError) -> CarriedDescriptor {
        if let found = try self.claim(entry) { return found }
        do throws(UpgradeError) {
            let made = CarriedDescriptor(
                entry, try make(), unixPath: unixPath.flatMap { UnixPath($0) }, facts: self.facts)
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
        try self.state.withLock { state throws(UpgradeError) in
            guard !state.isSealed else { throw .afterReady("every inherited \(kind)") }
            var found: [CarriedDescriptor] = []
            for index in state.inherited.indices {
                guard let descriptor = state.inherited[index].unclaimed, descriptor.kind == kind,
                    !Upgrader.ControlSocket.owns(descriptor.entry)
                else { continue }
                state.claim(index)
                found.append(descriptor)
            }
            return found
        }
    }

    /// Carries what the application made: also after ready(), but not while a successor is being given everything.
    func add(
        _ entry: InventoryEntry, _ descriptor: consuming OwnedDescriptor
    ) throws(UpgradeError) -> CarriedDescriptor {
        let added = CarriedDescriptor(entry, descriptor, facts: self.facts)
        try self.add(added, replaces: false)
        return added
    }

    /// Carries it in the place of what has this name and kind.
    func replace(_ entry: InventoryEntry, _ descriptor: consuming OwnedDescriptor) throws(UpgradeError) {
        try self.add(CarriedDescriptor(entry, descriptor, facts: self.facts), replaces: true)
    }

    /// At once: an upgrade may begin at any time, and gets the old one or the new one.
    private func add(_ added: CarriedDescriptor, replaces: Bool) throws(UpgradeError) {
        let entry = added.entry
        try self.facts.telling { () throws(UpgradeError) in
            try self.state.withLock { state throws(UpgradeError) in
                if state.isClosed {
                    let reason = self.facts.current.closed?.words ?? "it has stopped"
                    throw UpgradeError(.wrongMoment, "\(entry.name) was added too late: \(reason)")
                }
                if state.isFrozen {
                    throw UpgradeError(
                        .wrongMoment, "\(entry.name) was added during an upgrade",
                        cure: "Wait for the upgrade's outcome: it carries what was there when it began."
                    )
                }
                if replaces, let old = state.carried.first(where: { $0.name == entry.name && $0.kind == entry.kind }) {
                    // The manager's store has each version under a name of its own.
                    if old.entry.version != entry.version { state.unclaimedStored.append(StoreName(old.entry)) }
                    state.remove(old)
                }
                if state.unclaimed(entry.name) != nil {
                    throw UpgradeError(
                        .duplicateName, "\(entry.name) was inherited and has not been asked for",
                        cure: "Ask for it, or give the new one another name.", serving: .nobody
                    )
                }
                try state.take(entry.name)
                state.carried.append(added)
            }
        }
    }

    /// What was inherited under this name and not asked for yet.
    func unclaimed(_ name: String) -> InventoryEntry? {
        self.state.withLock { $0.unclaimed(name)?.entry ?? $0.passed.entry(named: name) }
    }

    /// Carries it no further; its name is free again. While a successor has been promised it, not yet.
    func remove(_ descriptor: CarriedDescriptor) {
        self.state.withLock { state in
            if state.isFrozen { state.removedLater.append(descriptor) } else { state.remove(descriptor) }
        }
    }

    /// Takes an inherited descriptor; nil where there is none of this name. The name is taken in either case.
    private func claim(_ entry: InventoryEntry) throws(UpgradeError) -> CarriedDescriptor? {
        let places = self.state.withLock { $0.passed }.places(of: entry)
        return try self.state.withLock { state throws(UpgradeError) -> CarriedDescriptor? in
            guard !state.isSealed else { throw .afterReady(entry.name) }
            guard let index = state.indexByName[entry.name], let found = state.inherited[index].unclaimed else {
                try state.take(entry.name)
                guard let passed = state.passed.claim(entry, at: places, self.facts) else { return nil }
                state.carried.append(passed)
                return passed
            }
            if let (there, here) = found.entry.mismatch(with: entry) {
                throw UpgradeError(
                    .duplicateName, "\(entry.name) is a \(there) in the predecessor and a \(here) here",
                    cure: "Give the new one another name."
                )
            }
            state.claim(index)
            return found
        }
    }

    // MARK: Groups on one address

    /// A new socket in a group gets its share of what arrives from listen(2) on, and nobody reads there before this process
    /// serves, or ever if it fails: where the predecessor serves the group, it has no new member.
    func checkJoinsNoGroup(
        _ entry: InventoryEntry, _ address: SocketAddress, from directory: String
    ) throws(UpgradeError) {
        guard self.facts.current.predecessorLives else { return }
        let group = self.inherited(boundTo: address, from: directory).contains { inherited in
            inherited.descriptor?.withDescriptor { $0.map(BoundSocket.isOfGroup) } ?? false
        }
        guard group else { return }
        throw .groupChanged("\(entry.name) would join the group of sockets at \(address) that the predecessor serves")
    }

    /// One that is not asked for any more, or forgotten, gets its share until the predecessor has closed it, and from its
    /// pause on nobody reads there. A whole group may go.
    func checkKeepsGroups() throws(UpgradeError) {
        guard self.facts.current.predecessorLives else { return }
        let all = self.state.withLock { $0.asked }
        func name(_ descriptor: CarriedDescriptor?) -> BoundSocket.Name? {
            guard let descriptor, descriptor.kind == .listener || descriptor.kind == .datagram else { return nil }
            return descriptor.withDescriptor { number in
                guard let number, BoundSocket.isOfGroup(number) else { return nil }
                return BoundSocket.name(of: number)
            }
        }
        let dropped = all.compactMap { inherited in
            name(inherited.unclaimed).map { (socket: inherited.unclaimed, name: $0) }
        }
        // Only who leaves one out pays for a look at the others.
        guard !dropped.isEmpty else { return }
        for kept in all where kept.isClaimed {
            guard let kept = kept.descriptor, let place = name(kept),
                let left = dropped.first(where: { $0.name == place && $0.socket?.kind == kept.kind })?.socket
            else { continue }
            throw .groupChanged(
                "\(left.name) was not asked for or is forgotten, and \(kept.name), of the same group of sockets at one "
                    + "address, is kept")
        }
    }

    /// The name of an inherited socket that is bound to this address: of one that nobody has asked for, if there is one.
    func inheritedName(
        boundTo address: SocketAddress, from directory: String
    ) -> (name: String, isClaimed: Bool)? {
        let there = self.inherited(boundTo: address, from: directory)
        let found = there.first { !$0.isClaimed } ?? there.first
        return found.flatMap { found in found.descriptor.map { ($0.name, found.isClaimed) } }
    }

    private func inherited(boundTo address: SocketAddress, from directory: String) -> [Inherited] {
        let all = self.state.withLock { $0.inherited }.filter { $0.descriptor?.kind == address.descriptorKind }
        // A name may have to be looked up.
        guard !all.isEmpty else { return [] }
        let names = BoundSocket.names(of: address, from: directory)
        return all.filter { inherited in
            let name = inherited.descriptor?.withDescriptor { $0.flatMap(BoundSocket.name) }
            return name.map { BoundSocket.isPlace($0, among: names) } ?? false
        }
    }

    // MARK: From a service manager

    /// What it has passed to this process; see ``PassedDescriptors``.
    func pass(_ descriptors: PassedDescriptors) { self.state.withLock { $0.passed = descriptors } }

    /// What is to leave the manager's store, once.
    func takeUnclaimedStored() -> [StoreName] {
        self.state.withLock { state in
            defer { state.unclaimedStored = [] }
            return state.unclaimedStored
        }
    }

    // MARK: As a successor

    /// Checks a whole batch before any of it is adopted; what is refused is closed.
    ///
    /// A Unix path is ours where its file is the predecessor's: what is there now may be somebody else's. A predecessor
    /// that does not say which one that is (`paths`, by index, of which `first` is the batch's first) is taken to have it
    /// still.
    func inherit(
        _ entries: [InventoryEntry], _ descriptors: consuming DescriptorBatch, first: Int = 0,
        paths: [UInt32: Message.Paths.File]? = nil, directory: String = "."
    ) throws(UpgradeError) {
        var sockets: [CarriedDescriptor] = []
        sockets.reserveCapacity(entries.count)
        for (offset, entry) in entries.enumerated() {
            guard let descriptor = descriptors.takeFirst() else {
                throw UpgradeError(.predecessorMisbehaved, "\(entry.name) came without a descriptor")
            }
            let number = descriptor.borrowed
            guard DescriptorFacts.number(number, fits: entry.kind) else {
                throw UpgradeError(.predecessorMisbehaved, "\(entry.name) is no \(entry.kind)")
            }
            var unixPath: UnixPath?
            if entry.kind == .listener || entry.kind == .datagram {
                try Upgrader.makeNonBlocking(number, entry.name, orThrow: .predecessorMisbehaved)
                unixPath = entry.unixPath(from: directory).flatMap { path in
                    guard let paths else { return UnixPath(path) }
                    return paths[UInt32(first + offset)].map { UnixPath(path, device: $0.device, inode: $0.inode) }
                }
            }
            sockets.append(
                CarriedDescriptor(entry, descriptor, unixPath: unixPath, isInherited: true, facts: self.facts))
        }
        try self.state.withLock { state throws(UpgradeError) in
            let before = state.inherited.count
            for (offset, entry) in entries.enumerated() {
                if state.indexByName.insert(entry.name, before + offset) { continue }
                for entry in entries[..<offset] { state.indexByName.remove(entry.name) }
                throw UpgradeError(.predecessorMisbehaved, "\(entry.name) was offered twice")
            }
            for socket in sockets { state.inherited.append(Inherited(descriptor: socket)) }
        }
    }

    /// Makes room at once for an inventory whose size is known.
    func reserve(_ count: Int) {
        self.state.withLock { state in
            state.inherited.reserveCapacity(count)
            state.indexByName.reserve(count)
            state.carried.reserveCapacity(count)
        }
    }

    var inheritedCount: Int { self.state.withLock { $0.inherited.count } }

    /// No more is asked for from here on. What was to be closed meanwhile is closed now.
    /// - Returns: false if that had been said before.
    func seal() -> Bool {
        let (isFirst, late) = self.state.withLock { state in
            defer { state.isSealed = true }
            return (!state.isSealed, state.isClosed ? state.carried : [])
        }
        for descriptor in late {
            if !descriptor.isInherited { descriptor.unixPath?.remove() }
            descriptor.close()
        }
        return isFirst
    }

    /// What is said at ready.
    struct Claims {
        /// For each inherited entry whether it was.
        var claimed: [Bool]
        /// Over those that were.
        var digest: UInt64
        /// The listeners among them, and where they stand.
        var listeners: [(index: Int, name: String)]
        /// What the predecessor does not have.
        var fresh: [InventoryEntry]
    }

    /// The answer to the predecessor.
    func claims() -> Claims {
        self.state.withLock { state in
            let inodes = DescriptorFacts.inodes(
                of: state.inherited.map { $0.isClaimed ? $0.descriptor?.withDescriptor { $0 } ?? -1 : -1 })
            var digest = InventoryDigest()
            var listeners: [(index: Int, name: String)] = []
            for (index, (inherited, inode)) in zip(state.inherited, inodes).enumerated() where inherited.isClaimed {
                guard let descriptor = inherited.descriptor else { continue }
                if descriptor.kind == .listener { listeners.append((index, descriptor.name)) }
                // What is not open any more counts as another one than any: the two sides will differ.
                if inode != DescriptorFacts.notOpen { descriptor.remember(inode) }
                digest.combine(descriptor.entry, identity: inode)
            }
            state.isAnsweredFor = true
            state.dropForgotten()
            let fresh = state.carried.filter { !$0.isInherited }.map(\.entry)
            return Claims(
                claimed: state.inherited.map(\.isClaimed), digest: digest.value, listeners: listeners, fresh: fresh)
        }
    }

    /// What is carried no further is not kept for the answer to a predecessor: that was given, or is not wanted.
    func answersToNobody() {
        self.state.withLock { state in
            state.isAnsweredFor = true
            state.dropForgotten()
        }
    }

    /// Closes what nobody claimed. A socket that was claimed and forgotten counts as such, unless it goes on under another
    /// name; its descriptor is kept for the answer to the predecessor.
    /// - Returns: the names, and the Unix paths that may be removed once the service is this process's own.
    func closeUnclaimed() -> (names: [String], paths: [UnixPath]) {
        let (unclaimed, forgotten, carried, passed) = self.state.withLock { state in
            var all: [CarriedDescriptor] = []
            defer { state.forgottenSockets = [] }
            let passed = state.passed.closeAll()
            state.unclaimedStored += passed.stored
            for index in state.inherited.indices {
                guard let descriptor = state.inherited[index].unclaimed else { continue }
                state.inherited[index].descriptor = nil
                state.indexByName.remove(descriptor.name)
                all.append(descriptor)
            }
            state.unclaimedStored += all.map { StoreName($0.entry) }
            return (all, state.forgottenSockets, state.carried, passed.names)
        }
        for socket in unclaimed { socket.close() }
        let kept = forgotten.isEmpty ? [] : Set(carried.map(\.identity))
        let dropped = forgotten.filter { !kept.contains($0.identity) }
        return (
            unclaimed.map(\.name) + dropped.map(\.entry.name) + passed,
            unclaimed.compactMap(\.unixPath) + dropped.compactMap(\.unixPath)
        )
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
    func thaw() {
        self.state.withLock { state in
            state.isFrozen = false
            for descriptor in state.removedLater { state.remove(descriptor) }
            state.removedLater = []
        }
    }

    /// Closes everything. Where the application still prepares, not before it has said ready(): it may be about to use
    /// what it has asked for.
    func close() {
        let all = self.state.withLock { state in
            state.isClosed = true
            return state.isSealed ? state.carried : []
        }
        for descriptor in all { descriptor.close() }
    }

    /// Options of an inherited socket that concern its file.
    struct WantedFile: Sendable {
        let name: String
        let path: UnixPath
        let options: ListenOptions
    }

    /// Applies the options that inherited sockets were asked for with: for the owner, once.
    /// - Returns: in words, what could not be changed; and the files that are still to be changed.
    func adjust() -> (problems: [(name: String, problem: String)], files: [WantedFile]) {
        var problems: [(name: String, problem: String)] = []
        var files: [WantedFile] = []
        for socket in self.carried {
            guard let wanted = socket.takeWanted() else { continue }
            problems += socket.withDescriptor { number in
                number.map { BoundSocket.adjust($0, isListening: socket.kind == .listener, to: wanted) } ?? []
            }.map { (socket.name, $0) }
            if let path = socket.unixPath, wanted.unixMode != nil || wanted.unixOwner != nil {
                files.append(WantedFile(name: socket.name, path: path, options: wanted))
            }
        }
        return (problems, files)
    }

    /// Removes the paths of Unix listeners: for the last owner.
    /// - Returns: those that could not be removed, and why.
    @discardableResult
    func unlink() -> [(path: String, problem: SystemCallError)] {
        self.carried.compactMap { socket in
            guard let file = socket.unixPath, let problem = file.remove() else { return nil }
            return (file.path, problem)
        }
    }

    /// The sockets that have a file, and where it should be.
    func files(from directory: String) -> [(socket: CarriedDescriptor, path: String)] {
        self.carried.compactMap { socket in
            guard socket.kind == .listener || socket.kind == .datagram else { return nil }
            return socket.entry.unixPath(from: directory).map { (socket, $0) }
        }
    }

    /// The same of those that this process has made: for one that is not to be the owner. Nobody else listens there.
    func unlinkMade() { for socket in self.carried where !socket.isInherited { socket.unixPath?.remove() } }
}

extension InventoryEntry {
    /// What the two are, in words, where one cannot stand for the other.
    fileprivate func mismatch(with other: InventoryEntry) -> (String, String)? {
        guard self.kind == other.kind else { return ("\(self.kind)", "\(other.kind)") }
        // Thousands may be claimed by the words they were carried with: those are not taken apart.
        guard self.address != other.address, let own = self.sort, let its = other.sort, own != its else { return nil }
        return (own, its)
    }

    /// What a socket is that has an address, wherever it is bound.
    private var sort: String? {
        switch SocketAddress(self.address)?.kind {
        case .tcp: "TCP socket"
        case .udp: "UDP socket"
        case .unix(_, let kind), .abstract(_, let kind): "Unix \(kind) socket"
        case .vsock: "vsock socket"
        case nil: nil
        }
    }

    func unixPath(from directory: String) -> String? {
        SocketAddress(self.address)?.unixPath?.absolutePath(from: directory)
    }
}

extension UpgradeError {
    fileprivate static func groupChanged(_ what: String) -> UpgradeError {
        UpgradeError(
            .invalidConfiguration,
            "\(what): the names and the number of a group stay the same across an upgrade",
            cure: "Keep them, or stop and start the service to change them."
        )
    }

    static func afterReady(_ what: String) -> UpgradeError {
        UpgradeError(
            .wrongMoment, "\(what) was asked for after ready()",
            cure: "Ask for everything before ready(): what is not asked for by then is closed."
        )
    }
}
