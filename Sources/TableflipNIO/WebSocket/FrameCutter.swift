// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

#if NIO
import NIOCore

/// Finds where WebSocket frames end (RFC 6455, 5.2). A pure value.
struct FrameCutter: Hashable, Sendable {
    /// A longer frame goes down in pieces instead of being held back.
    private static let longestHeldFrame = 64 * 1024

    /// Of the frame that is going down in pieces.
    private var left = 0
    /// In the middle of a message of several frames.
    private(set) var isInMessage = false
    /// The peer has said that it closes: nothing follows.
    private(set) var sawClose = false
    /// The frame whose beginning goes down next.
    private var next: Frame?

    private struct Frame: Hashable, Sendable {
        var size: Int
        var isFinal: Bool
        var opcode: UInt8
    }

    var isAtBoundary: Bool { self.left == 0 }
    /// What was offered last is the beginning of a message.
    var isBeforeMessage: Bool { !self.isInMessage && self.next.map { $0.opcode < 8 } ?? false }

    mutating func portion(of unread: ByteBuffer) -> LivePortion {
        guard self.left == 0 else { return .bytes(min(self.left, unread.readableBytes)) }
        guard let frame = Self.header(unread) else { return .incomplete }
        let available = min(frame.size, unread.readableBytes)
        guard available == frame.size || frame.size > Self.longestHeldFrame else { return .incomplete }
        self.next = frame
        return .bytes(available)
    }

    mutating func delivered(_ count: Int) {
        guard let next = self.next else {
            self.left -= count
            return
        }
        self.next = nil
        self.left = next.size - count
        if next.opcode == 8 { self.sawClose = true }
        // Control frames may stand in the middle of a message (RFC 6455, 5.4).
        if next.opcode < 8 { self.isInMessage = !next.isFinal }
    }

    private static func header(_ bytes: ByteBuffer) -> Frame? {
        let start = bytes.readerIndex
        guard let first = bytes.getInteger(at: start, as: UInt8.self),
            let second = bytes.getInteger(at: start + 1, as: UInt8.self)
        else { return nil }
        let mask = second & 0x80 != 0 ? 4 : 0
        let length: (size: Int, bytes: Int)
        switch second & 0x7f {
        case 126:
            guard let long = bytes.getInteger(at: start + 2, as: UInt16.self) else { return nil }
            length = (Int(long), 2)
        case 127:
            guard let long = bytes.getInteger(at: start + 2, as: UInt64.self) else { return nil }
            // The decoder refuses what is too long; here it only must not overflow.
            length = (Int(clamping: long & (1 << 48 - 1)), 8)
        case let short: length = (Int(short), 0)
        }
        return Frame(
            size: 2 + length.bytes + mask + length.size, isFinal: first & 0x80 != 0, opcode: first & 0x0f
        )
    }
}
#endif  // NIO
