// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

/// A frame of the control socket: the header of the channel, with kinds of its own, and a payload that begins with the
/// sender's version.
package struct ControlFrame: Hashable, Sendable {
    /// What is spoken by this release.
    package static let version: UInt16 = 1

    package var kind: UInt8
    package var isOptional: Bool
    package var version: UInt16
    package var fields: ControlFields

    package init(kind: UInt8, isOptional: Bool = false, version: UInt16 = Self.version, fields: ControlFields) {
        self.kind = kind
        self.isOptional = isOptional
        self.version = version
        self.fields = fields
    }

    package func encoded() -> [UInt8] {
        var payload = ByteWriter()
        payload.write(self.version)
        payload.append(self.fields.encoded())
        var frame = ByteWriter()
        FrameHeader(
            kind: self.kind, isOptional: self.isOptional, descriptors: 0, length: UInt32(payload.bytes.count)
        ).write(to: &frame)
        frame.append(payload.bytes)
        return frame.bytes
    }

    fileprivate init(_ header: FrameHeader, payload: ArraySlice<UInt8>) throws(WireError) {
        self.kind = header.kind
        self.isOptional = header.isOptional
        var reader = ByteReader(payload, kind: header.kind)
        self.version = try reader.read()
        // A version that we do not speak may mean something else by its fields.
        self.fields =
            self.version == Self.version
            ? try ControlFields(reading: payload.dropFirst(2), kind: header.kind) : ControlFields(kind: header.kind)
    }
}

/// Cuts a stream of bytes into control frames. After it has thrown, it throws the same again.
package struct ControlDecoder {
    private let limit: UInt32
    private var buffer: [UInt8] = []
    private var failure: WireError?

    /// - Parameter limit: how long the payload of a frame may be.
    package init(limit: UInt32) { self.limit = limit }

    /// What has arrived of a frame that is not whole yet.
    package var pending: [UInt8] { self.buffer }

    package mutating func append(_ bytes: ArraySlice<UInt8>) { self.buffer.append(contentsOf: bytes) }

    /// The next whole frame; nil until more bytes arrive.
    package mutating func next() throws(WireError) -> ControlFrame? {
        if let failure { throw failure }
        do throws(WireError) {
            return try self.decode()
        } catch {
            self.failure = error
            self.buffer = []
            throw error
        }
    }

    private mutating func decode() throws(WireError) -> ControlFrame? {
        // What is no frame is seen by its first bytes: nobody waits for twelve of them.
        for (byte, expected) in zip(self.buffer, [0x54, 0x46] as [UInt8]) where byte != expected {
            throw .notAFrame(UInt16(self.buffer[0]) | UInt16(self.buffer.count > 1 ? self.buffer[1] : 0) << 8)
        }
        guard self.buffer.count >= FrameHeader.size else { return nil }
        var reader = ByteReader(self.buffer[..<FrameHeader.size])
        let header = try FrameHeader(from: &reader, limit: self.limit)
        guard header.descriptors == 0 else { throw .tooManyDescriptors(Int(header.descriptors)) }
        let end = FrameHeader.size + Int(header.length)
        guard self.buffer.count >= end else { return nil }
        let frame = try ControlFrame(header, payload: self.buffer[FrameHeader.size..<end])
        self.buffer.removeFirst(end)
        return frame
    }
}
