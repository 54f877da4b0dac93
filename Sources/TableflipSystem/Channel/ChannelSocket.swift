// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import CTableflip
package import TableflipCore

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// One end of the channel between two generations: frames with descriptors over a stream socket.
///
/// Never blocks, and never stops reading because it cannot write. Used by one thread at a time. What is sent with a
/// message is borrowed and must stay open until the peer has acknowledged it: not every system keeps a descriptor alive
/// while it travels.
package final class ChannelSocket {
    package enum Arrival: ~Copyable {
        case message(Message, DescriptorBatch)
        /// The peer broke the protocol; nothing more is read.
        case violation(WireError)
        /// The peer has closed its end, or died.
        case ended
        /// This process cannot use its own end any more: the fault is here. Nothing more is read.
        case failed(SystemCallError)
    }

    private struct Outgoing {
        var bytes: [UInt8]
        var offset = 0
        var descriptors: [CInt]
    }

    private let socket: OwnedDescriptor
    private let capabilities: Capabilities
    private var decoder = FrameDecoder()
    private var arrived = DescriptorBatch()
    private var outgoing: [Outgoing] = []
    private var outgoingStart = 0
    private var droppedDescriptors = 0
    /// Nothing more is read from it. A channel that has ended polls readable for ever.
    package private(set) var isOver = false
    /// Made when something is read. Room for most batches; more would cost a successor the page faults of its first touch.
    private var input: [UInt8] = []
    /// The kernel has no room for more, such as for descriptors in flight: sending goes on after the next acknowledgement, and
    /// is tried again at this moment.
    private var nextTry: Moment?
    private static let pause = Duration.milliseconds(50)
    /// Why nothing can be sent or read here, until it is told.
    private var failure: (error: SystemCallError, at: Moment)?
    /// The process id of the peer, as the kernel saw it with the last bytes; 0 before any.
    package private(set) var peer: CInt = 0
    /// How many bytes one system call moves at most: tests make every read and write a short one.
    package var bytesPerCall = Int.max

    package init(takingOwnershipOf socket: consuming OwnedDescriptor, capabilities: Capabilities) {
        self.socket = socket
        self.capabilities = capabilities
    }

    /// A connected pair: our end, which learns who sends, and the end to give away.
    package static func pair() throws(SystemCallError) -> (ours: CInt, theirs: CInt) {
        var ends: [CInt] = [-1, -1]
        try check("socketpair") { tf_socketpair(&ends) }
        // The lower number is given away: what has a higher one than it is not even copied when a process is started.
        let (theirs, ours) = (ends[0], ends[1])
        do throws(SystemCallError) {
            try check("setsockopt") { tf_ask_for_sender(ours) }
        } catch {
            for end in ends { OwnedDescriptor(takingOwnershipOf: end).close() }
            throw error
        }
        return (ours, theirs)
    }

    package var descriptor: CInt { self.socket.borrowed }

    /// What poll(2) should wake up for.
    package var interest: Int16 {
        Int16(POLLIN) | (self.outgoingStart < self.outgoing.count && self.nextTry == nil ? Int16(POLLOUT) : 0)
    }

    /// When ``flush()`` and ``receive(_:)`` have something to do though poll(2) says nothing.
    package var deadline: Moment? { self.isOver ? nil : self.failure?.at ?? self.nextTry }

    // MARK: Sending

    /// Queues a message and writes what the socket takes. The descriptors are borrowed; see the type.
    package func send(_ message: Message, descriptors: [CInt] = []) {
        precondition(message.descriptorCount == descriptors.count, "\(message.name) with \(descriptors.count)")
        self.send(frame: message.encoded(), descriptors: descriptors)
    }

    /// The same with a message that has been put into bytes before.
    package func send(frame: [UInt8], descriptors: [CInt]) {
        self.outgoing.append(Outgoing(bytes: frame, descriptors: descriptors))
        self.flush()
    }

    /// Writes what the socket takes. Failures show when reading.
    package func flush() {
        self.nextTry = nil
        // Nothing may follow what was not sent before that has been told.
        if self.failure != nil { self.drop() }
        while self.outgoingStart < self.outgoing.count, self.writeFirst() {}
        if self.outgoingStart == self.outgoing.count {
            self.outgoing.removeAll(keepingCapacity: true)
            self.outgoingStart = 0
        }
    }

    /// Whether to go on with the next.
    private func writeFirst() -> Bool {
        var first = self.outgoing[self.outgoingStart]
        let descriptors = first.offset == 0 ? first.descriptors : []
        // SAFETY: both buffers live through the call, which reads no more than the lengths given.
        let written = first.bytes[first.offset...].prefix(self.bytesPerCall).withUnsafeBytes { bytes in
            descriptors.withUnsafeBufferPointer {
                tf_send(self.socket.borrowed, bytes.baseAddress, bytes.count, $0.baseAddress, $0.count)
            }
        }
        if written < 0 {
            switch errno {
            case EINTR: return true
            case EAGAIN: return false
            case ETOOMANYREFS, ENOBUFS, ENOMEM,
                // Darwin's word for no room now for these descriptors (xnu bsd/kern/uipc_socket.c, sosendcheck).
                EMSGSIZE where !descriptors.isEmpty:
                self.nextTry = Moment.now + Self.pause
                return false
            // The peer is gone: what it can no longer hear needs no sending.
            case EPIPE, ECONNRESET, ENOTCONN: break
            default: self.fail("sendmsg")
            }
            self.drop()
            return false
        }
        first.offset += written
        first.descriptors = []
        self.outgoing[self.outgoingStart] = first
        if first.offset == first.bytes.count { self.outgoingStart += 1 }
        return true
    }

    /// What waits is not sent any more.
    private func drop() {
        self.droppedDescriptors = self.unsentDescriptors
        self.outgoingStart = self.outgoing.count
    }

    /// How many of the descriptors, the last ones, have not left this process: not a byte of their messages has.
    package var unsentDescriptors: Int {
        self.outgoing[self.outgoingStart...].reduce(self.droppedDescriptors) { $0 + $1.descriptors.count }
    }

    /// The peer has taken descriptors out of the socket: more may go in.
    package func peerMadeProgress() { self.flush() }

    private func fail(_ call: String) { self.failure = self.failure ?? (SystemCallError(call), Moment.now) }

    // MARK: Receiving

    /// Hands over everything that has arrived, in order. After anything but a message nothing follows.
    package func receive(_ handle: (consuming Arrival) -> Void) {
        while !self.isOver {
            do throws(WireError) {
                while let frame = try self.decoder.next() {
                    guard frame.descriptors <= self.arrived.count else {
                        throw .descriptorsMissing(
                            kind: frame.message.kind, expected: frame.descriptors, arrived: self.arrived.count
                        )
                    }
                    let descriptors = self.arrived.take(frame.descriptors)
                    handle(.message(frame.message, descriptors))
                    // What was handed over may have ended this channel.
                    if self.isOver { return }
                }
                try self.checkUndeclared()
                guard try self.read() else {
                    guard let failure = self.failure.take() else { return }
                    self.isOver = true
                    return handle(.failed(failure.error))
                }
            } catch {
                self.isOver = true
                handle(.violation(error))
                return
            }
            if self.sawEnd {
                self.isOver = true
                handle(.ended)
            }
        }
    }

    /// Stops reading for good.
    package func stopReading() { self.isOver = true }

    private var sawEnd = false

    /// Reads once. Returns whether anything has changed.
    private func read() throws(WireError) -> Bool {
        var numbers = [CInt](repeating: -1, count: Int(TF_DESCRIPTORS_PER_MESSAGE_MAX))
        var received = tf_received()
        if self.input.isEmpty { self.input = [UInt8](repeating: 0, count: 16 * 1024) }
        // SAFETY: `input` and `numbers` live through the call, which writes no more than their lengths.
        let count = self.input.withUnsafeMutableBytes { bytes in
            numbers.withUnsafeMutableBufferPointer {
                tf_receive(
                    self.socket.borrowed, bytes.baseAddress, min(bytes.count, self.bytesPerCall), $0.baseAddress,
                    self.capabilities.receivesCloseOnExec, &received
                )
            }
        }
        if count < 0 {
            switch errno {
            case EINTR: return true
            case EAGAIN: return false
            case ECONNRESET, ENOTCONN: return try self.noteEnd()  // the peer closed with data unread
            // Darwin's way to say that there is no room for the descriptors.
            case EMSGSIZE, EMFILE: throw .descriptorsDropped
            default:
                self.fail("recvmsg")
                return false
            }
        }
        self.arrived.append(takingOwnershipOf: numbers.prefix(received.descriptor_count))
        if received.truncated { throw .descriptorsDropped }
        if count == 0 { return try self.noteEnd() }
        if received.sender > 0 { self.peer = received.sender }
        self.decoder.append(self.input[..<count])
        return true
    }

    /// Returns that something has changed.
    private func noteEnd() throws(WireError) -> Bool {
        try self.decoder.finish()
        self.sawEnd = true
        return true
    }

    /// Descriptors travel with the first byte of their frame, so between two frames there are none.
    private func checkUndeclared() throws(WireError) {
        let declared = Int(try self.decoder.peekHeader()?.descriptors ?? 0)
        let headerIsWhole = self.decoder.pending == 0 || self.decoder.pending >= FrameHeader.size
        if headerIsWhole, self.arrived.count > declared { throw .descriptorsUndeclared(self.arrived.count - declared) }
        if self.arrived.count > FrameHeader.maximumDescriptors { throw .descriptorsUndeclared(self.arrived.count) }
    }
}
