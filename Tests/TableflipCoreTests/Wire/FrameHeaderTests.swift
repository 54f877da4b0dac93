// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import TableflipCore
import Testing

@Suite struct FrameHeaderTests {
    @Test func `a header is written in twelve bytes and read again`() throws {
        let header = FrameHeader(kind: 9, isOptional: true, descriptors: 253, length: 1 << 20)
        var writer = ByteWriter()
        header.write(to: &writer)
        #expect(writer.bytes == [0x54, 0x46, 9, 1, 253, 0, 0, 0, 0, 0, 0x10, 0])
        var reader = ByteReader(writer.bytes[...])
        #expect(try FrameHeader(from: &reader) == header)
        #expect(reader.remaining == 0)
    }

    @Test func `other bytes are no frame`() {
        #expect(FrameDecoder.refusal(of: .frame(kind: 4, magic: 0x5446)) == .notAFrame(0x5446))
        #expect(FrameDecoder.refusal(of: Array("HTTP/1.1 400".utf8)) == .notAFrame(0x5448))
    }

    @Test(arguments: 1..<8)
    func `a reserved flag is refused`(_ bit: Int) {
        #expect(FrameDecoder.refusal(of: .frame(kind: 4, flags: 1 << UInt8(bit))) == .reservedBitsSet)
        #expect(FrameDecoder.refusal(of: .frame(kind: 200, flags: 1 | 1 << UInt8(bit))) == .reservedBitsSet)
    }

    @Test(arguments: 0..<16)
    func `a reserved bit is refused`(_ bit: Int) {
        #expect(FrameDecoder.refusal(of: .frame(kind: 4, reserved: 1 << UInt16(bit))) == .reservedBitsSet)
    }

    @Test func `a length beyond the limit is refused before the payload has come`() {
        let limit = Int(FrameHeader.maximumLength)
        #expect(
            FrameDecoder.refusal(of: .frame(kind: 2, length: limit + 1)) == .tooLong(kind: 2, length: UInt32(limit) + 1)
        )
        #expect(
            FrameDecoder.refusal(of: .frame(kind: 200, flags: 1, length: Int(UInt32.max)))
                == .tooLong(kind: 200, length: .max)
        )
        #expect(FrameDecoder.refusal(of: .frame(kind: 200, flags: 1, length: limit)) == nil)
    }

    @Test func `more descriptors than one message can carry are refused`() {
        #expect(FrameDecoder.refusal(of: .frame(kind: 200, flags: 1, descriptors: 254)) == .tooManyDescriptors(254))
        #expect(FrameDecoder.refusal(of: .frame(kind: 200, flags: 1, descriptors: 65535)) == .tooManyDescriptors(65535))
        #expect(FrameDecoder.refusal(of: .frame(kind: 200, flags: 1, descriptors: 253)) == nil)
    }
}
