// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import CTableflip
import TableflipCore
import TableflipSystem

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// The channel: frames through a socket pair, with descriptors beside them that belong there or do not.
struct ChannelFuzz {
    private final class Session {
        let channel: ChannelSocket
        let peer: OwnedDescriptor
        /// What is sent, again and again.
        let file: OwnedDescriptor
        var sent = 0

        init() {
            let file = open("/dev/null", O_RDONLY | O_CLOEXEC)
            guard let pair = try? ChannelSocket.pair(), file >= 0 else { Fuzz.fail("no socket pair") }
            self.channel = ChannelSocket(
                takingOwnershipOf: OwnedDescriptor(takingOwnershipOf: pair.ours), capabilities: .current
            )
            self.peer = OwnedDescriptor(takingOwnershipOf: pair.theirs)
            self.file = OwnedDescriptor(takingOwnershipOf: file)
        }
    }

    private var session: Session?
    private(set) var heard = 0
    private(set) var violations = 0
    private(set) var received = 0

    /// - Returns: which promise was broken.
    mutating func step(_ frames: inout FrameSource) -> String? {
        let session = self.session ?? Session()
        let bytes = frames.below(2) == 0 ? frames.original() : frames.next()
        if let problem = self.send(bytes, session, &frames) { return problem }
        session.sent += 1
        // A peer that goes away in the middle.
        let ends = session.sent == 50 || frames.below(64) == 0
        if ends { shutdown(session.peer.borrowed, CInt(SHUT_WR)) }
        let (problem, isOver) = self.receive(session.channel, &frames)
        if let problem { return problem }
        if ends, !isOver { return "the end was not seen" }
        self.session = isOver ? nil : session
        return nil
    }

    /// Ends what is going on, so that nothing of it is open.
    mutating func finish() { self.session = nil }

    private mutating func send(
        _ bytes: [UInt8], _ session: Session, _ frames: inout FrameSource
    ) -> String? {
        guard !bytes.isEmpty else { return nil }
        // As many as the header says, mostly.
        var count = bytes.count > 5 ? min(Int(bytes[4]), Int(TF_DESCRIPTORS_PER_MESSAGE_MAX)) : 0
        if frames.below(16) == 0 { count = frames.below(4) }
        let numbers = [CInt](repeating: session.file.borrowed, count: count)
        let cut = frames.below(4) == 0 ? frames.below(bytes.count) : 0
        let sent =
            (cut > 0 ? self.write(bytes[..<cut], numbers, session) : true)
            && self.write(bytes[cut...], cut > 0 ? [] : numbers, session)
        return sent ? nil : "the socket does not take \(bytes.count) bytes: \(SystemCallError("sendmsg"))"
    }

    private func write(_ bytes: ArraySlice<UInt8>, _ numbers: [CInt], _ session: Session) -> Bool {
        // SAFETY: both buffers live through the call, which reads no more than the lengths given.
        bytes.withUnsafeBytes { tf_send(session.peer.borrowed, $0.baseAddress, $0.count, numbers, numbers.count) }
            == bytes.count
    }

    private mutating func receive(_ channel: ChannelSocket, _ frames: inout FrameSource) -> (String?, isOver: Bool) {
        var problem: String?
        var isOver = false
        channel.receive { arrival in
            if isOver { problem = "something follows the end" }
            switch consume arrival {
            case .message(let message, var descriptors):
                self.heard += 1
                self.received += descriptors.count
                if let count = message.descriptorCount, count != descriptors.count {
                    problem = "\(message.name) with \(descriptors.count) descriptors"
                }
                // Some are taken, the others go with the batch.
                if frames.below(2) == 0 {
                    while case .some(let descriptor) = descriptors.takeFirst() {
                        if fcntl(descriptor.borrowed, F_GETFD) & FD_CLOEXEC == 0 { problem = "not close-on-exec" }
                    }
                }
            case .violation:
                self.violations += 1
                isOver = true
            case .ended: isOver = true
            case .failed(let error):
                problem = "\(error)"
                isOver = true
            }
        }
        return (problem, isOver)
    }
}
