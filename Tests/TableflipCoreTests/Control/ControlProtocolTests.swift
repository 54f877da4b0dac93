// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import TableflipCore
import Testing

@Suite struct ControlProtocolTests {
    // MARK: The bytes never change

    @Test(arguments: ControlSample.all)
    func `it is written as in the fixture of version 1`(_ sample: ControlSample) throws {
        let fixture = try Fixture(reading: "control-v1/\(sample.name).hex")
        #expect(sample.bytes == fixture.bytes, "written: \(sample.bytes.hex)")
    }

    @Test(arguments: ControlSample.all)
    func `the fixture of version 1 is read as the same`(_ sample: ControlSample) throws {
        let fixture = try Fixture(reading: "control-v1/\(sample.name).hex")
        #expect(try sample.isRead(from: fixture.bytes))
    }

    @Test func `there is a fixture for each sample and no other`() throws {
        #expect(try Fixture.names(in: "control-v1") == Set(ControlSample.all.map { "\($0.name).hex" }))
    }

    // MARK: What comes in pieces, and what comes wrong

    @Test func `a frame may come byte by byte, and the next one behind it`() throws {
        let bytes = ControlRequest.watch.frame.encoded() + ControlRequest.stop.frame.encoded()
        var decoder = ControlDecoder(limit: ControlLimit.request)
        var heard: [ControlRequest] = []
        for byte in bytes {
            decoder.append([byte])
            while let frame = try decoder.next() { heard.append(try ControlRequest(frame)) }
        }
        #expect(heard == [.watch, .stop])
        #expect(decoder.pending == [])
    }

    @Test(arguments: [Array("GET / HTTP/1.1\r\n".utf8), [0x54, 0x47], [0]])
    func `what is no frame is seen by its first bytes, for ever`(_ bytes: [UInt8]) {
        var decoder = ControlDecoder(limit: ControlLimit.request)
        decoder.append(bytes[...])
        #expect(throws: WireError.self) { try decoder.next() }
        decoder.append(ControlRequest.status.frame.encoded()[...])
        #expect(throws: WireError.self) { try decoder.next() }
    }

    /// Also beyond what any frame may have.
    @Test(arguments: [ControlLimit.request + 1, .max])
    func `a request that claims to be long is refused before it has come`(_ length: UInt32) throws {
        var writer = ByteWriter()
        FrameHeader(
            kind: ControlRequest.Kind.upgrade.rawValue, isOptional: false, descriptors: 0, length: length
        ).write(to: &writer)
        var decoder = ControlDecoder(limit: ControlLimit.request)
        decoder.append(writer.bytes[...])
        let error = try #require(throws: WireError.self) { try decoder.next() }
        #expect(error == .tooLong(kind: 0x43, length: length, limit: ControlLimit.request))
        #expect("\(error)".hasSuffix("that claims \(length) bytes; the limit is 16384"))
    }

    @Test func `descriptors are not declared here`() {
        var writer = ByteWriter()
        FrameHeader(kind: 0x41, isOptional: false, descriptors: 1, length: 2).write(to: &writer)
        writer.write(UInt16(1))
        var decoder = ControlDecoder(limit: ControlLimit.request)
        decoder.append(writer.bytes[...])
        #expect(throws: WireError.tooManyDescriptors(1)) { try decoder.next() }
    }

    @Test(arguments: [UInt8(0x40), 0x49, 0x61, 1])
    func `an unknown request is refused`(_ kind: UInt8) {
        #expect(throws: WireError.unknownRequired(kind: kind)) {
            try ControlRequest(ControlFrame(kind: kind, fields: .init()))
        }
    }

    @Test func `an unknown reply is passed over if it may be`() throws {
        #expect(
            try ControlReply(ControlFrame(kind: 0x7f, isOptional: true, fields: .init())) == .unknown(kind: 0x7f)
        )
        #expect(throws: WireError.unknownRequired(kind: 0x7f)) {
            try ControlReply(ControlFrame(kind: 0x7f, fields: .init()))
        }
    }

    /// A field of a later release: a tag, a length and its bytes.
    private func status(with tag: UInt16) throws -> ControlFrame {
        var writer = ByteWriter()
        writer.write(ControlFrame.version)
        writer.write(tag)
        writer.write([1, 2, 3] as [UInt8], countedBy: UInt32.self)
        var frame = ByteWriter()
        FrameHeader(
            kind: ControlRequest.Kind.status.rawValue, isOptional: false, descriptors: 0,
            length: UInt32(writer.bytes.count)
        ).write(to: &frame)
        frame.append(writer.bytes)
        return try ControlSample.frame(frame.bytes)
    }

    @Test func `an unknown field is passed over, unless its tag forbids that`() throws {
        #expect(try ControlRequest(try self.status(with: 0x7fff)) == .status)
        #expect(throws: WireError.self) { try self.status(with: 0x8fff) }
    }

    @Test func `of another version nothing is read but the version`() throws {
        var bytes = ControlRequest.upgrade(.init(timeoutMilliseconds: 1)).frame.encoded()
        bytes[FrameHeader.size] = 2
        let frame = try ControlSample.frame(bytes)
        #expect(frame.version == 2)
        #expect(frame.fields == ControlFields(kind: frame.kind))
    }

    @Test(arguments: [0, -1, Int64.max])
    func `a time-out that cannot be is refused`(_ milliseconds: Int64) {
        #expect(throws: WireError.self) {
            try ControlRequest(ControlRequest.upgrade(.init(timeoutMilliseconds: milliseconds)).frame)
        }
    }

    @Test func `a path with a zero byte is refused`() {
        #expect(throws: WireError.self) {
            try ControlRequest(ControlRequest.upgrade(.init(executable: "/srv\0/hello")).frame)
        }
    }

    @Test func `long words are cut, and read`() throws {
        let failure = ControlFailure(code: "x", message: String(repeating: "ö", count: 4000))
        guard case .failed(let read) = try ControlReply(ControlReply.failed(failure).frame) else {
            Issue.record("another reply")
            return
        }
        #expect(read.message.utf8.count == ControlLimit.text)
    }

    @Test func `a history keeps the last sixteen`() throws {
        var history = ControlHistory()
        for number in 1...20 {
            history.append(.init(time: Int64(number), generation: 1, process: 1, successor: 2, milliseconds: 3))
        }
        let read = try ControlHistory(reading: history.encoded())
        #expect(read.records.map(\.time) == Array(5...20))
    }
}

extension [UInt8] {
    fileprivate var hex: String { self.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined(separator: " ") }
}
