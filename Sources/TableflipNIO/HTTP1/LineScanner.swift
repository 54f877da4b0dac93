// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

#if NIO
#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// Looks for an empty line, over any number of pieces.
struct LineScanner: Hashable, Sendable {
    private static let lineFeed = UInt8(ascii: "\n")
    private static let carriageReturn = UInt8(ascii: "\r")

    private enum Place: Hashable, Sendable {
        case inLine
        /// Right behind a line feed.
        case lineStart
        /// Behind a line feed and a carriage return.
        case maybeEmpty
    }

    private var place: Place
    private(set) var isDone = false

    /// - Parameter atLineStart: an empty line may come at once.
    init(atLineStart: Bool = false) { self.place = atLineStart ? .lineStart : .inLine }

    /// - Returns: how many bytes there are up to the end of the empty line, or all.
    mutating func scanToEmptyLine(_ bytes: UnsafeRawBufferPointer) -> Int {
        var index = 0
        while index < bytes.count {
            if self.place == .inLine {
                // SAFETY: `index` is within the buffer, and so is what memchr(3) finds.
                guard let base = bytes.baseAddress,
                    let found = memchr(base + index, CInt(Self.lineFeed), bytes.count - index)
                else { return bytes.count }
                index = UnsafeRawPointer(found) - base + 1
                self.place = .lineStart
                continue
            }
            switch bytes[index] {
            case Self.lineFeed:
                self.isDone = true
                return index + 1
            case Self.carriageReturn where self.place == .lineStart: self.place = .maybeEmpty
            default: self.place = .inLine
            }
            index += 1
        }
        return bytes.count
    }
}
#endif  // NIO
