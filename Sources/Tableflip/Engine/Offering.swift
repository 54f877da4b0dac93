// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import TableflipCore
import TableflipSystem

/// The inventory on its way to a successor, batch by batch.
///
/// A batch is prepared before it is sent: what its numbers stand for is looked at, so that nothing else is ever handed
/// over, and it is put into bytes. While the successor starts the engine has nothing else to do.
struct Offering {
    struct Batch: Hashable {
        let frame: [UInt8]
        let descriptors: [CInt]
    }

    private let inventory: [CarriedDescriptor]
    private let capabilities: Capabilities
    private var waiting: [Batch] = []
    private var taken = 0
    private var prepared = 0
    /// Over what is prepared.
    private var digest = InventoryDigest()
    private(set) var isPrepared = false

    /// Entries that were taken in order to be sent, and those that the successor has.
    private(set) var offered = 0
    var acknowledged = 0

    init(_ inventory: [CarriedDescriptor], _ capabilities: Capabilities) {
        self.inventory = inventory
        self.capabilities = capabilities
    }

    /// Prepares one batch more. Once this has thrown there are none.
    mutating func prepare() throws(UpgradeError) {
        guard !self.isPrepared else { return }
        let entries = self.inventory[self.prepared...].prefix(self.capabilities.descriptorsPerMessage)
        let numbers = entries.map { $0.withDescriptor { $0 ?? -1 } }
        for (descriptor, inode) in zip(entries, DescriptorFacts.inodes(of: numbers)) {
            guard descriptor.isStill(inode) else {
                self.isPrepared = true
                self.waiting = []
                self.taken = 0
                throw .lost(descriptor.name)
            }
            self.digest.combine(descriptor.entry, identity: self.capabilities.identifiesSockets ? inode : 0)
        }
        let offer = Message.Offer(
            stage: .initial, first: UInt32(self.prepared), total: UInt32(self.inventory.count),
            entries: entries.map(\.entry)
        )
        self.waiting.append(Batch(frame: Message.offer(offer).encoded(), descriptors: numbers))
        self.prepared += entries.count
        self.isPrepared = self.prepared == self.inventory.count
    }

    /// The next batch, for as long as not too many descriptors are on their way.
    mutating func next() throws(UpgradeError) -> Batch? {
        let most = self.capabilities.descriptorsPerMessage
        guard self.offered - self.acknowledged + most <= max(self.capabilities.descriptorsInFlight, most) else {
            return nil
        }
        if self.taken == self.waiting.count { try self.prepare() }
        guard self.taken < self.waiting.count else { return nil }
        let batch = self.waiting[self.taken]
        self.taken += 1
        self.offered += batch.descriptors.count
        return batch
    }

    /// What a successor that claimed these must have said.
    func digest(of claimed: [Bool]) -> UInt64 {
        guard claimed.contains(false) else { return self.digest.value }
        var digest = InventoryDigest()
        for (descriptor, isClaimed) in zip(self.inventory, claimed) where isClaimed {
            digest.combine(descriptor.entry, identity: self.capabilities.identifiesSockets ? descriptor.inode ?? 0 : 0)
        }
        return digest.value
    }
}

extension UpgradeError {
    /// A number that somebody else in this process has closed, and which may be another file by now.
    fileprivate static func lost(_ name: String) -> UpgradeError {
        UpgradeError(
            .inventoryMismatch, "the descriptor of \(name) was closed by another part of this program",
            cure: "Look for close() of a number that its owner had closed already, and restart the service."
        )
    }
}
