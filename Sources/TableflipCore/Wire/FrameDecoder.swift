// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

/// Cuts a stream of bytes into messages. After it has thrown, it throws the same again: nothing a peer sends after
/// nonsense is looked at.
package struct FrameDecoder {
    package struct Frame: Hashable, Sendable {
        package var message: Message
        /// How many of the descriptors that arrived belong to it.
        package var descriptors: Int
    }

    private var buffer: [UInt8] = []
    private var start = 0
    private var failure: WireError?

    package init() {}

    /// Bytes that have arrived and belong to a frame that is not whole yet.
    package var pending: Int { self.buffer.count - self.start }

    package mutating func append(_ bytes: [UInt8]) { self.append(bytes[...]) }

    /// No generic type: other modules could not specialise it, and would hand over byte by byte.
    package mutating func append(_ bytes: ArraySlice<UInt8>) {
        if self.start > 0 {
            self.buffer.removeFirst(self.start)
            self.start = 0
        }
        self.buffer.append(contentsOf: bytes)
    }

    /// The next whole message; nil until more bytes arrive.
    package mutating func next() throws(WireError) -> Frame? {
        if let failure { throw failure }
        do throws(WireError) {
            return try self.decode()
        } catch {
            self.failure = error
            throw error
        }
    }

    /// To be called when the channel has ended.
    package func finish() throws(WireError) {
        if let failure { throw failure }
        if self.pending > 0 { throw .endedInsideFrame }
    }

    private mutating func decode() throws(WireError) -> Frame? {
        guard let header = try self.peekHeader(), self.pending >= FrameHeader.size + Int(header.length) else {
            return nil
        }
        let begin = self.start + FrameHeader.size
        let end = begin + Int(header.length)
        let message = try Message(header: header, payload: self.buffer[begin..<end])
        self.start = end
        return Frame(message: message, descriptors: Int(header.descriptors))
    }

    /// The header of a frame that has begun; its limits are checked before its payload is waited for.
    package func peekHeader() throws(WireError) -> FrameHeader? {
        guard self.pending >= FrameHeader.size else { return nil }
        var reader = ByteReader(self.buffer[self.start..<self.start + FrameHeader.size])
        return try FrameHeader(from: &reader)
    }
}
