// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

#if NIO
import Logging
import NIOCore
import NIOPosix
import Tableflip

/// The connections of one server on one event loop, and their way out and in. For that loop only.
///
/// Connections move in small batches, with room for the loop's other work in between: a task that submits itself again
/// would starve the sockets, because a loop runs tasks until there are none before it looks at them
/// (NIOPosix/SelectableEventLoop.swift). A timer in the future lets it.
final class LoopConnections {
    /// How many go into one message, how many may be on their way, and how many are adopted before the loop looks at its
    /// sockets again. The second is the dial between the time of the drain and the latency of those who are being served:
    /// with 64 and 256 and no pause thousands move a third faster, and busy neighbours wait 100 ms.
    /// Numbers and not a time: on a busy machine most of a time passes while another process runs, and those who wait to
    /// be adopted need many turns of the loop.
    private static let batch = 16
    private static let window = 32
    private static let slice = 4
    private static let pause = TimeAmount.microseconds(1)

    private enum Phase {
        case serving
        case moving(ConnectionExporter)
        case finishing(now: Bool)
        /// Nobody waits for them any more.
        case cutting
    }

    enum Leaving {
        case ended
        case parked
    }

    let loop: any EventLoop
    let listener: String
    let logger: Logger
    private let counts: LiveCounts
    private let setUp: @Sendable (LiveConnection) -> EventLoopFuture<Void>
    private let spread: Duration
    private var phase = Phase.serving
    private var heads: [ConnectionHead] = []

    /// What moves: those that have just come to rest go first, since their peers speak next.
    private var first = CircularBuffer<ConnectionHead>()
    private var others: [ConnectionHead] = []
    private var passIsScheduled = false
    private var inTransit = 0
    private var whenEmpty: EventLoopPromise<Void>?

    /// What has come and is not adopted yet.
    private var arrivals = CircularBuffer<(LiveDescriptor, Arrival)>()
    private var isAdopting = false

    init(
        loop: any EventLoop, listener: String, counts: LiveCounts, spread: Duration, logger: Logger,
        setUp: @escaping @Sendable (LiveConnection) -> EventLoopFuture<Void>
    ) {
        self.loop = loop
        self.listener = listener
        self.counts = counts
        self.spread = spread
        self.logger = logger
        self.setUp = setUp
    }

    var isMoving: Bool { if case .moving = self.phase { true } else { false } }
    var isFinishing: Bool { if case .finishing = self.phase { true } else { false } }
    private var isCutting: Bool { if case .cutting = self.phase { true } else { false } }
    var isLeaving: Bool { if case .serving = self.phase { false } else { true } }

    /// Runs something when the handlers that are on the stack have returned.
    func afterThis(_ body: @escaping () -> Void) { self.loop.assumeIsolated().execute(body) }

    // MARK: Coming and going

    /// Builds the pipeline of a connection, whether it was accepted or adopted.
    func initialise(
        _ channel: any Channel, unread: [UInt8] = [], resumed: LiveConnection.Resumed? = nil,
        isTakenBack: Bool = false
    ) -> EventLoopFuture<Void> {
        let head = ConnectionHead(
            channel: channel, connections: self, unread: unread, resumed: resumed, isTakenBack: isTakenBack
        )
        do {
            try channel.pipeline.syncOperations.addHandler(head, position: .first)
        } catch {
            return channel.eventLoop.makeFailedFuture(error)
        }
        return self.setUp(LiveConnection(head: head))
    }

    func join(_ head: ConnectionHead) {
        head.index = self.heads.count
        self.heads.append(head)
        self.counts.opened()
    }

    func leave(_ head: ConnectionHead, as leaving: Leaving) {
        guard let index = head.index else { return }
        head.index = nil
        let last = self.heads.removeLast()
        if last !== head {
            self.heads[index] = last
            last.index = index
        }
        // Counted as on its way before it is no longer counted here: nobody may see a moment without it.
        if leaving == .parked { self.inTransit += 1 }
        self.counts.left(drained: leaving == .ended && self.isLeaving && !self.isCutting)
        self.noteIfEmpty()
    }

    /// A connection that has become active, or speaks another protocol, while this process leaves.
    func greet(_ head: ConnectionHead) {
        guard head.channel.isActive else { return }
        switch self.phase {
        case .serving: break
        case .moving where head.couldMove: self.enqueueFirst(head)
        case .moving: head.finish(now: false)
        case .finishing(let now): head.finish(now: now)
        case .cutting: head.cut()
        }
    }

    private func noteIfEmpty() {
        guard self.heads.isEmpty, self.arrivals.isEmpty, self.inTransit == 0, let whenEmpty = self.whenEmpty else {
            return
        }
        self.whenEmpty = nil
        whenEmpty.succeed()
    }

    /// Completes when every connection has ended or arrived elsewhere.
    func emptied() -> EventLoopFuture<Void> {
        let promise = self.whenEmpty ?? self.loop.makePromise()
        self.whenEmpty = promise
        // The last one may have left before.
        self.noteIfEmpty()
        return promise.futureResult
    }

    // MARK: Out

    /// Moves what can move, tells the rest to end, and completes when nothing is left.
    func move(to successor: ConnectionExporter) -> EventLoopFuture<Void> {
        self.phase = .moving(successor)
        self.others = self.heads.filter(\.couldMove)
        self.finish(self.heads.filter { !$0.couldMove }, now: false)
        self.schedulePass()
        return self.emptied()
    }

    /// Nobody takes them: each is told to end, and this completes when they have.
    func finish(now: Bool) -> EventLoopFuture<Void> {
        switch self.phase {
        case .moving, .cutting: break
        case .serving, .finishing:
            self.phase = .finishing(now: now)
            self.finish(self.heads, now: now)
        }
        return self.emptied()
    }

    /// Each ends here and now, as it is.
    func cut() {
        self.phase = .cutting
        if !self.heads.isEmpty {
            self.logger.warning(
                "connections are cut: the task that waits for them is cancelled",
                metadata: ["connections": "\(self.heads.count)"]
            )
        }
        self.first.removeAll()
        self.others.removeAll()
        for head in self.heads { head.cut() }
    }

    /// Evenly over a time, so that not all of their peers come back at one instant.
    private func finish(_ heads: [ConnectionHead], now: Bool) {
        guard self.spread > .zero, !now, !heads.isEmpty else { return heads.forEach { $0.finish(now: now) } }
        let step = TimeAmount(self.spread / heads.count)
        for (number, head) in heads.enumerated() {
            self.loop.assumeIsolated().scheduleTask(in: step * number) { head.finish(now: false) }
        }
    }

    func enqueueFirst(_ head: ConnectionHead) {
        // It may stand among the others too; whoever has left is passed over.
        if !head.isQueued {
            head.isQueued = true
            self.first.append(head)
        }
        self.schedulePass()
    }

    private func schedulePass() {
        guard !self.passIsScheduled else { return }
        self.passIsScheduled = true
        self.loop.assumeIsolated().scheduleTask(in: Self.pause) {
            self.passIsScheduled = false
            self.pass()
        }
    }

    private func next() -> ConnectionHead? {
        if let head = self.first.popFirst() {
            head.isQueued = false
            return head
        }
        while let head = self.others.popLast() { if !head.isQueued { return head } }
        return nil
    }

    private func pass() {
        guard case .moving(let successor) = self.phase else { return }
        let limit = min(Self.batch, Self.window - self.inTransit)
        var parked: [LiveDescriptor] = []
        while parked.count < limit, let head = self.next() {
            if !head.isGone, let connection = head.park() { parked.append(connection) }
        }
        if !parked.isEmpty { self.send(parked, to: successor) }
        if self.inTransit < Self.window, !self.first.isEmpty || !self.others.isEmpty { self.schedulePass() }
    }

    private func send(_ connections: [LiveDescriptor], to successor: ConnectionExporter) {
        let bound = NIOLoopBound(self, eventLoop: self.loop)
        successor.send(connections) { result in
            bound.eventLoop.execute { bound.value.sent(connections, result) }
        }
    }

    private func sent(_ connections: [LiveDescriptor], _ result: Result<Void, UpgradeError>) {
        if case .failure(let error) = result {
            // The next ones would fare no better.
            if error.code == .successorClosedChannel || error.code == .notAdopted { self.stopMoving() }
            // What has not arrived is still ours, and ends here in its own time.
            let stayed = connections.count { self.adopt($0, isTakenBack: true) }
            self.logger.warning("connections stay: \(error)", metadata: ["connections": "\(stayed)"])
        }
        self.inTransit -= connections.count
        self.schedulePass()
        self.noteIfEmpty()
    }

    /// Nobody takes any, now or later. This process is the only one left that can answer their peers, and does so once
    /// more.
    func stopMoving() {
        guard self.isMoving else { return }
        self.phase = .finishing(now: false)
        self.first.removeAll()
        self.others.removeAll()
        // At once, whenever each is told to end: what was about to move has not been read from.
        for head in self.heads { head.thaw() }
        self.finish(self.heads, now: false)
    }

    // MARK: In

    /// Completes when all are served.
    func adopt(_ connections: [LiveDescriptor]) -> EventLoopFuture<Void> {
        let arrival = Arrival(connections.count, promise: self.loop.makePromise())
        for connection in connections { self.arrivals.append((connection, arrival)) }
        if !self.isAdopting { self.adoptSome() }
        return arrival.promise.futureResult
    }

    private func adoptSome() {
        self.isAdopting = true
        for _ in 0..<Self.slice {
            guard let (connection, arrival) = self.arrivals.popFirst() else { break }
            self.adopt(connection, isTakenBack: false)
            arrival.countDown()
        }
        guard !self.arrivals.isEmpty else {
            self.isAdopting = false
            // The last of them may have ended at once.
            return self.noteIfEmpty()
        }
        self.loop.assumeIsolated().scheduleTask(in: Self.pause) { self.adoptSome() }
    }

    /// - Returns: whether there was a descriptor left to serve.
    @discardableResult
    private func adopt(_ connection: LiveDescriptor, isTakenBack: Bool) -> Bool {
        guard let descriptor = connection.takeDescriptor() else { return false }
        let bound = NIOLoopBound(self, eventLoop: self.loop)
        let logger = self.logger
        ClientBootstrap(group: self.loop)
            .channelInitializer { channel in
                bound.value.initialise(
                    channel, unread: connection.unread, resumed: LiveConnection.Resumed(connection.state),
                    isTakenBack: isTakenBack
                )
            }
            // From here on the channel owns the descriptor. If the pipeline cannot be built, NIO has closed it already
            // (NIOPosix/Bootstrap.swift, `withConnectedSocket`), and closing it again could hit another file.
            .withConnectedSocket(descriptor.release())
            .whenFailure { error in logger.error("a connection that was handed over is lost: \(error)") }
        return true
    }
}

extension LoopConnections {
    /// Connections that came together.
    private final class Arrival {
        let promise: EventLoopPromise<Void>
        private var left: Int

        init(_ count: Int, promise: EventLoopPromise<Void>) {
            self.left = count
            self.promise = promise
            if count == 0 { promise.succeed() }
        }

        func countDown() {
            self.left -= 1
            if self.left == 0 { self.promise.succeed() }
        }
    }
}

extension TimeAmount {
    init(_ duration: Duration) {
        let (seconds, attoseconds) = duration.components
        self = .nanoseconds(seconds * 1_000_000_000 + attoseconds / 1_000_000_000)
    }
}
#endif  // NIO
