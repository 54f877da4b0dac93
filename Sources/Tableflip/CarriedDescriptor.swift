// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Synchronization
public import TableflipCore
import TableflipSystem

/// A descriptor that is carried from generation to generation: a socket, a connection, a file.
///
/// The upgrader keeps a descriptor of its own for handing over, and closes it when the service is handed on or stops.
/// The application works with duplicates that it owns.
public final class CarriedDescriptor: Sendable {
    package let entry: InventoryEntry
    private let held: Mutex<Held>
    /// What only few have: there may be thousands of others.
    private let binding: Binding?
    /// Who serves if something fails here; nil: whoever asks for it says so.
    let facts: EngineFacts?

    /// The name it is known by across upgrades.
    public var name: String { self.entry.name }
    /// What it is.
    public var kind: DescriptorKind { self.entry.kind }
    /// Whether it came from the predecessor rather than being made by this process.
    public let isInherited: Bool

    private final class Binding: Sendable {
        let unixPath: UnixPath?
        /// What an inherited socket was asked for with, to be applied once it is this process's own.
        let wanted = Mutex<ListenOptions?>(nil)

        init(_ unixPath: UnixPath?) { self.unixPath = unixPath }
    }

    private struct Held: ~Copyable {
        var descriptor: OwnedDescriptor?
        /// What the number stood for when we last had reason to know (fstat(2), its inode). nil: inherited, and not looked
        /// at yet.
        var inode: UInt64?

        var number: CInt? { self.descriptor.borrowed }
    }

    /// Where it is inherited the kernel has only just given us the number: what that stands for is looked at before this
    /// process answers for it; see ``remember(_:)``.
    init(
        _ entry: InventoryEntry, _ descriptor: consuming OwnedDescriptor, unixPath: UnixPath? = nil,
        isInherited: Bool = false, facts: EngineFacts? = nil
    ) {
        self.entry = entry
        self.facts = facts
        self.binding = entry.kind == .listener || entry.kind == .datagram ? Binding(unixPath) : nil
        self.isInherited = isInherited
        let inode = isInherited ? nil : DescriptorFacts.inode(of: descriptor.borrowed)
        self.held = Mutex(Held(descriptor: descriptor, inode: inode))
    }

    /// Lends the number, or nil once it is closed.
    func withDescriptor<Result: Sendable>(_ body: (CInt?) -> Result) -> Result {
        self.held.withLock { body($0.number) }
    }

    /// A descriptor of the caller's own, close-on-exec, which the caller closes. It shares offset and flags such as
    /// `O_NONBLOCK` with every other duplicate, in every process (dup(2)). Of a listener or datagram socket that flag is set
    /// and must stay so.
    /// - Returns: the descriptor.
    /// - Throws: ``UpgradeError`` with the code `wrongMoment` once it has been handed on, or the service has stopped;
    ///   `system`, where there is no room for another descriptor (EMFILE).
    public func duplicate() throws(UpgradeError) -> OwnedDescriptor {
        guard let facts else { return try self.makeDuplicate() }
        return try facts.telling { () throws(UpgradeError) in try self.makeDuplicate() }
    }

    private func makeDuplicate() throws(UpgradeError) -> OwnedDescriptor {
        let result = self.withDescriptor { number -> Result<CInt, UpgradeError> in
            guard let number else {
                let reason = self.facts?.current.closed.map { ": \($0.words)" } ?? ""
                return .failure(UpgradeError(.wrongMoment, "\(self.entry.name) is closed here\(reason)"))
            }
            do throws(SystemCallError) {
                return .success(try OwnedDescriptor(duplicating: number).release())
            } catch {
                return .failure(UpgradeError(.system, "\(self.entry.name) cannot be duplicated: \(error)"))
            }
        }
        return OwnedDescriptor(takingOwnershipOf: try result.get())
    }

    /// What the number stood for when it became ours, or when this process last answered for it. What has not been looked
    /// at yet, because this process had nobody to answer to when it took over, is looked at now.
    var identity: UInt64 {
        self.held.withLock { held in
            if let inode = held.inode { return inode }
            guard let inode = held.number.flatMap(DescriptorFacts.inode) else { return DescriptorFacts.notOpen }
            held.inode = inode
            return inode
        }
    }

    /// What the number stands for now: this process answers for it.
    func remember(_ inode: UInt64) { self.held.withLock { $0.inode = inode } }

    /// The first whose number does not stand any more for what it did.
    static func firstLost(of all: [CarriedDescriptor]) -> CarriedDescriptor? {
        let inodes = DescriptorFacts.inodes(of: all.map { $0.withDescriptor { $0 ?? -1 } })
        return zip(all, inodes).first { $1 == DescriptorFacts.notOpen || $0.identity != $1 }?.0
    }

    var unixPath: UnixPath? { self.binding?.unixPath }

    /// It is a Unix socket with a path, whosever file is there. Thousands of others are not taken apart.
    var hasPath: Bool {
        self.binding != nil && self.entry.address.hasPrefix("unix") && self.entry.unixPath(from: "/") != nil
    }

    /// Why nobody finds the way to it by its path.
    enum LossOfFile {
        case gone
        case replaced
    }

    /// nil: its file is there, or it is not known which one that was.
    func lossOfFile(at path: String) -> LossOfFile? {
        if FileAccess.isMissing(path) { return .gone }
        return self.unixPath?.isReplaced == true ? .replaced : nil
    }

    func want(_ options: ListenOptions) { self.binding?.wanted.withLock { $0 = options } }

    /// What it was asked for with has not been applied yet.
    var isToBeAdjusted: Bool { self.binding?.wanted.withLock { $0 != nil } ?? false }

    /// Only once: what the application changes later is its own.
    func takeWanted() -> ListenOptions? {
        self.binding?.wanted.withLock { wanted in
            defer { wanted = nil }
            return wanted
        }
    }

    func close() { self.held.withLock { $0.descriptor = nil } }
}
