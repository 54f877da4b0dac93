// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

/// Bytes as the handshake has them, put together by hand: what a successor may send that the library would not.
enum Frame {
    /// The frame in hexadecimal, as the probe takes it. The flag 1 marks what may be passed over, all others are
    /// reserved; `length` is what the header claims instead of the truth.
    static func hex(
        _ kind: UInt8, _ payload: [UInt8] = [], flags: UInt8 = 0, descriptors: UInt16 = 0, reserved: UInt16 = 0,
        length: UInt32? = nil
    ) -> String {
        let bytes =
            [0x54, 0x46, kind, flags] + self.bytes(descriptors) + self.bytes(reserved)
            + self.bytes(length ?? UInt32(payload.count)) + payload
        return bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    }

    /// The payload of a hello: versions, generation, process, features, label.
    static func hello(versions low: UInt16, _ high: UInt16) -> [UInt8] {
        self.bytes(low) + self.bytes(high) + self.bytes(UInt32(2)) + self.bytes(UInt32(4711)) + self.bytes(UInt64(0))
            + self.bytes(UInt16(3)) + Array("odd".utf8)
    }

    /// The payload of a ready with a digest of 0: digest, fresh, kind and length of probation, number of entries, bits.
    static func ready(claimed: [UInt8]) -> [UInt8] {
        [UInt8](repeating: 0, count: 8 + 4 + 1 + 8) + self.bytes(UInt32(claimed.count)) + claimed
    }

    /// The payload of an acknowledgement of the inventory.
    static func acknowledgement(_ received: UInt32) -> [UInt8] { [0] + self.bytes(received) }

    private static func bytes(_ value: some FixedWidthInteger) -> [UInt8] {
        withUnsafeBytes(of: value.littleEndian) { Array($0) }
    }
}
