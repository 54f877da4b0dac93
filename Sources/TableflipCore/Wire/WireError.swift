// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

/// What was wrong with bytes that a peer sent. After one of these nothing more is read from it.
package enum WireError: Error, Hashable, Sendable, CustomStringConvertible {
    case notAFrame(UInt16)
    case reservedBitsSet
    case tooLong(kind: UInt8, length: UInt32, limit: UInt32 = FrameHeader.maximumLength)
    case tooManyDescriptors(Int)
    case unknownRequired(kind: UInt8)
    case truncated(kind: UInt8)
    case trailingBytes(kind: UInt8, count: Int)
    case invalidValue(kind: UInt8, field: String)
    case descriptorsMissing(kind: UInt8, expected: Int, arrived: Int)
    case descriptorsUndeclared(Int)
    case descriptorsDropped
    case endedInsideFrame

    package var description: String {
        switch self {
        case .notAFrame(let magic): "bytes that are no frame (they begin with 0x\(String(magic, radix: 16)))"
        case .reservedBitsSet: "a frame with reserved bits set"
        case .tooLong(let kind, let length, let limit):
            "a frame of kind \(kind) that claims \(length) bytes; the limit is \(limit)"
        case .tooManyDescriptors(let count): "a frame that claims \(count) descriptors"
        case .unknownRequired(let kind): "a required message of the unknown kind \(kind)"
        case .truncated(let kind): "a frame of kind \(kind) that ends inside a field"
        case .trailingBytes(let kind, let count): "a frame of kind \(kind) with \(count) bytes too many"
        case .invalidValue(let kind, let field): "a frame of kind \(kind) with an invalid \(field)"
        case .descriptorsMissing(let kind, let expected, let arrived):
            "a frame of kind \(kind) with \(arrived) descriptors where \(expected) belong"
        case .descriptorsUndeclared(let count): "\(count) descriptors that no frame declared"
        case .descriptorsDropped: "more descriptors than this process may have open (RLIMIT_NOFILE)"
        case .endedInsideFrame: "the end of the channel inside a frame"
        }
    }
}
