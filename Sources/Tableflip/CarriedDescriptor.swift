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
    let unixPath: UnixPath?
    /// What the number stood for when it became ours.
    let inode: UInt64
    private let descriptor: Mutex<OwnedDescriptor?>
    /// What an inherited socket was asked for with, to be applied once it is this process's own.
    private let wanted = Mutex<ListenOptions?>(nil)

    /// The name it is known by across upgrades.
    public var name: String { self.entry.name }
    /// What it is.
    public var kind: DescriptorKind { self.entry.kind }
    /// Whether it came from the predecessor rather than being made by this process.
    public let isInherited: Bool

    init(
        _ entry: InventoryEntry, _ descriptor: consuming OwnedDescriptor, unixPath: UnixPath? = nil,
        isInherited: Bool = false
    ) {
        self.entry = entry
        self.unixPath = unixPath
        self.inode = DescriptorFacts.inode(of: descriptor.borrowed) ?? 0
        self.isInherited = isInherited
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

    /// A descriptor of the caller's own, close-on-exec, which the caller closes. It shares offset and flags such as
    /// `O_NONBLOCK` with every other duplicate, in every process (dup(2)).
    /// - Returns: the descriptor.
    /// - Throws: ``UpgradeError`` with the code `wrongMoment` once it has been handed on.
    public func duplicate() throws(UpgradeError) -> OwnedDescriptor {
        let result = self.withDescriptor { number -> Result<CInt, UpgradeError> in
            guard let number else {
                return .failure(
                    UpgradeError(.wrongMoment, "\(self.entry.name) has been handed on and is closed here")
                )
            }
            do throws(SystemCallError) {
                return .success(try OwnedDescriptor(duplicating: number).release())
            } catch {
                return .failure(UpgradeError(.system, "\(self.entry.name) cannot be duplicated: \(error)"))
            }
        }
        return OwnedDescriptor(takingOwnershipOf: try result.get())
    }

    /// The number still stands for what it did.
    var isItself: Bool { self.withDescriptor { $0.flatMap { DescriptorFacts.inode(of: $0) } == self.inode } }

    func want(_ options: ListenOptions) { self.wanted.withLock { $0 = options } }

    /// Only once: what the application changes later is its own.
    func takeWanted() -> ListenOptions? {
        self.wanted.withLock { wanted in
            defer { wanted = nil }
            return wanted
        }
    }

    func close() { self.descriptor.withLock { $0 = nil } }
}
