// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import TableflipCore
import TableflipSystem

/// What a predecessor has left under a name: bytes, in a layout that the version tells.
public struct HandedState: Sendable {
    private let descriptor: CarriedDescriptor

    /// The name it was left under.
    public var name: String { self.descriptor.name }
    /// The layout of its bytes, by the application's own count.
    public var version: UInt16 { self.descriptor.entry.version }

    init(_ descriptor: CarriedDescriptor) { self.descriptor = descriptor }

    /// Reads everything.
    /// - Returns: the bytes.
    /// - Throws: ``UpgradeError`` with the code `system`, or `wrongMoment` once the service has been handed on.
    public func bytes() throws(UpgradeError) -> [UInt8] {
        let duplicate = try self.descriptor.duplicate()
        let number = duplicate.borrowed
        return try UpgradeError.wrapping("the state \(self.name) cannot be read") { () throws(SystemCallError) in
            try Blob.read(number)
        }
    }

    /// A descriptor of the caller's own, to be closed by the caller, for mmap(2) or pread(2) on what is too much to read.
    /// On Linux it is a sealed memfd: nobody can change it.
    /// - Returns: the descriptor.
    /// - Throws: ``UpgradeError`` with the code `system`, or `wrongMoment` once the service has been handed on.
    public func duplicate() throws(UpgradeError) -> OwnedDescriptor { try self.descriptor.duplicate() }

    /// The layout is looked at before a byte is.
    static func check(_ entry: InventoryEntry, _ versions: ClosedRange<UInt16>) throws(UpgradeError) {
        guard entry.kind == .state, versions.contains(entry.version) else {
            throw UpgradeError(
                .stateVersion,
                "the state \(entry.name) has version \(entry.version), and this program reads \(versions.lowerBound) to "
                    + "\(versions.upperBound)",
                cure: "Upgrade by way of a version that reads both, or restart without the state."
            )
        }
    }
}
