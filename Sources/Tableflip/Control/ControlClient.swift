// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Synchronization
import TableflipCore
import TableflipSystem

/// Somebody at the control socket. Lives on the engine's thread.
final class ControlClient {
    let peer: LocalConnection.Peer
    /// nil once it is closed, or on its way to another process.
    private var socket: OwnedDescriptor?
    private var decoder = ControlDecoder(limit: ControlLimit.request)
    private var unsent: [UInt8] = []
    var mode: ControlState.Mode
    /// The upgrade that it asked for here.
    var ticket: ControlTicket?
    /// When it must have said what it wants, or have read what it was told; nil: it may wait.
    var deadline: Moment?

    /// What a slow reader may be behind.
    static let backlog = 128 * 1024

    init(
        takingOwnershipOf socket: consuming OwnedDescriptor, _ peer: LocalConnection.Peer,
        mode: ControlState.Mode = .silent, unread: [UInt8] = [], unsent: [UInt8] = []
    ) {
        self.socket = .some(consume socket)
        self.peer = peer
        self.mode = mode
        self.unsent = unsent
        self.decoder.append(unread[...])
    }

    var number: CInt? { self.socket.borrowed }

    /// What poll(2) should wake up for. Whoever has been told everything has nothing more to say.
    var interest: Int16 {
        let reading = self.mode == .answered ? 0 : Poll<Engine.Source>.readable
        return self.unsent.isEmpty ? reading : reading | Poll<Engine.Source>.writable
    }

    var hasUnsent: Bool { !self.unsent.isEmpty }

    func close() { self.socket = nil }

    /// Queues a reply, and writes what the socket takes. Whoever is too far behind is cut.
    func tell(_ reply: ControlReply) {
        guard self.mode != .answered, self.socket != nil else { return }
        self.unsent += reply.frame.encoded()
        if reply.isLast { self.mode = .answered }
        self.flush()
        // A single answer may be as large as it is.
        if self.unsent.count > Self.backlog, self.mode != .answered { self.close() }
    }

    func flush() {
        guard let number = self.number else { return }
        while !self.unsent.isEmpty {
            switch LocalConnection.send(self.unsent[...], to: number) {
            case .bytes(let count): self.unsent.removeFirst(count)
            case .wouldBlock: return
            case .ended: return self.close()
            }
        }
        if self.mode == .answered { self.close() }
    }

    /// What it asks for, once that is whole. It asks once: what it says afterwards, it should not.
    func request() throws(WireError) -> ControlFrame? {
        guard let number = self.number else { return nil }
        var bytes = [UInt8](repeating: 0, count: 4096)
        // Not more at once: others wait.
        for _ in 0..<8 {
            if self.mode == .silent, let frame = try self.decoder.next() { return frame }
            switch LocalConnection.receive(from: number, into: &bytes) {
            case .bytes where self.mode != .silent:
                self.close()
                return nil
            case .bytes(let count): self.decoder.append(bytes[..<count])
            case .wouldBlock: return nil
            case .ended:
                self.close()
                return nil
            }
        }
        return nil
    }

    /// What had been read from it in another process.
    func requestReadBefore() throws(WireError) -> ControlFrame? {
        self.mode == .silent ? try self.decoder.next() : nil
    }

    /// Takes it out, to go on in another process.
    func depart(from listener: String, at now: Moment) -> LiveDescriptor? {
        let left = self.deadline.map { Int64(now.duration(to: $0).inMilliseconds) }
        let state = ControlState(mode: self.mode, unsent: self.unsent, patienceMilliseconds: left).encoded()
        let socket = self.socket.take()
        guard let socket else { return nil }
        return LiveDescriptor(
            takingOwnershipOf: socket, listener: listener, unread: self.decoder.pending, state: state
        )
    }
}

/// Takes the outcome of what was asked for to the end of the engine's turn.
final class ControlTicket: Sendable {
    private let outcome = Mutex<Result<Void, UpgradeError>?>(nil)
    /// Whether success is the end of it; else the client goes along to the next process.
    private let isFulfilled: Bool
    /// What it asked for, if that is not an upgrade.
    private let rehearsal: Rehearsal?

    init(isFulfilled: Bool = false, rehearsal: Rehearsal? = nil) {
        self.isFulfilled = isFulfilled
        self.rehearsal = rehearsal
    }

    /// As a `Reply`.
    func hear<Value>(_ result: Result<Value, UpgradeError>) {
        self.outcome.withLock { $0 = result.map { _ in () } }
    }

    /// The last word to the client; nil: there is more to come.
    var answer: ControlReply? {
        self.outcome.withLock { outcome in
            switch outcome {
            case .failure(let failure):
                self.rehearsal?.answer(afterwards: failure) ?? .failed(ControlFailure(failure))
            case .success where self.isFulfilled: .done
            default: nil
            }
        }
    }
}
