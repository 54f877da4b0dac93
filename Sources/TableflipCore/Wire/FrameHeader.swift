// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

/// The twelve bytes before every message. All integers on the wire are little-endian.
package struct FrameHeader: Hashable, Sendable {
    package static let size = 12
    /// "TF".
    package static let magic: UInt16 = 0x4654
    /// Enough for 253 connections with 4 kB of unread bytes each.
    package static let maximumLength: UInt32 = 1 << 20
    package static let optionalFlag: UInt8 = 1
    package static let maximumDescriptors = 253

    package var kind: UInt8
    /// The receiver may pass over it if it does not know the kind.
    package var isOptional: Bool
    package var descriptors: UInt16
    package var length: UInt32

    package init(kind: UInt8, isOptional: Bool, descriptors: UInt16, length: UInt32) {
        self.kind = kind
        self.isOptional = isOptional
        self.descriptors = descriptors
        self.length = length
    }

    package func write(to writer: inout ByteWriter) {
        writer.write(Self.magic)
        writer.write(self.kind)
        writer.write(self.isOptional ? Self.optionalFlag : 0)
        writer.write(self.descriptors)
        writer.write(UInt16(0))
        writer.write(self.length)
    }

    /// One whose payload would be longer than `limit` is refused.
    package init(from reader: inout ByteReader, limit: UInt32 = Self.maximumLength) throws(WireError) {
        let magic: UInt16 = try reader.read()
        guard magic == Self.magic else { throw .notAFrame(magic) }
        self.kind = try reader.read()
        let flags: UInt8 = try reader.read()
        self.isOptional = flags & Self.optionalFlag != 0
        self.descriptors = try reader.read()
        let reserved: UInt16 = try reader.read()
        self.length = try reader.read()
        guard flags & ~Self.optionalFlag == 0, reserved == 0 else { throw .reservedBitsSet }
        guard self.length <= limit else { throw .tooLong(kind: self.kind, length: self.length, limit: limit) }
        guard self.descriptors <= Self.maximumDescriptors else { throw .tooManyDescriptors(Int(self.descriptors)) }
    }
}
