// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import CTableflip
import TableflipCore
import TableflipSystem

/// What a service manager has passed to a first process: sockets that it opened, and what an earlier process put into its
/// store. Claimed by the same calls as what a predecessor hands over.
struct PassedDescriptors {
    private var all: [PassedDescriptor]
    /// What was stored under another name than the one that it has been claimed by.
    private var renamed: [StoreName] = []
    private let directory: String

    init(_ all: [PassedDescriptor] = [], directory: String = "/") {
        self.all = all
        self.directory = directory
    }

    /// The version of a stored state that nobody has claimed.
    func entry(named name: String) -> InventoryEntry? {
        self.all.lazy.compactMap(\.stored).first { $0.name == name }
            .map { InventoryEntry(name: $0.name, kind: $0.kind, address: "", version: $0.version) }
    }

    /// Everything that a socket of this address may be bound to, where anything was passed. That may have to be looked up, at
    /// a server far away: not for one who holds a lock.
    func places(of entry: InventoryEntry) -> Set<BoundSocket.Name> {
        guard !self.all.isEmpty, let address = SocketAddress(entry.address) else { return [] }
        return BoundSocket.names(of: address, from: self.directory)
    }

    /// The one that fits best: of this name and address, of this name, of this address. What was stored twice comes newest
    /// first.
    mutating func claim(
        _ entry: InventoryEntry, at places: Set<BoundSocket.Name>, _ facts: EngineFacts
    ) -> CarriedDescriptor? {
        let fitting = self.all.indices.filter {
            self.fits(self.all[$0], entry.kind)
                && (self.all[$0].stored == nil || (self.canBeReached(entry) && self.stands(self.all[$0], at: entry)))
        }
        let named = fitting.filter { self.isNamed(self.all[$0], entry) }
        // Also of what was stored: as long as it is open nobody else can be bound there.
        let bound = fitting.filter { index in
            self.all[index].withNumber { BoundSocket.isBound($0, to: places) } ?? false
        }
        guard let index = named.first(where: { bound.contains($0) }) ?? named.first ?? bound.first else { return nil }
        let passed = self.all.remove(at: index)
        guard let descriptor = passed.take() else { return nil }
        // Every reader of ours wants it so; what systemd makes may block.
        if entry.kind == .listener || entry.kind == .datagram { _ = tf_set_nonblocking(descriptor.borrowed) }
        var entry = entry
        if let stored = passed.stored {
            if stored.name != entry.name { self.renamed.append(stored) }
            entry.version = stored.version
            let path = entry.unixPath(from: self.directory).flatMap { UnixPath($0) }
            return CarriedDescriptor(entry, descriptor, unixPath: path, facts: facts)
        }
        // Without its address no generation takes a Unix path for its own: it is the manager's.
        entry.address = ""
        return CarriedDescriptor(entry, descriptor, facts: facts)
    }

    /// Closes what nobody asked for.
    /// - Returns: what it is called, and what of it is to leave the manager's store.
    mutating func closeAll() -> (names: [String], stored: [StoreName]) {
        defer { (self.all, self.renamed) = ([], []) }
        return (self.all.map { $0.stored?.name ?? $0.name }, self.all.compactMap(\.stored) + self.renamed)
    }

    /// A Unix path is gone when the directory was, which a service manager removes with `RuntimeDirectory=`: nobody finds
    /// the way to a socket that was kept then.
    private func canBeReached(_ entry: InventoryEntry) -> Bool {
        guard let path = entry.unixPath(from: self.directory) else { return true }
        return UnixPath(path) != nil
    }

    /// The version that is started now may have its name for another port or path: it starts afresh, so it is bound there.
    private func stands(_ stored: PassedDescriptor, at entry: InventoryEntry) -> Bool {
        guard let address = SocketAddress(entry.address) else { return true }
        return stored.withNumber { !BoundSocket.isElsewhere($0, than: address, from: self.directory) } ?? false
    }

    private func isNamed(_ passed: PassedDescriptor, _ entry: InventoryEntry) -> Bool {
        (passed.stored?.name ?? passed.name) == entry.name
    }

    private func fits(_ passed: PassedDescriptor, _ kind: DescriptorKind) -> Bool {
        if let stored = passed.stored, stored.kind != kind { return false }
        return passed.withNumber { DescriptorFacts.number($0, fits: kind) } ?? false
    }
}
