// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import TableflipCore
import Testing

@Suite struct BytesTests {
    @Test func `integers are little-endian`() {
        var writer = ByteWriter()
        writer.write(UInt8(1))
        writer.write(UInt16(0x0203))
        writer.write(UInt32(0x0405_0607))
        writer.write(Int32(-2))
        writer.write(UInt64(0x0809_0a0b_0c0d_0e0f))
        let expected: [UInt8] = [
            1, 3, 2, 7, 6, 5, 4, 0xfe, 0xff, 0xff, 0xff, 0x0f, 0x0e, 0x0d, 0x0c, 0x0b, 0x0a, 9, 8,
        ]
        #expect(writer.bytes == expected)
    }

    @Test func `integers are read as they were written`() throws {
        var writer = ByteWriter()
        writer.write(UInt8.max)
        writer.write(UInt16.max)
        writer.write(Int32.min)
        writer.write(UInt64.max)
        var reader = ByteReader(writer.bytes[...])
        #expect(try reader.read(UInt8.self) == .max)
        #expect(try reader.read(UInt16.self) == .max)
        #expect(try reader.read(Int32.self) == .min)
        #expect(try reader.read(UInt64.self) == .max)
        try reader.finish()
    }

    @Test func `a slice that does not begin at zero is read from its beginning`() throws {
        var reader = ByteReader([9, 9, 1, 0, 9][2...3])
        #expect(try reader.read(UInt16.self) == 1)
        #expect(reader.remaining == 0)
    }

    @Test func `what is not there is not read, and nothing is consumed`() {
        var reader = ByteReader([1, 2, 3], kind: 5)
        #expect(throws: WireError.truncated(kind: 5)) { try reader.read(UInt32.self) }
        #expect(reader.remaining == 3)
        #expect(throws: WireError.trailingBytes(kind: 5, count: 3)) { try reader.finish() }
    }

    @Test func `a length is checked against its limit before the bytes are looked for`() {
        var reader = ByteReader([0xff, 0xff, 0xff, 0xff], kind: 5)
        #expect(throws: WireError.invalidValue(kind: 5, field: "blob")) {
            try reader.readBytes(countedBy: UInt32.self, atMost: 10, "blob")
        }
    }

    @Test(
        arguments: [
            [0x80], [0xc3], [0xc3, 0x28], [0xc0, 0xaf], [0xe2, 0x82], [0xed, 0xa0, 0x80], [0xf5, 0x80, 0x80, 0x80],
            [0x61, 0xff],
        ] as [[UInt8]]
    )
    func `a string that is not UTF-8 is refused`(_ bytes: [UInt8]) {
        var writer = ByteWriter()
        writer.write(bytes, countedBy: UInt16.self)
        var reader = ByteReader(writer.bytes[...], kind: 8)
        #expect(throws: WireError.invalidValue(kind: 8, field: "message")) {
            try reader.readString(atMost: 100, "message")
        }
    }

    @Test(arguments: ["", "a", "é", "a\0b", "👩‍👩‍👧", "\u{fffd}", "\u{10ffff}"])
    func `a string is read as it was written`(_ text: String) throws {
        var writer = ByteWriter()
        writer.write(text.utf8, countedBy: UInt16.self)
        var reader = ByteReader(writer.bytes[...])
        let heard = try reader.readString(atMost: 100, "message")
        #expect(Array(heard.utf8) == Array(text.utf8))
    }
}
