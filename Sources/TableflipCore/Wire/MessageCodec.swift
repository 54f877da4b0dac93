// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

/// Limits of what is accepted, whoever sends it. `docs/protocol.md` lists them.
package enum WireLimit {
    package static let name = 255
    package static let address = 512
    package static let words = 4096
    package static let label = 128
    package static let inventory = 1 << 18
    /// Entries of what is made anew that are told of.
    package static let fresh = 253
    /// Listeners whose connections stay.
    package static let keep = 4096
    /// Files of Unix paths in one message.
    package static let paths = 4096
    package static let connectionState = 1 << 18
    /// A day.
    package static let probationMilliseconds = 86_400_000
}

extension Message {
    package var kind: UInt8 {
        switch self {
        case .hello: Kind.hello.rawValue
        case .offer: Kind.offer.rawValue
        case .acknowledgement: Kind.acknowledgement.rawValue
        case .terms: Kind.terms.rawValue
        case .ready: Kind.ready.rawValue
        case .go: Kind.go.rawValue
        case .commit: Kind.commit.rawValue
        case .committed: Kind.committed.rawValue
        case .connections: Kind.connections.rawValue
        case .abort: Kind.abort.rawValue
        case .bye: Kind.bye.rawValue
        case .ping: Kind.ping.rawValue
        case .pong: Kind.pong.rawValue
        case .draining: Kind.draining.rawValue
        case .fresh: Kind.fresh.rawValue
        case .keep: Kind.keep.rawValue
        case .paths: Kind.paths.rawValue
        case .taken: Kind.taken.rawValue
        case .unknown(let kind): kind
        }
    }

    /// The whole frame: header and payload.
    package func encoded() -> [UInt8] {
        var payload = ByteWriter()
        self.write(to: &payload)
        precondition(payload.bytes.count <= FrameHeader.maximumLength, "\(self.name) of \(payload.bytes.count) bytes")
        var frame = ByteWriter()
        FrameHeader(
            kind: self.kind, isOptional: self.isOptional, descriptors: UInt16(self.descriptorCount ?? 0),
            length: UInt32(payload.bytes.count)
        ).write(to: &frame)
        frame.append(payload.bytes)
        return frame.bytes
    }

    private func write(to writer: inout ByteWriter) {
        switch self {
        case .hello(let hello):
            writer.write(hello.versions.lowerBound.rawValue)
            writer.write(hello.versions.upperBound.rawValue)
            writer.write(hello.generation)
            writer.write(hello.process)
            writer.write(hello.features)
            writer.write(hello.label.cut(to: WireLimit.label).utf8, countedBy: UInt16.self)
        case .offer(let offer):
            writer.write(offer.stage.rawValue)
            writer.write(offer.first)
            writer.write(offer.total)
            Self.write(offer.entries, to: &writer)
        case .acknowledgement(let acknowledgement):
            writer.write(acknowledgement.subject.rawValue)
            writer.write(acknowledgement.received)
        case .terms(let terms): writer.write(terms.probationMilliseconds)
        case .ready(let ready):
            writer.write(ready.digest)
            writer.write(ready.fresh)
            writer.write(ready.probation.rawValue)
            writer.write(ready.probationMilliseconds)
            writer.write(UInt32(ready.claimed.count))
            var byte: UInt8 = 0
            for (index, isClaimed) in ready.claimed.enumerated() {
                byte |= isClaimed ? 1 << UInt8(index % 8) : 0
                if index % 8 == 7 || index == ready.claimed.count - 1 {
                    writer.write(byte)
                    byte = 0
                }
            }
        case .connections(let batch):
            writer.write(batch.announced)
            writer.write(UInt16(batch.entries.count))
            for entry in batch.entries {
                writer.write(entry.listener.utf8, countedBy: UInt16.self)
                writer.write(entry.unread, countedBy: UInt32.self)
                writer.write(entry.state, countedBy: UInt32.self)
            }
        case .abort(let abort):
            writer.write(abort.code.cut(to: WireLimit.name).utf8, countedBy: UInt16.self)
            writer.write(abort.message.cut(to: WireLimit.words).utf8, countedBy: UInt16.self)
            writer.write(abort.cure.cut(to: WireLimit.words).utf8, countedBy: UInt16.self)
        case .bye(let bye):
            writer.write(bye.moved)
            writer.write(bye.drained)
            writer.write(UInt32(0))
        case .draining(let draining): writer.write(draining.left)
        case .fresh(let fresh): Self.write(fresh.entries, to: &writer)
        case .keep(let keep):
            writer.write(UInt16(keep.listeners.count))
            for index in keep.listeners { writer.write(index) }
        case .paths(let paths):
            writer.write(UInt16(paths.files.count))
            for file in paths.files {
                writer.write(file.index)
                writer.write(file.device)
                writer.write(file.inode)
            }
        case .taken(let taken): writer.write(taken.connections)
        case .go, .commit, .committed, .ping, .pong, .unknown: break
        }
    }

    private static func write(_ entries: [InventoryEntry], to writer: inout ByteWriter) {
        writer.write(UInt16(entries.count))
        for entry in entries {
            writer.write(entry.kind.rawValue)
            writer.write(entry.version)
            writer.write(entry.name.utf8, countedBy: UInt16.self)
            writer.write(entry.address.utf8, countedBy: UInt16.self)
        }
    }

    /// Reads a payload: exactly the bytes that the header, already checked against the limits, has announced.
    package init(header: FrameHeader, payload: ArraySlice<UInt8>) throws(WireError) {
        guard let kind = Kind(rawValue: header.kind) else {
            guard header.isOptional else { throw .unknownRequired(kind: header.kind) }
            self = .unknown(kind: header.kind)
            return
        }
        var reader = ByteReader(payload, kind: header.kind)
        self =
            switch kind {
            case .hello: .hello(try Hello(from: &reader))
            case .offer: .offer(try Offer(from: &reader))
            case .acknowledgement: .acknowledgement(try Acknowledgement(from: &reader))
            case .terms: .terms(Terms(probationMilliseconds: try reader.read()))
            case .ready: .ready(try Ready(from: &reader))
            case .go: .go
            case .commit: .commit
            case .committed: .committed
            case .connections: .connections(try ConnectionBatch(from: &reader))
            case .ping: .ping
            case .pong: .pong
            case .draining: .draining(Draining(left: try reader.read()))
            case .fresh: .fresh(try Fresh(from: &reader))
            case .keep: .keep(try Keep(from: &reader))
            case .paths: .paths(try Paths(from: &reader))
            case .taken: .taken(Taken(connections: try reader.read()))
            case .abort: .abort(try Abort(from: &reader))
            case .bye: .bye(try Bye(from: &reader))
            }
        // A hello may grow at its end: a newer version's reader knows what follows, ours passes over it.
        if kind != .hello { try reader.finish() }
        if let count = self.descriptorCount, count != Int(header.descriptors) {
            throw .descriptorsMissing(kind: header.kind, expected: count, arrived: Int(header.descriptors))
        }
    }
}

extension String {
    /// At most `limit` bytes of UTF-8, ending at a whole character.
    package func cut(to limit: Int) -> Substring {
        guard self.utf8.count > limit else { return self[...] }
        var end = self.startIndex
        var size = 0
        for index in self.indices {
            size += self[index].utf8.count
            if size > limit { break }
            end = self.index(after: index)
        }
        return self[..<end]
    }
}

// MARK: - Reading each message

extension Message.Hello {
    fileprivate init(from reader: inout ByteReader) throws(WireError) {
        let low = ProtocolVersion(rawValue: try reader.read())
        let high = ProtocolVersion(rawValue: try reader.read())
        try reader.require(low <= high, "version range")
        self.versions = low...high
        self.generation = try reader.read()
        self.process = try reader.read()
        self.features = try reader.read()
        self.label = try reader.readString(atMost: WireLimit.label, "label")
        // The receiver's own is one more.
        try reader.require(self.generation > 0 && self.generation < .max, "generation")
    }
}

extension Message.Offer {
    fileprivate init(from reader: inout ByteReader) throws(WireError) {
        self.stage = try reader.readValue(Stage.self, "stage")
        self.first = try reader.read()
        self.total = try reader.read()
        let count: UInt16 = try reader.read()
        try reader.require(self.total <= WireLimit.inventory, "total")
        try reader.require(count <= FrameHeader.maximumDescriptors, "count")
        try reader.require(UInt64(self.first) + UInt64(count) <= UInt64(self.total), "index")
        // A batch without entries says only that there is nothing at all; else the sender could send for ever.
        try reader.require(count > 0 || self.total == 0, "count")
        self.entries = try InventoryEntry.read(Int(count), from: &reader)
    }
}

extension Message.Bye {
    fileprivate init(from reader: inout ByteReader) throws(WireError) {
        self.moved = try reader.read()
        self.drained = try reader.read()
        let _: UInt32 = try reader.read()
    }
}

extension Message.Fresh {
    fileprivate init(from reader: inout ByteReader) throws(WireError) {
        let count: UInt16 = try reader.read()
        try reader.require(count <= WireLimit.fresh, "count")
        self.entries = try InventoryEntry.read(Int(count), from: &reader)
    }
}

extension Message.Keep {
    fileprivate init(from reader: inout ByteReader) throws(WireError) {
        let count: UInt16 = try reader.read()
        try reader.require(count <= WireLimit.keep, "count")
        self.listeners = []
        for _ in 0..<count { self.listeners.append(try reader.read()) }
    }
}

extension Message.Paths {
    fileprivate init(from reader: inout ByteReader) throws(WireError) {
        let count: UInt16 = try reader.read()
        try reader.require(count <= WireLimit.paths, "count")
        self.files = []
        for _ in 0..<count {
            let file = File(index: try reader.read(), device: try reader.read(), inode: try reader.read())
            try reader.require(file.index < WireLimit.inventory, "index")
            self.files.append(file)
        }
    }
}

extension InventoryEntry {
    fileprivate static func read(_ count: Int, from reader: inout ByteReader) throws(WireError) -> [InventoryEntry] {
        var entries: [InventoryEntry] = []
        entries.reserveCapacity(count)
        for _ in 0..<count { entries.append(try InventoryEntry(from: &reader)) }
        return entries
    }

    fileprivate init(from reader: inout ByteReader) throws(WireError) {
        self.kind = try reader.readValue(DescriptorKind.self, "descriptor kind")
        self.version = try reader.read()
        self.name = try reader.readString(atMost: WireLimit.name, "name")
        self.address = try reader.readString(atMost: WireLimit.address, "address")
        try reader.require(!self.name.isEmpty, "name")
    }
}

extension Message.Acknowledgement {
    fileprivate init(from reader: inout ByteReader) throws(WireError) {
        self.subject = try reader.readValue(Subject.self, "subject")
        self.received = try reader.read()
    }
}

extension Message.Ready {
    fileprivate init(from reader: inout ByteReader) throws(WireError) {
        self.digest = try reader.read()
        self.fresh = try reader.read()
        self.probation = try reader.readValue(Probation.self, "probation")
        self.probationMilliseconds = try reader.read()
        let count: UInt32 = try reader.read()
        try reader.require(count <= WireLimit.inventory, "claimed")
        var claimed: [Bool] = []
        claimed.reserveCapacity(Int(count))
        while claimed.count < count {
            let byte: UInt8 = try reader.read()
            for bit in 0..<min(8, Int(count) - claimed.count) { claimed.append(byte >> UInt8(bit) & 1 == 1) }
        }
        self.claimed = claimed
    }
}

extension Message.ConnectionBatch {
    fileprivate init(from reader: inout ByteReader) throws(WireError) {
        self.announced = try reader.read()
        let count: UInt16 = try reader.read()
        try reader.require(count <= FrameHeader.maximumDescriptors, "count")
        var entries: [Entry] = []
        entries.reserveCapacity(Int(count))
        for _ in 0..<count {
            entries.append(
                Entry(
                    listener: try reader.readString(atMost: WireLimit.name, "listener"),
                    unread: Array(
                        try reader.readBytes(countedBy: UInt32.self, atMost: WireLimit.connectionState, "unread bytes")
                    ),
                    state: Array(
                        try reader.readBytes(countedBy: UInt32.self, atMost: WireLimit.connectionState, "state")
                    )
                )
            )
        }
        self.entries = entries
    }
}

extension Message.Abort {
    fileprivate init(from reader: inout ByteReader) throws(WireError) {
        self.code = try reader.readString(atMost: WireLimit.name, "code")
        self.message = try reader.readString(atMost: WireLimit.words, "message")
        self.cure = try reader.readString(atMost: WireLimit.words, "cure")
    }
}
