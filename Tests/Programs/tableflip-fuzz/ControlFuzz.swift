// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import TableflipCore

/// The control socket's decoder: bytes in, a request, a reply or a refusal out.
struct ControlFuzz {
    private var decoder = ControlDecoder(limit: ControlLimit.request)
    private(set) var decoded = 0
    private(set) var refused = 0

    /// - Returns: which promise was broken.
    mutating func step(_ frames: inout FrameSource) -> String? {
        let bytes = frames.next()
        let cut = bytes.count > 1 && frames.below(8) == 0 ? frames.below(bytes.count) : 0
        if let failure = self.feed(bytes[..<cut]) ?? self.feed(bytes[cut...]) { return failure }
        if !self.decoder.pending.isEmpty, frames.below(2) == 0 { self.renew() }
        return nil
    }

    private mutating func renew() { self.decoder = ControlDecoder(limit: ControlLimit.request) }

    private mutating func feed(_ bytes: ArraySlice<UInt8>) -> String? {
        self.decoder.append(bytes)
        do throws(WireError) {
            while let frame = try self.decoder.next() {
                guard frame.version == ControlFrame.version else { continue }
                if let problem = try Self.problem(frame) { return problem }
                self.decoded += 1
            }
        } catch {
            self.refused += 1
            self.renew()
        }
        guard self.decoder.pending.count < FrameHeader.size + Int(ControlLimit.request) else {
            return "\(self.decoder.pending.count) bytes are pending"
        }
        return nil
    }

    /// What was accepted means the same when sent.
    private static func problem(_ frame: ControlFrame) throws(WireError) -> String? {
        if ControlRequest.Kind(rawValue: frame.kind) != nil {
            let request = try ControlRequest(frame)
            return try self.again(request.frame, ControlRequest.init) == request ? nil : "not the same: \(request)"
        }
        let reply = try ControlReply(frame)
        if case .unknown = reply { return nil }
        return try self.again(reply.frame, ControlReply.init) == reply ? nil : "not the same: \(reply)"
    }

    private static func again<Value>(
        _ frame: ControlFrame, _ read: (ControlFrame) throws(WireError) -> Value
    ) throws(WireError) -> Value? {
        var decoder = ControlDecoder(limit: ControlLimit.reply)
        decoder.append(frame.encoded()[...])
        return try decoder.next().map(read)
    }
}
