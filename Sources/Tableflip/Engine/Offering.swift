// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import TableflipCore
import TableflipSystem

/// The inventory on its way to a successor, batch by batch.
///
/// A batch is put into bytes before it is sent: while the successor starts the engine has nothing else to do. What the
/// numbers stand for is not looked at here but by the successor, once, before it answers for them: by the two digests
/// they are what they were when they became this process's own, or nothing is given up. See ``lost()``.
struct Offering {
    struct Batch: Hashable {
        let frame: [UInt8]
        let descriptors: [CInt]
    }

    let inventory: [CarriedDescriptor]
    private let capabilities: Capabilities
    /// Prepared and not taken yet.
    private var waiting: [Batch] = []
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

    /// Whose files the Unix paths in the inventory are. Where it has such paths, one message at least, or the successor
    /// would take what is there for ours.
    var paths: [Message.Paths] {
        guard self.inventory.contains(where: \.hasPath) else { return [] }
        var files = self.inventory.enumerated().compactMap { index, socket in
            socket.unixPath.map { Message.Paths.File(index: UInt32(index), device: $0.device, inode: $0.inode) }
        }[...]
        var messages: [Message.Paths] = []
        repeat {
            messages.append(Message.Paths(files: Array(files.prefix(WireLimit.paths))))
            files = files.dropFirst(WireLimit.paths)
        } while !files.isEmpty
        return messages
    }

    /// Prepares one batch more.
    mutating func prepare() {
        guard !self.isPrepared else { return }
        let entries = self.inventory[self.prepared...].prefix(self.capabilities.descriptorsPerMessage)
        for descriptor in entries { self.digest.combine(descriptor.entry, identity: descriptor.identity) }
        let offer = Message.Offer(
            stage: .initial, first: UInt32(self.prepared), total: UInt32(self.inventory.count),
            entries: entries.map(\.entry)
        )
        let numbers = entries.map { $0.withDescriptor { $0 ?? -1 } }
        self.waiting.append(Batch(frame: Message.offer(offer).encoded(), descriptors: numbers))
        self.prepared += entries.count
        self.isPrepared = self.prepared == self.inventory.count
    }

    /// The next batch, for as long as not too many descriptors are on their way.
    mutating func next() -> Batch? {
        let most = self.capabilities.descriptorsPerMessage
        guard self.offered - self.acknowledged + most <= max(self.capabilities.descriptorsInFlight, most) else {
            return nil
        }
        if self.waiting.isEmpty { self.prepare() }
        guard !self.waiting.isEmpty else { return nil }
        let batch = self.waiting.removeFirst()
        self.offered += batch.descriptors.count
        return batch
    }

    /// Nothing more is to be sent: what is carried no further from here on is to be closed.
    mutating func letGo() { self = Offering([], self.capabilities) }

    /// What a successor that claimed these must have said.
    func digest(of claimed: [Bool]) -> UInt64 {
        guard claimed.contains(false) else { return self.digest.value }
        var digest = InventoryDigest()
        for (descriptor, isClaimed) in zip(self.inventory, claimed) where isClaimed {
            digest.combine(descriptor.entry, identity: descriptor.identity)
        }
        return digest.value
    }

    /// Why a successor may have got something else than it was told: a number that somebody else in this process has
    /// closed, and which may be another file by now. nil: all are what they were.
    func lost() -> UpgradeError? {
        CarriedDescriptor.firstLost(of: self.inventory).map {
            UpgradeError(
                .inventoryMismatch, "the descriptor of \($0.name) was closed by another part of this program",
                cure: "Look for close() of a number that its owner had closed already, and restart the service."
            )
        }
    }
}
