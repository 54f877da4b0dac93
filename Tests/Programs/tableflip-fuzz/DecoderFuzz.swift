// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import TableflipCore

/// The decoder alone: bytes in, messages or a refusal out.
struct DecoderFuzz {
    private var decoder = FrameDecoder()
    private(set) var decoded = 0
    private(set) var refused = 0

    /// - Returns: which promise was broken.
    mutating func step(_ frames: inout FrameSource) -> String? {
        let bytes = frames.next()
        // Most frames come whole, some in two pieces.
        let cut = bytes.count > 1 && frames.below(8) == 0 ? frames.below(bytes.count) : 0
        if let failure = self.feed(bytes[..<cut]) ?? self.feed(bytes[cut...]) { return failure }
        // What waits for more bytes would swallow the frames to come: some are to go that way, not most.
        if self.decoder.pending > 0, frames.below(2) == 0 { self.decoder = FrameDecoder() }
        return nil
    }

    private mutating func feed(_ bytes: ArraySlice<UInt8>) -> String? {
        let before = self.decoder.pending
        self.decoder.append(bytes)
        guard self.decoder.pending == before + bytes.count else { return "pending is \(self.decoder.pending)" }
        do throws(WireError) {
            while let frame = try self.decoder.next() {
                self.decoded += 1
                if let failure = Self.problem(frame) { return failure }
            }
        } catch {
            self.refused += 1
            defer { self.decoder = FrameDecoder() }
            do throws(WireError) {
                _ = try self.decoder.next()
                return "\(error) was forgotten"
            } catch let again {
                return again == error ? nil : "\(error), then \(again)"
            }
        }
        // What waits for more bytes is less than one frame.
        guard self.decoder.pending < FrameHeader.size + Int(FrameHeader.maximumLength) else {
            return "\(self.decoder.pending) bytes are pending"
        }
        return nil
    }

    /// What was accepted is within the limits of what may be sent, and means the same when sent.
    static func problem(_ frame: FrameDecoder.Frame) -> String? {
        if case .unknown = frame.message { return nil }
        guard frame.descriptors == frame.message.descriptorCount else { return "\(frame.descriptors): \(frame)" }
        var decoder = FrameDecoder()
        decoder.append(frame.message.encoded())
        guard case .some(let again) = try? decoder.next(), again == frame, decoder.pending == 0 else {
            return "not the same when sent: \(frame)"
        }
        return nil
    }
}
