// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

/// Appends integers and counted strings.
package struct ByteWriter {
    package private(set) var bytes: [UInt8] = []

    package init() {}

    package mutating func write<Integer: FixedWidthInteger>(_ value: Integer) {
        var rest = value
        for _ in 0..<Integer.bitWidth / 8 {
            self.bytes.append(UInt8(truncatingIfNeeded: rest))
            rest = Integer.bitWidth > 8 ? rest >> 8 : 0
        }
    }

    /// A string or blob behind its length in two or four bytes.
    package mutating func write<Length: FixedWidthInteger>(_ value: some Collection<UInt8>, countedBy: Length.Type) {
        self.write(Length(value.count))
        self.bytes.append(contentsOf: value)
    }

    package mutating func append(_ other: some Sequence<UInt8>) { self.bytes.append(contentsOf: other) }
}

/// Reads what ``ByteWriter`` wrote, and trusts none of it.
package struct ByteReader {
    private let bytes: ArraySlice<UInt8>
    private var position: Int
    private let kind: UInt8

    /// - Parameters:
    ///   - bytes: what was received.
    ///   - kind: the kind of the frame, for errors.
    package init(_ bytes: ArraySlice<UInt8>, kind: UInt8 = 0) {
        self.bytes = bytes
        self.position = bytes.startIndex
        self.kind = kind
    }

    package var remaining: Int { self.bytes.endIndex - self.position }

    package mutating func read<Integer: FixedWidthInteger>(_: Integer.Type = Integer.self) throws(WireError) -> Integer
    {
        let size = Integer.bitWidth / 8
        guard self.remaining >= size else { throw .truncated(kind: self.kind) }
        var value: Integer = 0
        for index in 0..<size {
            value |= Integer(truncatingIfNeeded: self.bytes[self.position + index]) << Integer(index * 8)
        }
        self.position += size
        return value
    }

    package mutating func readBytes<Length: FixedWidthInteger>(
        countedBy: Length.Type, atMost limit: Int, _ field: String
    ) throws(WireError) -> ArraySlice<UInt8> {
        let length = try self.read(Length.self)
        guard Int(length) <= limit else { throw .invalidValue(kind: self.kind, field: field) }
        guard self.remaining >= Int(length) else { throw .truncated(kind: self.kind) }
        defer { self.position += Int(length) }
        return self.bytes[self.position..<self.position + Int(length)]
    }

    package mutating func readString(atMost limit: Int, _ field: String) throws(WireError) -> String {
        let bytes = try self.readBytes(countedBy: UInt16.self, atMost: limit, field)
        if bytes.isEmpty { return "" }
        // What is no UTF-8 is repaired, and then is not the same. `String(validating:as:)` asks the same in ten times the
        // time, for the standard library has no specialised form of it.
        let text = String(decoding: bytes, as: UTF8.self)
        guard bytes.allSatisfy({ $0 < 0x80 }) || text.utf8.elementsEqual(bytes) else {
            throw .invalidValue(kind: self.kind, field: field)
        }
        return text
    }

    package mutating func readValue<Value: RawRepresentable>(
        _: Value.Type, _ field: String
    ) throws(WireError) -> Value where Value.RawValue: FixedWidthInteger {
        let raw: Value.RawValue = try self.read()
        guard let value = Value(rawValue: raw) else { throw .invalidValue(kind: self.kind, field: field) }
        return value
    }

    package func require(_ condition: Bool, _ field: String) throws(WireError) {
        guard condition else { throw .invalidValue(kind: self.kind, field: field) }
    }

    package func finish() throws(WireError) {
        guard self.remaining == 0 else { throw .trailingBytes(kind: self.kind, count: self.remaining) }
    }
}
