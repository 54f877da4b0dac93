// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import TableflipCore
import Testing

@Suite struct FrameDecoderTests {
    @Test(arguments: Sample.all)
    func `a frame cut in two at any byte decodes the same`(_ sample: Sample) throws {
        let bytes = sample.message.encoded()
        for cut in 0...bytes.count {
            var decoder = FrameDecoder()
            decoder.append(bytes[..<cut])
            if cut < bytes.count { #expect(try decoder.next() == nil, "at \(cut)") }
            decoder.append(bytes[cut...])
            #expect(try decoder.next()?.message == sample.message, "at \(cut)")
            #expect(try decoder.next() == nil)
            #expect(decoder.pending == 0)
        }
    }

    @Test(arguments: [1, 2, 3, 5, 11, 12, 13, 64, 1000])
    func `a stream in pieces of any size decodes the same`(_ size: Int) throws {
        let stream = Sample.all.flatMap { $0.message.encoded() }
        var decoder = FrameDecoder()
        var heard: [Message] = []
        for begin in stride(from: 0, to: stream.count, by: size) {
            decoder.append(stream[begin..<min(begin + size, stream.count)])
            while let frame = try decoder.next() { heard.append(frame.message) }
        }
        try decoder.finish()
        #expect(heard == Sample.all.map(\.message))
    }

    @Test(arguments: Sample.extremes)
    func `a great frame in pieces decodes the same`(_ sample: Sample) throws {
        let stream = Message.go.encoded() + sample.message.encoded() + Message.commit.encoded()
        var decoder = FrameDecoder()
        var heard: [Message] = []
        for begin in stride(from: 0, to: stream.count, by: 65_521) {
            decoder.append(stream[begin..<min(begin + 65_521, stream.count)])
            while let frame = try decoder.next() { heard.append(frame.message) }
        }
        #expect(heard == [.go, sample.message, .commit])
    }

    @Test func `an end between two frames is fine and inside one is not`() throws {
        let bytes = Message.bye(.init(moved: 1)).encoded()
        for size in 0...bytes.count {
            var decoder = FrameDecoder()
            decoder.append(bytes[..<size])
            _ = try decoder.next()
            if size == 0 || size == bytes.count {
                try decoder.finish()
            } else {
                #expect(throws: WireError.endedInsideFrame) { try decoder.finish() }
            }
        }
    }

    @Test func `after an error nothing moves`() throws {
        var decoder = FrameDecoder()
        decoder.append(Message.go.encoded() + [UInt8].frame(kind: 77) + Message.commit.encoded())
        #expect(try decoder.next()?.message == .go)
        let pending = decoder.pending
        for _ in 0..<3 {
            #expect(throws: WireError.unknownRequired(kind: 77)) { try decoder.next() }
            #expect(throws: WireError.unknownRequired(kind: 77)) { try decoder.finish() }
            #expect(decoder.pending == pending)
        }
        decoder.append(Message.commit.encoded())
        #expect(throws: WireError.unknownRequired(kind: 77)) { try decoder.next() }
    }

    @Test func `an error in a header is seen before its payload`() {
        var decoder = FrameDecoder()
        decoder.append([UInt8].frame(kind: 1, length: Int(UInt32.max)))
        #expect(throws: WireError.tooLong(kind: 1, length: .max)) { try decoder.next() }
    }

    @Test func `the header of a frame that has begun can be looked at`() throws {
        var decoder = FrameDecoder()
        #expect(try decoder.peekHeader() == nil)
        let bytes = Sample.all[1].message.encoded()
        decoder.append(bytes[..<11])
        #expect(try decoder.peekHeader() == nil)
        decoder.append(bytes[11..<14])
        #expect(try decoder.peekHeader()?.descriptors == 5)
        #expect(try decoder.next() == nil)
    }
}
