// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

#if NIO
import NIOCore
import NIOEmbedded
import Testing

@testable import TableflipNIO

@Suite struct HTTP2FarewellTests {
    private static let ping: UInt64 = 0x0102_0304_0506_0708
    private static let preface = Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8)
    private static let settings: [UInt8] = [0, 0, 0, 4, 0, 0, 0, 0, 0]
    private static let headers: [UInt8] = [0, 0, 3, 1, 5, 0, 0, 0, 1, 0x82, 0x87, 0x84]
    private static let acknowledgement: [UInt8] = [0, 0, 8, 6, 1, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8]
    private static let farewell: [UInt8] =
        [0, 0, 8, 7, 0, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0]
        + [0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8]

    /// Of a handler behind: stream 1 was the last.
    private static let goaway: [UInt8] = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0]

    /// What passed, in order.
    private final class Recorder: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer
        var bytes: [UInt8] = []
        /// How many bytes had come before each.
        var quiesced: [Int] = []

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            self.bytes += Array(self.unwrapInboundIn(data).readableBytesView)
        }

        func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
            if event is ChannelShouldQuiesceEvent { self.quiesced.append(self.bytes.count) }
        }
    }

    private let channel = EmbeddedChannel()
    private let recorder = Recorder()

    init() throws {
        try self.channel.pipeline.syncOperations.addHandlers([HTTP2Farewell(ping: Self.ping), self.recorder])
    }

    private func quiesce() { self.channel.pipeline.fireUserInboundEventTriggered(ChannelShouldQuiesceEvent()) }

    private func receive(_ bytes: [UInt8]) throws { try self.channel.writeInbound(ByteBuffer(bytes: bytes)) }

    private func send(_ bytes: [UInt8]) throws {
        try self.channel.writeOutbound(IOData.byteBuffer(ByteBuffer(bytes: bytes)))
        self.channel.embeddedEventLoop.run()
    }

    private func sent() throws -> [UInt8] {
        var bytes: [UInt8] = []
        while let data = try self.channel.readOutbound(as: IOData.self) {
            guard case .byteBuffer(let buffer) = data else { continue }
            bytes += Array(buffer.readableBytesView)
        }
        return bytes
    }

    @Test func `the handlers behind hear of the end when the client has acknowledged the first GOAWAY`() throws {
        try self.receive(Self.preface + Self.settings)
        self.quiesce()
        #expect(try self.sent() == Self.farewell)
        #expect(self.recorder.quiesced.isEmpty)
        // Opened before the client knew.
        try self.receive(Self.headers)
        #expect(self.recorder.quiesced.isEmpty)
        try self.receive(Self.acknowledgement)
        #expect(self.recorder.quiesced == [self.recorder.bytes.count])
        #expect(self.recorder.bytes == Self.preface + Self.settings + Self.headers + Self.acknowledgement)
        #expect(try self.sent().isEmpty)
    }

    @Test func `wherever what comes is cut`() throws {
        let other = Self.acknowledgement.dropLast() + [9]
        let all = Self.preface + Self.settings + Self.headers + other + Self.acknowledgement
        for cut in 25..<all.count {
            let test = try HTTP2FarewellTests()
            try test.receive(Array(all[..<cut]))
            test.quiesce()
            try test.receive(Array(all[cut...]))
            #expect(test.recorder.quiesced == [all.count], "cut at \(cut)")
            #expect(test.recorder.bytes == all)
        }
        for byte in all { try self.receive([byte]) }
        #expect(self.recorder.quiesced.isEmpty, "an acknowledgement before the question")
    }

    @Test func `a client that has not spoken yet speaks first`() throws {
        self.quiesce()
        #expect(try self.sent().isEmpty)
        try self.receive(Array(Self.preface.prefix(20)))
        #expect(try self.sent().isEmpty)
        try self.receive(Self.preface.suffix(4) + Self.settings + Self.headers)
        #expect(try self.sent() == Self.farewell)
        try self.receive(Self.acknowledgement)
        #expect(self.recorder.quiesced.count == 1)
    }

    @Test func `one goodbye, however often it is asked for`() throws {
        try self.receive(Self.preface)
        self.quiesce()
        self.quiesce()
        #expect(try self.sent() == Self.farewell)
        try self.receive(Self.settings + Self.acknowledgement)
        #expect(self.recorder.quiesced.count == 1)
    }

    @Test func `what has said goodbye by itself is not contradicted, wherever it is cut`() throws {
        // A DATA frame with one inside.
        let data = [0, 0, 17, 0, 0, 0, 0, 0, 1] + Self.goaway
        for isAsked in [false, true] {
            for cut in 0...Self.goaway.count {
                let test = try HTTP2FarewellTests()
                if isAsked { test.quiesce() }
                try test.send(Self.settings + data + Self.goaway[..<cut])
                try test.send(Array(Self.goaway[cut...]) + Self.settings)
                try test.receive(Self.preface)
                if !isAsked { test.quiesce() }
                #expect(test.recorder.quiesced.count == 1, "cut at \(cut)")
                #expect(try test.sent() == Self.settings + data + Self.goaway + Self.settings)
            }
        }
    }

    @Test func `a frame that is no GOAWAY is not taken for one`() throws {
        try self.receive(Self.preface)
        let sent = [0, 0, 17, 0, 0, 0, 0, 0, 1] + Self.goaway + Self.settings
        try self.send(sent)
        self.quiesce()
        #expect(try self.sent() == sent + Self.farewell)
        #expect(self.recorder.quiesced.isEmpty)
    }

    @Test func `a frame that is no acknowledgement is not taken for one`() throws {
        try self.receive(Self.preface)
        self.quiesce()
        // A PING of the client's with our data, and the same bytes inside a DATA frame.
        var question = Self.acknowledgement
        question[4] = 0
        try self.receive(question)
        try self.receive([0, 0, 17, 0, 0, 0, 0, 0, 1] + Self.acknowledgement)
        #expect(self.recorder.quiesced.isEmpty)
        try self.receive(Self.acknowledgement)
        #expect(self.recorder.quiesced.count == 1)
    }
}
#endif  // NIO
