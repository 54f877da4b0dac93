// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

#if NIO
import NIOCore

/// Finds a GOAWAY in what a HTTP/2 server sends (RFC 9113, 4.1 and 6.8). It looks at the length and the type of each frame
/// and at nothing else. A pure value.
struct GoawayScanner: Hashable, Sendable {
    /// Length in 24 bits and type in 8, as far as they have come.
    private var beginning: UInt32 = 0
    private var missing = 4
    /// What is skipped: the rest of a frame.
    private var left = 0

    /// - Parameter data: what is sent, cut anywhere.
    /// - Returns: whether a GOAWAY begins in it.
    mutating func scan(_ data: IOData) -> Bool {
        guard case .byteBuffer(var bytes) = data else {
            // A file is never more than what a frame carries.
            self.left = max(0, self.left - data.readableBytes)
            return false
        }
        var isFound = false
        while bytes.readableBytes > 0 {
            guard self.left == 0 else {
                bytes.skip(&self.left)
                continue
            }
            guard let byte = bytes.readInteger(as: UInt8.self) else { break }
            self.beginning = self.beginning << 8 | UInt32(byte)
            self.missing -= 1
            guard self.missing == 0 else { continue }
            self.missing = 4
            if self.beginning & 0xff == 7 { isFound = true }
            // The flags and the stream, and then what it carries.
            self.left = 5 + Int(self.beginning >> 8)
        }
        return isFound
    }
}
#endif  // NIO
