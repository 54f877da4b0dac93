// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import TableflipCore
import Testing

@Suite struct MessageCodecTests {
    @Test(arguments: Sample.all + Sample.extremes)
    func `what is written is read again`(_ sample: Sample) throws {
        let frame = try #require(try FrameDecoder.decode(sample.message.encoded()))
        #expect(frame.message == sample.message)
        #expect(frame.descriptors == sample.message.descriptorCount)
    }

    @Test func `every kind is among the samples`() {
        let kinds = Set(Sample.all.map(\.message.kind))
        #expect(kinds == Set(Message.Kind.allCases.map(\.rawValue)))
    }

    @Test(arguments: Sample.all)
    func `a payload cut at any byte is refused`(_ sample: Sample) {
        let whole = sample.message.encoded()
        for size in FrameHeader.size..<max(whole.count, FrameHeader.size) {
            #expect(
                FrameDecoder.refusal(of: whole.cut(to: size)) == .truncated(kind: sample.message.kind), "at \(size)")
        }
    }

    @Test(arguments: Sample.extremes)
    func `a great payload cut near its ends or in its middle is refused`(_ sample: Sample) async {
        let whole = sample.message.encoded()
        let end = whole.count
        for size in [12, 13, 14, 15, 16, 20, 29, end / 2, end - 8, end - 3, end - 2, end - 1] {
            guard size >= FrameHeader.size, size < end else { continue }
            #expect(
                FrameDecoder.refusal(of: whole.cut(to: size)) == .truncated(kind: sample.message.kind), "at \(size)"
            )
            // Each takes a while in a debug build, and other tests want the thread as well.
            await Task.yield()
        }
    }

    @Test(arguments: Sample.all.filter { $0.message.kind != Message.Kind.hello.rawValue })
    func `bytes after the payload are refused`(_ sample: Sample) {
        for count in [1, 2, 300] {
            #expect(
                FrameDecoder.refusal(of: sample.message.encoded().padded(by: count))
                    == .trailingBytes(kind: sample.message.kind, count: count)
            )
        }
    }

    @Test func `a hello may grow at its end`() throws {
        let hello = Message.hello(.init(generation: 3, process: 99))
        let frame = try #require(try FrameDecoder.decode(hello.encoded().padded(by: 500)))
        #expect(frame.message == hello)
    }

    @Test func `an unknown message that is optional is passed over with its descriptors`() throws {
        var decoder = FrameDecoder()
        decoder.append(.frame(kind: 200, flags: 1, descriptors: 3) { $0.append([1, 2, 3, 4]) } + Message.go.encoded())
        let passedOver = try #require(try decoder.next())
        #expect(passedOver.message == .unknown(kind: 200))
        #expect(passedOver.descriptors == 3)
        #expect(try decoder.next()?.message == .go)
        #expect(Message.unknown(kind: 200).descriptorCount == nil)
    }

    @Test(arguments: [UInt8(0), 19, 200, 255])
    func `an unknown message that is required is refused`(_ kind: UInt8) {
        #expect(FrameDecoder.refusal(of: .frame(kind: kind)) == .unknownRequired(kind: kind))
    }

    @Test func `a known message may be marked as optional`() throws {
        #expect(try FrameDecoder.decode(.frame(kind: 4, flags: 1))?.message == .go)
    }

    // MARK: Limits

    struct Refused: Sendable, CustomTestStringConvertible {
        var what: String
        var bytes: [UInt8]
        var error: WireError
        var testDescription: String { self.what }

        init(_ what: String, _ bytes: [UInt8], _ error: WireError) {
            self.what = what
            self.bytes = bytes
            self.error = error
        }

        init(_ what: String, kind: UInt8, field: String, descriptors: Int = 0, _ payload: (inout ByteWriter) -> Void) {
            self.init(
                what, .frame(kind: kind, descriptors: descriptors, payload), .invalidValue(kind: kind, field: field)
            )
        }
    }

    static let refused: [Refused] =
        Self.hellos + Self.offers + Self.readies + Self.connections + [
            Refused("an ack of nothing known", kind: 10, field: "subject") {
                $0.write(UInt8(3))
                $0.write(UInt32(0))
            },
            Refused("too many paths at once", kind: 17, field: "count") { $0.write(UInt16(WireLimit.paths + 1)) },
            Refused("a path of what no inventory has room for", kind: 17, field: "index") {
                $0.write(UInt16(1))
                $0.write(UInt32(WireLimit.inventory))
                $0.write(UInt64(1))
                $0.write(UInt64(1))
            },
            Refused("an abort with a long code", kind: 8, field: "code") { $0.write(text: 256) },
            Refused("an abort with a long message", kind: 8, field: "message") {
                $0.write(text: 255)
                $0.write(text: 4097)
            },
            Refused("an abort with a long cure", kind: 8, field: "cure") {
                $0.write(text: 255)
                $0.write(text: 4096)
                $0.write(text: 4097)
            },
            Refused("an abort that is not UTF-8", kind: 8, field: "message") {
                $0.write(text: 3)
                $0.write([0xc3, 0x28], countedBy: UInt16.self)
            },
        ]

    private static let hellos = [
        Refused("a hello with its versions upside down", kind: 1, field: "version range", descriptors: 1) {
            $0.hello(low: 2, high: 1)
        },
        Refused("a hello of generation 0", kind: 1, field: "generation", descriptors: 1) { $0.hello(generation: 0) },
        // Its successor's would be one more.
        Refused("a hello of the last generation", kind: 1, field: "generation", descriptors: 1) {
            $0.hello(generation: .max)
        },
        Refused("a hello with a long label", kind: 1, field: "label", descriptors: 1) { $0.hello(label: 129) },
    ]

    private static let offers = [
        Refused("an offer of no known stage", kind: 2, field: "stage") { $0.offer(stage: 2, total: 0, count: 0) },
        Refused("an offer of too many entries in all", kind: 2, field: "total") {
            $0.offer(total: UInt32(WireLimit.inventory + 1), count: 0)
        },
        Refused("an offer of too many entries at once", kind: 2, field: "count") { $0.offer(total: 254, count: 254) },
        Refused("an offer beyond its end", kind: 2, field: "index") { $0.offer(first: 1, total: 1, count: 1) },
        Refused("an offer at an index that overflows", kind: 2, field: "index") {
            $0.offer(first: .max, total: 1, count: 1)
        },
        Refused("an offer of nothing out of something", kind: 2, field: "count") { $0.offer(total: 1, count: 0) },
        Refused("an offer of nothing, in its middle", kind: 2, field: "index") {
            $0.offer(first: 1, total: 0, count: 0)
        },
        Refused("an entry of kind 0", kind: 2, field: "descriptor kind") { $0.entry(kind: 0) },
        Refused("an entry of an unknown kind", kind: 2, field: "descriptor kind") { $0.entry(kind: 6) },
        Refused("an entry without a name", kind: 2, field: "name") { $0.entry(name: 0) },
        Refused("an entry with a long name", kind: 2, field: "name") { $0.entry(name: 256) },
        Refused("an entry with a long address", kind: 2, field: "address") { $0.entry(address: 513) },
        Refused("a name that is not UTF-8", kind: 2, field: "name") {
            $0.offer(total: 1, count: 1)
            $0.write(UInt8(1))
            $0.write(UInt16(0))
            $0.write([0xff], countedBy: UInt16.self)
            $0.write(text: 0)
        },
    ]

    private static let readies = [
        Refused("a probation of no known kind", kind: 3, field: "probation") { $0.ready(probation: 3, claimed: 0) },
        Refused("a ready for too many entries", kind: 3, field: "claimed") {
            $0.ready(claimed: UInt32(WireLimit.inventory + 1))
        },
    ]

    private static let connections = [
        Refused("too many connections at once", kind: 7, field: "count") {
            $0.write(UInt32(1))
            $0.write(UInt16(254))
        },
        Refused("a connection of a listener with a long name", kind: 7, field: "listener") {
            $0.write(UInt32(1))
            $0.write(UInt16(1))
            $0.write(text: 256)
        },
        Refused("a connection with too many unread bytes", kind: 7, field: "unread bytes") {
            $0.write(UInt32(1))
            $0.write(UInt16(1))
            $0.write(text: 255)
            $0.write(UInt32(WireLimit.connectionState + 1))
        },
        Refused("a connection with too much state", kind: 7, field: "state") {
            $0.write(UInt32(1))
            $0.write(UInt16(1))
            $0.write(text: 0)
            $0.write(UInt32(0))
            $0.write(UInt32.max)
        },
    ]

    @Test(arguments: Self.refused)
    func `a value beyond its limit is refused`(_ refused: Refused) {
        #expect(FrameDecoder.refusal(of: refused.bytes) == refused.error)
    }

    @Test func `the parts that the refused frames are made of are themselves in order`() {
        #expect(FrameDecoder.refusal(of: .frame(kind: 1, descriptors: 1) { $0.hello() }) == nil)
        #expect(FrameDecoder.refusal(of: .frame(kind: 2, descriptors: 1) { $0.entry() }) == nil)
        #expect(FrameDecoder.refusal(of: .frame(kind: 2) { $0.offer(total: 0, count: 0) }) == nil)
        #expect(FrameDecoder.refusal(of: .frame(kind: 3) { $0.ready(claimed: 0) }) == nil)
    }

    @Test(arguments: Sample.all)
    func `a wrong number of descriptors is refused`(_ sample: Sample) throws {
        let right = try #require(sample.message.descriptorCount)
        for wrong in [right - 1, right + 1, FrameHeader.maximumDescriptors] where wrong >= 0 {
            var bytes = sample.message.encoded()
            bytes[4] = UInt8(wrong)
            #expect(
                FrameDecoder.refusal(of: bytes)
                    == .descriptorsMissing(kind: sample.message.kind, expected: right, arrived: wrong)
            )
        }
    }

    // MARK: Words that do not fit

    @Test func `the words of an abort are cut at a whole character`() throws {
        // 4095 bytes, then a character of two.
        let long = String(repeating: "x", count: WireLimit.words - 1) + "éé"
        let abort = Message.abort(.init(code: "system", message: long, cure: long))
        let expected = String(repeating: "x", count: WireLimit.words - 1)
        #expect(
            try FrameDecoder.decode(abort.encoded())?.message
                == .abort(.init(code: "system", message: expected, cure: expected))
        )
    }

    @Test func `words that just fit are not cut`() throws {
        let exact = String(repeating: "é", count: WireLimit.words / 2)
        let abort = Message.abort(.init(code: "system", message: exact, cure: ""))
        #expect(try FrameDecoder.decode(abort.encoded())?.message == abort)
    }

    @Test func `one character that is longer than the limit leaves nothing`() throws {
        let one = "e" + String(repeating: "\u{301}", count: WireLimit.words)
        let abort = Message.abort(.init(code: "system", message: one, cure: ""))
        #expect(
            try FrameDecoder.decode(abort.encoded())?.message == .abort(.init(code: "system", message: "", cure: ""))
        )
    }

    @Test func `a long label is cut and can be read`() throws {
        let hello = Message.hello(.init(generation: 1, process: 1, label: String(repeating: "x", count: 129)))
        let frame = try #require(try FrameDecoder.decode(hello.encoded()))
        guard case .hello(let heard) = frame.message else {
            Issue.record("\(frame)")
            return
        }
        #expect(heard.label == String(repeating: "x", count: 128))
    }

    @Test func `a long label is cut at a whole character`() {
        let label = String(repeating: "x", count: WireLimit.label - 1) + "é"
        let hello = Message.hello(.init(generation: 1, process: 1, label: label))
        #expect(FrameDecoder.refusal(of: hello.encoded()) == nil)
    }
}

extension [UInt8] {
    /// The frame with its payload cut off, and a header that says so.
    fileprivate func cut(to size: Int) -> [UInt8] { Array(self[..<size]).withLength(size - FrameHeader.size) }

    /// The frame with so many bytes more in its payload, and a header that says so.
    fileprivate func padded(by count: Int) -> [UInt8] {
        (self + Array(repeating: 7, count: count)).withLength(self.count - FrameHeader.size + count)
    }

    private func withLength(_ length: Int) -> [UInt8] {
        var writer = ByteWriter()
        writer.write(UInt32(length))
        var bytes = self
        bytes.replaceSubrange(8..<12, with: writer.bytes)
        return bytes
    }
}

extension ByteWriter {
    fileprivate mutating func write(text count: Int) {
        self.write(repeatElement(UInt8(ascii: "x"), count: count), countedBy: UInt16.self)
    }

    fileprivate mutating func hello(low: UInt16 = 1, high: UInt16 = 1, generation: UInt32 = 1, label: Int = 128) {
        self.write(low)
        self.write(high)
        self.write(generation)
        self.write(Int32(1))
        self.write(UInt64(0))
        self.write(text: label)
    }

    fileprivate mutating func offer(stage: UInt8 = 0, first: UInt32 = 0, total: UInt32, count: UInt16) {
        self.write(stage)
        self.write(first)
        self.write(total)
        self.write(count)
    }

    fileprivate mutating func entry(kind: UInt8 = 1, name: Int = 255, address: Int = 512) {
        self.offer(total: 1, count: 1)
        self.write(kind)
        self.write(UInt16(0))
        self.write(text: name)
        self.write(text: address)
    }

    fileprivate mutating func ready(probation: UInt8 = 0, claimed: UInt32) {
        self.write(UInt64(0))
        self.write(UInt32(0))
        self.write(probation)
        self.write(UInt64(0))
        self.write(claimed)
    }
}
