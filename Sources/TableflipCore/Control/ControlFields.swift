// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

/// What a control frame says: fields, each behind its tag and its length. A receiver passes over the fields that it does
/// not know, unless their tag says that it must not.
package struct ControlFields: Hashable, Sendable {
    /// `docs/control.md` lists them. A number never gets another meaning.
    package enum Tag: UInt16, Hashable, Sendable, CaseIterable {
        case code = 1
        case message = 2
        case cure = 3
        case serving = 4
        case phase = 5
        case generation = 6
        case process = 7
        case peer = 8
        case elapsed = 9
        case time = 10
        case done = 11
        case total = 12
        case name = 13
        case address = 14
        case port = 15
        case kind = 16
        case isInherited = 17
        case version = 18
        case state = 19
        case connections = 20
        case predecessor = 21
        case successor = 22
        case listener = 23
        case upgrade = 24
        case finding = 25
        case pidFile = 26
        case mode = 27
        case unsent = 28
        case isRollback = 29
        case program = 30
        /// A sender asks for something that must not be passed over: 0x8000 and above.
        case timeout = 0x8001
        case probation = 0x8002
        case executable = 0x8003
        case environmentFile = 0x8004
    }

    private struct Field: Hashable, Sendable {
        var tag: UInt16
        var bytes: [UInt8]
    }

    static let requiredBit: UInt16 = 0x8000
    /// In one payload, so that a small frame cannot ask for much work.
    static let limit = 4096

    private var fields: [Field] = []
    /// For errors.
    private let kind: UInt8

    package init(kind: UInt8 = 0) { self.kind = kind }

    // MARK: Writing

    package mutating func set(_ tag: Tag, _ text: String) {
        guard !text.isEmpty else { return }
        self.fields.append(Field(tag: tag.rawValue, bytes: Array(text.cut(to: ControlLimit.text).utf8)))
    }

    package mutating func set(_ tag: Tag, _ number: Int64?) {
        guard let number else { return }
        var writer = ByteWriter()
        writer.write(number)
        self.fields.append(Field(tag: tag.rawValue, bytes: writer.bytes))
    }

    package mutating func set(_ tag: Tag, _ bytes: [UInt8]) {
        self.fields.append(Field(tag: tag.rawValue, bytes: bytes))
    }

    package mutating func append(_ tag: Tag, _ nested: ControlFields) {
        self.fields.append(Field(tag: tag.rawValue, bytes: nested.encoded()))
    }

    package func encoded() -> [UInt8] {
        var writer = ByteWriter()
        for field in self.fields {
            writer.write(field.tag)
            writer.write(field.bytes, countedBy: UInt32.self)
        }
        return writer.bytes
    }

    // MARK: Reading

    package init(reading bytes: ArraySlice<UInt8>, kind: UInt8) throws(WireError) {
        self.kind = kind
        var reader = ByteReader(bytes, kind: kind)
        while reader.remaining > 0 {
            try reader.require(self.fields.count < Self.limit, "number of fields")
            let tag: UInt16 = try reader.read()
            let bytes = try reader.readBytes(countedBy: UInt32.self, atMost: bytes.count, "field")
            if Tag(rawValue: tag) == nil {
                try reader.require(tag & Self.requiredBit == 0, "field \(tag), which must not be passed over")
                continue
            }
            self.fields.append(Field(tag: tag, bytes: Array(bytes)))
        }
    }

    /// The first field of this tag.
    package func bytes(_ tag: Tag) -> [UInt8]? { self.fields.first { $0.tag == tag.rawValue }?.bytes }

    /// Empty where there is none.
    package func text(_ tag: Tag) throws(WireError) -> String {
        guard let bytes = self.bytes(tag) else { return "" }
        let text = String(decoding: bytes, as: UTF8.self)
        guard bytes.count <= ControlLimit.text, text.utf8.elementsEqual(bytes) else { throw self.invalid(tag) }
        return text
    }

    package func number(_ tag: Tag) throws(WireError) -> Int64? {
        guard let bytes = self.bytes(tag) else { return nil }
        guard bytes.count == 8 else { throw self.invalid(tag) }
        var reader = ByteReader(bytes[...], kind: self.kind)
        return try reader.read(Int64.self)
    }

    /// A number of things; 0 where nothing is said.
    package func count(_ tag: Tag) throws(WireError) -> Int {
        Int(try self.number(tag, upTo: ControlLimit.count))
    }

    /// A date or a time; 0 where nothing is said.
    package func milliseconds(_ tag: Tag) throws(WireError) -> Int64 {
        try self.number(tag, upTo: ControlLimit.milliseconds)
    }

    /// A time; 0 where nothing is said.
    package func nanoseconds(_ tag: Tag) throws(WireError) -> Int64 { try self.number(tag, upTo: .max) }

    private func number(_ tag: Tag, upTo limit: Int64) throws(WireError) -> Int64 {
        let number = try self.number(tag) ?? 0
        guard (0...limit).contains(number) else { throw self.invalid(tag) }
        return number
    }

    /// A process; 0 for none.
    package func process(_ tag: Tag) throws(WireError) -> Int32 {
        guard let process = Int32(exactly: try self.number(tag) ?? 0), process >= 0 else { throw self.invalid(tag) }
        return process
    }

    package func all(_ tag: Tag) throws(WireError) -> [ControlFields] {
        var all: [ControlFields] = []
        for field in self.fields where field.tag == tag.rawValue {
            all.append(try ControlFields(reading: field.bytes[...], kind: self.kind))
        }
        return all
    }

    private func invalid(_ tag: Tag) -> WireError { .invalidValue(kind: self.kind, field: "\(tag)") }
}

/// Limits of what is accepted on the control socket, whoever sends it.
package enum ControlLimit {
    package static let request: UInt32 = 16 * 1024
    package static let reply: UInt32 = 1 << 20
    package static let text = 4096
    /// Of anything; whoever reads it may add to it.
    package static let count = Int64(UInt32.max)
    /// Since 1970: far beyond every clock.
    package static let milliseconds: Int64 = 1_000_000_000_000_000
    /// A year.
    package static let timeoutMilliseconds: Int64 = 365 * Int64(WireLimit.probationMilliseconds)
}
