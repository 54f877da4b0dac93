// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Logging
import TableflipCore
import TableflipSystem

/// The clients of the control socket: who they are, what they ask, and what they are told. It decides nothing about
/// upgrades. Lives on the engine's thread, and never blocks it.
final class ControlServer {
    /// Something that the engine is to do for a client.
    struct Order {
        var client: Int
        var request: ControlRequest
    }

    /// More than that, and the one that has been silent for longest is cut.
    static let clientLimit = 64
    private static let eventLimit = 256

    let configuration: Upgrader.ControlSocket
    let listener: CarriedDescriptor
    /// For a client that has not said what it wants, or does not read what it was told.
    private let patience: Duration
    private let logger: Logger
    private var clients: [Int: ControlClient] = [:]
    /// Clients are numbered in the order in which they came; 0 is the listener.
    private var lastID = 0
    /// What has happened in this process: for clients that come from the one before it.
    private var events: [ControlEvent] = []
    var history: ControlHistory
    /// Where nothing can be accepted for want of descriptors, the listener is not looked at until then.
    private var pausedUntil: Moment?

    init(
        _ configuration: Upgrader.ControlSocket, _ listener: CarriedDescriptor, _ history: ControlHistory,
        _ patience: Duration, _ logger: Logger
    ) {
        self.configuration = configuration
        self.listener = listener
        self.history = history
        self.patience = patience
        self.logger = logger
    }

    var isEmpty: Bool { self.clients.isEmpty }

    // MARK: The loop

    /// - Parameters:
    ///   - poll: where to add them.
    ///   - accepts: whether this process is the one that answers.
    func addInterests(to poll: inout Poll<Engine.Source>, accepts: Bool) {
        if accepts, self.pausedUntil == nil, let number = self.listener.withDescriptor({ $0 }) {
            poll.add(.control(0), number, Poll<Engine.Source>.readable)
        }
        // Who came first is heard first.
        for (id, client) in self.clients.sorted(by: { $0.key < $1.key }) {
            if let number = client.number { poll.add(.control(id), number, client.interest) }
        }
    }

    var nextDeadline: Moment? {
        (self.clients.values.compactMap(\.deadline) + [self.pausedUntil].compactMap { $0 }).min()
    }

    /// Accepts, or listens to one client.
    func look(at id: Int) -> Order? {
        guard id > 0 else {
            self.acceptAll()
            return nil
        }
        guard let client = self.clients[id] else { return nil }
        client.flush()
        return self.hear(id, client) { client throws(WireError) in try client.request() }
    }

    private func hear(
        _ id: Int, _ client: ControlClient, _ read: (ControlClient) throws(WireError) -> ControlFrame?
    ) -> Order? {
        defer { self.forgetClosed() }
        do throws(WireError) {
            guard let frame = try read(client) else { return nil }
            guard frame.version == ControlFrame.version else {
                self.answer(id, .failed(.version(frame.version)))
                return nil
            }
            let request = try ControlRequest(frame)
            client.deadline = nil
            self.logger.info(
                "control: \(request.name)",
                metadata: ["uid": "\(client.peer.user)", "pid": "\(client.peer.process)"].merging(request.metadata) {
                    $1
                }
            )
            return Order(client: id, request: request)
        } catch {
            self.logger.warning(
                "control: a client sent \(error), and is cut",
                metadata: ["uid": "\(client.peer.user)", "pid": "\(client.peer.process)"]
            )
            self.answer(id, .failed(.badRequest(error)))
            return nil
        }
    }

    private func acceptAll() {
        // Not more at once: an upgrade may be waiting.
        for _ in 0..<16 {
            guard let number = self.listener.withDescriptor({ $0 }) else { return }
            do throws(SystemCallError) {
                guard let socket = try LocalConnection.accept(from: number) else { return }
                let borrowed = socket.borrowed
                let peer = try LocalConnection.peer(of: borrowed)
                self.welcome(ControlClient(takingOwnershipOf: socket, peer))
            } catch {
                self.logger.warning("control: no client can be accepted: \(error)")
                self.pausedUntil = Moment.now + .seconds(1)
                return
            }
        }
    }

    private func welcome(_ client: ControlClient) {
        self.lastID += 1
        let id = self.lastID
        client.deadline = Moment.now + self.patience
        self.clients[id] = client
        let user = client.peer.user
        guard user == LocalConnection.ownUser || user == 0 || self.configuration.allowedUsers.contains(user) else {
            self.logger.warning(
                "control: a client is not permitted", metadata: ["uid": "\(user)", "pid": "\(client.peer.process)"]
            )
            return self.answer(id, .failed(.notPermitted(client.peer)))
        }
        guard self.clients.count > Self.clientLimit else { return }
        let silent = self.clients.filter { $0.value.mode == .silent && $0.key != id }.keys.min()
        if let silent {
            // It may only have been slow to ask.
            self.answer(silent, .failed(.busy))
            self.cut(silent, "was silent, and others came")
        } else {
            self.answer(id, .failed(.busy))
        }
    }

    private func cut(_ id: Int, _ why: String) {
        guard let client = self.clients.removeValue(forKey: id) else { return }
        self.logger.debug(
            "control: a client \(why): cut",
            metadata: ["uid": "\(client.peer.user)", "pid": "\(client.peer.process)"]
        )
        client.close()
    }

    func passDeadlines() {
        let now = Moment.now
        if let pausedUntil, pausedUntil <= now { self.pausedUntil = nil }
        for (id, client) in self.clients {
            guard let deadline = client.deadline, deadline <= now else { continue }
            self.cut(id, client.mode == .silent ? "said nothing for \(self.patience)" : "did not read its answer")
        }
    }

    private func forgetClosed() {
        for (id, client) in self.clients where client.number == nil { self.clients[id] = nil }
    }

    // MARK: Telling

    func answer(_ id: Int, _ reply: ControlReply) {
        guard let client = self.clients[id] else { return }
        client.tell(reply)
        if client.hasUnsent, reply.isLast { client.deadline = Moment.now + self.patience }
        self.forgetClosed()
    }

    /// The client hears all events from here on.
    func follow(_ id: Int, _ ticket: ControlTicket? = nil) {
        self.clients[id]?.mode = ticket == nil ? .watching : .upgrading
        self.clients[id]?.ticket = ticket
    }

    /// To everybody who watches. What only tells how far something has come is not kept for those who come later.
    func tell(_ event: ControlEvent, isProgress: Bool = false) {
        if !isProgress {
            self.events.append(event)
            if self.events.count > Self.eventLimit { self.events.removeFirst() }
        }
        for client in self.clients.values where client.mode == .watching || client.mode == .upgrading {
            client.tell(.event(event))
        }
        self.forgetClosed()
    }

    /// Answers those who have nothing more to hear.
    func answerTickets() {
        for (id, client) in self.clients {
            guard client.mode == .upgrading, let answer = client.ticket?.answer else { continue }
            self.answer(id, answer)
        }
    }

    /// The process before this one has left: whoever waited for the upgrade, has seen its end.
    func answerThoseWhoCameAlong() {
        for (id, client) in self.clients where client.mode == .upgrading && client.ticket == nil {
            self.answer(id, .done)
        }
    }

    // MARK: From process to process

    /// All clients, to go on elsewhere.
    func depart() -> [LiveDescriptor] {
        defer { self.clients = [:] }
        let now = Moment.now
        return self.clients.sorted { $0.key < $1.key }.compactMap { $0.value.depart(from: self.listener.name, at: now) }
    }

    /// The successor does not take them.
    func sayGoodbye() {
        for (id, client) in self.clients where client.mode == .upgrading || client.mode == .watching {
            self.answer(id, client.mode == .upgrading ? .done : .failed(.notFollowed))
        }
    }

    /// A client of the process before this one goes on here, from where it was.
    func adopt(_ entry: Message.ConnectionBatch.Entry, _ socket: consuming OwnedDescriptor) -> Order? {
        let number = socket.borrowed
        // Both are by our own kind of process: what is wrong with them is a connection lost, and no more.
        guard let state = try? ControlState(reading: entry.state), let peer = try? LocalConnection.peer(of: number)
        else {
            self.logger.warning("control: a client was handed over that cannot be read: closed")
            return nil
        }
        self.lastID += 1
        let (id, client) = (
            self.lastID,
            ControlClient(
                takingOwnershipOf: socket, peer, mode: state.mode, unread: entry.unread, unsent: state.unsent
            )
        )
        self.clients[id] = client
        // Its time goes on where it was: a new process is no new beginning.
        client.deadline = state.patienceMilliseconds.map {
            Moment.now + .milliseconds(min(max(0, $0), Int64(self.patience.inMilliseconds)))
        }
        client.flush()
        if state.mode == .watching || state.mode == .upgrading {
            for event in self.events { client.tell(.event(event)) }
        }
        return self.hear(id, client) { client throws(WireError) in try client.requestReadBefore() }
    }
}

extension ControlRequest {
    fileprivate var metadata: Logger.Metadata {
        let order: ControlOrder
        switch self {
        case .upgrade(let wanted), .check(let wanted), .rehearse(let wanted): order = wanted
        default: return [:]
        }
        var metadata: Logger.Metadata = [:]
        if let milliseconds = order.timeoutMilliseconds { metadata["timeout"] = "\(milliseconds) ms" }
        if let milliseconds = order.probationMilliseconds { metadata["probation"] = "\(milliseconds) ms" }
        metadata["executable"] = order.executable.map { "\($0)" }
        metadata["environmentFile"] = order.environmentFile.map { "\($0)" }
        return metadata
    }
}

extension ControlFailure {
    /// Codes that are no ``UpgradeError/Code``: they are about the conversation.
    fileprivate static func version(_ theirs: UInt16) -> Self {
        .init(
            code: "controlVersion",
            message: "the request is in version \(theirs) of the control protocol, and this process speaks version "
                + "\(ControlFrame.version)",
            cure: "Use the tableflipctl of the release that the service was built with."
        )
    }

    fileprivate static func badRequest(_ error: WireError) -> Self {
        .init(
            code: "badRequest", message: "the request is \(error)",
            cure: "Use the tableflipctl of the release that the service was built with."
        )
    }

    fileprivate static func notPermitted(_ peer: LocalConnection.Peer) -> Self {
        .init(
            code: "notPermitted",
            message: "user \(peer.user) may not control this service, which runs as user \(LocalConnection.ownUser)",
            cure: "Ask as that user or as root, or let the service allow this one (ControlSocket.allowedUsers)."
        )
    }

    fileprivate static let busy = Self(
        code: "busy", message: "\(ControlServer.clientLimit) clients are waiting at the control socket",
        cure: "End some of them: they watch, or wait for an upgrade."
    )

    fileprivate static let notFollowed = Self(
        code: "notFollowed", message: "the new process does not listen on this control socket",
        cure: "Look at its configuration: controlSocket.", serving: "successor"
    )
}
