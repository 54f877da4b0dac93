// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

#if NIO
import NIOCore

/// One client: it makes requests, and never one again that was lost. On the event loop of its crowd.
final class LoadClient {
    private enum State {
        /// Waits for a connection or an answer.
        case busy
        case thinking(Scheduled<Void>)
        case resting
        case finished
    }

    private let crowd: LoadCrowd
    private let number: Int
    private var state = State.busy
    private var connection: LoadConnection?
    private var made = 0
    private(set) var latestServer: Int32?
    /// It keeps its connection from one request to the next.
    let keeps: Bool

    init(crowd: LoadCrowd, number: Int) {
        self.crowd = crowd
        self.number = number
        self.keeps = crowd.plan.keeps(number)
    }

    // MARK: What it is told

    /// Makes the next requests, or ends where there are none.
    func goOn() {
        guard self.crowd.wantsMore(than: self.made) else { return self.finish() }
        self.state = .busy
        let batch = self.nextBatch()
        if let connection { return connection.send(batch) }
        self.crowd.connect { [crowd] result in
            switch result {
            case .success(let channel): self.use(channel, for: batch)
            case .failure(let error):
                for exchange in batch { crowd.lost(exchange, "\(error)") }
                // Not at once again: it would be refused again.
                self.pause(for: max(crowd.plan.think, .milliseconds(10)))
            }
        }
    }

    /// The load ends. What is under way comes to its end before.
    func wakeUp() {
        switch self.state {
        case .busy, .finished: break
        case .thinking(let timer):
            timer.cancel()
            self.finish()
        case .resting:
            self.crowd.report.resting -= 1
            self.goOn()
        }
    }

    /// Looks whether an answer has been missing for too long.
    func check(_ now: NIODeadline) { self.connection?.check(now) }

    // MARK: What its connection tells

    func answered(_ exchange: LoadExchange, by server: Int32?) {
        self.latestServer = server ?? self.latestServer
        if self.keeps { self.crowd.report.kept += 1 }
        self.crowd.answered(exchange, by: server)
    }

    func lost(_ exchange: LoadExchange, _ reason: String) { self.crowd.lost(exchange, reason) }

    /// Everything that was sent has been answered.
    func cameToRest(saidClose: Bool) {
        if saidClose || !self.keeps { self.dropConnection() }
        if saidClose && self.keeps { self.crowd.report.saidClose += 1 }
        if self.crowd.plan.mode == .rest, !self.crowd.isOver {
            self.state = .resting
            self.crowd.report.resting += 1
        } else {
            self.pause(for: self.crowd.plan.think)
        }
    }

    /// The connection has ended, or was given up. What was under way on it has been counted.
    func connectionEnded(whileIdle: Bool) {
        self.connection = nil
        if whileIdle {
            self.crowd.report.idleClosed += 1
        } else {
            self.pause(for: self.crowd.plan.think)
        }
    }

    // MARK: What it does

    private func nextBatch() -> [LoadExchange] {
        let size = self.crowd.plan.mode == .pipeline ? self.crowd.plan.depth : 1
        defer { self.made += size }
        return (self.made..<self.made + size).map { self.crowd.exchange($0, of: self.number) }
    }

    private func use(_ channel: any Channel, for batch: [LoadExchange]) {
        let connection = LoadConnection(client: self, plan: self.crowd.plan)
        self.connection = connection
        if self.keeps { self.crowd.report.keptConnections += 1 }
        do {
            try channel.pipeline.syncOperations.addHandler(connection)
            connection.send(batch)
        } catch {
            // The connection has ended before it could be used.
            self.connection = nil
            for exchange in batch { self.crowd.lost(exchange, "\(error)") }
            self.pause(for: self.crowd.plan.think)
        }
    }

    private func pause(for time: TimeAmount) {
        guard time > .zero, !self.crowd.isOver else { return self.goOn() }
        self.state = .thinking(self.crowd.schedule(in: time) { self.goOn() })
    }

    private func dropConnection() {
        let connection = self.connection
        self.connection = nil
        connection?.close()
    }

    private func finish() {
        if case .finished = self.state { return }
        self.state = .finished
        self.dropConnection()
        self.crowd.finished()
    }
}
#endif  // NIO
