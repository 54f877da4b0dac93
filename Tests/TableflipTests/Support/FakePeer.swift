// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import CTableflip
import Dispatch
import TableflipCore
import TableflipSystem
import Testing

/// The other end of a channel, in the hands of a test: it says and hears what it is told to, whether that makes sense
/// or not. All waiting is done on a thread of its own.
final class FakePeer: @unchecked Sendable {
    enum Heard: Sendable {
        case message(Message, [Held])
        case violation(WireError)
        case ended
    }

    // SAFETY: what can change is used on `queue` only, which does one thing at a time.
    private let queue = DispatchQueue(label: "peer")
    private var channel: ChannelSocket?
    private var heard: [Heard] = []

    init(takingOwnershipOf socket: consuming OwnedDescriptor, _ kernel: Kernel) {
        self.channel = ChannelSocket(takingOwnershipOf: socket, capabilities: kernel.capabilities)
    }

    // MARK: Saying

    /// The descriptors are borrowed, and must stay open until they have arrived.
    func say(_ messages: Message..., with descriptors: [CInt] = []) async throws {
        try await self.onQueue {
            for message in messages { $0.channel?.send(message, descriptors: descriptors) }
        }
    }

    /// Bytes and descriptors as no correct peer would send them.
    func sayRaw(_ bytes: [UInt8], with descriptors: [CInt] = []) async throws {
        try await self.onQueue { peer in
            guard let channel = peer.channel else { throw SystemCallError("sendmsg", 0) }
            let sent = tf_send(channel.descriptor, bytes, bytes.count, descriptors, descriptors.count)
            guard sent == bytes.count else { throw SystemCallError("sendmsg") }
        }
    }

    /// Closes the channel, and does at once what comes next.
    func close(then next: @escaping @Sendable () -> Void = {}) async throws {
        try await self.onQueue { peer in
            peer.hearAll()
            peer.channel = nil
            next()
        }
    }

    // MARK: Hearing

    /// The next thing that arrives.
    func next() async throws -> Heard {
        try await self.onQueue { peer in
            try peer.waitForWord()
            return peer.heard.removeFirst()
        }
    }

    private func waitForWord() throws {
        let end = ContinuousClock.now + patience
        while self.heard.isEmpty {
            guard let channel, ContinuousClock.now < end else {
                throw TimedOut(what: "the other side of the channel")
            }
            var poll = Poll<Bool>()
            poll.add(true, channel.descriptor, channel.interest)
            _ = poll.wait(ContinuousClock.now.duration(to: end))
            self.hearAll()
        }
    }

    /// The next thing that arrives, which must be a message.
    func nextMessage() async throws -> (message: Message, descriptors: [Held]) {
        switch try await self.next() {
        case .message(let message, let descriptors): return (message, descriptors)
        case .violation(let error): throw TimedOut(what: "a message, and heard \(error)")
        case .ended: throw TimedOut(what: "a message, and the channel ended")
        }
    }

    func expect(_ message: Message, sourceLocation: SourceLocation = #_sourceLocation) async throws {
        #expect(try await self.nextMessage().message == message, sourceLocation: sourceLocation)
    }

    func expectAbort(
        _ code: UpgradeError.Code, sourceLocation: SourceLocation = #_sourceLocation
    ) async throws {
        let message = try await self.nextMessage().message
        guard case .abort(let abort) = message else {
            Issue.record("heard \(message) instead of an abort", sourceLocation: sourceLocation)
            return
        }
        #expect(abort.code == code.description, "\(abort.message)", sourceLocation: sourceLocation)
        #expect(!abort.message.isEmpty, sourceLocation: sourceLocation)
    }

    /// Skips over everything until the channel ends.
    func expectEnd() async throws {
        while true {
            if case .message = try await self.next() { continue }
            return
        }
    }

    /// Nothing has arrived that was not asked for.
    var isQuiet: Bool {
        get async throws {
            try await self.onQueue { peer in
                peer.hearAll()
                return peer.heard.isEmpty
            }
        }
    }

    /// Waits until something has arrived, and leaves it in the socket.
    func isSpokenTo() async throws {
        try await self.onQueue { peer in
            guard let channel = peer.channel, readable(channel.descriptor) else { throw TimedOut(what: "a word") }
        }
    }

    // MARK: -

    private func hearAll() {
        self.channel?.flush()
        self.channel?.receive { arrival in
            switch consume arrival {
            case .message(let message, var descriptors):
                var held: [Held] = []
                while let descriptor = descriptors.takeFirst() { held.append(Held(descriptor)) }
                self.heard.append(.message(message, held))
                self.channel?.peerMadeProgress()
            case .violation(let error): self.heard.append(.violation(error))
            case .ended: self.heard.append(.ended)
            case .failed: self.heard.append(.ended)
            }
        }
    }

    private func onQueue<Value: Sendable>(_ body: @escaping @Sendable (FakePeer) throws -> Value) async throws -> Value
    {
        try await withCheckedThrowingContinuation { continuation in
            self.queue.async { continuation.resume(with: Result { try body(self) }) }
        }
    }
}
