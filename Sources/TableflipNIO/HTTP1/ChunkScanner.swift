// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

#if NIO
/// Follows a chunked body to its end (RFC 9112, 7.1), over any number of pieces. Data is skipped, not looked at.
struct ChunkScanner: Hashable, Sendable {
    private enum Place: Hashable, Sendable {
        /// In the digits of a chunk's size.
        case size(Int, digits: Int)
        /// Behind them, up to the end of the line: extensions are not looked at.
        case afterSize(Int)
        case data(left: Int)
        /// The line end behind a chunk's data.
        case afterData
        /// The trailer section and its empty line.
        case trailer(LineScanner)
        case done
        case broken
    }

    private var place = Place.size(0, digits: 0)

    var isDone: Bool { self.place == .done }
    /// What came is no chunked body as it is understood here.
    var isBroken: Bool { self.place == .broken }

    /// - Returns: how many bytes belong to the body: all, unless its end is among them.
    mutating func scan(_ bytes: UnsafeRawBufferPointer) -> Int {
        var index = 0
        while index < bytes.count {
            switch self.place {
            case .done: return index
            case .broken: return bytes.count
            case .data(let left):
                let count = min(left, bytes.count - index)
                index += count
                self.place = count == left ? .afterData : .data(left: left - count)
            case .trailer(var scanner):
                index += scanner.scanToEmptyLine(UnsafeRawBufferPointer(rebasing: bytes[index...]))
                self.place = scanner.isDone ? .done : .trailer(scanner)
            case .size, .afterSize, .afterData:
                self.place = self.place(after: bytes[index])
                index += 1
            }
        }
        return bytes.count
    }

    private func place(after byte: UInt8) -> Place {
        switch (self.place, byte) {
        case (.size(let size, let digits), _):
            if let digit = Self.digit(byte) {
                // Sixteen digits would overflow; the decoder refuses far smaller ones.
                return digits < 15 ? .size(size << 4 | digit, digits: digits + 1) : .broken
            }
            guard digits > 0 else { return .broken }
            return byte == UInt8(ascii: "\n") ? self.start(size) : .afterSize(size)
        case (.afterSize(let size), UInt8(ascii: "\n")): return self.start(size)
        case (.afterSize(let size), _): return .afterSize(size)
        case (.afterData, UInt8(ascii: "\r")): return .afterData
        case (.afterData, UInt8(ascii: "\n")): return .size(0, digits: 0)
        default: return .broken
        }
    }

    private func start(_ size: Int) -> Place {
        size > 0 ? .data(left: size) : .trailer(LineScanner(atLineStart: true))
    }

    private static func digit(_ byte: UInt8) -> Int? {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): Int(byte - UInt8(ascii: "0"))
        case UInt8(ascii: "a")...UInt8(ascii: "f"): Int(byte - UInt8(ascii: "a")) + 10
        case UInt8(ascii: "A")...UInt8(ascii: "F"): Int(byte - UInt8(ascii: "A")) + 10
        default: nil
        }
    }
}
#endif  // NIO
