// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Synchronization
import TableflipCore
import TableflipSystem

/// A live connection that nobody serves at this moment: its descriptor, and what a protocol needs to go on with it.
///
/// It is what travels from a predecessor to its successor. Until it has arrived it can still be served here: whoever
/// takes the descriptor out serves the connection. It closes with its last reference.
public final class LiveDescriptor: Sendable {
    /// The name of the listener that the connection was accepted on.
    public let listener: String
    /// What was read from it and not used.
    public let unread: [UInt8]
    /// What else its protocol must remember.
    public let state: [UInt8]
    private let descriptor: Mutex<OwnedDescriptor?>
    /// It came from the predecessor, which still has a copy, and would serve it on if this process died.
    private let isReceived: Bool

    /// Makes a connection that can travel.
    /// - Parameters:
    ///   - descriptor: the connection, a stream socket. Nothing may read from it or write to it any more, through any
    ///     duplicate in this process.
    ///   - listener: the name of the listener it was accepted on.
    ///   - unread: what was read from it and not used; at most 256 KiB.
    ///   - state: what else its protocol must remember; at most 256 KiB.
    public convenience init(
        takingOwnershipOf descriptor: consuming OwnedDescriptor, listener: String, unread: [UInt8] = [],
        state: [UInt8] = []
    ) {
        self.init(
            takingOwnershipOf: descriptor, isReceived: false, listener: listener, unread: unread, state: state
        )
    }

    /// One that came from the predecessor.
    convenience init(receiving descriptor: consuming OwnedDescriptor, _ entry: Message.ConnectionBatch.Entry) {
        self.init(
            takingOwnershipOf: descriptor, isReceived: true, listener: entry.listener, unread: entry.unread,
            state: entry.state
        )
    }

    private init(
        takingOwnershipOf descriptor: consuming OwnedDescriptor, isReceived: Bool, listener: String, unread: [UInt8],
        state: [UInt8]
    ) {
        self.listener = listener
        self.unread = unread
        self.state = state
        self.isReceived = isReceived
        self.descriptor = Mutex(descriptor)
    }

    var isTaken: Bool { self.descriptor.withLock { $0.borrowed == nil } }

    /// Takes the connection out; the caller owns and closes it. It counts as served from here on: see ``isServed``.
    /// - Returns: the descriptor, close-on-exec; nil when it has been taken before, or has arrived at the successor.
    public func takeDescriptor() -> OwnedDescriptor? {
        self.descriptor.withLock { descriptor in
            // A whole optional is moved out: the mutex keeps nil.
            let taken = descriptor.take()
            if self.isReceived, let number = taken.borrowed { ServedMark.set(on: number) }
            return taken
        }
    }

    /// Lends the number for as long as nobody takes it; nil if somebody has.
    func borrowed() -> CInt? { self.descriptor.withLock { $0.borrowed } }

    /// Lends the number to be sent. What the connection has gone through before does not count any more.
    func lentToSuccessor() -> CInt? {
        let number = self.borrowed()
        if let number { ServedMark.clear(on: number) }
        return number
    }

    /// The successor has taken it out, and may have read from it and answered.
    var isServed: Bool { self.borrowed().map { ServedMark.isSet(on: $0) } ?? false }
}
