// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

#if NIO
import NIOCore

/// Finds the acknowledgement of a PING in what a HTTP/2 client sends (RFC 9113, 4.1 and 6.7). It looks at the nine bytes
/// before each frame and at nothing else. A pure value.
struct PingScanner: Hashable, Sendable {
    private static let headerLength = 9
    private static let pingLength = 8

    /// What is skipped: of a frame, and first of all the client's preface (RFC 9113, 3.4).
    private var left = 24
    /// The beginning of a frame: its header, and of a PING all of it.
    private var held = ByteBuffer()
    private var wanted = Self.headerLength

    /// The client has begun to speak.
    private(set) var sawPreface = false

    /// - Parameters:
    ///   - bytes: what has come, cut anywhere.
    ///   - ping: what our PING said.
    /// - Returns: whether its acknowledgement ends in these bytes.
    mutating func scan(_ bytes: ByteBuffer, for ping: UInt64) -> Bool {
        var bytes = bytes
        var isFound = false
        while bytes.readableBytes > 0 {
            guard self.left == 0 else {
                bytes.skip(&self.left)
                continue
            }
            self.sawPreface = true
            let count = min(self.wanted - self.held.readableBytes, bytes.readableBytes)
            if var part = bytes.readSlice(length: count) { self.held.writeBuffer(&part) }
            guard self.held.readableBytes == self.wanted else { break }
            if self.takeFrame(for: ping) { isFound = true }
        }
        if self.left == 0 { self.sawPreface = true }
        return isFound
    }

    private mutating func takeFrame(for ping: UInt64) -> Bool {
        let start = self.held.readerIndex
        // Length in 24 bits and type in 8, then the flags.
        guard let first = self.held.getInteger(at: start, as: UInt32.self),
            let flags = self.held.getInteger(at: start + 4, as: UInt8.self)
        else { return false }
        let isAcknowledgement = first & 0xff == 6 && flags & 1 == 1 && first >> 8 == Self.pingLength
        if isAcknowledgement, self.wanted == Self.headerLength {
            self.wanted += Self.pingLength
            return false
        }
        let data = self.held.getInteger(at: start + Self.headerLength, as: UInt64.self)
        self.left = isAcknowledgement ? 0 : Int(first >> 8)
        self.wanted = Self.headerLength
        self.held.clear()
        return isAcknowledgement && data == ping
    }
}

extension ByteBuffer {
    /// Passes over so many bytes, or those that are there; `count` is how many are still to come.
    mutating func skip(_ count: inout Int) {
        let here = min(count, self.readableBytes)
        self.moveReaderIndex(forwardBy: here)
        count -= here
    }
}
#endif  // NIO
